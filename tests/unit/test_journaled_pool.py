"""The core's journaled pool: what was answered survives, whatever happens to process and disk."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cnidaria_core import (
    AddressOutOfRange,
    AddressPool,
    AddressReserved,
    AddressTaken,
    CoreError,
    InvalidPool,
    JournaledPool,
    JournalError,
    MalformedBytes,
    PoolExhausted,
)

RANGES = [("10.0.0.1", "10.0.0.9")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pool"


def opened(path: Path, **more: bool) -> JournaledPool:
    return JournaledPool(path, RANGES, ["10.0.0.9"], 5, **more)


@pytest.mark.parametrize("sync", [False, True])
def test_everything_is_there_again(path: Path, sync: bool) -> None:
    twin = AddressPool(RANGES, ["10.0.0.9"], 5)
    for change in (
        lambda pool: pool.allocate("x"),
        lambda pool: pool.allocate("y", "10.0.0.7", 1.0),
        lambda pool: pool.allocate("y"),
        lambda pool: pool.reserve("10.0.0.3"),
        lambda pool: pool.allocate("z", "10.0.0.3", reserved=True),
        lambda pool: pool.release("10.0.0.1", 2.5),
        lambda pool: pool.reserve("10.0.0.5"),
        lambda pool: pool.unreserve("10.0.0.5"),
        lambda pool: pool.release_owner("y", 3.0),
        lambda pool: pool.release("10.0.0.3", 4.0),
        lambda pool: pool.allocate("w"),
        lambda pool: pool.release("10.0.0.4", used=False),
        lambda pool: pool.release("10.0.0.1"),
    ):
        with opened(path, sync=sync) as pool:
            assert change(pool) == change(twin)
            assert pool.snapshot() == twin.snapshot()
            assert pool.leases() == twin.leases() and list(pool) == list(twin)
            assert pool.stats() == twin.stats() and len(pool) == len(twin)
            assert pool.capacity == twin.capacity
            assert pool.journal_length == path.stat().st_size


def test_errors_are_the_pools_and_change_nothing(path: Path) -> None:
    pool = opened(path)
    for n in range(7):
        pool.allocate(f"x{n}")
    pool.reserve("10.0.0.8")
    length = pool.journal_length
    wrong: list[tuple[Callable[[], object], type[Exception]]] = [
        (lambda: pool.allocate("y"), PoolExhausted),
        (lambda: pool.allocate("y", "10.0.0.1"), AddressTaken),
        (lambda: pool.allocate("y", "10.0.0.8"), AddressReserved),
        (lambda: pool.reserve("10.0.1.0"), AddressOutOfRange),
        (lambda: pool.allocate("y", now=-1.0), ValueError),
        (lambda: pool.release(1.5), TypeError),  # type: ignore[arg-type]
    ]
    for call, error in wrong:
        with pytest.raises(error):
            call()
    assert pool.journal_length == length == path.stat().st_size


def test_reads(path: Path) -> None:
    pool = opened(path)
    before = pool.snapshot()
    address = pool.allocate("x")
    assert address in pool and pool.covers("10.0.0.8") and not pool.covers("10.0.0.9")
    assert pool.owner_of(address) == "x" and pool.addresses_of("x") == [address]
    assert before.diff(pool) == [(address, None, "x")]
    assert pool.diff(before) == [(address, "x", None)]
    assert pool.path == path
    assert repr(pool) == f"<JournaledPool {path}: 1 of 8 taken>"
    pool.close()
    pool.close()
    assert repr(pool) == f"<JournaledPool {path}: closed>"
    with pytest.raises(ValueError, match="closed"):
        pool.allocate("y")


def test_a_torn_tail_is_dropped(path: Path) -> None:
    with opened(path) as pool:
        sizes = {pool.journal_length: pool.leases()}
        for n in range(5):
            pool.allocate(f"owner{n}")
            sizes[pool.journal_length] = pool.leases()
    data = path.read_bytes()
    for cut in range(min(sizes), len(data) + 1):
        path.write_bytes(data[:cut])
        sound = max(size for size in sizes if size <= cut)
        with opened(path) as pool:
            assert pool.leases() == sizes[sound]
        assert path.stat().st_size == sound
    path.write_bytes(data[: min(sizes) - 1])
    with pytest.raises(MalformedBytes, match=str(path)):
        opened(path)


def test_one_process_at_a_time(path: Path) -> None:
    with opened(path), pytest.raises(JournalError) as caught:
        opened(path)
    assert isinstance(caught.value, OSError) and isinstance(caught.value, CoreError)
    assert caught.value.errno == errno.EWOULDBLOCK
    assert Path(caught.value.filename) == path
    opened(path).close()


def test_other_pools_and_other_files_are_refused(path: Path) -> None:
    opened(path).close()
    for ranges, exclude, cooldown in (
        ([("10.0.0.1", "10.0.0.10")], ["10.0.0.9"], 5),
        (RANGES, [], 5),
        (RANGES, ["10.0.0.9"], 6),
    ):
        with pytest.raises(InvalidPool, match=f"{path}: .* other ranges"):
            JournaledPool(path, ranges, exclude, cooldown)
    path.write_bytes(b"something else")
    with pytest.raises(MalformedBytes, match=str(path)):
        opened(path)
    with pytest.raises(JournalError) as caught:
        opened(path / "in" / "a" / "file")
    assert caught.value.errno == errno.ENOTDIR


def test_many_threads(path: Path) -> None:
    ranges = [("10.0.0.0", "10.0.15.255")]
    with JournaledPool(path, ranges) as pool, ThreadPoolExecutor(64) as threads:
        got = list(threads.map(lambda n: pool.allocate(f"owner{n}"), range(4096)))
        assert len(set(got)) == 4096
        owners = list(threads.map(pool.release, got))
        assert owners == [f"owner{n}" for n in range(4096)]
    with JournaledPool(path, ranges) as pool:
        assert len(pool) == 0 and pool.stats()["released"] == 4096
        pool.compact()
        assert pool.journal_length == path.stat().st_size < 4096 * 16


def child(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


COUNTING = """
import sys
from cnidaria_core import JournaledPool
pool = JournaledPool(sys.argv[1], [("10.0.0.0", "10.0.255.255")])
while True:
    print(pool.allocate(f"owner{len(pool)}"), flush=True)
