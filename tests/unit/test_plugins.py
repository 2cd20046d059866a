"""Plugins: whoever fails, the others are there, and it is said who failed and why."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from cnidaria import Mode, ModeConfig, Object, hookimpl
from cnidaria.plugins import PluginError, entry_points, load

BUILT_IN = {"cnidaria-flat", "cnidaria-overlay", "cnidaria-policy"}
CNIDARIA = str(Path(sys.executable).with_name("cnidaria"))

GOOD = """
from cnidaria import Mode, ModeConfig, hookimpl

class Good(Mode):
    \"\"\"One that works.\"\"\"
    type = "good"
    Config = ModeConfig

@hookimpl
def cnidaria_modes():
    return [Good]
"""
HOOK = "from cnidaria import hookimpl\n@hookimpl\ndef "

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Install a distribution with one module, as pip would."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made: list[str] = []

    def write(name: str, source: str, distribution: str = "") -> None:
        distribution = distribution or name
        module = f"{distribution}_module".replace("-", "_")
        made.append(module)
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[cnidaria]\n{name} = {module}\n")

    yield write
    for module in made:
        sys.modules.pop(module, None)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import not_there", "plugin 'bad' (bad (bad_module)) fails: ModuleNotFoundError"),
        ("syntax error", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        (f"{HOOK}cnidaria_modes(): return 1 / 0", "ZeroDivisionError"),
        (f"{HOOK}cnidaria_modes(): return [int]", "AttributeError"),
        (f"{HOOK}cnidaria_mods(): return []", "unknown hook 'cnidaria_mods'"),
        (f"{HOOK}cnidaria_objects(): return [int]", "must be a subclass of Object"),
        (f"{HOOK}cnidaria_stores(): return dict(sqlite=1)", "claims the cluster store 'sqlite'"),
        (GOOD.replace("good", "cnidaria-flat"), "claims the CNI type 'cnidaria-flat'"),
    ],
)  # fmt: skip
def test_one_that_fails_costs_itself_only(write: Write, source: str, says: str) -> None:
    write("bad", source)
    write("good", GOOD)
    found = load()
    assert found.modes.keys() == BUILT_IN | {"good"}
    assert found.broken.keys() == {"bad"}
    assert says in found.broken["bad"]
    assert load("good").broken == {}
    assert load("bad").broken == found.broken
    assert "sqlite" in found.stores


def test_two_of_one_name(write: Write) -> None:
    write("good", GOOD)
    write("good", GOOD, distribution="other")
    found = load()
    assert found.modes.keys() == BUILT_IN
    for part in ("good (good_module)", "other (other_module)", "uninstall one of them"):
        assert part in found.broken["good"]
    assert "good" in entry_points()


def test_an_embedded_one_that_fails_raises() -> None:
    class Twin(Mode[ModeConfig]):
        type = "twin"
        Config = ModeConfig

    plugin = SimpleNamespace(cnidaria_modes=hookimpl(lambda: [Twin], specname="cnidaria_modes"))
    assert "twin" in load("cnidaria-flat", extra=[plugin]).modes
    again = SimpleNamespace(cnidaria_modes=hookimpl(lambda: [Twin], specname="cnidaria_modes"))
    with pytest.raises(PluginError, match="claims the CNI type 'twin'"):
        load("cnidaria-flat", extra=[plugin, again])


def test_a_kind_of_a_taken_name_is_refused(write: Write) -> None:
    source = "from cnidaria import Object\nclass Route(Object, frozen=True):\n    pass\n"
    write("bad", f"{source}{HOOK}cnidaria_objects(): return [Route]")
    assert "two kinds of objects are named 'route'" in load().broken["bad"]
    assert issubclass(Object, object)


def test_the_command_line_goes_on(write: Write, tmp_path: Path) -> None:
    write("bad", "import not_there")
    state = ("--state-dir", str(tmp_path / "state"))

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [CNIDARIA, *command], capture_output=True, text=True, check=False, env={**os.environ}
        )

    listed = run("modes")
    assert listed.returncode == 0
    assert "bad                  cannot be used: plugin 'bad'" in listed.stdout
    assert "cnidaria-flat        Pods in the address space" in listed.stdout
    failed = run("modes", "bad")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "No module named 'not_there'" in failed.stderr
    unknown = run("modes", "nope")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "no mode 'nope' is installed" in unknown.stderr
    status = run("status", *state)
    assert status.returncode == 1
    assert "PROBLEM   plugin bad: plugin 'bad' (bad (bad_module)) fails" in status.stdout
