"""The tables of nodes and blocks. Every function runs inside a transaction of the caller."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable

import msgspec

from cnidaria.cluster import documents
from cnidaria.cluster.blocks import overlapping
from cnidaria.cluster.database import scalar
from cnidaria.cluster.liveness import Beat
from cnidaria.cluster.model import NodeRecord

log = logging.getLogger(__name__)

_SILENT = 2
"""In the column ``asked``, which is 0 with each sign of life, and 1 where somebody asks for one."""


class NodeCache:
    """The table ``nodes``, decoded; rows that did not change since the last reading are kept."""

    def __init__(self) -> None:
        self._state = ("", -1)
        self._known: dict[str, tuple[int, NodeRecord]] = {}

    def read(self, db: sqlite3.Connection) -> dict[str, NodeRecord]:
        """All nodes by name."""
        state = db.execute("SELECT file, revision FROM state").fetchone()
        if state != self._state:
            if state[0] != self._state[0]:
                self._known = {}
            self._known = dict(self._entries(db))
            self._state = state
        return {name: record for name, (_, record) in self._known.items()}

    def _entries(self, db: sqlite3.Connection) -> Iterable[tuple[str, tuple[int, NodeRecord]]]:
        for name, revision in db.execute(
            "SELECT name, revision FROM nodes ORDER BY name"
        ).fetchall():
            known = self._known.get(name)
            if known is None or known[0] != revision:
                record = self._decode(db, name)
                known = (revision, record) if record else known
            if known is not None:
                yield name, known

    @staticmethod
    def _decode(db: sqlite3.Connection, name: str) -> NodeRecord | None:
        text = scalar(db, "SELECT record FROM nodes WHERE name = ?", name)
        try:
            return msgspec.json.decode(text, type=NodeRecord)
        except (msgspec.MsgspecError, ValueError) as error:
            log.warning("node %r in the cluster store cannot be understood: %s", name, error)
            return None


def write_node(db: sqlite3.Connection, node: NodeRecord) -> None:
    """Enter or replace the node; its heartbeat starts anew with a new incarnation."""
    record = msgspec.json.encode(node).decode()
    db.execute(
        "INSERT INTO nodes VALUES (?, ?, ?) "
        "ON CONFLICT (name) DO UPDATE SET revision = excluded.revision, record = excluded.record",
        (node.name, _next_revision(db), record),
    )
    db.execute(
        "INSERT INTO heartbeats VALUES (?, ?, 0, 0) "
        "ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, beat = 0, asked = 0 "
        "WHERE incarnation != excluded.incarnation",
        (node.name, node.incarnation),
    )


def remove_node(db: sqlite3.Connection, name: str, beat: Beat) -> bool:
    """Remove the node if its heartbeat is still ``beat``; whether it was."""
    gone = db.execute(
        "DELETE FROM heartbeats WHERE name = ? AND incarnation = ? AND beat = ?", (name, *beat)
    )
    if not gone.rowcount:
        return False
    _next_revision(db)
    db.execute("DELETE FROM nodes WHERE name = ?", (name,))
    documents.remove_all(db, name)
    return True


def read_beats(db: sqlite3.Connection) -> dict[str, Beat]:
    """Every node's incarnation and heartbeat counter."""
    rows = db.execute("SELECT name, incarnation, beat FROM heartbeats")
    return {name: (incarnation, beat) for name, incarnation, beat in rows}


def read_beat(db: sqlite3.Connection, name: str) -> Beat | None:
    """One node's incarnation and heartbeat counter."""
    row = db.execute("SELECT incarnation, beat FROM heartbeats WHERE name = ?", (name,)).fetchone()
    return (row[0], row[1]) if row else None


def beat(db: sqlite3.Connection, name: str) -> None:
    """A sign of life; it also answers who asked for one."""
    db.execute("UPDATE heartbeats SET beat = beat + 1, asked = 0 WHERE name = ?", (name,))


def ask(db: sqlite3.Connection, name: str) -> None:
    """Ask the agent of this name for a sign of life."""
    db.execute("UPDATE heartbeats SET asked = 1 WHERE name = ?", (name,))


def note_silent(db: sqlite3.Connection, name: str, beat: Beat) -> None:
    """The agent of this name did not answer in time; a sign of life ends that."""
    db.execute(
        "UPDATE heartbeats SET asked = ? WHERE name = ? AND incarnation = ? AND beat = ?",
        (_SILENT, name, *beat),
    )


def is_silent(db: sqlite3.Connection, name: str) -> bool:
    """Whether it did not answer, and has shown no sign of life since."""
    return bool(scalar(db, "SELECT asked = ? FROM heartbeats WHERE name = ?", _SILENT, name))


def asked(db: sqlite3.Connection, name: str) -> bool:
    """Whether somebody asks the agent of this name for a sign of life."""
    return bool(scalar(db, "SELECT asked FROM heartbeats WHERE name = ?", name))


def read_blocks(db: sqlite3.Connection, network: str) -> dict[str, str]:
    """The claimed blocks of a network: prefix to node."""
    return dict(db.execute("SELECT prefix, node FROM blocks WHERE network = ?", (network,)))


def write_block(db: sqlite3.Connection, network: str, prefix: str, node: str) -> None:
    """Note a claimed block."""
    db.execute("INSERT INTO blocks VALUES (?, ?, ?)", (network, prefix, node))


def remove_blocks(db: sqlite3.Connection, network: str, node: str) -> tuple[str, ...]:
    """Remove the node's blocks; what was removed."""
    gone = [prefix for prefix, owner in read_blocks(db, network).items() if owner == node]
    db.execute("DELETE FROM blocks WHERE network = ? AND node = ?", (network, node))
    return tuple(gone)


def conflict(
    db: sqlite3.Connection, nodes: Iterable[NodeRecord], node: NodeRecord, network: str
) -> str:
    """What of ``node`` in ``network`` another node has, too; ``""`` if nothing."""
    own = node.networks[network]
    for other in nodes:
        if other.name == node.name or network not in other.networks:
            continue
        if both := overlapping(own.prefixes, other.networks[network].prefixes):
            return _overlap(network, node.name, both[0], other.name, both[1])
        for family, address in node.addresses.items():
            if other.addresses.get(family) == address:
                return (
                    f"network {network!r}: nodes {node.name!r} and {other.name!r} "
                    f"both have the address {address}"
                )
    for prefix, owner in read_blocks(db, network).items():
        if owner != node.name and (both := overlapping(own.prefixes, [prefix])):
            return _overlap(network, node.name, both[0], owner, prefix) + ", a claimed block"
    return ""


def _overlap(network: str, name: str, prefix: str, other: str, other_prefix: str) -> str:
    return (
        f"network {network!r}: {prefix} of node {name!r} overlaps {other_prefix} of node {other!r}"
    )


def _next_revision(db: sqlite3.Connection) -> int:
    db.execute("UPDATE state SET revision = revision + 1")
    return int(scalar(db, "SELECT revision FROM state"))
