"""The frames between the executable and the agent (documented in ``core/exec/README.md``).

A frame is a ``u32`` little-endian length and that many bytes of msgpack.  A request carries the
caller's and the pod's network namespace as file descriptors (``SCM_RIGHTS``).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack

LENGTH = struct.Struct("<I")
MAX_REQUEST = 4 << 20
VERSION = 1


class FrameError(Exception):
    """Bytes that are no frame of ours."""


@dataclass
class Call:
    """One invocation of the executable.

    Attributes:
        id: 16 random bytes; the same when the executable tries again without the agent.
        argv0: the name under which the runtime executed it.
        env: the ``CNI_*`` variables.
        stdin: the network configuration as it came.
        fds: open namespaces by role, ``host`` (the caller's) and ``pod``; :meth:`close` ends them.
        pod_errno: why ``CNI_NETNS`` could not be opened, 0 if it was or was not set.
        ask: what the command line wants to know of the agent; ``""``: it is a call.
    """

    id: bytes
    argv0: str
    env: Mapping[str, str]
    stdin: bytes
    fds: dict[str, int] = field(default_factory=dict)
    pod_errno: int = 0
    ask: str = ""

    @property
    def name(self) -> str:
        """The CNI type that was executed: the file's base name."""
        return os.path.basename(self.argv0)

    def close(self) -> None:
        while self.fds:
            os.close(self.fds.popitem()[1])


@dataclass(frozen=True)
class Reply:
    """What the executable prints, and its exit code."""

    exit: int
    stdout: bytes
    stderr: bytes = b""

    def pack(self) -> bytes:
        return frame(
            {"v": VERSION, "exit": self.exit, "stdout": self.stdout, "stderr": self.stderr}
        )


def frame(message: Mapping[str, Any]) -> bytes:
    """``message`` with its length in front."""
    body: bytes = msgpack.packb(message)
    return LENGTH.pack(len(body)) + body


def version_call() -> bytes:
    """The frame of a VERSION call, which needs nothing and changes nothing."""
    return _request({"CNI_COMMAND": "VERSION"}, "")


def question(ask: str) -> bytes:
    """The frame of a question, see :class:`Call`. Who does not know it takes it for a bad call."""
    return _request({}, ask)


def _request(env: Mapping[str, str], ask: str) -> bytes:
    return frame(
        {
            "v": VERSION,
            "id": bytes(16),
            "argv0": "cnidaria",
            "env": env,
            "stdin": b"",
            "fds": [],
            "ask": ask,
        }
    )


def body_length(head: bytes) -> int:
    """Length of the body that follows the four bytes ``head``.

    Raises:
        FrameError: longer than :data:`MAX_REQUEST`.
    """
    (length,) = LENGTH.unpack(head)
    if length > MAX_REQUEST:
        raise FrameError(f"a request of {length} bytes; at most {MAX_REQUEST} are taken")
    return int(length)


def parse_call(body: bytes, fds: Sequence[int] | None) -> Call:
    """A request's body and the descriptors that came with it.

    Args:
        fds: in the order the frame names them; ``None`` in a one-shot, where the frame itself
            holds the numbers of the inherited descriptors.

    Raises:
        FrameError: not a request, or descriptors that do not fit what it names.
    """
    try:
        raw = msgpack.unpackb(body, raw=False, unicode_errors="surrogateescape")
        numbers = raw["fd_numbers"] if fds is None else dict(zip(raw["fds"], fds, strict=True))
        if raw["v"] != VERSION:
            raise FrameError(f"a request of version {raw['v']!r}; this is {VERSION}")
        return Call(
            id=bytes(raw["id"]),
            argv0=str(raw["argv0"]),
            env={str(key): _text(value) for key, value in raw["env"].items()},
            stdin=bytes(raw["stdin"]),
            fds={str(role): int(number) for role, number in numbers.items()},
            pod_errno=int(raw.get("pod_errno") or 0),
            ask=str(raw.get("ask") or ""),
        )
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException) as error:
        raise FrameError(f"not a request: {type(error).__name__}: {error}") from error


def parse_reply(body: bytes) -> Reply:
    """An agent's answer. Raises :class:`FrameError` if it is none."""
    try:
        raw = msgpack.unpackb(body, raw=False)
        return Reply(int(raw["exit"]), bytes(raw["stdout"]), bytes(raw["stderr"]))
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise FrameError(f"not a reply: {error}") from error


def _text(value: str | bytes) -> str:
    return os.fsdecode(value)
