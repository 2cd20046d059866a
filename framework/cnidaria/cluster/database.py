"""A SQLite file that several processes share: opening, locking, noticing changes.

Closing any file descriptor of a file drops all locks that this process has on it (POSIX), so an
existing database is opened by SQLite alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cnidaria.cluster.model import ImpossibleStore, StoreError

BUSY_SECONDS = 5.0
"""How long to wait for another process's transaction to end."""
RETRY_SECONDS = 0.02

IMPOSSIBLE = frozenset({errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP})
"""How the kernel says of a path that it leads nowhere, whatever one tries."""

APPLICATION_ID = 0x434E4944  # "CNID"
FORMAT = 2

# Write-ahead logging needs memory that all processes share, which these cannot give to all nodes.
NETWORK_FILESYSTEMS = frozenset(
    {"9p", "afs", "ceph", "cifs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "virtiofs"}
)

SCHEMA = """
CREATE TABLE state (file TEXT NOT NULL, revision INTEGER NOT NULL) STRICT;
CREATE TABLE nodes (
    name TEXT PRIMARY KEY, revision INTEGER NOT NULL, record TEXT NOT NULL
) STRICT;
CREATE TABLE heartbeats (
    name TEXT PRIMARY KEY, incarnation TEXT NOT NULL, beat INTEGER NOT NULL, asked INTEGER NOT NULL
) STRICT;
CREATE TABLE blocks (
    network TEXT NOT NULL, prefix TEXT NOT NULL, node TEXT NOT NULL, PRIMARY KEY (network, prefix)
) STRICT;
INSERT INTO state VALUES (hex(randomblob(8)), 0);
"""

DOCUMENTS = """
CREATE TABLE documents (
    owner TEXT NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, value BLOB,
    PRIMARY KEY (owner, key)
) STRICT;
CREATE INDEX documents_revision ON documents (revision);
CREATE INDEX documents_gone ON documents (revision) WHERE value IS NULL;
CREATE TABLE documents_state (revision INTEGER NOT NULL, forgotten INTEGER NOT NULL) STRICT;
INSERT INTO documents_state VALUES (0, 0);
"""

MAKES = {(0, 0): SCHEMA + DOCUMENTS, (APPLICATION_ID, 1): DOCUMENTS}
"""What makes a file as it has to be, by its application id and format."""

Version = tuple[int, int]
"""Changes when the file's content may have: connections opened so far, SQLite's data version."""


class Database:
    """One connection, shared by threads; opened anew after an error, or when the file was replaced.

    Every method raises :class:`StoreError` naming the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._opened = 0
        self._closed = False

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[sqlite3.Connection]:
        """Everything inside happens at once, or not at all. Only one process writes at a time."""
        with self._guard() as db:
            db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise

    def version(self) -> Version:
        """Differs from the last answer if something may have changed since; some microseconds."""
        with self._guard() as db:
            return self._opened, int(scalar(db, "PRAGMA data_version"))

    def close(self) -> None:
        """Close the file for good."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    @contextmanager
    def _guard(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection()
            except (sqlite3.Error, OSError) as error:
                with contextlib.suppress(sqlite3.Error):
                    self._disconnect()
                hopeless = isinstance(error, OSError) and error.errno in IMPOSSIBLE
                kind = ImpossibleStore if hopeless else StoreError
                raise kind(str(self._path), _reason(error)) from error

    def _connection(self) -> sqlite3.Connection:
        if self._db is not None and _identity(self._path) == self._identity:
            return self._db
        if self._closed:
            raise StoreError(str(self._path), "was closed here")
        self._disconnect()
        _create(self._path)
        self._db = sqlite3.connect(
            self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._identity = _identity(self._path)
        self._opened += 1
        _set_up(self._db, self._path)
        return self._db


def scalar(db: sqlite3.Connection, query: str, *arguments: Any) -> Any:
    """The first column of the first row; ``None`` if there is no row."""
    row = db.execute(query, arguments).fetchone()
    return row[0] if row else None


def _create(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir(mode=0o755, parents=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return
    if not stat.S_ISREG(os.stat(path).st_mode):  # SQLite would wait for a FIFO
        raise ImpossibleStore(str(path), "is no regular file")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _set_up(db: sqlite3.Connection, path: Path) -> None:
    mode = "delete" if _filesystem(path) in NETWORK_FILESYSTEMS else "wal"
    if scalar(db, "PRAGMA journal_mode") != mode:
        # A file system that cannot do it keeps the mode it has, which is right, only slower.
        _patiently(lambda: db.execute(f"PRAGMA journal_mode = {mode}"))
    # What a crash of the machine loses, the agents write again.
    db.execute("PRAGMA synchronous = NORMAL")
    found = _format(db)
    if found in MAKES:
        _patiently(lambda: _make_tables(db, path))
    elif found != (APPLICATION_ID, FORMAT):
        raise StoreError(str(path), _foreign(*found))


def _format(db: sqlite3.Connection) -> tuple[int, int]:
    return scalar(db, "PRAGMA application_id"), scalar(db, "PRAGMA user_version")


def _make_tables(db: sqlite3.Connection, path: Path) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        found = _format(db)
        if found in MAKES:
            if found == (0, 0) and scalar(db, "SELECT count(*) FROM sqlite_schema"):
                raise StoreError(str(path), _foreign(0, 0))
            for statement in filter(str.strip, MAKES[found].split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {FORMAT}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _foreign(application: int, version: int) -> str:
    if application == APPLICATION_ID:
        return f"has format {version}; this version of cnidaria knows {FORMAT}"
    return "is a database of another program"


def _patiently(action: Callable[[], object]) -> None:
    """Do it, again if need be: a change of the journal's mode does not wait by itself."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            action()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(RETRY_SECONDS)


def _filesystem(path: Path) -> str:
    """The type of the file system that ``path`` is on, ``""`` if it cannot be told."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            head, _, tail = line.partition(" - ")
            if head.split(" ", 3)[2] == wanted:
                return tail.split(" ", 1)[0]
    return ""


def _reason(error: sqlite3.Error | OSError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
        return f"another process has kept it locked for {BUSY_SECONDS:g} s"
    return str(error)
