"""Packets of pods as foreign rules see them: what is known of each field."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from cnidaria.kernel import uapi
from cnidaria.kernel.codec import packed
from cnidaria.kernel.foreign.values import Value, exact, joined, unknown

PROTOCOLS: Final = {"TCP": 6, "UDP": 17, "SCTP": 132, "ICMP": 1}
STATES: Final = {"established": 2, "new": 8}
"""As in ``ct state``, and as in the masks of xtables."""
_ETHERTYPES: Final = {4: b"\x08\x00", 6: b"\x86\xdd"}
_NFPROTO: Final = {4: 2, 6: 10}
_SIZES: Final = {"pkttype": 1, "iiftype": 2, "oiftype": 2, "nftrace": 1, "bri_iifname": 16,
                 "bri_oifname": 16}  # fmt: skip
"""Bytes of properties that are not known, where these are not 4."""
_CT_SIZES: Final = {"proto_src": 2, "proto_dst": 2, "helper": 16, "labels": 16, "pkts": 8,
                    "bytes": 8, "avgpkt": 8}  # fmt: skip
_CT_ENDS: Final = {"src": True, "src_ip": True, "src_ip6": True,
                   "dst": False, "dst_ip": False, "dst_ip6": False}  # fmt: skip
"""Addresses of a connection's directions; whether it is the source."""
_IPS_NAT: Final = 0x30
"""``ct status snat``, ``dnat``."""


class Link(NamedTuple):
    """An interface; without a name one that no rule names."""

    name: str = ""
    number: int = 0


NONE: Final = Link("", -1)
"""No interface: what the node sends came in by none."""


