"""Two nodes of a cluster that would lend the same addresses: whoever comes second lends none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.cni import CniNode, network
from support.namespaces import make_uplink
from support.node import wait_for


@pytest.fixture
def nodes() -> Iterator[tuple[CniNode, CniNode]]:
    with CniNode() as first, CniNode() as second:
        make_uplink(first.host, "192.0.2.1/24")
        make_uplink(second.host, "192.0.2.2/24")
        yield first, second


def test_overlapping_subnets(nodes: tuple[CniNode, CniNode]) -> None:
    first, second = nodes
    store = f"sqlite:{first.dir}/cluster.db"

    def member(name: str, subnet: str) -> dict[str, Any]:
        cluster = {"store": store, "node": name}
        return network(uplink="up0", cluster=cluster, ipam={"subnet": subnet})

    here, there = member("a", "10.1.0.0/24"), member("b", "10.1.0.128/25")
    first.conflist(here)
    second.conflist(there)
    overlap = "10.1.0.128/25 of this node overlaps 10.1.0.0/24 of node 'a'; give each node"
    second.pod("p1")

    def assert_refused() -> None:
        assert overlap in second.call("STATUS", conf=there).error(50)
        with second.unchanged():
            assert overlap in second.call("ADD", "p1", there).error(11)

    with first.agent():
        first.add("p1", here)
        assert_refused()
        with second.agent() as agent:
            assert_refused()
            wait_for("a complaint", lambda: overlap in agent.log, 30)
            second.conflist(member("b", "10.1.1.0/24"))
            second.add("p1", member("b", "10.1.1.0/24"))
            wait_for("the route", lambda: "10.1.1.0/24 via 192.0.2.2" in first.ip("route"), 30)
        assert first.call("STATUS", conf=here).result() is None
