"""This node in its clusters: store handles, what it publishes, what it sees of the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cnidaria.api import NodeInfo, Peer
from cnidaria.cluster import (
    ClusterConfig,
    ClusterStore,
    ClusterView,
    NodeNameTaken,
    NodeNetwork,
    StoreOpener,
    open_store,
)

Handle = tuple[str, str]
"""A store's URL and this node's name in it."""

LONGEST_PAUSE: Final = 30.0
"""Seconds at most until a name that is taken is tried again."""


@dataclass(frozen=True)
class News:
    """How it is with a store.

    Attributes:
        is_reachable: whether nothing is wrong with it.
        at: when its view last changed, seconds since the epoch; 0: it was never seen.
        nodes: how many live, by that view.
    """

    is_reachable: bool
    at: float = 0.0
    nodes: int = 0


@dataclass(frozen=True)
class Taken:
    """That a living agent elsewhere has this node's name.

    Attributes:
        error: says so.
        pause: seconds after which to try again; each time twice as many.
        until: when that is, by the clock.
    """

    error: NodeNameTaken
    pause: float
    until: float


class Membership:
    """Opens each store once, whatever number of networks name it. Thread-safe.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self, stores: Mapping[str, StoreOpener], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stores = stores
        self._clock = clock
        self._open: dict[Handle, ClusterStore] = {}
        self._views: dict[Handle, ClusterView] = {}
        self._seen: dict[Handle, float] = {}
        self._told: dict[tuple[Handle, str], object] = {}
        self._taken: dict[Handle, Taken] = {}
        self._free: set[Handle] = set()
        self._lock = threading.Lock()
        self._asking = threading.Lock()

    def store(self, config: ClusterConfig) -> ClusterStore:
        """The store of ``config``. Raises :class:`~cnidaria.cluster.StoreError`."""
        with self._lock:
            handle = _handle(config)
            if handle not in self._open:
                self._open[handle] = open_store(config.store, self._stores)
            return self._open[handle]

    def peers(self, config: ClusterConfig | None, network: str) -> tuple[Peer, ...]:
        """The other nodes of ``network``: the last view that was followed, else read now."""
        if config is None:
            return ()
        view = self._views.get(_handle(config))
        if view is None:
            view = self.store(config).view()
        return tuple(
            Peer(node.name, node.addresses, own.prefixes)
            for node, own in view.peers(network, config.node_name)
        )

    def seen(self, config: ClusterConfig, view: ClusterView) -> None:
        """Remember the newest view of a store that is followed."""
        self._views[_handle(config)] = view
        self._seen[_handle(config)] = time.time()

    def news(self, config: ClusterConfig) -> News:
        """How it is with a store, by what is known here: nothing is asked."""
        handle = _handle(config)
        store, view = self._open.get(handle), self._views.get(handle)
        reachable = store is not None and store.problem is None
        if view is None:
            return News(reachable)
        return News(reachable, self._seen.get(handle, 0.0), len(view.nodes))

    def publish(
        self, config: ClusterConfig, node: NodeInfo, network: str, prefixes: tuple[str, ...]
    ) -> None:
        """Enter this node and its pods' prefixes, once for each change.

        A name that is taken is tried again when its agent is not seen any more, or after a while:
        that agent has to answer each time.

        Raises:
            StoreError: the store cannot be written, or refuses.
        """
        told = (node.addresses, config.expiry, prefixes)
        if self._told.get((_handle(config), network)) == told:
            return
        self._refuse_too_soon(config)
        store = self.store(config)
        try:
            store.join(config.node_name, node.addresses, config.expiry)
            store.publish(network, NodeNetwork(prefixes))
        except NodeNameTaken as error:
            self._remember_taken(config, error)
            raise
        self._taken.pop(_handle(config), None)
        self._told[_handle(config), network] = told

    def _refuse_too_soon(self, config: ClusterConfig) -> None:
        taken, view = self._taken.get(_handle(config)), self._views.get(_handle(config))
        is_seen = view is None or config.node_name in view.nodes
        if taken and is_seen and self._clock() < taken.until:
            raise NodeNameTaken(taken.error.store, taken.error.reason)

    def _remember_taken(self, config: ClusterConfig, error: NodeNameTaken) -> None:
        before = self._taken.get(_handle(config))
        pause = min(2 * before.pause, LONGEST_PAUSE) if before else 1.0
        self._taken[_handle(config)] = Taken(error, pause, self._clock() + pause)

    def is_entered(self, config: ClusterConfig | None) -> bool:
        """Whether this node has its name in the store; where there is no store, nobody else has."""
        if config is None:
            return True
        return self._is_told(_handle(config)) and not self.taken(config)

    def _is_told(self, handle: Handle) -> bool:
        return any(known == handle for known, _ in list(self._told))

    def taken(self, config: ClusterConfig | None) -> str:
        """That this node's name is another living agent's, by what is known here; ``""`` if not."""
        if config is None:
            return ""
        store = self._open.get(_handle(config))
        problem = store.problem if store else None
        if isinstance(problem, NodeNameTaken):
            return str(problem)
        refused = self._taken.get(_handle(config))
        return str(refused.error) if refused else ""

    def find_taken(self, config: ClusterConfig | None) -> str:
        """The same; where nothing is known yet, the store is asked.

        Without an agent always: where one of this node has died, it takes a second to find out,
        the first time.

        Raises:
            StoreError: it cannot be asked.
        """
        known = self.taken(config)
        if config is None or known or self._is_told(_handle(config)):
            return known
        with self._asking:
            if _handle(config) not in self._free:
                try:
                    self.store(config).check_name(config.node_name)
                except NodeNameTaken as error:
                    return str(error)
                self._free.add(_handle(config))
        return ""

    def leave(self, config: ClusterConfig, node: NodeInfo) -> None:
        """This node is no more: the others take its routes away at once.

        Raises:
            StoreError: the store cannot be written.
        """
        store = self.store(config)
        store.join(config.node_name, node.addresses, config.expiry)
        store.leave()

    def close(self) -> None:
        """Close every store, without leaving: an agent that restarts cuts no connection."""
        with self._lock:
            for store in self._open.values():
                store.close()
            self._open.clear()
            self._views.clear()
            self._told.clear()
            self._taken.clear()
            self._free.clear()


def _handle(config: ClusterConfig) -> Handle:
    return config.store, config.node_name
