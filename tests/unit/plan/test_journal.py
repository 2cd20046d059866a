"""The journal: whole records or none, whatever happens to the file."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnidaria.cni.errors import Code
from cnidaria.plan.journal import Journal, StateError, boot_id, frame, parse

RECORDS: list[Any] = [{"op": "a", "n": 2**63}, {"op": "b", "data": b"\0\xff", "text": "ü"}, []]


def journal(directory: Path, boot: str = "boot-1") -> Journal:
    return Journal(directory, boot=boot)


def written(directory: Path, records: list[Any] = RECORDS) -> Path:
    it = journal(directory)
    for record in records:
        it.append(record)
    it.close()
    return it.path


def test_records_come_back_in_order(tmp_path: Path) -> None:
    written(tmp_path)
    again = journal(tmp_path)
    assert again.load() == RECORDS
    assert again.damage == ""


def test_nothing_is_made_before_the_first_record(tmp_path: Path) -> None:
    it = journal(tmp_path / "new")
    assert it.load() == []
    assert not (tmp_path / "new").exists()
    it.append(1)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert it.path.stat().st_mode & 0o777 == 0o600


def test_appending_goes_on_after_loading(tmp_path: Path) -> None:
    written(tmp_path)
    again = journal(tmp_path)
    again.load()
    again.append("more")
    assert journal(tmp_path).load() == [*RECORDS, "more"]


def test_another_boots_journal_is_discarded(tmp_path: Path) -> None:
    written(tmp_path)
    rebooted = journal(tmp_path, boot="boot-2")
    assert rebooted.load() == []
    rebooted.append("fresh")
    assert journal(tmp_path, boot="boot-2").load() == ["fresh"]
    assert journal(tmp_path).load() == []


def test_the_kernels_boot_id_is_the_default(tmp_path: Path) -> None:
    Journal(tmp_path).append(1)
    assert Journal(tmp_path, boot=boot_id()).load() == [1]


def test_compaction_replaces_everything(tmp_path: Path) -> None:
    it = journal(tmp_path)
    for n in range(100):
        it.append(n)
    it.compact(["only"])
    it.append("and this")
    assert journal(tmp_path).load() == ["only", "and this"]
    assert os.listdir(tmp_path) == ["journal"]


def test_truncated_anywhere_it_holds_what_was_whole(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = path.read_bytes()
    stamp = len(data) - sum(len(frame(record)) for record in RECORDS)
    ends = [stamp + sum(len(frame(r)) for r in RECORDS[:n]) for n in range(len(RECORDS) + 1)]
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        it = journal(tmp_path)
        whole = RECORDS[: max(sum(end <= length for end in ends) - 1, 0)]
        assert it.load() == whole
        assert bool(it.damage) == (length not in (0, *ends))
        it.append("after")
        it.close()
        assert journal(tmp_path).load() == [*whole, "after"], length


def test_a_flipped_bit_ends_it_there(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = path.read_bytes()
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        it = journal(tmp_path)
        found = it.load()
        assert it.damage
        assert found == RECORDS[: len(found)]
        assert len(found) < len(RECORDS)


@given(st.binary(max_size=200))
def test_rubbish_is_no_journal(data: bytes) -> None:
    records, sound, damage = parse(data)
    assert not records or sound >= 9
    assert bool(damage) == (sound < len(data))


def test_a_removed_file_is_noticed(tmp_path: Path) -> None:
    it = journal(tmp_path)
    it.append(1)
    assert not it.lost()
    it.path.unlink()
    assert it.lost()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file can grow beyond ``size`` bytes: what a full file system is like."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)


def test_what_does_not_fit_leaves_no_trace(tmp_path: Path) -> None:
    it = journal(tmp_path)
    it.append("first")
    with file_size_limit(it.size + 20), pytest.raises(StateError) as caught:
        it.append("x" * 100)
    assert caught.value.code == Code.STATE_UNAVAILABLE
    assert str(it.path) in caught.value.msg
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
    assert journal(tmp_path).load() == ["first"]
    it.append("second")
    assert journal(tmp_path).load() == ["first", "second"]


def test_a_compaction_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    it = journal(tmp_path)
    it.append("first")
    with file_size_limit(it.size), pytest.raises(StateError):
        it.compact(["x" * 1000])
    it.append("second")
    assert journal(tmp_path).load() == ["first", "second"]
    assert os.listdir(tmp_path) == ["journal"]


def test_no_directory_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StateError, match=r"ENOTDIR|EEXIST"):
        journal(tmp_path / "file").append(1)


def test_a_directory_in_the_journals_place(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    with pytest.raises(StateError, match="EISDIR"):
        journal(tmp_path).load()


CHILD = """
import os, signal, sys
from pathlib import Path
from cnidaria.plan.journal import Journal

left = int(sys.argv[2])
def die(step):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

journal = Journal(Path(sys.argv[1]), boot="boot-1", hook=die)
journal.load()
for n in range(3):
    journal.append(n)
journal.compact([0, 1, 2])
journal.append(3)
"""


def test_killed_at_any_step(tmp_path: Path) -> None:
    seen = []
    for step in range(20):
        directory = tmp_path / str(step)
        done = subprocess.run([sys.executable, "-c", CHILD, directory, str(step)], check=False)
        seen.append(journal(directory).load())
        if done.returncode == 0:
            break
    # Steps: the stamp (written, renamed), three records, compaction (written, renamed), a record.
    assert seen == [
        [], [], [0], [0, 1], [0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3]
    ]  # fmt: skip
