"""Writing to the shared SQLite file: what this node says of itself, and the blocks it claims."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import cnidaria_core
import msgspec
from cnidaria_core import BlockPool

from cnidaria.cluster import documents, tables
from cnidaria.cluster.blocks import inside
from cnidaria.cluster.database import Database
from cnidaria.cluster.liveness import Beat
from cnidaria.cluster.model import (
    EXPIRY,
    BlocksExhausted,
    Documents,
    NodeConflict,
    NodeNameTaken,
    NodeNetwork,
    NodeRecord,
)

ANSWER_SECONDS = 1.0
"""How long an agent that lives has to answer another one that wants its node name."""
ASK_EVERY = 0.02


class Member:
    """This node in the file. Every method may raise :class:`~cnidaria.cluster.StoreError`.

    Args:
        path: the database file, made if it is not there.
        clock: monotonic seconds.
        sleep: waits for the given seconds.
    """

    def __init__(
        self, path: Path, clock: Callable[[], float], sleep: Callable[[float], object]
    ) -> None:
        self._path = path
        self._clock = clock
        self._sleep = sleep
        self._incarnation = secrets.token_hex(8)
        self._lock = threading.RLock()
        self._own: NodeRecord | None = None
        self._inherited: frozenset[str] = frozenset()
        self._inherited_until = 0.0
        self._cache = tables.NodeCache()
        self._database = Database(path)

    @property
    def own(self) -> NodeRecord | None:
        """This node, once it has joined."""
        return self._own

    def join(self, name: str, addresses: Mapping[int, str], expiry: float = EXPIRY) -> None:
        """See :meth:`ClusterStore.join`.

        Whether a node of this name lives is asked in the store: a living agent answers.
        """
        with self._lock:
            own = self._own or NodeRecord(name, self._incarnation)
            if own.name != name:
                raise ValueError(f"name: this is node {own.name!r} already, not {name!r}")
            own = msgspec.structs.replace(own, addresses=dict(addresses), expiry=expiry)
            with self._database.transaction(write=True) as db:
                holder = tables.read_beat(db, name)
                if self._may_enter(holder):
                    if holder is None or own != self._own:
                        self._own = self._enter(db, own)
                    return
                tables.ask(db, name)
            self._await_answer(name, holder)
            with self._database.transaction(write=True) as db:
                if not self._may_enter(tables.read_beat(db, name), dead=holder):
                    raise self._taken(name)
                self._own = self._enter(db, own)

    def check_name(self, name: str) -> None:
        """See :meth:`ClusterStore.check_name`."""
        with self._lock:
            with self._database.transaction(write=False) as db:
                holder = tables.read_beat(db, name)
                silent = tables.is_silent(db, name)
            if holder is None or silent or self._may_enter(holder):
                return
            with self._database.transaction(write=True) as db:
                tables.ask(db, name)
            self._await_answer(name, holder)
            with self._database.transaction(write=True) as db:
                tables.note_silent(db, name, holder)

    def publish(self, network: str, said: NodeNetwork) -> None:
        """See :meth:`ClusterStore.publish`."""
        self._say(network, said)

    def withdraw(self, network: str) -> None:
        """See :meth:`ClusterStore.withdraw`."""
        self._say(network, None)

    def beat(self, dead: Mapping[str, Beat]) -> None:
        """Give a sign of life, and remove ``dead`` nodes that still show none.

        A node that the others took for dead, or whose file was replaced, enters again.
        """
        with self._lock:
            if self._own is None:
                return
            with self._database.transaction(write=True) as db:
                if not self._is_entered(db):
                    self._own = self._enter(db, self._own)
                tables.beat(db, self._own.name)
                for name, last in dead.items():
                    tables.remove_node(db, name, last)
            if self._inherited and self._clock() >= self._inherited_until:
                for network in self._inherited:
                    self.withdraw(network)

    def leave(self) -> None:
        """See :meth:`ClusterStore.leave`."""
        with self._lock:
            if self._own is None:
                return
            with self._database.transaction(write=True) as db:
                found = tables.read_beat(db, self._own.name)
                if found is not None and found[0] == self._incarnation:
                    tables.remove_node(db, self._own.name, found)
            self._own = None

    def claim_block(self, network: str, pool: str, length: int, node: str | None = None) -> str:
        """See :meth:`ClusterStore.claim_block`."""
        candidates = BlockPool(pool, length, spread=False)
        with self._lock, self._database.transaction(write=True) as db:
            own = node or self._joined().name
            if self._own is not None and own == self._own.name:
                self._is_entered(db)
            blocks = tables.read_blocks(db, network)
            for prefix, owner in sorted(blocks.items()):
                if owner == own and prefix.endswith(f"/{length}") and inside(prefix, pool):
                    return prefix
            nodes = self._cache.read(db)
            taken = [*blocks, *_prefixes(nodes, network, but=own)]
            try:
                block = candidates.claim(own, avoid=taken).prefix
            except cnidaria_core.BlocksExhausted as error:
                raise self._exhausted(pool, length, error.blocks, blocks, nodes) from None
            tables.write_block(db, network, block, own)
            return block

    def release_blocks(self, network: str, node: str | None = None) -> tuple[str, ...]:
        """See :meth:`ClusterStore.release_blocks`."""
        with self._lock, self._database.transaction(write=True) as db:
            return tables.remove_blocks(db, network, node or self._joined().name)

    def blocks(self, network: str) -> Mapping[str, str]:
        """See :meth:`ClusterStore.blocks`."""
        with self._lock, self._database.transaction(write=False) as db:
            return tables.read_blocks(db, network)

    def put(self, changes: Mapping[str, bytes | None], owner: str = "") -> None:
        """See :meth:`ClusterStore.put`."""
        with self._lock, self._database.transaction(write=True) as db:
            if self._own is not None and owner == self._own.name:
                self._is_entered(db)
            documents.write(db, owner, changes)

    def documents(self, since: str = "") -> Documents:
        """See :meth:`ClusterStore.documents`."""
        with self._lock, self._database.transaction(write=False) as db:
            return documents.read(db, since)

    def close(self) -> None:
        """Close the file. The node stays in it until its time is over."""
        self._database.close()

    def _joined(self) -> NodeRecord:
        if self._own is None:
            raise RuntimeError("join() comes first")
        return self._own

    def _may_enter(self, found: Beat | None, dead: Beat | None = None) -> bool:
        return found is None or found[0] == self._incarnation or found == dead

    def _await_answer(self, name: str, holder: Beat | None) -> None:
        until = self._clock() + ANSWER_SECONDS
        while self._clock() < until:
            self._sleep(ASK_EVERY)
            with self._database.transaction(write=False) as db:
                found = tables.read_beat(db, name)
            if not self._may_enter(found, dead=holder):
                raise self._taken(name)
            if found is None:
                return

    def _is_entered(self, db: sqlite3.Connection) -> bool:
        name = self._joined().name
        holder = tables.read_beat(db, name)
        if not self._may_enter(holder):
            raise self._taken(name)
        return holder is not None

    def _enter(self, db: sqlite3.Connection, own: NodeRecord) -> NodeRecord:
        """Write this node; what an earlier agent of it said stays for a while."""
        before = self._cache.read(db).get(own.name)
        if before is not None and before.incarnation != self._incarnation:
            self._inherited = frozenset(before.networks) - frozenset(own.networks)
            self._inherited_until = self._clock() + own.expiry
            own = msgspec.structs.replace(own, networks={**before.networks, **own.networks})
        for network in own.networks:
            self._refuse_conflict(db, own, network)
        tables.write_node(db, own)
        return own

    def _say(self, network: str, said: NodeNetwork | None) -> None:
        with self._lock:
            before = self._joined()
            own = before.with_network(network, said)
            with self._database.transaction(write=True) as db:
                entered = self._is_entered(db)
                if said is not None:
                    self._refuse_conflict(db, own, network)
                if own != before or not entered:
                    tables.write_node(db, own)
            self._own = own
            self._inherited -= {network}

    def _refuse_conflict(self, db: sqlite3.Connection, own: NodeRecord, network: str) -> None:
        nodes = self._cache.read(db).values()
        if problem := tables.conflict(db, nodes, own, network):
            raise NodeConflict(str(self._path), problem)

    def _taken(self, name: str) -> NodeNameTaken:
        return NodeNameTaken(
            str(self._path),
            f"node name {name!r} is used by another living agent; "
            'give each node a name of its own (key "cluster.node")',
        )

    def _exhausted(
        self,
        pool: str,
        length: int,
        count: int,
        blocks: Mapping[str, str],
        nodes: Mapping[str, NodeRecord],
    ) -> BlocksExhausted:
        claimed = {prefix: node for prefix, node in blocks.items() if inside(prefix, pool)}
        absent = sorted({node for node in claimed.values() if node not in nodes})
        hint = ""
        if absent:
            hint = (
                f"; nodes that are away have some: {', '.join(absent)} (cnidaria cluster --forget)"
            )
        return BlocksExhausted(
            str(self._path),
            f"no /{length} is free in {pool}: {len(claimed)} claimed of {count}{hint}",
        )


def _prefixes(nodes: Mapping[str, NodeRecord], network: str, but: str) -> list[str]:
    return [
        prefix
        for name, node in nodes.items()
        if name != but and network in node.networks
        for prefix in node.networks[network].prefixes
    ]
