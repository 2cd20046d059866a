"""nftables of a routed network: true source addresses, masquerading, guarded tunnels.

One table for each network, named after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Final

from cnidaria.api import Network
from cnidaria.cni.errors import CniError, Code
from cnidaria.plan import expr
from cnidaria.plan.objects import NftChain, NftRule, NftSet, NftTable, Object
from cnidaria.wiring.config import Masquerade, R

POD_LINKS: Final = "cnd*"
"""Every pod's link on the host has such a name (:attr:`Request.host_ifname`)."""

RAW, SRCNAT = -300, 100
SOLICITATION: Final = "135-136"
"""ICMPv6 types of who asks for a MAC and who answers (RFC 4861)."""
MULTICAST: Final = {4: ("224.0.0.0/4", "255.255.255.255/32"), 6: ("ff00::/8",)}
_TYPES: Final = {4: "ipv4_addr", 6: "ipv6_addr"}
_SADDR: Final = {4: expr.IP_SADDR, 6: expr.IP6_SADDR}
_DADDR: Final = {4: expr.IP_DADDR, 6: expr.IP6_DADDR}

IpNetwork = IPv4Network | IPv6Network


def table_name(net: Network[R]) -> str:
    """The network's table. No network has a slash in its name, so this is no table of others."""
    return f"cnidaria/{net.name}"


def firewall(net: Network[R]) -> Iterator[Object]:
    """The network's table: no spoofed source leaves a pod, and masquerading where wanted."""
    table = table_name(net)
    yield NftTable(table)
    solicited = expr.rule(
        expr.match(expr.IIFNAME, POD_LINKS),
        expr.match(expr.IP6_SADDR, "fe80::/10"),
        expr.match(expr.ICMPV6_TYPE, SOLICITATION),
        expr.accept(),
        comment="a pod and its node find one another",
    )
    unrouted = [
        expr.rule(
            expr.match(expr.IIFNAME, POD_LINKS),
            expr.match(expr.IP6_SADDR, source),
            expr.drop(),
            comment="an interface that introduces itself: nobody needs to know",
        )
        for source in ("fe80::/10", "::")
    ]
    spoofed = expr.rule(
        expr.match(expr.IIFNAME, POD_LINKS),
        expr.fib_missing("saddr", "iif"),
        expr.counter(),
        expr.drop(),
        comment="a source address that is not the pod's",
    )
    rules = (solicited, *unrouted, spoofed)
    yield NftChain(table, "sources", hook="prerouting", priority=RAW, rules=rules)
    if net.config.masquerades:
        yield from masquerading(net)


def masquerading(net: Network[R]) -> Iterator[Object]:
    """Pods of this node leave the cluster under the node's address.

    Raises:
        CniError: code 7; nobody knows yet what addresses pods will have.
    """
    if not net.prefixes:
        raise CniError(
            Code.INVALID_CONFIG,
            'masquerade: needs an "ipam" that tells beforehand what addresses pods get',
            'its keys "subnet" or "ranges" would; with dhcp or static by CNI_ARGS nobody knows',
        )
    table = table_name(net)
    rules: list[NftRule] = []
    for family in sorted(net.families()):
        pods = NftSet(table, f"pods{family}", type=(_TYPES[family],), interval=True)
        inside = NftSet(table, f"inside{family}", type=(_TYPES[family],), interval=True)
        yield pods
        yield inside
        yield from elements(pods, of_family(net.prefixes, family))
        yield from elements(inside, of_family(keeps_source(net), family))
        rules.append(
            expr.rule(
                expr.in_set(_SADDR[family], pods),
                expr.in_set(_DADDR[family], inside, negate=True),
                expr.match(expr.OIFNAME, POD_LINKS, "!="),
                expr.masquerade(),
                comment="pods leave under the node's address",
            )
        )
    yield NftChain(
        table, "leaving", type="nat", hook="postrouting", priority=SRCNAT, rules=tuple(rules)
    )


def keeps_source(net: Network[R]) -> list[str]:
    """Destinations that see a pod's own address: all pods, multicast, and the exceptions."""
    wanted = net.config.masquerades
    exceptions = wanted.except_ if isinstance(wanted, Masquerade) else ()
    others = [prefix for peer in net.peers for prefix in peer.prefixes]
    return [*net.prefixes, *others, *MULTICAST[4], *MULTICAST[6], *exceptions]


def tunnel_guard(net: Network[R], family: int, port: int, peers: Iterable[str]) -> Iterator[Object]:
    """Tunnel packets come from known nodes only, and never from a pod.

    Args:
        family: of the tunnels' outer addresses.
        port: UDP destination of tunnel packets.
        peers: the other nodes' tunnel addresses.
    """
    table = table_name(net)
    nodes = NftSet(table, "nodes", type=(_TYPES[family],))
    yield nodes
    for address in sorted(peers):
        yield nodes.elements(address)
    to_tunnel = expr.match(expr.UDP_DPORT, port)
    rules = (
        expr.rule(
            expr.match(expr.IIFNAME, POD_LINKS),
            to_tunnel,
            expr.counter(),
            expr.drop(),
            comment="a tunnel packet that a pod made",
        ),
        expr.rule(
            to_tunnel,
            expr.fib_local("daddr"),
            expr.in_set(_SADDR[family], nodes, negate=True),
            expr.counter(),
            expr.drop(),
            comment="a tunnel packet of no node of ours",
        ),
    )
    yield NftChain(table, "tunnels", hook="prerouting", priority=RAW, rules=rules)


def elements(of: NftSet, prefixes: Iterable[IpNetwork]) -> Iterator[Object]:
    """One object each, so that a change of one leaves the others alone; none overlap."""
    for prefix in collapse_addresses(prefixes):  # type: ignore[type-var]  # all of one family
        yield of.elements(str(prefix))


def of_family(prefixes: Iterable[str], family: int) -> list[IpNetwork]:
    """Those of one address family."""
    return [one for one in map(ip_network, prefixes) if one.version == family]
