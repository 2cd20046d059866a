"""Reading the shared SQLite file: who is there, and who of those lives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from cnidaria.cluster import documents, tables
from cnidaria.cluster.database import Database, Version
from cnidaria.cluster.liveness import Beat, Liveness
from cnidaria.cluster.model import ClusterView, NodeRecord, StoreError

BEATS_EVERY = 0.25
"""Seconds between two looks at who lives, however often heartbeats come."""


class Observer:
    """One agent's picture of the others. No threads and no clock of its own.

    Args:
        path: the database file, made if it is not there.
        clock: monotonic seconds.

    Attributes:
        documents: the cursor of the shared documents as last read, ``""``: never.
        own: this node's name once it has joined; it is never taken for dead.
        mute: this node cannot write. Then the others may not be able to, either, and none is
            taken for dead.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self.documents = ""
        self.own: str | None = None
        self.mute = False
        self._clock = clock
        self._lock = threading.RLock()
        self._database = Database(path)
        self._cache = tables.NodeCache()
        self._version: Version | None = None
        self._looked_at = float("-inf")
        self._liveness = Liveness()
        self._blind = False
        self._nodes: dict[str, NodeRecord] = {}
        self._view = ClusterView()
        self._dead: Mapping[str, Beat] = {}
        self._asked = False

    def look(self) -> ClusterView:
        """The living nodes; the same object as long as nothing has changed, and cheap then.

        Raises:
            StoreError: the file cannot be read. No node expires by the time that this lasts.
        """
        with self._lock:
            now = self._clock()
            try:
                version = self._database.version()
                due = now - self._looked_at >= BEATS_EVERY
                if version != self._version or due:
                    self._read(now, beats=due)
                    self._version = version
            except StoreError:
                self._blind = True
                raise
            return self._view

    def view(self) -> ClusterView:
        """The living nodes, heartbeats read in any case. Raises as :meth:`look`."""
        with self._lock:
            self._looked_at = float("-inf")
            return self.look()

    def dead(self) -> Mapping[str, Beat]:
        """Nodes that gave no sign of life for too long, each with the last one seen."""
        return self._dead

    def take_asked(self) -> bool:
        """Whether somebody asks this node for a sign of life; once for each asking."""
        with self._lock:
            asked, self._asked = self._asked, False
            return asked

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _read(self, now: float, *, beats: bool) -> None:
        with self._database.transaction(write=False) as db:
            nodes = self._cache.read(db)
            counts = tables.read_beats(db) if beats or nodes != self._nodes else None
            self.documents = documents.cursor(db)
            self._asked = self.own is not None and tables.asked(db, self.own)
        if self._blind or self.mute:
            self._liveness.renew(now)
            self._blind = False
        if counts is not None:
            self._liveness.observe(counts, now)
            self._looked_at = now
        self._nodes = nodes
        self._judge(now)

    def _judge(self, now: float) -> None:
        living: dict[str, NodeRecord] = {}
        dead: dict[str, Beat] = {}
        for name, node in self._nodes.items():
            if name == self.own or self._liveness.alive(name, node.expiry, now):
                living[name] = node
            elif last := self._liveness.beat(name):
                dead[name] = last
        self._dead = dead
        if living != self._view.nodes:
            self._view = ClusterView(living)
