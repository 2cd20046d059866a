"""An agent that starts knows what files said that are refused by now."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cnidaria_policy.folder import Folders
from cnidaria_policy.kept import Kept

OBJECT = "{apiVersion: v1, kind: Namespace, metadata: {name: NAME}}\n"
BAD = "kind: Nonsense\n"


class Node:
    """Two directories of files, and agents that come and go."""

    def __init__(self, path: Path) -> None:
        self.directories = [path / "a", path / "b"]
        for one in self.directories:
            one.mkdir()
        self.state = path / "state" / "pods"

    def write(self, file: str, *names: str) -> Path:
        """No names: it will be refused."""
        path = self.directories[0].parent / file
        path.write_text("---\n".join(OBJECT.replace("NAME", one) for one in names) or BAD)
        return path

    def start(self, *, is_fixed: bool = False) -> Folders:
        """Another agent; it has looked once."""
        folders = Folders(map(str, self.directories), Kept(self.state, is_fixed=is_fixed))
        folders.look()
        return folders


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def names(folders: Folders) -> set[str]:
    return {name for _, _, name in folders.look()}


def test_a_file_that_becomes_bad_while_nobody_looks(node: Node) -> None:
    node.write("a/x.yaml", "one", "two")
    node.write("b/x.yaml", "three")
    running = node.start()
    node.write("a/x.yaml", "one", "four")
    running.look()
    file = node.write("a/x.yaml")
    late = node.write("b/late.yaml")
    for _ in range(2):
        folders = node.start()
        assert folders.is_whole
        assert names(folders) == {"one", "three", "four"}
        assert [one.partition(": ")[0] for one in folders.problems] == [f"{file}:1", f"{late}:1"]
        assert {str(one.file) for one in folders.places.values()} == {
            str(file), str(node.directories[1] / "x.yaml")
        }  # fmt: skip
    node.write("a/x.yaml", "five")
    assert names(folders) == {"three", "five"}


def test_a_directory_that_goes_away_while_nobody_looks(node: Node) -> None:
    node.write("a/x.yaml", "one")
    node.start()
    away = node.directories[0].rename(node.directories[0].with_name("away"))
    folders = node.start()
    assert folders.is_whole
    assert names(folders) == {"one"}
    assert f"{node.directories[0]}: No such file or directory" in folders.problems
    away.rename(node.directories[0])
    assert names(folders) == {"one"}
    assert folders.problems == []


def test_what_is_gone_does_not_come_back(node: Node) -> None:
    """Neither one that went while an agent looked, nor one that went while none did."""
    for file in ("a/x.yaml", "b/x.yaml"):
        node.write(file, file[0])
    folders = node.start()
    node.directories[0].joinpath("x.yaml").unlink()
    folders.look()
    node.directories[1].joinpath("x.yaml").unlink()
    assert names(node.start()) == set()
    for file in ("a/x.yaml", "b/x.yaml"):
        node.write(file)
    assert names(node.start()) == set()


def test_what_was_never_in_force_does_not_count(node: Node) -> None:
    """Of several files one has never been good."""
    node.write("a/x.yaml", "one")
    bad = node.write("b/x.yaml")
    assert not node.start().is_whole
    node.write("a/x.yaml")
    folders = node.start()
    assert names(folders) == set()
    assert not folders.is_whole
    bad.unlink()
    node.directories[0].joinpath("x.yaml").unlink()
    assert node.start().is_whole
    node.write("a/x.yaml")
    assert names(node.start()) == set()


def test_another_directory_must_be_good_once(node: Node) -> None:
    node.write("a/x.yaml", "one")
    node.start()
    more = node.directories[0].with_name("c")
    more.mkdir()
    node.directories.append(more)
    file = node.write("c/x.yaml")
    assert not node.start().is_whole
    file.unlink()
    assert node.start().is_whole


def copies(node: Node) -> list[Path]:
    return [one for one in node.state.rglob("*.yaml") if one.is_file()]


def test_a_copy_that_cannot_be_read(node: Node) -> None:
    """Nobody knows what the file said: no pod may be added."""
    file = node.write("a/x.yaml", "one")
    node.start()
    node.write("a/x.yaml")
    (copy,) = copies(node)
    copy.write_text(BAD)
    folders = node.start()
    assert not folders.is_whole
    (problem,) = folders.problems
    assert problem.startswith(f"{file}:1: ")
    assert f"; what it said before is lost: {copy}:1: " in problem
    node.write("a/x.yaml", "two")
    assert names(folders) == {"two"}
    assert folders.is_whole


def test_what_cannot_be_kept(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """What was kept before is older than what is in force, and does not count."""
    node.write("a/x.yaml", "one")
    running = node.start()
    (copy,) = copies(node)
    copy.unlink()
    copy.mkdir()
    file = node.write("a/x.yaml", "two")
    assert names(running) == {"two"}
    assert f"{file} is not kept for the next start" in caplog.text
    running.look()
    node.write("b/x.yaml", "three")
    running.look()
    node.write("a/x.yaml")
    assert not node.start(is_fixed=True).is_whole
    node.write("a/x.yaml", "two")
    running.look()
    copy.rmdir()
    running.look()  # it is tried again
    node.write("a/x.yaml")
    assert names(node.start(is_fixed=True)) == {"two", "three"}


def test_a_state_that_cannot_be_marked(node: Node) -> None:
    """Half of it is written when the disk is full, and the rest later."""
    node.state.parent.mkdir()
    node.state.write_text("in the way")
    node.write("a/x.yaml", "one")
    running = node.start()
    node.state.unlink()
    running.look()
    node.write("a/x.yaml")
    assert names(node.start(is_fixed=True)) == {"one"}


def test_who_only_looks_changes_nothing(node: Node) -> None:
    node.write("a/x.yaml", "one")
    node.start(is_fixed=True)
    assert not node.state.exists()
    node.start()
    node.write("a/x.yaml", "two")
    node.start(is_fixed=True)
    node.write("a/x.yaml")
    assert names(node.start(is_fixed=True)) == {"one"}


def test_only_the_owner_reads_them(node: Node) -> None:
    node.write("a/x.yaml", "one")
    node.start()
    assert {os.stat(one).st_mode & 0o777 for one in node.state.iterdir()} == {0o700}
