"""What a cluster store does, and how one is opened by its URL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

from cnidaria.cluster.model import (
    EXPIRY,
    ClusterView,
    Documents,
    ImpossibleStore,
    NodeNetwork,
    StoreError,
)


class ClusterStore(Protocol):
    """One agent's handle of the cluster's shared state; safe to use from several threads.

    All methods but those that watch block, shortly, and raise :class:`StoreError` if the store
    cannot be read or written.
    """

    def join(self, name: str, addresses: Mapping[int, str], expiry: float = EXPIRY) -> None:
        """Enter this node, and give signs of life from now on.

        What an earlier, crashed agent of this node published stays until it is published anew,
        one ``expiry`` long at most. Joining again changes addresses and expiry.

        Args:
            addresses: by family (4, 6), what the other nodes reach this one by.
            expiry: seconds without a sign of life after which the others take this node as gone.

        Raises:
            NodeNameTaken: a living agent elsewhere has this name.
            ValueError: an argument that cannot be, naming it.
        """

    def check_name(self, name: str) -> None:
        """Find out whether this node may have the name, without joining.

        A living agent elsewhere is asked; where none answers, that takes a second, and whoever
        asks later needs none until there is a sign of life.

        Raises:
            NodeNameTaken: it has answered.
        """

    def publish(self, network: str, own: NodeNetwork) -> None:
        """Tell the other nodes about this one in ``network``; replaces what was said before.

        Raises:
            NodeConflict: another node has an overlapping prefix or the same address.
            NodeNameTaken: an agent elsewhere has taken this node's name over.
        """

    def withdraw(self, network: str) -> None:
        """This node is no part of ``network`` any more; its claimed blocks stay its own."""

    def leave(self) -> None:
        """Take this node out at once. Blocks it claimed stay its own. No-op if not joined."""

    def claim_block(self, network: str, pool: str, length: int, node: str | None = None) -> str:
        """A prefix of the given length out of ``pool`` that one node alone has in ``network``.

        The node that claims again, also after a restart, gets the block that it has.

        Args:
            node: whose block; it need not have joined. Default: this node, which has.

        Raises:
            BlocksExhausted: none is free; says how many there are and who of those has left.
            ValueError: no such pool or length.
        """

    def release_blocks(self, network: str, node: str | None = None) -> tuple[str, ...]:
        """Give back the blocks of ``node`` (default: this one); what was given back."""

    def blocks(self, network: str) -> Mapping[str, str]:
        """The claimed blocks of a network: prefix to node, also of nodes that are away."""

    def view(self) -> ClusterView:
        """The living nodes, read now. A node just seen first is given the time to show life."""

    def watch(self) -> AsyncIterator[ClusterView]:
        """The view now and after each change; of quick changes only the last is shown.

        Does not end while the store is unreadable: the last view stays in force, and
        :attr:`problem` says why.
        """

    def put(self, changes: Mapping[str, bytes | None], owner: str = "") -> None:
        """Write shared documents, all or none of them.

        Args:
            changes: key to the new content; ``None`` takes the document away, if it is there.
            owner: the node whose documents these are: they go when it leaves, or is taken for
                dead. It need not have joined. ``""``: nobody's, they stay. Each owner has its own
                keys.

        Raises:
            NodeNameTaken: an agent elsewhere has taken the name of this node, the owner, over.
        """

    def documents(self, since: str = "") -> Documents:
        """What changed after the cursor ``since``.

        Everything, if the cursor is too old, or of another store.
        """

    def watch_documents(self) -> AsyncIterator[None]:
        """Once now, then after documents have changed, or :attr:`problem` has; several at once."""

    @property
    def problem(self) -> StoreError | None:
        """What keeps the store from being followed or this node from being seen, if anything."""

    def close(self) -> None:
        """Stop following and giving signs of life, without leaving."""


StoreOpener = Callable[[str], ClusterStore]
"""Opens a store of one URL scheme, given the whole URL. May create it; raises StoreError, and
ImpossibleStore where trying again is of no use."""


def split_url(url: str) -> tuple[str, str]:
    """Scheme and rest of a store's URL; both empty if it has no scheme."""
    scheme, colon, rest = url.partition(":")
    valid = colon and scheme[:1].isalpha() and scheme.isascii()
    return (scheme.lower(), rest) if valid and rest else ("", "")


def builtin_stores() -> Mapping[str, StoreOpener]:
    """The stores that need no plugin, by URL scheme."""
    return {"sqlite": _sqlite}


def sqlite_problem(url: str) -> str:
    """What is wrong with a URL of the built-in store, ``""`` if nothing is."""
    path = split_url(url)[1].removeprefix("//")
    right = path.startswith("/") and not {"?", "#"} & {*url}
    return "" if right else 'must be "sqlite:" and an absolute path, and nothing more'


def _sqlite(url: str) -> ClusterStore:
    from cnidaria.cluster.sqlite import open_sqlite  # asyncio with it, which most runs do without

    return open_sqlite(url)


def open_store(url: str, stores: Mapping[str, StoreOpener] | None = None) -> ClusterStore:
    """Open the store that ``url`` names.

    Args:
        stores: openers by scheme, of the loaded plugins; default: the built-in ones.

    Raises:
        ImpossibleStore: no plugin provides this scheme, or nothing can be where the URL says.
        StoreError: the store cannot be opened.
    """
    return opener(url, builtin_stores() if stores is None else stores)(url)


def opener(url: str, stores: Mapping[str, StoreOpener]) -> StoreOpener:
    """What opens the store that ``url`` names.

    Raises:
        ImpossibleStore: no plugin provides this scheme.
    """
    found = stores.get(split_url(url)[0])
    if found is None:
        schemes = ", ".join(f"{scheme}:" for scheme in sorted(stores))
        raise ImpossibleStore(url, f"no store of this kind is installed; there are: {schemes}")
    return found
