"""What a test needs of the machine: without it the test is left out, but never when CI=true."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

RUNTIMES = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cnidaria" / "runtimes"
)
"""Where ``scripts/setup-runtimes`` puts what it builds."""


def _missing(wanted: tuple[str, ...]) -> str:
    if os.geteuid() != 0:
        return "needs root: container runtimes do not run without it"
    absent = [one for one in wanted if not Path(one).is_file() and shutil.which(one) is None]
    return f"needs {', '.join(absent)}: run scripts/setup-runtimes" if absent else ""


def needs(*wanted: str) -> pytest.MarkDecorator:
    """Mark for tests that need root, and programs (names) or files (paths).

    Left out with the reason where they are missing; with CI=true nothing is, and they fail.
    """
    reason = "" if os.environ.get("CI") == "true" else _missing(wanted)
    return pytest.mark.skipif(bool(reason), reason=reason)
