"""What a run leaves out is said, and fails on CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

SOURCE = """
import pytest

def test_runs(): pass

@pytest.mark.skip(reason="no such program")
def test_lacks_something(): pass

@pytest.mark.xfail(reason="known")
def test_known(): assert False
"""


def _run(folder: Path, source: str, ci: str) -> subprocess.CompletedProcess[str]:
    folder.joinpath("test_it.py").write_text(source)
    argv = [sys.executable, "-m", "pytest", "-p", "support.left_out", "--rootdir", str(folder)]
    return subprocess.run(
        [*argv, "-c", os.devnull, "-p", "no:cacheprovider", str(folder)],
        env={**os.environ, "CI": ci, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_without_ci_it_is_said(tmp_path: Path) -> None:
    run = _run(tmp_path, SOURCE, ci="")
    assert run.returncode == 0, run.stdout
    assert "    1 no such program" in run.stdout
    assert "1 passed, 1 skipped, 1 xfailed" in run.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "source",
    [SOURCE, "import pytest\npytest.importorskip('no_such_module_anywhere')"],
    ids=["test", "module"],
)
def test_on_ci_it_fails(tmp_path: Path, source: str) -> None:
    run = _run(tmp_path, source, ci="true")
    assert run.returncode != 0
    assert "left out on CI, and tests/README.md does not list it" in run.stdout
