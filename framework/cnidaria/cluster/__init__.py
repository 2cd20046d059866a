"""The cluster's nodes, their pod prefixes, and documents, shared by the agents through a store.

The built-in store is a SQLite file (:mod:`cnidaria.cluster.sqlite`); others come by the hook
``cnidaria_stores``.  Nothing here touches the kernel.
"""

from cnidaria.cluster.config import ClusterConfig
from cnidaria.cluster.model import (
    BlocksExhausted,
    ClusterView,
    Documents,
    ImpossibleStore,
    NodeConflict,
    NodeNameTaken,
    NodeNetwork,
    NodeRecord,
    StoreError,
)
from cnidaria.cluster.store import ClusterStore, StoreOpener, builtin_stores, open_store, opener

__all__ = [
    "BlocksExhausted",
    "ClusterConfig",
    "ClusterStore",
    "ClusterView",
    "Documents",
    "ImpossibleStore",
    "NodeConflict",
    "NodeNameTaken",
    "NodeNetwork",
    "NodeRecord",
    "StoreError",
    "StoreOpener",
    "builtin_stores",
    "open_store",
    "opener",
]
