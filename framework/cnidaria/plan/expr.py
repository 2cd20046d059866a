"""nftables rules that read like nft's language.

::

    sources = NftSet("cnidaria_flat", "sources", ("ifname", "ipv4_addr"))
    rule(match(IIFNAME, "cnd*"), in_set((IIFNAME, IP_SADDR), sources, negate=True), drop())

Parts are statements, each one or several of the kernel's expressions; :func:`rule` strings them
together. Matches on IPv4 or IPv6 headers check the packet's family first, as nft does in ``inet``
tables.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_network
from itertools import chain
from typing import Final, Literal

from cnidaria.kernel.objects import NftRule, NftSet
from cnidaria.kernel.objects.nftexpr import (
    AnyExpr,
    Bitwise,
    Byteorder,
    Cmp,
    Counter,
    Ct,
    CtSet,
    Fib,
    Immediate,
    Limit,
    Log,
    Lookup,
    Masquerade,
    Meta,
    MetaSet,
    Nat,
    Notrack,
    Payload,
    Range,
    Reject,
    Verdict,
)
from cnidaria.kernel.objects.nfttypes import TYPES, data_type
from cnidaria.kernel.objects.text import refuse

Statement = tuple[AnyExpr, ...]
CtState = Literal["invalid", "established", "related", "new", "untracked"]
FibFlag = Literal["saddr", "daddr", "mark", "iif", "oif"]
Op = Literal["==", "!=", "<", "<=", ">", ">="]

_OPS: Final = {"==": "eq", "!=": "neq", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_CT_STATES: Final = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
_IPV4, _IPV6 = b"\x02", b"\x0a"


@dataclass(frozen=True)
class Field:
    """What can be matched: how it is loaded, its type, and which packets have it.

    Attributes:
        type: as in :class:`NftSet`.
        needs: checks that come first.
    """

    load: Meta | Payload | Ct
    type: str
    needs: Statement = ()

    def into(self, slot: int) -> AnyExpr:
        """Its load into a slot."""
        load = self.load
        if isinstance(load, Payload):
            return Payload(load.base, load.offset, load.length, slot)
        if isinstance(load, Ct):
            return Ct(load.key, slot, load.direction)
        return Meta(load.key, slot)


def _family(number: bytes) -> Statement:
    return (Meta("nfproto"), Cmp("eq", number))


def _protocol(number: int) -> Statement:
    return (Meta("l4proto"), Cmp("eq", bytes((number,))))


_ETHERNET: Statement = (Meta("iiftype"), Cmp("eq", (1).to_bytes(2, sys.byteorder)))

IIFNAME = Field(Meta("iifname"), "ifname")
ETHERTYPE = Field(Meta("protocol"), "ether_type")
OIFNAME = Field(Meta("oifname"), "ifname")
MARK = Field(Meta("mark"), "mark")
CT_MARK = Field(Ct("mark"), "mark")
PRIORITY = Field(Meta("priority"), "classid")
L4PROTO = Field(Meta("l4proto"), "inet_proto")
IP_SADDR = Field(Payload("network", 12, 4), "ipv4_addr", _family(_IPV4))
IP_DADDR = Field(Payload("network", 16, 4), "ipv4_addr", _family(_IPV4))
IP6_SADDR = Field(Payload("network", 8, 16), "ipv6_addr", _family(_IPV6))
IP6_DADDR = Field(Payload("network", 24, 16), "ipv6_addr", _family(_IPV6))
IP6_HOPLIMIT = Field(Payload("network", 7, 1), "inet_proto", _family(_IPV6))
ETHER_SADDR = Field(Payload("link", 6, 6), "ether_addr", _ETHERNET)
ETHER_DADDR = Field(Payload("link", 0, 6), "ether_addr", _ETHERNET)
TH_SPORT = Field(Payload("transport", 0, 2), "inet_service")
TH_DPORT = Field(Payload("transport", 2, 2), "inet_service")
TCP_DPORT = Field(Payload("transport", 2, 2), "inet_service", _protocol(6))
UDP_DPORT = Field(Payload("transport", 2, 2), "inet_service", _protocol(17))
ICMPV6_TYPE = Field(Payload("transport", 0, 1), "icmpv6_type", (*_family(_IPV6), *_protocol(58)))


def framed(field: Field) -> Field:
    """The same field in a table of family ``bridge``: frames tell what is in them by their
    EtherType, and all of them are Ethernet's.
    """
    if field.needs == _ETHERNET:
        return replace(field, needs=())
    for family_, ethertype in ((_family(_IPV4), b"\x08\x00"), (_family(_IPV6), b"\x86\xdd")):
        if field.needs[: len(family_)] == family_:
            known = (ETHERTYPE.load, Cmp("eq", ethertype))
            return replace(field, needs=(*known, *field.needs[len(family_) :]))
    return field


def rule(*statements: AnyExpr | Iterable[AnyExpr], comment: str = "") -> NftRule:
    """A rule of statements, in order."""
    exprs: list[AnyExpr] = []
    for statement in statements:
        exprs += statement if isinstance(statement, Iterable) else (statement,)
    return NftRule(tuple(exprs), comment)


# -- matches ---------------------------------------------------------------------------------


def match(field: Field, value: str | int, op: Op = "==", *, mask: int | None = None) -> Statement:
    """``field op value``: a value, for ``==`` and ``!=`` also a prefix, a range, a name with ``*``.

    Args:
        mask: of marks: which bits count.

    Raises:
        ValueError: not of the field's type, or more than one value where an order is asked.
    """
    where = f"match {field.type}"
    kind = data_type(where, field.type)
    given = str(value)
    if field.type == "ifname" and given.endswith("*"):
        return (*field.needs, field.load, Cmp(_compared(op), given[:-1].encode()))
    try:
        low, high = kind.bounds(given)
    except (ValueError, KeyError):
        raise refuse(where, value, f"of type {field.type}") from None
    order = sys.byteorder if kind.host_order else "big"
    first, last = (bound.to_bytes(kind.length, order) for bound in (low, high))
    if mask is not None:
        bits = mask.to_bytes(kind.length, order)
        return (*field.needs, field.load, _and(bits), Cmp(_compared(op), first))
    if low == high:
        return (*field.needs, field.load, Cmp(_compared(op), first))
    if op not in ("==", "!="):
        raise refuse(where, value, f"a single value for {op}")
    if "/" in given:
        return (*field.needs, *_in_prefix(field, given, op))
    return (*field.needs, field.load, Range("eq" if op == "==" else "neq", first, last))


def _compared(op: Op) -> Literal["eq", "neq", "lt", "lte", "gt", "gte"]:
    return _OPS[op]  # type: ignore[return-value]  # one of them


def _and(mask: bytes) -> Bitwise:
    return Bitwise(mask, bytes(len(mask)))


def _in_prefix(field: Field, value: str, op: Op) -> Statement:
    """By whole bytes where the prefix ends at one: only those are loaded then."""
    net = ip_network(value)
    address = net.network_address.packed
    load = field.load
    if net.prefixlen == 0:
        return () if op == "==" else (Verdict("return"),)
    if net.prefixlen % 8 == 0 and isinstance(load, Payload):
        length = net.prefixlen // 8
        part = Payload(load.base, load.offset, length, load.slot)
        return (part, Cmp(_compared(op), address[:length]))
    return (load, _and(net.netmask.packed), Cmp(_compared(op), address))


def in_set(fields: Field | tuple[Field, ...], there: NftSet, *, negate: bool = False) -> Statement:
    """``field . field @set``: the concatenation is in the set (``negate``: is not).

    Raises:
        ValueError: the set is of other types; so with all that look something up.
    """
    return (*_key(fields, there), Lookup(there.name, invert=negate))


def vmap(fields: Field | tuple[Field, ...], there: NftSet) -> Statement:
    """``field . field vmap @map``: the verdict that the map has for it; none: go on."""
    return (*_key(fields, there, ("verdict",)), Lookup(there.name, to="verdict"))


def mark_from(fields: Field | tuple[Field, ...], there: NftSet) -> Statement:
    """``meta mark set field . field map @map``: go on only where the map has it."""
    return (*_key(fields, there, ("mark",)), Lookup(there.name, to=0), MetaSet("mark"))


def priority_from(fields: Field | tuple[Field, ...], there: NftSet) -> Statement:
    """``meta priority set field . field map @map``: go on only where the map has it."""
    return (*_key(fields, there, ("classid",)), Lookup(there.name, to=0), MetaSet("priority"))


def _key(
    fields: Field | tuple[Field, ...], there: NftSet, data: tuple[str, ...] | None = None
) -> Statement:
    fields = (fields,) if isinstance(fields, Field) else fields
    types = tuple(field.type for field in fields)
    if types != there.type:
        raise refuse(f"{there}: type", there.type, " . ".join(types))
    if data is not None and there.data != data:
        raise refuse(f"{there}: data", there.data, " . ".join(data))
    needs: dict[Statement, None] = {}
    loads: list[AnyExpr] = []
    slot = 0
    for field in fields:
        needs[field.needs] = None
        loads.append(field.into(slot))
        if there.interval and TYPES[field.type].host_order:
            loads.append(Byteorder(TYPES[field.type].length, slot))
        slot += -(-TYPES[field.type].length // 4)
    return (*chain.from_iterable(needs), *loads)


def tcp_flags(mask: int, flags: int, op: Literal["==", "!="] = "==") -> Statement:
    """``tcp flags & mask == flags``, of the flags' bits (RFC 9293: FIN 1, SYN 2, RST 4, ACK 16)."""
    load = Payload("transport", 13, 1)
    return (*_protocol(6), load, _and(bytes((mask,))), Cmp(_compared(op), bytes((flags,))))


