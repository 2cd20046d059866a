"""A state directory that is full or read-only: nothing is half-done, DEL cleans the kernel."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

import pytest

from support.cni import CniNode


@pytest.fixture
def node() -> Iterator[CniNode]:
    """A node whose state directory is a small file system of its own."""
    with CniNode() as node:
        directory = str(node.settings.state_dir)
        os.mkdir(directory)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", directory], check=True
        )
        try:
            yield node
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)


@contextmanager
def full(node: CniNode) -> Iterator[None]:
    """No free page; in the journal's last one there may be room."""
    filler = node.settings.state_dir / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    yield
    filler.unlink()


@contextmanager
def read_only(node: CniNode) -> Iterator[None]:
    directory = str(node.settings.state_dir)
    subprocess.run(["mount", "-o", "remount,bind,ro", directory], check=True)
    yield
    subprocess.run(["mount", "-o", "remount,bind,rw", directory], check=True)


def add_until_refused(node: CniNode) -> list[str]:
    """The pods that could still be attached; the next one is refused, and changes nothing."""
    done: list[str] = []
    for n in range(8):
        pod = f"more{n}"
        node.pod(pod)
        before = node.state()
        answer = node.call("ADD", pod)
        if answer.exit:
            assert "cannot write" in answer.error(107)
            assert node.state() == before
            break
        done.append(pod)
    else:
        pytest.fail("the directory is full, and nothing minds")
    return done


@pytest.mark.parametrize("agent", [True, False], ids=["agent", "one-shot"])
def test_full(node: CniNode, agent: bool) -> None:
    with node.agent() if agent else nullcontext():
        node.add("p1")
        with full(node):
            pods = [*add_until_refused(node), "p1"]
            assert node.call("CHECK", "p1").result() is None
            for pod in pods:
                answer = node.call("DEL", pod)
                if answer.exit:
                    assert "ENOSPC" in answer.error(107)
            assert node.state()["host links"] == set(), "what can be done is done"
        for pod in pods:
            node.delete(pod)
        assert not node.attachments()
        node.add("p2")
        node.assert_consistent()


def test_read_only(node: CniNode) -> None:
    """Only without an agent: it keeps the journal open, and so the directory writable."""
    node.add("p1")
    with read_only(node):
        assert add_until_refused(node) == []
        assert node.call("CHECK", "p1").result() is None
        assert "EROFS" in node.call("STATUS").error(50)
        node.delete("unknown")
        assert node.call("DEL", "p1").error(107).count("EROFS") == 1
        assert node.state()["host links"] == set(), "what can be done is done"
    node.delete("p1")
    node.add("p2")
    node.assert_consistent()


def test_agent_that_cannot_start(node: CniNode) -> None:
    with read_only(node), node.agent(wait=False) as agent:
        assert agent.process.wait(30) == 1
        assert str(node.settings.state_dir) in agent.log
        assert "Traceback" not in agent.log


def test_directory_that_cannot_be(node: CniNode) -> None:
    (node.dir / "file").touch()
    node.pod("p1")
    error = node.call("ADD", "p1", CNIDARIA_STATE_DIR=str(node.dir / "file" / "state")).error(107)
    assert "ENOTDIR" in error
