"""The node's side: forwarding, and the way to the other nodes."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from cnidaria.api import Network
from cnidaria.plan.objects import Object, Route, Sysctl
from cnidaria.wiring.config import R, check_mtu
from cnidaria.wiring.guard import firewall

LAST_RESORT = 4_278_198_272
"""A metric behind every other route to the same prefix."""


def routed_node(net: Network[R], mtu: int) -> Iterator[Object]:
    """What every node with routed pods needs, whatever carries packets to the others.

    Args:
        mtu: of the pods' interfaces, bytes.

    Raises:
        CniError, NotReady: pods of this network cannot have that; see :func:`.check_mtu`.
    """
    check_mtu(net, mtu, net.families())
    yield from forwarding(net)
    yield from firewall(net)


def forwarding(net: Network[R]) -> Iterator[Object]:
    """The node forwards for its pods, and what no pod has goes nowhere.

    Another IPAM plugin may not tell beforehand what it lends: then pods have what the node has.
    """
    families = net.families() or {4, *net.node.addresses}
    if 4 in families:
        yield Sysctl("net.ipv4.ip_forward", "1")
    if 6 in families:
        if net.node.accepts_ra:  # forwarding would make the uplink deaf to its router
            yield Sysctl.of_link(net.node.uplink, "ipv6", "accept_ra", "2")
        yield Sysctl("net.ipv6.conf.all.forwarding", "1")
    for prefix in net.prefixes:
        yield Route(prefix, type="unreachable", metric=LAST_RESORT)


def next_hops(net: Network[R]) -> Iterator[tuple[str, str]]:
    """Each prefix of the other nodes, and the node address of its family that leads there."""
    for peer in net.peers:
        for prefix in peer.prefixes:
            router = peer.addresses.get(ip_network(prefix).version)
            if router:
                yield prefix, router
