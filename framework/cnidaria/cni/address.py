"""Addresses as text: parsed as Go's ``net`` package does, returned in canonical form.

The text of every ``ValueError`` follows key and value: "must be ...".
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

_MAC: Final = re.compile(
    r"[0-9a-f]{2}(:[0-9a-f]{2}){5}|[0-9a-f]{2}(-[0-9a-f]{2}){5}|[0-9a-f]{4}(\.[0-9a-f]{4}){2}",
    re.IGNORECASE | re.ASCII,
)


def parse_ip(text: str) -> IPv4Address | IPv6Address:
    """An address without zone; an IPv4-mapped IPv6 address is the IPv4 one.

    Raises:
        ValueError: another form.
    """
    address = _plain(text)
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def canonical_ip(text: str) -> str:
    """``text`` in the form that equal addresses share (RFC 5952). Raises ``ValueError``."""
    return str(parse_ip(text))


def parse_cidr(text: str) -> tuple[IPv4Address | IPv6Address, int]:
    """Address and prefix length of ``10.1.0.5/16``; host bits are kept.

    Raises:
        ValueError: not of this form.
    """
    head, slash, tail = text.partition("/")
    if not slash or not (tail.isascii() and tail.isdigit()) or len(tail) > 4:
        raise ValueError('must be an address with a prefix length such as "10.1.0.5/16"')
    address, length = _plain(head), int(tail)
    if length > address.max_prefixlen:
        raise ValueError(f"must have a prefix length of at most {address.max_prefixlen}")
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped, max(length - 96, 0)
    return address, length


def canonical_cidr(text: str) -> str:
    """``text`` in canonical form, host bits kept. Raises ``ValueError``."""
    address, length = parse_cidr(text)
    return f"{address}/{length}"


def canonical_mac(text: str) -> str:
    """A MAC that an interface can have, as ``c2:11:22:33:44:55``.

    Takes the 48-bit forms that Go takes (colons, hyphens, dots).

    Raises:
        ValueError: another form, a group address, or all zero.
    """
    if not _MAC.fullmatch(text):
        raise ValueError('must be a MAC address such as "c2:11:22:33:44:55"')
    digits = re.sub(r"[^0-9a-f]", "", text.lower())
    value = bytes.fromhex(digits)
    if value[0] & 1:
        raise ValueError("must be an individual MAC address, not a group's")
    if not any(value):
        raise ValueError("must not be all zero")
    return value.hex(":")


def _plain(text: str) -> IPv4Address | IPv6Address:
    if "%" in text:
        raise ValueError("must be an address without zone")
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError("must be an IP address") from None
