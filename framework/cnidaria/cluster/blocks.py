"""Arithmetic of prefixes: do two overlap, is one inside the other."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

Prefix = IPv4Network | IPv6Network


@lru_cache(maxsize=1 << 16)
def parse(prefix: str) -> Prefix:
    """``prefix`` with its host bits ignored. Raises ``ValueError``."""
    return ip_network(prefix, strict=False)


def overlapping(mine: Iterable[str], theirs: Iterable[str]) -> tuple[str, str] | None:
    """The first two prefixes, one of each side, that share an address."""
    others = [(parse(text), text) for text in theirs]
    for text in mine:
        own = parse(text)
        for other, other_text in others:
            if own.version == other.version and own.overlaps(other):
                return text, other_text
    return None


def inside(prefix: str, pool: str) -> bool:
    """Whether all of ``prefix`` is in ``pool``."""
    own, whole = parse(prefix), parse(pool)
    if isinstance(own, IPv4Network):
        return isinstance(whole, IPv4Network) and own.subnet_of(whole)
    return isinstance(whole, IPv6Network) and own.subnet_of(whole)
