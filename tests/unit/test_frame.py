"""The repository's own promises: versions, dependencies, documentation that keeps up."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from support.left_out import TABLE, may_be_left_out

ROOT = Path(__file__).parents[2]


def _toml(*path: str) -> dict[str, Any]:
    return tomllib.loads(ROOT.joinpath(*path).read_text())


def test_three_distributions_have_one_version() -> None:
    project = _toml("pyproject.toml")["project"]
    version = project["version"]
    assert _toml("Cargo.toml")["workspace"]["package"]["version"] == version
    for crate in ("core", "core/exec"):
        assert _toml(crate, "Cargo.toml")["package"]["version"] == {"workspace": True}
        assert "version" in _toml(crate, "pyproject.toml")["project"]["dynamic"]
    ours = {name for name in project["dependencies"] if name.startswith("cnidaria-")}
    assert ours == {f"cnidaria-core=={version}", f"cnidaria-exec=={version}"}


def _python_dependencies() -> set[str]:
    project = _toml("pyproject.toml")
    groups = [item for group in project["dependency-groups"].values() for item in group]
    names = [*project["project"]["dependencies"], *(item for item in groups if type(item) is str)]
    return {re.split(r"[<>=]", name)[0] for name in names}


def _crates() -> set[str]:
    tables = [_toml(crate, "Cargo.toml") for crate in ("core", "core/exec")]
    kinds = ("dependencies", "dev-dependencies")
    return {name for table in tables for kind in kinds for name in table.get(kind, {})}


@pytest.mark.parametrize("name", sorted(_python_dependencies() | _crates()))
def test_every_dependency_has_its_reason(name: str) -> None:
    text = ROOT.joinpath("docs", "dependencies.md").read_text()
    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text), (
        f"docs/dependencies.md says nothing about {name}"
    )


def test_every_dependency_is_pinned() -> None:
    lines = ROOT.joinpath("constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0].lower() for line in lines if "==" in line}
    wanted = {name.lower() for name in _python_dependencies() if not name.startswith("cnidaria-")}
    assert wanted <= pinned
    assert not [line for line in lines if "/" in line and not line.startswith("#")]


def test_every_goal_of_make_has_help() -> None:
    lines = ROOT.joinpath("Makefile").read_text().splitlines()
    goals = {goal for line in lines if line.startswith(".PHONY: ") for goal in line.split()[1:]}
    helped = {line.partition(":")[0] for line in lines if re.match(r"[a-z-]+:.*## ", line)}
    assert goals - helped == {"test-setup", "$(DONE)/venv"} & goals


def test_every_decision_is_listed() -> None:
    folder = ROOT.joinpath("docs", "decisions")
    listed = folder.joinpath("README.md").read_text()
    navigation = ROOT.joinpath("mkdocs.yml").read_text()
    for page in folder.glob("[0-9]*.md"):
        assert f"({page.name})" in listed
        assert f"decisions/{page.name}" in navigation


def test_the_table_of_what_may_be_left_out() -> None:
    table = f"{TABLE}\ntext\n| tests | reason | why |\n|---|---|---|\n| `a/*` | no b | c |\n\n## D"
    assert may_be_left_out(table) == [("a/*", "no b")]
    assert may_be_left_out(ROOT.joinpath("tests", "README.md").read_text()) is not None
