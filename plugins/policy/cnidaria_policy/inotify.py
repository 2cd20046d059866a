"""When files of directories change: inotify, and a look now and then for what it does not tell."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 1.0
"""Seconds between two looks without an event: a directory may come, or be on a network."""
QUIET: Final = 0.03
"""Seconds without an event after which files are read: several often change together."""
LONGEST: Final = 0.06
"""Seconds after the first event in which files are read, however many events follow."""

# linux/inotify.h: what ends a change of a file. One that is being written is not read.
IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_DELETE = 0x8, 0x40, 0x80, 0x200
IN_NONBLOCK, IN_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
_EVENTS: Final = IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE


class News(asyncio.Event):
    """That something has happened, and when the first of it did that nobody has seen to yet.

    Attributes:
        since: ``time.monotonic()``, ``None`` if nothing has happened.
    """

    since: float | None = None

    def set(self) -> None:
        """See :meth:`asyncio.Event.set`."""
        if self.since is None:
            self.since = time.monotonic()
        super().set()

    def take(self) -> float | None:
        """Since when; what happens from now on is new."""
        since, self.since = self.since, None
        return since


async def changes(
    directories: Iterable[Path], happened: asyncio.Event | None = None
) -> AsyncIterator[None]:
    """Once now, then each time that something in the directories may have changed.

    Args:
        happened: set by others when there is another reason to look.


    Where the machine has no inotify left for us, each time that it may be worth a look.
    """
    directories = list(directories)
    loop = asyncio.get_running_loop()
    happened = happened or asyncio.Event()
    watcher = _Inotify()

    def heard() -> None:
        watcher.drain()
        happened.set()

    if watcher.fd >= 0:
        loop.add_reader(watcher.fd, heard)
    try:
        while True:
            watcher.watch(directories)
            yield
            with suppress(TimeoutError):
                await asyncio.wait_for(happened.wait(), LOOK_EVERY)
            latest = loop.time() + LONGEST
            while happened.is_set() and loop.time() < latest:
                happened.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(happened.wait(), QUIET)
    finally:
        if watcher.fd >= 0:
            loop.remove_reader(watcher.fd)
        watcher.close()


class _Inotify:
    """inotify has no module of its own in Python's library.

    Attributes:
        fd: tells of changes; below 0: the machine has too many of them (``fs.inotify``).
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = self._libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
        if self.fd < 0:
            log.warning("no inotify: directories are read every %g s", LOOK_EVERY)

    def watch(self, directories: Iterable[Path]) -> None:
        """Listen to these; to watch again is no change, and finds one that was made anew."""
        for directory in directories if self.fd >= 0 else ():
            self._libc.inotify_add_watch(self.fd, os.fsencode(directory), _EVENTS)

    def drain(self) -> None:
        """Forget what was told."""
        with suppress(BlockingIOError):
            while os.read(self.fd, 1 << 16):
                pass

    def close(self) -> None:
        """Listen no more."""
        if self.fd >= 0:
            os.close(self.fd)
