"""One at a time for each key, any number of keys at once."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class _Entry:
    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.users = 0


class Exclusive:
    """Re-entrant locks by key, which exist only as long as somebody uses them."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, _Entry] = {}
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, key: Hashable) -> Iterator[None]:
        """Wait until nobody else works on ``key``."""
        entry = self._enter(key)
        try:
            with entry.lock:
                yield
        finally:
            self._leave(key, entry)

    @contextmanager
    def try_(self, key: Hashable, timeout: float = 0.0) -> Iterator[bool]:
        """Whether nobody else works on ``key``; if so, nobody will until the end of the block.

        Args:
            timeout: seconds to wait for that.
        """
        entry = self._enter(key)
        got = entry.lock.acquire(timeout=timeout)
        try:
            yield got
        finally:
            if got:
                entry.lock.release()
            self._leave(key, entry)

    def _enter(self, key: Hashable) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            entry.users += 1
            return entry

    def _leave(self, key: Hashable, entry: _Entry) -> None:
        with self._lock:
            entry.users -= 1
            if not entry.users:
                del self._entries[key]