"""


def test_kill_9(path: Path) -> None:
    answered: list[str] = []
    for rounds in range(1, 5):
        process = child(COUNTING, path)
        assert process.stdout is not None
        for _ in range(50 * rounds):
            answered.append(process.stdout.readline().strip())
        process.send_signal(signal.SIGKILL)
        answered += process.stdout.read().split("\n")[:-1]
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        with JournaledPool(path, [("10.0.0.0", "10.0.255.255")]) as pool:
            held = list(pool)
        # The last one may be there without having been told.
        assert held[: len(answered)] == answered and len(held) <= len(answered) + 1
        answered = held


FILLING = """
import errno, resource, signal, sys
from cnidaria_core import JournalError, JournaledPool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
pool = JournaledPool(sys.argv[1], [("10.0.0.0", "10.0.255.255")])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (pool.journal_length + 1000, hard))
try:
    while True:
        pool.allocate("x")
except JournalError as error:
    assert error.errno == errno.EFBIG, error
count = len(pool)
assert len(pool.addresses_of("x")) == count and pool.journal_length <= 1100
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
pool.allocate("y")
print(count + 1)
"""


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY,
    reason="file sizes are limited here",
)
def test_a_full_disk(path: Path) -> None:
    process = child(FILLING, path)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    with JournaledPool(path, [("10.0.0.0", "10.0.255.255")]) as pool:
        assert len(pool) == int(output)
        assert pool.addresses_of("y") == list(pool)[-1:]
    assert os.listdir(path.parent) == [path.name]


def test_what_is_no_regular_file_is_no_journal() -> None:
    """Reading it might never end."""
    with pytest.raises(JournalError) as caught:
        JournaledPool("/dev/zero", RANGES)
    assert caught.value.errno == errno.EINVAL