@dataclass(frozen=True)
class Traffic:
    """Packets that are alike.

    Attributes:
        way: ``from pods to elsewhere``, ``to pods from elsewhere``, ``between pods``, ``from the
            node to pods``, ``from pods to the node``.
        protocol: of PROTOCOLS.
        src, dst: addresses; ``None``: of somebody whom no rule names.
        state: ``new``: the first packet of a connection; ``established``: an answer.
        iif, oif: as IP sees them: a bridge, where a pod is behind one; ``ports``: as frames do.
        hooks: family and name of those that it passes, in order; ``ip`` stands for ``inet``, too.
        marked: some rule gives marks: which ones packets have is not known.
    """

    way: str
    version: int
    protocol: str
    src: str | None
    dst: str | None
    iif: Link
    oif: Link
    state: str = "new"
    ports: tuple[Link, Link] = (Link(), Link())
    hooks: tuple[tuple[str, str], ...] = ()
    marked: bool = False

    @property
    def number(self) -> int:
        """Of the protocol."""
        return 58 if (self.protocol, self.version) == ("ICMP", 6) else PROTOCOLS[self.protocol]

    @property
    def state_bit(self) -> int:
        """As in ``ct state``."""
        return STATES[self.state]

    @property
    def mark(self) -> Value:
        """Of the packet, and of its connection."""
        return unknown(4, "") if self.marked else exact(bytes(4))

    def address(self, which: str) -> Value:
        """``saddr`` or ``daddr``."""
        known = self.src if which == "saddr" else self.dst
        size = 4 if self.version == 4 else 16
        return exact(packed(known), which) if known else unknown(size, which, nameless=True)

    def address_type(self, which: str) -> int:
        """Of ``RTN_TYPES``: what an address is to the node."""
        mine = {"from the node to pods": "saddr", "from pods to the node": "daddr"}.get(self.way)
        return uapi.RTN_TYPES["local" if which == mine else "unicast"]

    def meta(self, key: str) -> Value | None:
        """A property of the packet; ``None``: it has none."""
        return self._meta[key] if key in self._meta else unknown(_SIZES.get(key, 4), key)

    @cached_property
    def _meta(self) -> dict[str, Value | None]:
        known: dict[str, Value | None] = {
            "nfproto": exact(bytes([_NFPROTO[self.version]])),
            "l4proto": exact(bytes([self.number])),
            "protocol": exact(_ETHERTYPES[self.version]),
            "mark": self.mark,
            "iif": _index(self.iif, "iif"),
            "oif": _index(self.oif, "oif"),
            "iifname": _name(self.iif, "iifname"),
            "oifname": _name(self.oif, "oifname"),
            "rtclassid": exact(bytes(4)),
            "secmark": exact(bytes(4)),
        }
        if self.way != "from the node to pods":  # no socket of the node's
            known |= {"skuid": None, "skgid": None, "pkttype": exact(b"\0")}
        return known

    def ct(self, key: str, direction: str | None) -> Value:
        """A property of the packet's connection."""
        if key in _CT_ENDS:
            turned = (direction == "reply") != (self.state == "established")
            return self.address("daddr" if _CT_ENDS[key] == turned else "saddr")
        if key in self._ct:
            return self._ct[key]
        return unknown(_CT_SIZES.get(key, 4), f"ct {key} {direction}")

    @cached_property
    def _ct(self) -> dict[str, Value]:
        nat = int.from_bytes(_IPS_NAT.to_bytes(4, sys.byteorder), "big")
        return {
            "state": exact(self.state_bit.to_bytes(4, sys.byteorder)),
            "direction": exact(bytes([self.state == "established"])),
            "mark": self.mark,
            "l3protocol": exact(bytes([_NFPROTO[self.version]])),
            "protocol": exact(bytes([self.number])),
            "status": Value(4, 0, nat, "ct status"),
            "zone": exact(bytes(2)),
        }

    def fib(self, flags: tuple[str, ...], result: str, present: bool) -> Value:
        """Routes of pods are as they should be: there are such, and they lead back."""
        which = "saddr" if "saddr" in flags else "daddr"
        if present:
            return exact(b"\1")
        if result == "type":
            return exact(self.address_type(which).to_bytes(4, sys.byteorder))
        size = 4 if result == "oif" else 16
        return unknown(size, f"fib {which} {result}", nameless=True)

    def payload(self, base: str, offset: int, length: int) -> Value:
        """Bytes of a header."""
        fields: tuple[tuple[int, Value], ...] = ()
        if base == "network":
            fields = self._ip4() if self.version == 4 else self._ip6()
        elif base == "transport":
            fields = self._transport()
        elif base == "link":
            fields = ((12, exact(_ETHERTYPES[self.version])),)
        return joined(fields, offset, length, f"{base} {offset} {length}")

    def _ip4(self) -> tuple[tuple[int, Value], ...]:
        """No options, no fragment; the bit that forbids those is not known."""
        fragment = Value(2, 0, 0xBFFF)
        number = exact(bytes([63, self.number]))
        ends = self.address("saddr"), self.address("daddr")
        head = (0, exact(b"\x45\0")), (6, fragment), (8, number)
        return (*head, (12, ends[0]), (16, ends[1]))

    def _ip6(self) -> tuple[tuple[int, Value], ...]:
        head = (0, Value(2, 0x6000, 0xFFF0)), (6, exact(bytes([self.number, 63])))
        return (*head, (8, self.address("saddr")), (24, self.address("daddr")))

    def _transport(self) -> tuple[tuple[int, Value], ...]:
        """The client's port is one of those that systems choose: 32768 or higher."""
        answers = self.state == "established"
        if self.protocol == "ICMP":
            request, reply = (8, 0) if self.version == 4 else (128, 129)
            return ((0, exact(bytes([reply if answers else request, 0]))),)
        flags = (13, exact(b"\x10" if answers else b"\x02"))  # ACK, SYN
        port = 2 if answers else 0, Value(2, 1 << 15, 1 << 15)
        return (port, flags) if self.protocol == "TCP" else (port,)


def _index(link: Link, key: str) -> Value:
    if link == NONE:
        return exact(bytes(4), key)
    if link.number:
        return exact(link.number.to_bytes(4, sys.byteorder), key)
    return unknown(4, key, nameless=True)


def _name(link: Link, key: str) -> Value:
    if link.name or link == NONE:
        return exact(link.name.encode().ljust(16, b"\0"), key)
    return unknown(16, key, nameless=True)