def ct_state(*states: CtState) -> Statement:
    """``ct state established,related``."""
    bits = sum(_CT_STATES[state] for state in states).to_bytes(4, sys.byteorder)
    return (Ct("state"), _and(bits), Cmp("neq", bytes(4)))


def fib_missing(*flags: FibFlag) -> Statement:
    """``fib saddr . iif oif missing``: there is no route, as for a spoofed source."""
    return (Fib(flags, "oif", present=True), Cmp("eq", bytes(4)))


def fib_exists(*flags: FibFlag) -> Statement:
    """``fib daddr oif exists``: there is a route."""
    return (Fib(flags, "oif", present=True), Cmp("eq", b"\1\0\0\0"))


def fib_local(*flags: FibFlag) -> Statement:
    """``fib daddr type local``: it is an address of this node."""
    return (Fib(flags, "type"), Cmp("eq", (2).to_bytes(4, sys.byteorder)))


def family(version: Literal[4, 6]) -> Statement:
    """``meta nfproto ipv4``."""
    return _family(_IPV4 if version == 4 else _IPV6)


# -- statements ------------------------------------------------------------------------------


def accept() -> Verdict:
    """Let it pass this hook."""
    return Verdict("accept")


def drop() -> Verdict:
    """Drop it."""
    return Verdict("drop")


