"""The built-in cluster store: a SQLite file that the agents share.

Two threads: one follows the file (a check of SQLite's data version, some microseconds each time),
one gives the node's signs of life.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from cnidaria.cluster.member import Member
from cnidaria.cluster.model import (
    EXPIRY,
    ClusterView,
    Documents,
    ImpossibleStore,
    NodeNetwork,
    StoreError,
)
from cnidaria.cluster.observer import Observer
from cnidaria.cluster.store import split_url, sqlite_problem

log = logging.getLogger(__name__)

T = TypeVar("T")

FOLLOW_EVERY = 0.05
"""Seconds between two looks; a change anywhere is seen within this time."""
RETRY_EVERY = 1.0
"""Seconds until the next attempt after an error."""
BEATS_PER_EXPIRY = 5
"""Signs of life that a node gives in the time after which it would be taken for dead."""

ALLOWED = 'must be "sqlite:" and the absolute path of a file, which is made where there is none'


def open_sqlite(url: str) -> SqliteStore:
    """Open ``sqlite:/absolute/path``, making the file if it is not there.

    Raises:
        ImpossibleStore: another form of URL, or a path that no file can have.
        StoreError: a file that cannot be had.
    """
    problem = sqlite_problem(url)
    if problem:
        raise ImpossibleStore(url, problem)
    store = SqliteStore(Path(split_url(url)[1].removeprefix("//")))
    try:
        store.view()
    except ImpossibleStore as error:
        store.close()
        raise ImpossibleStore(url, f"{error.reason}; {ALLOWED}") from error
    except StoreError:
        store.close()
        raise
    return store


class SqliteStore:
    """:class:`~cnidaria.cluster.store.ClusterStore` in a file; the methods are described there."""

    def __init__(self, path: Path) -> None:
        self._member = Member(path, time.monotonic, time.sleep)
        self._observer = Observer(path, time.monotonic)
        self._lock = threading.Lock()
        self._threads: dict[str, threading.Thread] = {}
        self._stopping = threading.Event()
        self._beat_now = threading.Event()
        self._watchers: set[Callable[[], None]] = set()
        self._latest: ClusterView | None = None
        self._documents: tuple[str, str] | None = None
        self._unseen: StoreError | None = None
        self._unheard: StoreError | None = None

    def join(self, name: str, addresses: Mapping[int, str], expiry: float = EXPIRY) -> None:
        """See :meth:`ClusterStore.join`."""
        self._member.join(name, addresses, expiry)
        self._observer.own = name
        self._unheard = None
        self._start("follow", self._follow)
        self._start("heartbeat", self._live)
        self._beat_now.set()

    def check_name(self, name: str) -> None:
        """See :meth:`ClusterStore.check_name`."""
        self._member.check_name(name)

    def publish(self, network: str, own: NodeNetwork) -> None:
        """See :meth:`ClusterStore.publish`."""
        self._member.publish(network, own)

    def withdraw(self, network: str) -> None:
        """See :meth:`ClusterStore.withdraw`."""
        self._member.withdraw(network)

    def leave(self) -> None:
        """See :meth:`ClusterStore.leave`."""
        self._member.leave()
        self._observer.own = None
        self._unheard = None

    def claim_block(self, network: str, pool: str, length: int, node: str | None = None) -> str:
        """See :meth:`ClusterStore.claim_block`."""
        return self._member.claim_block(network, pool, length, node)

    def release_blocks(self, network: str, node: str | None = None) -> tuple[str, ...]:
        """See :meth:`ClusterStore.release_blocks`."""
        return self._member.release_blocks(network, node)

    def blocks(self, network: str) -> Mapping[str, str]:
        """See :meth:`ClusterStore.blocks`."""
        return self._member.blocks(network)

    def put(self, changes: Mapping[str, bytes | None], owner: str = "") -> None:
        """See :meth:`ClusterStore.put`."""
        self._member.put(changes, owner)

    def documents(self, since: str = "") -> Documents:
        """See :meth:`ClusterStore.documents`."""
        return self._member.documents(since)

    def view(self) -> ClusterView:
        """See :meth:`ClusterStore.view`."""
        return self._observer.view()

    @property
    def problem(self) -> StoreError | None:
        """See :attr:`ClusterStore.problem`."""
        return self._unseen or self._unheard

    async def watch(self) -> AsyncIterator[ClusterView]:
        """See :meth:`ClusterStore.watch`."""
        async with contextlib.aclosing(self._each(lambda: self._latest)) as views:
            async for view in views:
                yield view

    async def watch_documents(self) -> AsyncIterator[None]:
        """See :meth:`ClusterStore.watch_documents`."""
        async with contextlib.aclosing(self._each(lambda: self._documents)) as cursors:
            async for _ in cursors:
                yield

    async def _each(self, latest: Callable[[], T | None]) -> AsyncGenerator[T, None]:
        """What is seen, each time that it is another object."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(changed.set)

        with self._lock:
            self._watchers.add(wake)
        try:
            self._start("follow", self._follow)
            shown: T | None = None
            while not self._stopping.is_set():
                found = latest()
                if found is not None and found is not shown:
                    shown = found
                    yield found
                    continue
                await changed.wait()
                changed.clear()
        finally:
            with self._lock:
                self._watchers.discard(wake)

    def close(self) -> None:
        """See :meth:`ClusterStore.close`."""
        with self._lock:
            self._stopping.set()
            self._beat_now.set()
            threads = list(self._threads.values())
        for thread in threads:
            thread.join()
        self._member.close()
        self._observer.close()
        self._wake()

    def _start(self, name: str, run: Callable[[], None]) -> None:
        with self._lock:
            if name not in self._threads and not self._stopping.is_set():
                thread = threading.Thread(target=run, name=f"cluster-{name}", daemon=True)
                self._threads[name] = thread
                thread.start()

    def _wake(self) -> None:
        with self._lock:
            for wake in self._watchers:
                wake()

    def _follow(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            pause = FOLLOW_EVERY
            try:
                view = self._observer.look()
            except StoreError as error:
                self._unseen = _note(error, self._unseen)
                self._saw(self._latest)
                pause = RETRY_EVERY
                continue
            self._unseen = _note(None, self._unseen)
            if self._observer.take_asked() or self._is_missing(view):
                self._beat_now.set()
            self._saw(view)

    def _saw(self, view: ClusterView | None) -> None:
        documents = self._observer.documents, str(self._unseen or "")
        if view is not self._latest or documents != self._documents:
            self._latest = view
            if documents != self._documents:
                self._documents = documents
            self._wake()

    def _is_missing(self, view: ClusterView) -> bool:
        """Whether this node ought to be there and is not: the others took it for dead."""
        own = self._observer.own
        return own is not None and own not in view.nodes and self._unheard is None

    def _live(self) -> None:
        pause = 0.0
        while True:
            self._beat_now.wait(pause)
            if self._stopping.is_set():
                return
            self._beat_now.clear()
            own = self._member.own
            pause = (own.expiry if own else EXPIRY) / BEATS_PER_EXPIRY
            try:
                self._member.beat(self._observer.dead())
            except StoreError as error:
                self._unheard = _note(error, self._unheard)
                # A refusal is no trouble of the store's: the others' heartbeats do arrive.
                self._observer.mute = type(error) is StoreError
                pause = min(RETRY_EVERY, pause)
            else:
                self._unheard = _note(None, self._unheard)
                self._observer.mute = False


def _note(now: StoreError | None, before: StoreError | None) -> StoreError | None:
    """``now``, said in the log if it is news."""
    if now is not None and str(now) != str(before):
        log.error("%s", now)
    if now is None and before is not None:
        log.info("cluster store %s: works again", before.store)
    return now
