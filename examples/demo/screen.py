"""What the demo prints: sections, checks and tables; colours and progress only on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "cyan": "36"}


class Screen:
    """Prints to standard output and counts checks.

    Attributes:
        passed: checks that did.
        failed: checks that did not.
    """

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0
        self._out = sys.stdout
        self._tty = self._out.isatty()
        self._coloured = self._tty and not os.environ.get("NO_COLOR")
        unicode = (self._out.encoding or "").lower().startswith("utf")
        self.good, self.bad, self.bar = ("✓", "✗", "█") if unicode else ("+", "x", "#")
        self.line, self.dot = ("│", "·") if unicode else ("|", ".")

    def paint(self, style: str, text: str) -> str:
        """``text`` in a style of :data:`STYLES`, where there are colours."""
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if self._coloured else text

    def say(self, text: str = "") -> None:
        """A line, which takes the place of a progress line if there is one."""
        clear = "\r\x1b[K" if self._tty else ""
        self._out.write(f"{clear}{text.rstrip()}\n")
        self._out.flush()

    def section(self, title: str) -> None:
        self.say()
        self.say(self.paint("bold", title))

    def progress(self, text: str) -> None:
        """What is being done at the moment; the next line replaces it."""
        if self._tty:
            self._out.write(f"\r\x1b[K  {self.paint('dim', text)}")
            self._out.flush()

    def note(self, text: str) -> None:
        self.say(f"  {self.paint('dim', text)}")

    def check(self, fine: bool, text: str, why: str = "") -> bool:
        """Count a check and show it; ``why`` is shown if it failed."""
        return self.checks([fine], text, why)

    def checks(self, results: Iterable[bool], text: str, why: str = "") -> bool:
        """Count many checks of one kind in one line; whether all passed."""
        counted = list(results)
        good = sum(counted)
        self.passed += good
        self.failed += len(counted) - good
        if good == len(counted):
            self.say(f"  {self.paint('green', self.good)} {text}")
            return True
        missed = f"{len(counted) - good} of {len(counted)} failed" if len(counted) > 1 else ""
        reason = ": ".join(part for part in (missed, why) if part)
        self.say(f"  {self.paint('red', self.bad)} {text}" + (f": {reason}" if reason else ""))
        return False

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns as wide as what is in them."""
        widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
        for number, cells in enumerate((headings, *rows)):
            padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
            text = "  ".join(padded)
            self.say("  " + (text if number else self.paint("dim", text)))

    def verdict(self) -> int:
        """The last line, and the exit code."""
        self.say()
        text = f"demo: {self.passed} checks passed, {self.failed} failed"
        self.say(self.paint("red" if self.failed else "green", text))
        return 1 if self.failed else 0
