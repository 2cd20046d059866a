"""What the agents of a cluster know of one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

import msgspec

from cnidaria.cluster.blocks import parse
from cnidaria.cni.address import canonical_cidr, canonical_ip
from cnidaria.cni.codec import show
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.netconf import network_name

EXPIRY = 30.0
"""Seconds without a heartbeat after which a node counts as gone, unless it says otherwise."""


class StoreError(Exception):
    """The store cannot be read or written, or refuses a change.

    Args:
        store: the store's URL or file; the first word of the text.
        reason: what is wrong with it.
    """

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(store, reason)
        self.store = store
        self.reason = reason

    def __str__(self) -> str:
        return f"cluster store {self.store}: {self.reason}"

    def as_cni_error(self) -> CniError:
        """What a runtime is told: to try again later (11)."""
        return CniError(Code.TRY_AGAIN_LATER, str(self))


class ImpossibleStore(StoreError):
    """No store can be where the configuration says that it is."""

    def as_cni_error(self) -> CniError:
        """What a runtime is told: that the configuration is wrong (7)."""
        return CniError(Code.INVALID_CONFIG, f"cluster.store = {show(self.store)}: {self.reason}")


class NodeNameTaken(StoreError):
    """A living agent elsewhere uses this node's name."""


class NodeConflict(StoreError):
    """Two nodes of a network claim the same prefix or the same address; the text names both."""


class BlocksExhausted(StoreError):
    """No block of the wanted size is free."""


class NodeNetwork(msgspec.Struct, frozen=True):
    """What a node says about itself in one network.

    Attributes:
        prefixes: the prefixes of its pods, canonical CIDR without host bits.
        extra: what the network's mode wants to tell the other nodes (such as a VTEP's MAC); JSON.

    Raises:
        ValueError: a prefix that is none, naming it.
    """

    prefixes: tuple[str, ...] = ()
    extra: Mapping[str, Any] = {}

    def __post_init__(self) -> None:
        for prefix in self.prefixes:
            try:
                right = str(parse(canonical_cidr(prefix)))
            except ValueError as error:
                raise ValueError(f"prefixes: {prefix!r}: {error}") from None
            if right != prefix:
                raise ValueError(f'prefixes: {prefix!r}: must be written "{right}"')


class NodeRecord(msgspec.Struct, frozen=True):
    """One node, as it describes itself.

    Attributes:
        name: unique in the cluster.
        incarnation: another one each time the node's agent starts.
        addresses: address family (4, 6) to the node's own address, which the others reach it by.
        networks: by network name.
        expiry: seconds without a heartbeat after which it counts as gone.

    Raises:
        ValueError: naming field and value.
    """

    name: str
    incarnation: str
    addresses: Mapping[int, str] = {}
    networks: Mapping[str, NodeNetwork] = {}
    expiry: float = EXPIRY

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable():
            raise ValueError(f"name: {self.name!r} is no name of a node")
        if not 0 < self.expiry < float("inf"):
            raise ValueError(f"expiry: {self.expiry!r} must be a number of seconds above 0")
        for family, address in self.addresses.items():
            try:
                right = ip_address(canonical_ip(address))
            except ValueError as error:
                raise ValueError(f"addresses: {address!r}: {error}") from None
            if right.version != family or str(right) != address:
                raise ValueError(f"addresses: {address!r}: must be IPv{family}, in canonical form")
        for network in self.networks:
            try:
                network_name(network)
            except CniError as error:
                raise ValueError(f"networks: {error.msg}") from None

    def with_network(self, name: str, network: NodeNetwork | None) -> NodeRecord:
        """This node with what it says about one network replaced; ``None`` takes it away."""
        networks = {key: value for key, value in self.networks.items() if key != name}
        if network is not None:
            networks[name] = network
        return msgspec.structs.replace(self, networks=networks)


class Documents(msgspec.Struct, frozen=True):
    """What has become of the shared documents since a cursor.

    Attributes:
        cursor: names this moment of this store.
        store: of which store; another text after it was made anew.
        changes: owner and key to the content, ``None`` if it is gone; what changed last is last.
        is_whole: these are all documents that there are; any other is gone.
    """

    cursor: str
    store: str
    changes: Mapping[tuple[str, str], bytes | None] = {}
    is_whole: bool = False


class ClusterView(msgspec.Struct, frozen=True):
    """The living nodes at one moment, by name. Equal if nothing but heartbeats differs."""

    nodes: Mapping[str, NodeRecord] = {}

    def peers(self, network: str, own: str) -> Iterator[tuple[NodeRecord, NodeNetwork]]:
        """The other nodes of ``network``, sorted by name; ``own`` is this node's name."""
        for name, node in sorted(self.nodes.items()):
            if name != own and network in node.networks:
                yield node, node.networks[network]
