"""Canonical text of what objects are made of: one value has one spelling."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address, ip_interface, ip_network

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_IFNAME_LIMIT = 15  # IFNAMSIZ less the terminating zero
ZERO_MAC = "00:00:00:00:00:00"


def refuse(where: str, value: object, allowed: str) -> ValueError:
    """The error that names the field, its value, and what is allowed."""
    return ValueError(f"{where} = {value!r}: must be {allowed}")


@lru_cache(1024)
def ifname(where: str, value: str) -> str:
    """A link's name, as the kernel's ``dev_valid_name`` has it."""
    bad = value in ("", ".", "..") or any(c in "/:" or c.isspace() or c == "\0" for c in value)
    if bad or len(value.encode()) > _IFNAME_LIMIT:
        raise refuse(where, value, "an interface name: 1 to 15 bytes without '/', ':' and space")
    return value


@lru_cache(4096)
def mac(where: str, value: str, *, unicast: bool = True) -> str:
    """A MAC in lower case, bytes separated by colons."""
    text = value.lower().replace("-", ":")
    if not _MAC.fullmatch(text):
        raise refuse(where, value, "a MAC as 02:00:5e:00:53:01")
    if unicast and (int(text[1], 16) & 1 or text == ZERO_MAC):
        raise refuse(where, value, "a unicast MAC (even first byte, not all zero)")
    return text


@lru_cache(4096)
def address(where: str, value: str) -> str:
    """An IP address without prefix length."""
    try:
        return str(ip_address(value))
    except ValueError:
        raise refuse(where, value, "an IP address as 10.1.0.5 or fd00::5") from None


@lru_cache(4096)
def prefixed(where: str, value: str) -> str:
    """An IP address with its prefix length."""
    if "/" in value:
        try:
            return str(ip_interface(value))
        except ValueError:
            pass
    raise refuse(where, value, "an address with its prefix length as 10.1.0.5/24 or fd00::5/64")


@lru_cache(4096)
def prefix(where: str, value: str) -> str:
    """A network prefix without host bits; a lone address is its own prefix."""
    try:
        return str(ip_network(value))
    except ValueError as error:
        raise refuse(where, value, f"a network prefix as 10.1.0.0/24 ({error})") from None


def version(value: str) -> int:
    """4 or 6, of canonical text."""
    return 6 if ":" in value else 4


def same_family(where: str, value: str, other: str) -> None:
    """Two addresses that must be of one family."""
    if version(value) != version(other):
        raise refuse(where, value, f"of the address family of {other}")


def in_range(where: str, value: int, low: int, high: int) -> int:
    """An integer within bounds."""
    if not low <= value <= high:
        raise refuse(where, value, f"from {low} to {high}")
    return value
