"""Starts the Go oracle and asks it (see README.md beside this file)."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent
BUILD_SECONDS = 600


class Refused(Exception):
    """The Go libraries do not take it."""


class Unavailable(Exception):
    """The oracle cannot be built here; the text says what is missing."""


class Oracle:
    """A running oracle."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout

    def ask(self, op: str, **question: Any) -> Any:
        """The answer, decoded.

        Args:
            op: which question; see ``ask`` in ``main.go``.
            question: its other fields; ``raw``, if given, is JSON text for the field ``json``.

        Raises:
            Refused: the Go libraries gave an error.
        """
        raw = question.pop("raw", None)
        text = json.dumps({"op": op, **question})
        self._in.write((text if raw is None else f'{text[:-1]}, "json": {raw}}}') + "\n")
        self._in.flush()
        answer = json.loads(self._out.readline())
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["ok"]


@contextmanager
def running(directory: Path) -> Iterator[Oracle]:
    """The oracle, built into ``directory`` and running.

    Raises:
        Unavailable: no Go toolchain, or its modules cannot be had.
    """
    go = shutil.which("go")
    if go is None:
        raise Unavailable("needs go: the package golang-go")
    program = directory / "oracle"
    command = [go, "build", "-mod=readonly", "-o", str(program), "."]
    built = subprocess.run(
        command, check=False, cwd=SOURCE, capture_output=True, text=True, timeout=BUILD_SECONDS
    )
    if built.returncode:
        reason = built.stderr.strip()[-300:]
        raise Unavailable(f"needs the Go modules of tests/oracle (go mod download): {reason}")
    pipe = subprocess.PIPE
    with subprocess.Popen([program], stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Oracle(process)
        finally:
            process.terminate()
