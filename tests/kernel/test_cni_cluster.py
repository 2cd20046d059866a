"""Several nodes that share a cluster store: who lends which addresses, and who is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
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


def test_two_machines_of_one_name(nodes: tuple[CniNode, CniNode]) -> None:
    """The second one's block would be the first one's."""
    first, second = nodes
    pools = {"clusterPools": [{"prefix": "10.64.0.0/16"}]}
    store = {"store": f"sqlite:{first.dir}/cluster.db", "node": "a"}
    conf = network(uplink="up0", cluster=store, ipam=pools)
    for node in nodes:
        node.conflist(conf)
    second.pod("p1")
    taken = "node name 'a' is used by another living agent"
    with ExitStack() as one, ExitStack() as other:
        one.enter_context(first.agent())
        first.add("p1", conf)
        agent = other.enter_context(second.agent())
        wait_for("a complaint", lambda: taken in agent.log, 30)
        assert taken in second.call("STATUS", conf=conf).error(50)
        assert taken in second.call("ADD", "p1", conf).error(11)
        first.delete("p1", conf)
        one.close()
        first.cnidaria("uninstall", f"--bin-dir={first.bin}")
        wait_for("the name", lambda: second.call("STATUS", conf=conf).exit == 0, 30)
        second.add("p1", conf)


def test_the_nodes_of_a_cluster(nodes: tuple[CniNode, CniNode]) -> None:
    first, second = nodes
    store = f"sqlite:{first.dir}/cluster.db"
    pools = {"clusterPools": [{"prefix": "10.64.0.0/16"}]}
    confs = {
        name: network(uplink="up0", cluster={"store": store, "node": name}, ipam=pools)
        for name in ("a", "b")
    }

    def table(node: CniNode) -> list[list[str]]:
        return [line.split() for line in node.cnidaria("cluster").splitlines()[1:]]

    for node, name in zip(nodes, "ab", strict=True):
        node.conflist(confs[name])
    with first.agent():
        with second.agent():
            first.add("p1", confs["a"])
            second.add("p1", confs["b"])
            wait_for("both", lambda: [row[-1] for row in table(first)] == ["here", "lives"], 30)
            assert table(second)[0] == ["pods", "a", "192.0.2.1", "10.64.0.0/24", "lives"]
            assert "node 'b' lives" in first.cnidaria("cluster", "--forget", "b", exit=1)
            second.delete("p1", confs["b"])
        second.cnidaria("uninstall", f"--bin-dir={second.bin}")
        wait_for("b to go", lambda: [row[-1] for row in table(first)] == ["here", "away"], 30)
        assert table(first)[1] == ["pods", "b", "-", "10.64.1.0/24", "away"]
        assert "no node 'c' has blocks" in first.cnidaria("cluster", "--forget", "c", exit=1)
        said = first.cnidaria("cluster", "--forget", "b")
        assert said == "network pods: 10.64.1.0/24 is free\n"
        assert [row[1] for row in table(first)] == ["a"]
        assert json.loads(first.cnidaria("cluster", "--json"))[0]["blocks"] == ["10.64.0.0/24"]


def test_no_cluster(nodes: tuple[CniNode, CniNode]) -> None:
    nodes[0].conflist(network())
    assert nodes[0].cnidaria("cluster") == "no network of this node is part of a cluster\n"