def return_() -> Verdict:
    """Back to the chain that jumped here; of a base chain: its policy."""
    return Verdict("return")


def jump(chain: str) -> Verdict:
    """To a chain of the same table, and back at its end."""
    return Verdict("jump", chain)


def goto(chain: str) -> Verdict:
    """To a chain of the same table, for good."""
    return Verdict("goto", chain)


def counter() -> Counter:
    """Count."""
    return Counter()


def masquerade(*, fully_random: bool = False) -> Masquerade:
    """Source NAT to the outgoing interface's address."""
    return Masquerade(fully_random)


def reject() -> Reject:
    """Drop it and say so by ICMP (port unreachable)."""
    return Reject()


def reset() -> Reject:
    """Drop it and end its connection; for what is TCP already."""
    return Reject("tcp-reset")


def log(prefix: str) -> Log:
    """A line in the kernel's log."""
    return Log(prefix)


def nflog(group: int, prefix: str, snaplen: int = 0) -> Log:
    """Tell who listens to the group; ``snaplen`` bytes of the packet, 0: all."""
    return Log(prefix, group, snaplen)


def limit(rate: int, burst: int = 5) -> Limit:
    """Go on for at most so many packets in a second."""
    return Limit(rate, 1, burst)


def set_priority(classid: str) -> Statement:
    """``meta priority set 1:2``."""
    number, _ = data_type("priority", "classid").bounds(classid)
    return (Immediate(number.to_bytes(4, sys.byteorder)), MetaSet("priority"))


def notrack() -> Notrack:
    """No connection tracking; in hooks before it only."""
    return Notrack()


def dnat(version: Literal[4, 6], address: str, port: int | None = None) -> Statement:
    """``dnat ip to address:port``."""
    raw = ip_network(address).network_address.packed
    family_: Literal["ip", "ip6"] = "ip" if version == 4 else "ip6"
    if port is None:
        return (Immediate(raw), Nat("dnat", family_, 0))
    return (Immediate(raw), Immediate(port.to_bytes(2, "big"), 4), Nat("dnat", family_, 0, 4))


def set_mark(value: int, mask: int = 2**32 - 1) -> Statement:
    """``meta mark set meta mark & ~mask | value``: other bits stay."""
    return _set_bits(Meta("mark"), MetaSet("mark"), value, mask)


def set_ct_mark(value: int, mask: int = 2**32 - 1) -> Statement:
    """The same for the connection's mark."""
    return _set_bits(Ct("mark"), CtSet("mark"), value, mask)


def _set_bits(load: Meta | Ct, store: MetaSet | CtSet, value: int, mask: int) -> Statement:
    if value & ~mask:
        raise refuse("mark", value, f"within the mask {mask:#x}")
    new = value.to_bytes(4, sys.byteorder)
    if mask == 2**32 - 1:
        return (Immediate(new), store)
    kept = (~mask & 2**32 - 1).to_bytes(4, sys.byteorder)
    return (load, Bitwise(kept, new), store)
