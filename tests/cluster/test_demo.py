"""The demo, as a new user runs it: both modes, few pods."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "demo"

LAST_LINE = re.compile(r"demo: (\d+) checks passed, 0 failed")


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    """A whole run without a terminal; it makes its own namespaces."""
    return subprocess.run(
        [sys.executable, DEMO, *options], capture_output=True, text=True, timeout=180, check=False
    )


@pytest.mark.parametrize("mode", ["flat", "overlay"])
def test_a_run_passes_all_its_checks(mode: str) -> None:
    done = demo("--mode", mode, "--pods", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert LAST_LINE.fullmatch(lines[-1])
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    # Every pair by both protocols in both families, and twice under policies; and the rest.
    assert int(lines[-1].split()[1]) > 4 * 3 * 2 * 4
    assert not done.stderr


def test_more_nodes_than_pods() -> None:
    done = demo("--nodes", "4", "--pods", "2")
    assert LAST_LINE.fullmatch(done.stdout.splitlines()[-1]), done.stdout + done.stderr


@pytest.mark.parametrize("value", ["1", "x", "-3", "1000"])
def test_numbers_are_checked(value: str) -> None:
    done = demo(f"--pods={value}")
    assert done.returncode == 2
    assert f"{value}: must be a number from 2 to 40" in done.stderr
