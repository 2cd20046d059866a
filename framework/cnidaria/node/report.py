"""What a node says about itself: the agent writes it, the command line reads it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnidaria.node.settings import Settings
from cnidaria.plan.journal import Journal
from cnidaria.plan.store import Attachment, Store

NAME = "status.json"


def write(settings: Settings, report: Mapping[str, Any]) -> None:
    """Replace the agent's report in one step. Raises :class:`OSError`."""
    target = settings.state_dir / NAME
    spare = target.with_name(f".{NAME}.new")
    spare.write_text(json.dumps(report))
    os.replace(spare, target)


def read(settings: Settings) -> dict[str, Any]:
    """The last report; empty if there is none."""
    try:
        found: dict[str, Any] = json.loads(Path(settings.state_dir, NAME).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def attachments(settings: Settings, clock: float) -> list[Attachment]:
    """What is attached on this node, read from the journal without changing anything.

    Raises:
        StateError: the journal cannot be read.
    """
    return Store(Journal(settings.state_dir), lambda: clock).all()


def agent_answers(settings: Settings) -> bool:
    """Whether an agent listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(settings.socket))
        except OSError:
            return False
    return True
