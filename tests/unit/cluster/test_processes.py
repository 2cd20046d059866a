"""Agents in processes of their own on one file: many at once, and killed in the middle."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from itertools import combinations
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from cnidaria.cluster import NodeNetwork, open_store
from cnidaria.cluster.member import Member

SPAWN = multiprocessing.get_context("spawn")
PROCESSES = 8
POOL = "10.1.0.0/22"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cluster.db"


def come_and_go(file: Path, name: str, rounds: int) -> None:
    """A node that joins, claims, publishes and leaves, and always has the same block."""
    blocks = set()
    for _ in range(rounds):
        store = open_store(f"sqlite:{file}")
        store.join(name, {})
        block = store.claim_block("pods", POOL, 25)
        blocks.add(block)
        store.publish("pods", NodeNetwork((block,)))
        assert store.view().nodes[name].networks["pods"].prefixes == (block,)
        assert store.problem is None
        store.leave()
        store.close()
    assert len(blocks) == 1, blocks


def test_processes_that_come_and_go_at_once_never_share_a_block(file: Path, effort: int) -> None:
    processes = [
        SPAWN.Process(target=come_and_go, args=(file, f"n{number}", 5 * effort))
        for number in range(PROCESSES)
    ]
    with running(processes):
        for process in processes:
            process.join(120 * effort)
        assert [process.exitcode for process in processes] == [0] * PROCESSES
    blocks = owners(file)
    assert sorted(blocks.values()) == sorted(f"n{number}" for number in range(PROCESSES))
    for one, other in combinations(map(ip_network, blocks), 2):
        assert not one.overlaps(other)
    assert open_store_and_close(file) == set()


def write_for_ever(file: Path, name: str, ready: Path) -> None:
    """Claims, publishes and releases until it is killed."""
    member = Member(file, time.monotonic, time.sleep)
    member.join(name, {})
    ready.touch()
    while True:
        block = member.claim_block("pods", POOL, 25)
        member.publish("pods", NodeNetwork((block,)))
        member.withdraw("pods")
        member.release_blocks("pods")


def hold_a_transaction(file: Path, ready: Path) -> None:
    """In the middle of one: written, not committed."""
    member = Member(file, time.monotonic, time.sleep)
    member.join("killed", {})
    with member._database.transaction(write=True) as db:
        db.execute("UPDATE nodes SET record = 'half'")
        db.execute("INSERT INTO blocks VALUES ('pods', '10.1.0.0/25', 'killed')")
        ready.touch()
        signal.pause()


def test_a_writer_killed_at_any_time_leaves_a_whole_file(file: Path, effort: int) -> None:
    for number in range(10 * effort):
        kill(SPAWN.Process, write_for_ever, file, f"n{number % 3}", after=number * 0.002)
        with contextlib.closing(sqlite3.connect(file)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        open_store_and_close(file)
    survivor = open_store(f"sqlite:{file}")
    survivor.join("survivor", {})
    assert survivor.claim_block("pods", POOL, 25) not in owners(file, but="survivor")
    survivor.close()


def test_a_writer_killed_inside_a_transaction_blocks_nobody(file: Path) -> None:
    kill(SPAWN.Process, hold_a_transaction, file)
    store = open_store(f"sqlite:{file}")
    store.join("n1", {})
    assert store.claim_block("pods", POOL, 25) == "10.1.0.0/25"
    assert set(store.view().nodes) == {"n1", "killed"}
    store.close()


def kill(
    make: Callable[..., BaseProcess],
    target: Callable[..., None],
    file: Path,
    *arguments: str,
    after: float = 0.0,
) -> None:
    """Start a writer, and kill it ``after`` seconds of work."""
    ready = file.with_name("ready")
    process = make(target=target, args=(file, *arguments, ready))
    with running([process]):
        for _ in range(3000):
            if ready.exists():
                break
            assert process.is_alive()
            time.sleep(0.01)
        ready.unlink()
        time.sleep(after)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(30)
        assert process.exitcode == -signal.SIGKILL


@contextlib.contextmanager
def running(processes: list[BaseProcess]) -> Iterator[None]:
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
            process.join(30)


def owners(file: Path, but: str = "") -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(file)) as db:
        return dict(db.execute("SELECT prefix, node FROM blocks WHERE node != ?", (but,)))


def open_store_and_close(file: Path) -> set[str]:
    store = open_store(f"sqlite:{file}")
    nodes = set(store.view().nodes)
    store.close()
    return nodes
