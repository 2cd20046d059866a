"""A store for blocks that processes share, and a node as a process."""

import sqlite3
import sys
from pathlib import Path
from typing import Final

from cnidaria_core import BlockChange, BlockPool

CIDR: Final = "10.1.0.0/23"
LENGTH: Final = 28


class SqliteStore:
    """Revisioned records in a file: all that a pool of blocks asks of a store."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None, timeout=60)
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS blocks (prefix TEXT PRIMARY KEY, record BLOB, revision INT)"
        )

    def swap(self, change: BlockChange) -> int:
        """Make the change if the block is of the revision that it expects.

        Returns the new revision, 0 if the change is not made.
        """
        self.db.execute("BEGIN IMMEDIATE")
        query = "SELECT revision FROM blocks WHERE prefix = ? AND record IS NOT NULL"
        found = self.db.execute(query, (change.prefix,)).fetchone()
        revision = 0
        if (found[0] if found else 0) == change.expected:
            query = "SELECT coalesce(max(revision), 0) + 1 FROM blocks"
            (revision,) = self.db.execute(query).fetchone()
            self.db.execute(
                "INSERT OR REPLACE INTO blocks VALUES (?, ?, ?)",
                (change.prefix, change.record, revision),
            )
        self.db.execute("COMMIT")
        return int(revision)

    def show(self, pool: BlockPool) -> None:
        """Tell the pool what there is."""
        for row in self.db.execute("SELECT prefix, record, revision FROM blocks").fetchall():
            pool.observe(*row)

    def close(self) -> None:
        """Close the file."""
        self.db.close()


def main() -> None:
    """Take so many addresses, one a line, with a view that conflicts alone bring up to date."""
    store, pool = SqliteStore(Path(sys.argv[1])), BlockPool(CIDR, LENGTH)
    node, count = sys.argv[2], int(sys.argv[3])
    for n in range(count):
        while not (revision := store.swap(change := pool.allocate(node, f"{node}-{n}"))):
            store.show(pool)
        pool.observe(change.prefix, change.record, revision)
        print(change.address)
    store.close()
