"""Programs that a test needs of the machine: without them it is left out (see ``left_out``)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

RUNTIMES = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cnidaria" / "runtimes"
)
"""Where ``scripts/setup-runtimes`` puts what it builds."""


def needs(*wanted: str) -> pytest.MarkDecorator:
    """Mark for tests that need these programs (names) or files (paths)."""
    absent = [one for one in wanted if not Path(one).is_file() and shutil.which(one) is None]
    reason = f"needs {', '.join(absent)}: run scripts/doctor --install test; scripts/setup-runtimes"
    return pytest.mark.skipif(bool(absent), reason=reason)
