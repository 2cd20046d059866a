"""A state directory on a file system that is full, or read-only: real ones."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cnidaria.cni.errors import CniError, Code
from cnidaria.kernel.netns import NetNS
from cnidaria.plan.statelock import StateLock
from support.attachments import attachment, bring_up, engine, links, ours
from support.namespaces import new_namespace


class Disk:
    """A small file system of memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mount(self, options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)]
        subprocess.run(command, check=True, timeout=10)

    def fill(self) -> None:
        with suppress(OSError), (self.path / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))

    def empty(self) -> None:
        (self.path / "ballast").unlink()

    def seal(self) -> None:
        self.mount("remount,ro")

    def unseal(self) -> None:
        self.mount("remount,rw")

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=True, timeout=10)


@pytest.fixture
def disk(host: NetNS, tmp_path: Path) -> Iterator[Disk]:  # host: leave it out where that is
    disk = Disk(tmp_path / "disk")
    disk.path.mkdir()
    disk.mount("size=128k,mode=0700")
    yield disk
    disk.close()


TROUBLES: dict[str, tuple[Callable[[Disk], None], Callable[[Disk], None]]] = {
    "ENOSPC": (Disk.fill, Disk.empty),
    "EROFS": (Disk.seal, Disk.unseal),
}


@pytest.mark.parametrize("errno", TROUBLES)
@pytest.mark.parametrize("used_before", [False, True])
def test_add_and_del_in_trouble(
    errno: str, used_before: bool, disk: Disk, host: NetNS, pod: NetNS
) -> None:
    spoil, mend = TROUBLES[errno]
    bring_up(host)
    state = disk.path / "state"
    if used_before:
        it = engine(state)
        it.attach(attachment(1, pod), host, pod)
        it.store.close()
    spoil(disk)
    it = engine(state)
    with new_namespace() as other, pytest.raises(CniError, match=errno) as caught:
        it.attach(attachment(2, other, config={"large": "x" * 8192}), host, other)
    assert caught.value.code == Code.STATE_UNAVAILABLE
    assert str(state) in caught.value.msg
    assert links(host) == links(host) & {"cnd1"}
    assert len(it.store.all()) == int(used_before)
    if used_before:
        # The last page of a file may have room on a full disk.
        with suppress(CniError) if errno == "ENOSPC" else pytest.raises(CniError, match=errno):
            it.detach(attachment(1).key, host, pod)
    assert ours(host) == []
    assert links(pod) == set()
    it.store.close()
    mend(disk)
    it = engine(state)
    it.recover(host)
    it.detach(attachment(1).key, host, pod)
    made = it.attach(attachment(2, pod), host, pod)
    assert it.store.all() == [made]
    it.detach(made.key, host, pod)
    assert it.store.all() == []
    it.store.close()
    assert sorted(os.listdir(state)) == ["journal"]


def test_the_lock_needs_no_writing(disk: Disk) -> None:
    with StateLock(disk.path) as lock:
        lock.acquire(0)
    disk.seal()
    with StateLock(disk.path) as lock:
        lock.acquire(0)
    with pytest.raises(CniError, match="EROFS"):
        StateLock(disk.path / "new").acquire(0)
