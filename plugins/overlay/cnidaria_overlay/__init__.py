"""Overlay mode: pods in an address space of their own, carried in VXLAN (RFC 7348)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from cnidaria import (
    Address,
    Doc,
    Fdb,
    Mode,
    Neighbour,
    Network,
    NotReady,
    Object,
    Plan,
    Range,
    Request,
    Route,
    Vxlan,
    hookimpl,
    local_mac,
    wiring,
)

OVERHEAD = {4: 50, 6: 70}
"""Bytes around a pod's packet: inner Ethernet 14, VXLAN 8, UDP 8, and the outer IP header."""


class OverlayConfig(wiring.RoutedConfig):
    """The keys of ``cnidaria-overlay``."""

    encap: Annotated[Literal["vxlan"], Doc("how packets travel between nodes")] = "vxlan"
    vni: Annotated[int, Range(1, 2**24 - 1, "VXLAN network identifier, the same on all nodes")] = 1
    port: Annotated[int, Range(1, 65535, "UDP port, the same on all nodes")] = 4789


class Overlay(Mode[OverlayConfig]):
    """Pods in an address space of their own, carried between nodes in VXLAN."""

    type = "cnidaria-overlay"
    Config = OverlayConfig

    def attach(self, request: Request, net: Network[OverlayConfig]) -> Plan:
        """A veth pair, routed, with room for the encapsulation."""
        return wiring.routed_pod(request, net, mtu(net))

    def node(self, net: Network[OverlayConfig]) -> Iterable[Object]:
        """Forwarding, the tunnel device, and the way to each of the other nodes."""
        family = underlay(net)
        local, device = net.node.addresses[family], device_name(net)
        yield from wiring.routed_node(net, mtu(net))
        remotes = {
            (peer.name, peer.prefixes): peer.addresses[family]
            for peer in net.peers
            if family in peer.addresses
        }
        yield from wiring.tunnel_guard(net, family, net.config.port, remotes.values())
        yield Vxlan(
            device,
            vni=net.config.vni,
            local=local,
            dev=net.node.uplink or None,
            port=net.config.port,
            mtu=mtu(net),
            mac=vtep_mac(net, net.node.name),
            alias=f"cnidaria:{net.name}",
        )
        for prefix in net.prefixes:
            yield Address(device, host_prefix(prefix), nodad=True)
        for (name, prefixes), remote in remotes.items():
            mac = vtep_mac(net, name)
            yield Fdb(device, mac, dst=remote)
            yield from routes(device, mac, prefixes)


def routes(device: str, mac: str, prefixes: Iterable[str]) -> Iterator[Object]:
    """The way to a node's pods: each prefix by its first address, which is that node's."""
    for prefix in prefixes:
        router = str(ip_network(prefix).network_address)
        yield Neighbour(device, router, mac)
        yield Route(prefix, via=router, dev=device, onlink=True)


def underlay(net: Network[OverlayConfig]) -> int:
    """The address family that tunnels use: IPv4 where the node has it.

    Raises:
        NotReady: the node has no address.
    """
    for family in (4, 6):
        if family in net.node.addresses:
            return family
    raise NotReady(
        f"the uplink {net.node.uplink or '(none)'} has no address that other nodes could reach"
    )


def mtu(net: Network[OverlayConfig]) -> int:
    """What pods may send, bytes: the uplink's less the encapsulation.

    Raises:
        NotReady: more is configured.
    """
    overhead = OVERHEAD[underlay(net)]
    room = net.node.mtu - overhead
    if net.node.uplink and (net.config.mtu or 0) > room:
        raise NotReady(
            f"mtu = {net.config.mtu}: must be at most {room}: the uplink {net.node.uplink} has "
            f"{net.node.mtu}, and the encapsulation takes {overhead}"
        )
    return net.config.mtu or room


def device_name(net: Network[OverlayConfig]) -> str:
    """The tunnel device: one per network and node."""
    digest = hashlib.blake2b(net.name.encode(), digest_size=4).hexdigest()
    return f"vx-{digest}"


def vtep_mac(net: Network[OverlayConfig], node: str) -> str:
    """A node's inner MAC: every node can tell it from the names, nobody has to ask."""
    seed = f"{net.name}\0{node}".encode()
    return local_mac(hashlib.blake2b(seed, digest_size=6).digest())


def host_prefix(prefix: str) -> str:
    """A prefix's first address alone: the node's own in the overlay, never a pod's."""
    first = ip_network(prefix).network_address
    return f"{first}/{first.max_prefixlen}"


@hookimpl
def cnidaria_modes() -> Sequence[type[Mode[Any]]]:
    """The one mode of this package."""
    return [Overlay]
