"""One process at a time on a state directory."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cnidaria.cni.errors import Code
from cnidaria.plan.statelock import StateLock
from cnidaria.plan.store import StateError

HOLDER = """
import sys, time
from pathlib import Path
from cnidaria.plan.statelock import StateLock
lock = StateLock(Path(sys.argv[1]))
lock.acquire(0)
print("held", flush=True)
time.sleep(60)
"""


def test_another_process_holds_it_until_it_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        lock = StateLock(tmp_path)
        with pytest.raises(
            StateError, match=rf"another process \({holder.pid}\) works on it"
        ) as caught:
            lock.acquire(0.05)
        assert caught.value.code == Code.STATE_UNAVAILABLE
        assert caught.value.errno == errno.EAGAIN
        assert caught.value.path == tmp_path / "lock"
        holder.kill()
    with lock:
        lock.acquire(30)


def test_whoever_waits_gets_it(tmp_path: Path) -> None:
    first, second = StateLock(tmp_path), StateLock(tmp_path)
    first.acquire(0)
    waiting = threading.Thread(target=second.acquire, args=(30,))
    waiting.start()
    first.release()
    waiting.join(30)
    with pytest.raises(StateError, match="works on it"):
        first.acquire(0)
    second.release()
    first.acquire(0)
    first.release()
    first.release()


def test_the_directory_is_made(tmp_path: Path) -> None:
    with StateLock(tmp_path / "a" / "b") as lock:
        lock.acquire(0)
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StateError, match=r"file/lock.*(ENOTDIR|EEXIST)"):
        StateLock(tmp_path / "file").acquire(0)
