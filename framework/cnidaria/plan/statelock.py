"""The lock that lets one process at a time work on a state directory."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from cnidaria.plan.journal import StateError

NAME: Final = "lock"
POLL: Final = 0.01
"""Seconds between two tries."""


class StateLock:
    """``flock`` on ``directory/lock``: the agent holds it for life, a one-shot run for its call.

    The kernel gives it back when the process ends, however that ends.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME
        self._fd: int | None = None

    def acquire(self, timeout: float) -> None:
        """Take the lock; wait for ``timeout`` seconds at most. One that is lost is taken anew.

        Raises:
            StateError: somebody else has it all the time (``EAGAIN``), or it cannot be opened.
        """
        fd = self._open()
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(fd)
                    raise self._held() from None
                time.sleep(POLL)
            except OSError as error:
                os.close(fd)
                raise StateError.of(error, self.path, "lock the state") from error
        self.release()
        self._fd = fd
        with suppress(OSError):  # only a hint for humans
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)

    def lost(self) -> bool:
        """Whether somebody removed or replaced the file under us, so that others may lock it."""
        if self._fd is None:
            return True
        try:
            there = self.path.stat()
        except OSError:
            return True
        ours = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def release(self) -> None:
        """Give the lock back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> StateLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def _open(self) -> int:
        """A lock needs no writing: a state directory on a read-only file system can be locked."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in (errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EDQUOT):
                with suppress(OSError):
                    return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            raise StateError.of(error, self.path, "lock the state") from error

    def _held(self) -> StateError:
        holder = "another process"
        with suppress(OSError, ValueError):
            holder += f" ({int(self.path.read_text('ascii'))})"
        return StateError(self.path, errno.EAGAIN, "lock the state", f"{holder} works on it")
