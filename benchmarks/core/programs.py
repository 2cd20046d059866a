"""Contestants that are programs: told line by line what to do."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cnidaria/bench"


class Missing(Exception):
    """The program cannot be had here; the text says why."""


class Program:
    """A peer in a process of its own: a command as a line in, an answer as a line of JSON out.

    Between commands it waits, so it takes nothing from whose turn it is.
    """

    def __init__(self, name: str, arguments: Sequence[str | Path] = ()) -> None:
        path = CACHE / "bin" / name
        if not path.exists():
            raise Missing(_reason(name))
        self._process = subprocess.Popen(
            [path, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, command: str) -> dict[str, Any]:
        """Send one command; what it answers."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)


def _reason(name: str) -> str:
    log = CACHE / f"{name}.log"
    if not log.exists():
        return "not built: run scripts/setup-bench-peers"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"could not be built ({log}): {lines[-1] if lines else 'no output'}"
