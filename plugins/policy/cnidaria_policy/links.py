"""What may pass a pod's own interface: packets from its addresses, and for them.

Policies are about addresses; that those of a packet are true is known at the interface alone. So
there are tables beside that of the policies: of family ``inet`` for interfaces that are routed, of
family ``bridge`` for ports of bridges, where pods reach one another also without their addresses:
by link-local ones, by broadcast, by frames that are not IP at all. No policy can allow that, so it
ends where a policy restricts the pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Final, Literal, NamedTuple

from cnidaria import NftChain, NftElement, NftRule, NftSet, NftTable, Object, expr
from cnidaria.kinds import Batch, Ruleset
from cnidaria_policy import names

Family = Literal["inet", "bridge"]

BEFORE_ALL: Final = -300
"""Priority: before connection tracking, and on a bridge before the node sees the packet as IP."""
ADDRESSES: Final = {4: "ipv4_addr", 6: "ipv6_addr"}
EVERYBODY: Final = {4: "0.0.0.0/0", 6: "::/0"}
ARP: Final = "0x0806"
"""EtherType (RFC 826)."""
SADDR: Final = {4: expr.IP_SADDR, 6: expr.IP6_SADDR}
FRAMED_SADDR: Final = {version: expr.framed(one) for version, one in SADDR.items()}
FRAMED_DADDR: Final = {4: expr.framed(expr.IP_DADDR), 6: expr.framed(expr.IP6_DADDR)}
TO_MAC: Final = expr.framed(expr.ETHER_DADDR)
TO_SEVERAL: Final = 1 << 40
"""The bit of a MAC address that makes it one of a group (IEEE 802, section 8.2)."""
LINK_LOCAL: Final = "fe80::/10"


class Link(NamedTuple):
    """A pod's interface on the node.

    Attributes:
        pod: who is behind it.
        closed: ways, ``egress`` and ``ingress``, in which policies deny the pod something.
    """

    ifname: str
    pod: str
    addresses: tuple[str, ...]
    closed: frozenset[str] = frozenset()


class Content:
    """What is in one of these tables, kept as the links are.

    Attributes:
        rules: the content.
    """

    def __init__(self, table: NftTable) -> None:
        self.rules = frame(table)
        self.links: dict[str, Link] = {}

    def follow(self, links: Mapping[str, Link]) -> Batch:
        """Have these links by their names, and no others; what there is to do about it."""
        batch = Batch()
        for ifname in {*self.links, *links}:
            old, new = self.links.get(ifname), links.get(ifname)
            if old != new:
                before = dict(self._elements(old)) if old else {}
                after = dict(self._elements(new)) if new else {}
                self._change(batch, before, after)
        self.links = dict(links)
        return batch

    def of(self, ifname: str) -> Iterator[Object]:
        """What must be in the kernel that this link is guarded."""
        yield from self.rules.chains.values()
        if link := self.links.get(ifname):
            for (name, _), element in self._elements(link):
                yield self.rules.sets[name].elements(element)

    def _elements(self, link: Link) -> Iterator[tuple[tuple[str, tuple[str, ...]], NftElement]]:
        for name, key in entries(link):
            if name in self.rules.sets:
                comment = names.clipped(link.pod) if name == "ports" else ""
                yield (name, key), NftElement(key, comment=comment)

    def _change(self, batch: Batch, before: Entries, after: Entries) -> None:
        for place, element in before.items():
            if after.get(place) != element:
                batch.remove(place[0], element)
                del self.rules.elements[place[0]][place[1]]
        for place, element in after.items():
            if before.get(place) != element:
                batch.add(place[0], element)
                self.rules.elements.setdefault(place[0], {})[place[1]] = element
        for name in {name for name, _ in (*before, *after)}:
            if not self.rules.elements.get(name, True):
                del self.rules.elements[name]


def content(table: NftTable, links: Mapping[str, Link]) -> Ruleset:
    """What is to be in the table; nothing where there are no links: then it is not there."""
    made = Content(table)
    made.follow(links)
    return made.rules if links else Ruleset()


Entries = dict[tuple[str, tuple[str, ...]], NftElement]


def entries(link: Link) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The sets that a link is in, and what it is there."""
    yield "ports", (link.ifname,)
    for address in link.addresses:
        yield f"addresses{names.family(address)}", (link.ifname, address)
    for way in sorted(link.closed):
        yield f"closed-{way}", (link.ifname,)


def frame(table: NftTable) -> Ruleset:
    """The table without links."""
    ports = NftSet(table.name, "ports", ("ifname",), family=table.family)
    addresses = {
        version: NftSet(table.name, f"addresses{version}", ("ifname", kind), family=table.family)
        for version, kind in ADDRESSES.items()
    }
    closed = {
        way: NftSet(table.name, f"closed-{way}", ("ifname",), family=table.family)
        for way in ("egress", "ingress")
    }
    sets = [ports, *addresses.values()]
    if table.family == "bridge":
        sets += closed.values()
        chains = [
            base(table, "from-pods", "prerouting", from_pods(ports, addresses, FRAMED_SADDR)),
            base(table, "between", "forward", between(closed)),
            base(table, "to-pods", "postrouting", to_pods(ports, addresses)),
            only(table, "restricted-from", expr.IIFNAME, FRAMED_SADDR, addresses),
            only(table, "restricted-to", expr.OIFNAME, FRAMED_DADDR, addresses),
        ]
    else:
        chains = [base(table, "from-pods", "prerouting", from_pods(ports, addresses, SADDR))]
    return Ruleset({one.name: one for one in chains}, {one.name: one for one in sets})


