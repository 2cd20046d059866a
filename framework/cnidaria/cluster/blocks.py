"""Arithmetic of prefixes: do two overlap, which one is free."""

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


def span(prefix: str) -> tuple[int, int, int]:
    """Family, first and last address."""
    network = parse(prefix)
    return network.version, int(network.network_address), int(network.broadcast_address)


def first_free(pool: str, length: int, taken: Iterable[str]) -> str | None:
    """The lowest prefix of ``length`` in ``pool`` that overlaps none of ``taken``.

    Raises:
        ValueError: ``pool`` has no prefix of this length.
    """
    network = parse(pool)
    if not network.prefixlen <= length <= network.max_prefixlen:
        raise ValueError(
            f"block length {length}: must be between {network.prefixlen} and "
            f"{network.max_prefixlen} for the pool {pool}"
        )
    family, candidate, end = span(pool)
    size = 1 << (network.max_prefixlen - length)
    spans = sorted(span(prefix) for prefix in taken)
    for _, first, last in (found for found in spans if found[0] == family):
        if first > candidate + size - 1:
            break
        if last >= candidate:
            candidate = (last // size + 1) * size
    if candidate + size - 1 > end:
        return None
    return str(type(network)((candidate, length)))


def inside(prefix: str, pool: str) -> bool:
    """Whether all of ``prefix`` is in ``pool``."""
    family, first, last = span(prefix)
    pool_family, pool_first, pool_last = span(pool)
    return family == pool_family and pool_first <= first and last <= pool_last


def count_inside(pool: str, length: int) -> int:
    """How many prefixes of ``length`` there are in ``pool``."""
    return 1 << (length - parse(pool).prefixlen)
