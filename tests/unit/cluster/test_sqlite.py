"""The SQLite store as an agent uses it: threads, a loop, a file and what may be wrong with it."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import resource
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cnidaria.cluster import (
    ClusterStore,
    ClusterView,
    ImpossibleStore,
    NodeNameTaken,
    NodeNetwork,
    StoreError,
    builtin_stores,
    open_store,
)
from cnidaria.cluster.database import NETWORK_FILESYSTEMS, Database, scalar
from cnidaria.cni.errors import Code

PODS = NodeNetwork(("10.1.0.0/24",), {"mac": "02:00:00:00:00:01"})
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/sub/cluster.db"


@pytest.fixture
def start(url: str) -> Iterator[Callable[[], ClusterStore]]:
    with contextlib.ExitStack() as stack:

        def start() -> ClusterStore:
            store = open_store(url)
            stack.callback(store.close)
            return store

        yield start


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:"))


def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("not within 20 s")


async def until(store: ClusterStore, condition: Callable[[ClusterView], bool]) -> ClusterView:
    async def follow() -> ClusterView:
        async with contextlib.aclosing(store.watch()) as views:
            async for view in views:
                if condition(view):
                    return view
        raise AssertionError("the store was closed")

    return await asyncio.wait_for(follow(), 20)


def test_what_one_publishes_the_other_sees(start: Callable[[], ClusterStore]) -> None:
    one, two = start(), start()

    async def scenario() -> None:
        two.join("n2", {4: "192.0.2.2"})
        one.join("n1", {4: "192.0.2.1", 6: "fd00::1"})
        one.publish("pods", PODS)
        view = await until(two, lambda view: bool(list(view.peers("pods", "n2"))))
        ((node, network),) = view.peers("pods", "n2")
        assert node.addresses == {4: "192.0.2.1", 6: "fd00::1"} and network == PODS
        one.withdraw("pods")
        await until(two, lambda view: not view.nodes["n1"].networks)
        one.leave()
        await until(two, lambda view: set(view.nodes) == {"n2"})

    asyncio.run(scenario())
    assert one.problem is None and two.problem is None


def test_watching_ends_with_the_store(start: Callable[[], ClusterStore]) -> None:
    store = start()

    async def scenario() -> int:
        views = 0
        async for _ in store.watch():
            views += 1
            closing = asyncio.create_task(asyncio.to_thread(store.close))
        await closing
        return views

    assert asyncio.run(asyncio.wait_for(scenario(), 20)) == 1
    with pytest.raises(StoreError, match="closed"):
        store.view()


def test_heartbeats_alone_are_no_change(start: Callable[[], ClusterStore]) -> None:
    one, two = start(), start()
    one.join("n1", {}, expiry=1)
    before = two.view()

    async def scenario() -> None:
        async with contextlib.aclosing(two.watch()) as views:
            assert await anext(views) == before
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(views), 2.5)

    asyncio.run(scenario())
    assert set(two.view().nodes) == {"n1"}, "it lives longer than its expiry"


def test_a_name_in_use_is_refused_and_a_crashed_ones_is_not(
    start: Callable[[], ClusterStore],
) -> None:
    one, two = start(), start()
    one.join("n1", {})
    with pytest.raises(NodeNameTaken, match="another living agent"):
        two.join("n1", {})
    one.close()  # without leaving, as a crash
    two.join("n1", {})
    two.publish("pods", PODS)
    with pytest.raises(ValueError, match="'n1' already, not 'n2'"):
        two.join("n2", {})


def test_a_file_that_was_replaced_is_filled_again(
    start: Callable[[], ClusterStore], url: str
) -> None:
    one, two = start(), start()
    for store, name in ((one, "n1"), (two, "n2")):
        store.join(name, {})
    one.publish("pods", PODS)
    for path in file_of(url).parent.iterdir():
        path.unlink()
    eventually(lambda: set(start().view().nodes) == {"n1", "n2"})
    assert start().view().nodes["n1"].networks == {"pods": PODS}


def test_an_unreadable_file_leaves_the_last_view_in_force(
    start: Callable[[], ClusterStore], url: str
) -> None:
    one, two = start(), start()
    one.join("n1", {})
    path = file_of(url)

    async def scenario() -> None:
        async with contextlib.aclosing(two.watch()) as views:
            assert set((await anext(views)).nodes) == {"n1"}
            # At once: where no file is the stores make one.
            away, spare = path.with_name("away"), path.with_name("spare")
            os.link(path, away)
            spare.symlink_to(path.parent)
            spare.rename(path)
            await asyncio.to_thread(eventually, lambda: two.problem is not None)
            assert str(path) in str(two.problem)
            with pytest.raises(StoreError, match="no regular file"):
                two.view()
            away.rename(path)
            await asyncio.to_thread(eventually, lambda: two.problem is None)
            one.publish("pods", PODS)
            assert "pods" in (await asyncio.wait_for(anext(views), 20)).nodes["n1"].networks

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"garbage" * 100, "file is not a database"),
        (b"SQLite format 3\0" + b"\0" * 4096, "file is not a database"),
    ],
)
def test_a_file_that_is_no_database(url: str, content: bytes, reason: str) -> None:
    path = file_of(url)
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StoreError, match=reason) as caught:
        open_store(url)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("CREATE TABLE other (x)", "database of another program"),
        ("PRAGMA application_id = 7", "database of another program"),
        (f"PRAGMA application_id = {0x434E4944}; PRAGMA user_version = 9", "has format 9"),
    ],
)
def test_a_database_of_somebody_else(url: str, script: str, reason: str) -> None:
    path = file_of(url)
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(script)
    with pytest.raises(StoreError, match=reason):
        open_store(url)


def test_a_broken_page_is_reported_with_the_files_name(
    start: Callable[[], ClusterStore], url: str
) -> None:
    one = start()
    one.join("n1", {})
    one.close()
    path = file_of(url)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = delete")
        root = scalar(db, "SELECT rootpage FROM sqlite_schema WHERE name = 'nodes'")
        size = scalar(db, "PRAGMA page_size")
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    with pytest.raises(StoreError, match=r"cluster\.db: database disk image is malformed"):
        open_store(url)


@pytest.mark.parametrize("url", ["sqlite:relative/path.db", "sqlite:/a.db?mode=ro", "sqlite:/a#b"])
def test_a_url_that_is_no_absolute_path(url: str) -> None:
    with pytest.raises(ImpossibleStore, match="absolute path"):
        open_store(url)


def test_a_scheme_that_nobody_provides() -> None:
    with pytest.raises(ImpossibleStore, match="there are: sqlite:"):
        open_store("etcd://[2001:db8::1]:2379")


def test_stores_of_plugins_are_found_by_their_scheme(start: Callable[[], ClusterStore]) -> None:
    store = start()
    stores = {**builtin_stores(), "mine": lambda url: store}
    assert open_store("mine:anything", stores) is store


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("file/cluster.db", "Not a directory"),
        ("directory", "is no regular file"),
        ("fifo", "is no regular file"),
        ("loop", "symbolic links"),
        ("n" * 300, "name too long"),
    ],
)
def test_a_path_that_no_file_can_have(tmp_path: Path, path: str, reason: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ImpossibleStore, match=reason) as caught:
        open_store(f"sqlite:{tmp_path}/{path}")
    error = caught.value.as_cni_error()
    assert error.code == Code.INVALID_CONFIG
    assert error.msg.startswith(f'cluster.store = "sqlite:{tmp_path}')
    assert error.msg.endswith(
        'must be "sqlite:" and the absolute path of a file, which is made where there is none'
    )


def test_the_file_is_its_owners_alone(start: Callable[[], ClusterStore], url: str) -> None:
    start().join("n1", {})
    modes = {path.name: path.stat().st_mode & 0o777 for path in file_of(url).parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_a_network_filesystem_gets_no_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cluster.db"
    for kind, mode in (("ext4", "wal"), (min(NETWORK_FILESYSTEMS), "delete")):
        monkeypatch.setattr("cnidaria.cluster.database._filesystem", lambda _, kind=kind: kind)
        database = Database(path)
        with database.transaction(write=False) as db:
            assert scalar(db, "PRAGMA journal_mode") == mode
        database.close()


def live_and_run_out_of_space(url: str) -> None:
    """A file may not grow any more: what a full disk is to SQLite."""
    store = open_store(url)
    store.join("n2", {}, expiry=1)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, unlimited[1]))
    eventually(lambda: store.problem is not None)
    problem = str(store.problem)
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    eventually(lambda: store.problem is None)
    store.close()
    Path(f"{file_of(url)}.problem").write_text(problem)


def test_a_full_disk_is_said_and_got_over(start: Callable[[], ClusterStore], url: str) -> None:
    store = start()
    process = SPAWN.Process(target=live_and_run_out_of_space, args=(url,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert str(file_of(url)) in Path(f"{file_of(url)}.problem").read_text()
    assert "n2" in store.view().nodes


def join_and_hang(url: str) -> None:
    store = open_store(url)
    store.join("n1", {}, expiry=2)
    store.publish("pods", PODS)
    os.kill(os.getpid(), signal.SIGSTOP)
    eventually(lambda: store.problem is not None)
    Path(f"{file_of(url)}.problem").write_text(str(store.problem))
    store.close()


def test_an_agent_that_was_stopped_and_replaced_says_so(
    start: Callable[[], ClusterStore], url: str
) -> None:
    process = SPAWN.Process(target=join_and_hang, args=(url,))
    process.start()
    store = start()
    eventually(lambda: "pods" in getattr(store.view().nodes.get("n1"), "networks", ()))
    eventually(lambda: Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "T")
    store.join("n1", {})
    assert process.pid is not None
    os.kill(process.pid, signal.SIGCONT)
    process.join(60)
    assert process.exitcode == 0
    assert "another living agent" in Path(f"{file_of(url)}.problem").read_text()