def base(
    table: NftTable,
    name: str,
    hook: Literal["prerouting", "forward", "postrouting"],
    rules: Iterable[NftRule],
) -> NftChain:
    """A chain that packets enter before anything else looks at them."""
    family = table.family
    return NftChain(
        table.name, name, family=family, hook=hook, priority=BEFORE_ALL, rules=tuple(rules)
    )


def from_pods(
    ports: NftSet, addresses: Mapping[int, NftSet], source: Mapping[int, expr.Field]
) -> Iterator[NftRule]:
    """No pod sends under the address of another one."""
    yield expr.rule(expr.in_set(expr.IIFNAME, ports, negate=True), expr.accept())
    for own in named(expr.IIFNAME, source, addresses):
        yield expr.rule(own, expr.accept())
    yield expr.rule(
        expr.match(source[4], str(IPv4Address(0))),
        expr.match(expr.UDP_DPORT, 67),
        expr.accept(),
        comment="who has no address yet asks for one (RFC 2131)",
    )
    yield expr.rule(
        expr.match(source[6], "::"),
        expr.accept(),
        comment="IPv6 looks whether an address is free (RFC 4862)",
    )
    yield expr.rule(expr.match(source[6], LINK_LOCAL), expr.accept(), comment="of this link alone")
    yield from no_other(source, "a source address that is not the pod's")


def between(closed: Mapping[str, NftSet]) -> Iterator[NftRule]:
    """Between ports, restricted pods have what is under their own addresses, and neighbours."""
    yield expr.rule(
        expr.match(expr.ETHERTYPE, ARP), expr.accept(), comment="IPv4 finds its neighbours"
    )
    kind, hops = expr.framed(expr.ICMPV6_TYPE), expr.framed(expr.IP6_HOPLIMIT)
    yield expr.rule(
        expr.match(kind, "133-137"),
        expr.match(hops, 255),
        expr.accept(),
        comment="IPv6 finds its neighbours (RFC 4861)",
    )
    for kinds, source in (("130-132", "RFC 2710"), ("143", "RFC 3810")):
        yield expr.rule(
            expr.match(kind, kinds),
            expr.match(hops, 1),
            expr.match(FRAMED_DADDR[6], "ff00::/8"),
            expr.accept(),
            comment=f"IPv6 finds its groups ({source})",
        )
    yield expr.rule(expr.in_set(expr.IIFNAME, closed["egress"]), expr.jump("restricted-from"))
    yield expr.rule(expr.in_set(expr.OIFNAME, closed["ingress"]), expr.jump("restricted-to"))


def only(
    table: NftTable,
    name: str,
    port: expr.Field,
    address: Mapping[int, expr.Field],
    addresses: Mapping[int, NftSet],
) -> NftChain:
    """What is under the pod's addresses is judged by policies; the rest they could not allow."""
    rest = expr.rule(
        expr.counter(), expr.drop(), comment="of a restricted pod, under none of its addresses"
    )
    judged = (expr.rule(own, expr.return_()) for own in named(port, address, addresses))
    rules = (*judged, rest)
    return NftChain(table.name, name, family=table.family, rules=rules)


def to_pods(ports: NftSet, addresses: Mapping[int, NftSet]) -> Iterator[NftRule]:
    """No pod gets what is for the address of another one, whoever claims to have it."""
    yield expr.rule(expr.in_set(expr.OIFNAME, ports, negate=True), expr.accept())
    yield expr.rule(
        expr.match(TO_MAC, "00:00:00:00:00:00", "!=", mask=TO_SEVERAL),
        expr.accept(),
        comment="broadcast and multicast",
    )
    for own in named(expr.OIFNAME, FRAMED_DADDR, addresses):
        yield expr.rule(own, expr.accept())
    yield expr.rule(
        expr.match(FRAMED_DADDR[6], LINK_LOCAL), expr.accept(), comment="of this link alone"
    )
    yield from no_other(FRAMED_DADDR, "for an address that is not the pod's")


def named(
    port: expr.Field,
    address: Mapping[int, expr.Field],
    addresses: Mapping[int, NftSet],
) -> Iterator[expr.Statement]:
    """Under the pod's own addresses."""
    for version, there in addresses.items():
        yield expr.in_set((port, address[version]), there)


def no_other(address: Mapping[int, expr.Field], why: str) -> Iterator[NftRule]:
    """The rest of IP is dropped."""
    for version, everybody in EVERYBODY.items():
        yield expr.rule(
            expr.match(address[version], everybody), expr.counter(), expr.drop(), comment=why
        )
