"""Prefix arithmetic against its obvious twin: enumerating every subnet."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from cnidaria.cluster.blocks import inside, overlapping

POOLS = ("10.1.0.0/26", "fd00:1::/122")


@st.composite
def prefixes(draw: st.DrawFn, pool: str) -> str:
    """A prefix in or around ``pool``."""
    network = ip_network(pool)
    length = draw(st.integers(network.prefixlen - 2, network.max_prefixlen))
    address = network.network_address + draw(st.integers(-64, 128))
    return str(ip_network((address, length), strict=False))


@given(st.lists(prefixes(POOLS[0]), max_size=5), st.lists(prefixes(POOLS[0]), max_size=5))
def test_overlapping_finds_a_pair_that_does(mine: list[str], theirs: list[str]) -> None:
    pairs = [(a, b) for a in mine for b in theirs if ip_network(a).overlaps(ip_network(b))]
    found = overlapping(mine, [*theirs, POOLS[1]])
    assert found in pairs if pairs else found is None


@given(st.data(), st.sampled_from(POOLS))
def test_inside_is_about_every_address(data: st.DataObject, pool: str) -> None:
    prefix = data.draw(prefixes(pool))
    assert inside(prefix, pool) is set(ip_network(prefix)).issubset(ip_network(pool))
    assert not any(inside(prefix, other) for other in POOLS if other != pool)
