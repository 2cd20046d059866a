"""Data types of nftables sets and maps: canonical text of their values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

from cnidaria.kernel.objects import text

PROTOCOLS = {
    "icmp": 1, "igmp": 2, "ipencap": 4, "tcp": 6, "udp": 17, "ipv6": 41, "gre": 47, "esp": 50,
    "ah": 51, "icmpv6": 58, "sctp": 132, "udplite": 136,
}  # fmt: skip
_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}


@dataclass(frozen=True)
class DataType:
    """One of nft's types.

    Attributes:
        number: in ``NFTA_SET_KEY_TYPE`` (``enum datatypes`` of nft); 6 bits.
        length: bytes.
        host_order: of the bytes; else network order.
        parse: text to number; ``write``: back, canonical.
    """

    name: str
    number: int
    length: int
    parse: Callable[[str], int]
    write: Callable[[int], str]
    host_order: bool = False

    def bounds(self, value: str) -> tuple[int, int]:
        """First and last of a value, a range ``a-b`` or a prefix.

        Raises:
            ValueError: it is none of this type.
        """
        if self.name in ("ipv4_addr", "ipv6_addr") and "/" in value:
            net = ip_network(value)
            if net.version != (4 if self.length == 4 else 6):
                raise ValueError(value)
            return int(net.network_address), int(net.broadcast_address)
        first, dash, last = value.partition("-") if self.ranged else (value, "", "")
        low = self.parse(first)
        high = self.parse(last) if dash else low
        if not 0 <= low <= high < 1 << 8 * self.length:
            raise ValueError(value)
        return low, high

    @property
    def ranged(self) -> bool:
        """Whether ``a-b`` means a range: a name may have a dash in it."""
        return self.name not in ("ifname", "verdict")

    def between(self, low: int, high: int) -> str:
        """Canonical text of a range: a value, a prefix where it is one, else ``a-b``."""
        if low == high:
            return self.write(low)
        size = high - low + 1
        if self.name in ("ipv4_addr", "ipv6_addr") and not size & (size - 1) and not low % size:
            return f"{self.write(low)}/{8 * self.length - size.bit_length() + 1}"
        return f"{self.write(low)}-{self.write(high)}"


def _number(value: str) -> int:
    return int(value, 0)


def _name(value: str) -> int:
    raw = value.encode()
    if not 1 <= len(raw) <= 15:
        raise ValueError(value)
    return int.from_bytes(raw.ljust(16, b"\0"), "big")


def _write_name(value: int) -> str:
    return value.to_bytes(16, "big").rstrip(b"\0").decode()


def _mac(value: str) -> int:
    return int(text.mac("MAC", value, unicast=False).replace(":", ""), 16)


def _classid(value: str) -> int:
    major, colon, minor = value.partition(":")
    numbers = int(major, 16), int(minor, 16)
    if not colon or not all(0 <= number < 1 << 16 for number in numbers):
        raise ValueError(value)
    return numbers[0] << 16 | numbers[1]


def _protocol(value: str) -> int:
    return PROTOCOLS[value] if value in PROTOCOLS else int(value, 0)


TYPES = {
    each.name: each
    for each in (
        DataType("ipv4_addr", 7, 4, lambda t: int(IPv4Address(t)), lambda n: str(IPv4Address(n))),
        DataType("ipv6_addr", 8, 16, lambda t: int(IPv6Address(t)), lambda n: str(IPv6Address(n))),
        DataType("ether_addr", 9, 6, _mac, lambda n: n.to_bytes(6, "big").hex(":")),
        DataType("ether_type", 10, 2, _number, lambda n: f"{n:#06x}"),
        DataType("inet_proto", 12, 1, _protocol, lambda n: _PROTOCOL_NAMES.get(n, str(n))),
        DataType("inet_service", 13, 2, _number, str),
        DataType("mark", 19, 4, _number, lambda n: f"{n:#x}", host_order=True),
        DataType(
            "classid", 23, 4, _classid, lambda n: f"{n >> 16:x}:{n & 0xFFFF:x}", host_order=True
        ),
        DataType("icmpv6_type", 29, 1, _number, str),
        DataType("ifname", 41, 16, _name, _write_name),
    )
}


def data_type(where: str, name: str) -> DataType:
    """The type of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in TYPES:
        raise text.refuse(where, name, f"one of {', '.join(TYPES)}")
    return TYPES[name]


def canonical(where: str, type_name: str, value: str) -> str:
    """A value, range or prefix in its one spelling.

    Raises:
        ValueError: it is none of this type.
    """
    kind = data_type(where, type_name)
    try:
        return kind.between(*kind.bounds(value))
    except (ValueError, KeyError):
        raise text.refuse(where, value, f"of type {type_name}") from None
