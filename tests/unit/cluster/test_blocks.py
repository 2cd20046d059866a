"""Prefix arithmetic against its obvious twin: enumerating every subnet."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnidaria.cluster.blocks import count_inside, first_free, inside, overlapping

POOLS = ("10.1.0.0/26", "fd00:1::/122")


@st.composite
def prefixes(draw: st.DrawFn, pool: str) -> str:
    """A prefix in or around ``pool``."""
    network = ip_network(pool)
    length = draw(st.integers(network.prefixlen - 2, network.max_prefixlen))
    address = network.network_address + draw(st.integers(-64, 128))
    return str(ip_network((address, length), strict=False))


@given(st.data(), st.sampled_from(POOLS), st.integers(0, 6))
def test_first_free_is_the_first_subnet_that_overlaps_nothing(
    data: st.DataObject, pool: str, more: int
) -> None:
    taken = data.draw(st.lists(prefixes(pool), max_size=12))
    others = [prefix for other in POOLS if other != pool for prefix in [other]]
    length = ip_network(pool).prefixlen + more
    subnets = list(ip_network(pool).subnets(new_prefix=length))
    free = [
        str(subnet)
        for subnet in subnets
        if not any(subnet.overlaps(ip_network(prefix)) for prefix in taken)
    ]
    assert first_free(pool, length, [*taken, *others]) == (free[0] if free else None)
    assert count_inside(pool, length) == len(subnets)
    assert all(inside(str(subnet), pool) for subnet in subnets)


@given(st.lists(prefixes(POOLS[0]), max_size=5), st.lists(prefixes(POOLS[0]), max_size=5))
def test_overlapping_finds_a_pair_that_does(mine: list[str], theirs: list[str]) -> None:
    pairs = [(a, b) for a in mine for b in theirs if ip_network(a).overlaps(ip_network(b))]
    found = overlapping(mine, [*theirs, POOLS[1]])
    assert found in pairs if pairs else found is None


@pytest.mark.parametrize(
    ("pool", "length"), [("10.0.0.0/24", 23), ("10.0.0.0/24", 33), ("fd00::/64", 129)]
)
def test_a_length_that_the_pool_cannot_have(pool: str, length: int) -> None:
    with pytest.raises(ValueError, match=f"block length {length}: must be between"):
        first_free(pool, length, ())


def test_a_large_pool_costs_no_memory() -> None:
    assert first_free("fd00::/8", 64, ["fd00::/64"]) == "fd00:0:0:1::/64"
