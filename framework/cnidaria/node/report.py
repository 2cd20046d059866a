"""What a node says about itself: the agent writes it, the command line reads it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from cnidaria.node.frame import (
    LENGTH,
    FrameError,
    Reply,
    body_length,
    parse_reply,
    question,
    version_call,
)
from cnidaria.node.settings import Settings
from cnidaria.plan.journal import Journal
from cnidaria.plan.store import Attachment, Store
from cnidaria.plugins import load

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

    Plugins are loaded, as objects may be of their kinds.

    Raises:
        StateError: the journal cannot be read.
    """
    load()
    return Store(Journal(settings.state_dir), lambda: clock).all()


AgentState = Literal["absent", "silent", "answers"]
Form = Literal["text", "json"]


class NoAnswerError(Exception):
    """No agent answers; the text says where, and what would help."""


def exchange(settings: Settings, request: bytes, patience: float) -> Reply:
    """The agent's answer to a frame, within ``patience`` seconds.

    Raises:
        OSError: nobody listens, or not in time.
        FrameError: what came is no answer.
    """
    deadline = time.monotonic() + patience
    with socket.socket(socket.AF_UNIX) as agent:
        agent.settimeout(patience)
        agent.connect(os.fspath(settings.socket))
        agent.sendall(request)
        data = b""
        while len(data) < LENGTH.size or len(data) < LENGTH.size + body_length(data[:4]):
            agent.settimeout(max(deadline - time.monotonic(), 0.001))
            more = agent.recv(1 << 16)
            if not more:
                raise FrameError(f"the answer ends after {len(data)} bytes")
            data += more
        return parse_reply(data[LENGTH.size :])


def ask_agent(settings: Settings, patience: float = PATIENCE) -> AgentState:
    """Whether an agent is there, and answers within ``patience`` seconds (a VERSION call)."""
    try:
        reply = exchange(settings, version_call(), patience)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return "absent"
    except (OSError, FrameError):
        return "silent"
    return "answers" if reply.exit == 0 else "silent"


def metrics(settings: Settings, form: Form) -> bytes:
    """What the agent has measured.

    Raises:
        NoAnswerError: there is no agent, or it does not answer in time.
    """
    try:
        reply = exchange(settings, question(f"metrics {form}"), settings.timeout)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        why = f"no agent listens on {settings.socket}: start one with `cnidaria agent`"
        raise NoAnswerError(why) from None
    except (OSError, FrameError) as error:
        raise NoAnswerError(f"the agent on {settings.socket} does not answer: {error}") from None
    if reply.exit != 0:
        why = (reply.stderr or reply.stdout).decode(errors="replace")
        raise NoAnswerError(f"the agent on {settings.socket} says: {why}")
    return reply.stdout


def agent_answers(settings: Settings) -> bool:
    """Whether an agent answers."""
    return ask_agent(settings) == "answers"
