"""What a node says about itself: the agent writes it, the command line reads it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from cnidaria.node.frame import LENGTH, FrameError, body_length, parse_reply, version_call
from cnidaria.node.settings import Settings
from cnidaria.plan.journal import Journal
from cnidaria.plan.store import Attachment, Store

NAME = "status.json"
NEW = f".{NAME}.new"
PATIENCE: Final = 5.0
"""Seconds that an agent has for an answer that costs it nothing."""


def write(settings: Settings, report: Mapping[str, Any]) -> None:
    """Replace the agent's report in one step. Raises :class:`OSError`."""
    target = settings.state_dir / NAME
    spare = target.with_name(NEW)
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


AgentState = Literal["absent", "silent", "answers"]


def ask_agent(settings: Settings, patience: float = PATIENCE) -> AgentState:
    """Whether an agent is there, and answers within ``patience`` seconds (a VERSION call)."""
    deadline = time.monotonic() + patience
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.settimeout(patience)
            probe.connect(os.fspath(settings.socket))
            probe.sendall(version_call())
            data = b""
            while len(data) < LENGTH.size or len(data) < LENGTH.size + body_length(data[:4]):
                probe.settimeout(max(deadline - time.monotonic(), 0.001))
                more = probe.recv(1 << 16)
                if not more:
                    return "silent"
                data += more
            return "answers" if parse_reply(data[LENGTH.size :]).exit == 0 else "silent"
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return "absent"
        except (OSError, FrameError):
            return "silent"


def agent_answers(settings: Settings) -> bool:
    """Whether an agent answers."""
    return ask_agent(settings) == "answers"
