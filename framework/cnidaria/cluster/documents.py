"""The table of documents. Every function runs inside a transaction of the caller.

What is gone leaves a row without content, so that whoever follows learns of it.  Such rows are
removed in the end; a cursor from before then is answered with everything.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

from cnidaria.cluster.database import scalar
from cnidaria.cluster.model import Documents

REMEMBERED: Final = 4096
"""Transactions after which it is forgotten that a document was there."""


def write(db: sqlite3.Connection, owner: str, changes: Mapping[str, bytes | None]) -> None:
    """Write what differs."""
    there = "SELECT value FROM documents WHERE owner = ? AND key = ?"
    news = [
        (owner, key, value)
        for key, value in changes.items()
        if scalar(db, there, owner, key) != value
    ]
    if not news:
        return
    revision = _next_revision(db)
    db.executemany(
        "INSERT INTO documents (owner, key, value, revision) VALUES (?, ?, ?, ?) ON CONFLICT "
        "(owner, key) DO UPDATE SET value = excluded.value, revision = excluded.revision",
        [(*one, revision) for one in news],
    )
    _forget(db, revision)


def remove_all(db: sqlite3.Connection, owner: str) -> None:
    """The owner is no more."""
    of_owner = "FROM documents WHERE owner = ? AND value IS NOT NULL"
    if not scalar(db, f"SELECT count(*) {of_owner}", owner):
        return
    revision = _next_revision(db)
    db.execute(
        "UPDATE documents SET value = NULL, revision = ? WHERE owner = ? AND value IS NOT NULL",
        (revision, owner),
    )
    _forget(db, revision)


def read(db: sqlite3.Connection, since: str) -> Documents:
    """What changed after a cursor."""
    store, revision, forgotten = _state(db)
    cursor = f"{store}:{revision}"
    if since == cursor:
        return Documents(cursor, store)
    before, _, after = since.partition(":")
    is_known = before == store and forgotten <= int(after) <= revision
    rows = db.execute(
        "SELECT owner, key, value FROM documents WHERE revision > ? AND (? OR value IS NOT NULL) "
        "ORDER BY revision, owner, key",
        (int(after) if is_known else -1, is_known),
    )
    changes = {(owner, key): value for owner, key, value in rows}
    return Documents(cursor, store, changes, is_whole=not is_known)


def cursor(db: sqlite3.Connection) -> str:
    """The present one."""
    return "{}:{}".format(*_state(db))


def _state(db: sqlite3.Connection) -> tuple[str, int, int]:
    query = "SELECT file, documents_state.revision, forgotten FROM state, documents_state"
    store, revision, forgotten = db.execute(query).fetchone()
    return store, revision, forgotten


def _next_revision(db: sqlite3.Connection) -> int:
    db.execute("UPDATE documents_state SET revision = revision + 1")
    return int(scalar(db, "SELECT revision FROM documents_state"))


def _forget(db: sqlite3.Connection, revision: int) -> None:
    old = "FROM documents WHERE value IS NULL AND revision <= ?"
    last = scalar(db, f"SELECT max(revision) {old}", revision - REMEMBERED)
    if last is not None:
        db.execute(f"DELETE {old}", (last,))
        db.execute("UPDATE documents_state SET forgotten = ?", (last,))
