"""Routes of the ``ipam`` section in flat and overlay: in the kernel, in the result, used."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cni import CniNode, network
from support.namespaces import run

RANGES = [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]]
V4 = {"dst": "172.16.0.0/12", "mtu": 1400, "advmss": 1300, "priority": 77, "table": 100}
V6 = {"dst": "fd99::/64", "mtu": 1300, "advmss": 1200, "priority": 77, "table": 300}
BEHIND = "198.51.100.1"
"""An address that the node has, where a pod gets by its routes only."""


@pytest.fixture(scope="module")
def node() -> Iterator[CniNode]:
    with CniNode() as node:
        node.ip("link add up0 type veth peer name up1")
        node.ip("address add 192.0.2.2/24 dev up0")
        node.ip("link set up0 up")
        node.ip("link set up1 up")
        node.ip("route add default via 192.0.2.1")
        node.ip(f"address add {BEHIND}/32 dev lo")
        yield node


def routed(*routes: dict[str, Any], ranges: Any = RANGES, **changes: Any) -> dict[str, Any]:
    return network(ipam={"ranges": ranges, "routes": routes}, **changes)


def in_pod(node: CniNode, family: int, table: int) -> list[dict[str, Any]]:
    listed = json.loads(node.pod_ip("p1", f"-j -d -{family} route show table {table}"))
    return [{**route, **dict(ChainMap(*route.get("metrics", ())))} for route in listed]


@pytest.mark.parametrize("type_", ["cnidaria-flat", "cnidaria-overlay"])
def test_every_key_of_a_route(node: CniNode, type_: str) -> None:
    conf = routed({**V4, "gw": "10.1.0.77"}, V6, type=type_)
    result = node.add("p1", conf)
    assert {**V4, "gw": "10.1.0.77"} in result["routes"]
    assert {**V6, "gw": "fe80::1"} in result["routes"]
    for family, wanted, gateway in ((4, V4, "10.1.0.77"), (6, V6, "fe80::1")):
        (found,) = in_pod(node, family, wanted["table"])
        assert {key: found[key] for key in ("dst", "mtu", "advmss", "gateway", "metric")} == {
            "dst": wanted["dst"],
            "mtu": wanted["mtu"],
            "advmss": wanted["advmss"],
            "gateway": gateway,
            "metric": wanted["priority"],
        }
    assert node.call("CHECK", "p1", conf).result() is None
    node.pod_ip("p1", "route del 172.16.0.0/12 table 100")
    assert "route 172.16.0.0/12 via 10.1.0.77" in node.call("CHECK", "p1", conf).error(105)
    node.delete("p1", conf)


def test_the_node_answers_for_every_next_hop(node: CniNode) -> None:
    behind = {"dst": f"{BEHIND}/32", "gw": "10.1.0.77"}
    conf = routed(behind, {"dst": "10.0.0.0/8", "scope": 253}, defaultRoute=False)
    result = node.add("p1", conf)
    assert result["routes"] == [behind, {"dst": "10.0.0.0/8", "scope": 253}]
    assert "gateway" not in result["ips"][0]
    run(node.pods["p1"], "ping", "-c1", "-W5", BEHIND)
    node.delete("p1", conf)


def test_one_destination_several_times(node: CniNode) -> None:
    dst = "10.0.0.0/8"
    conf = routed(
        {"dst": dst}, {"dst": dst}, {"dst": dst, "priority": 10}, {"dst": dst, "table": 100}
    )
    node.add("p1", conf)
    assert [route.get("metric") for route in in_pod(node, 4, 254) if route["dst"] == dst] == [
        None,
        10,
    ]
    assert node.call("CHECK", "p1", conf).result() is None
    node.delete("p1", conf)


def test_a_default_route_of_the_section_comes_before_the_mode_s_own(node: CniNode) -> None:
    conf = routed({"dst": "0.0.0.0/0", "gw": "10.1.0.77", "priority": 5})
    result = node.add("p1", conf)
    assert result["ips"][0]["gateway"] == "10.1.0.77"
    assert [route["dst"] for route in result["routes"]] == ["::/0", "0.0.0.0/0"]
    run(node.pods["p1"], "ping", "-c1", "-W5", BEHIND)
    node.delete("p1", conf)


@pytest.mark.parametrize(
    ("routes", "says"),
    [
        ([{"dst": "fd99::/64"}], 'ipam.routes[0].dst = "fd99::/64": the pod has no IPv6'),
        ([{"dst": "10.0.0.0/8"}, {"dst": "10.0.0.0/8", "mtu": 1400}], "ipam.routes[1].dst"),
        ([{"dst": "10.0.0.0/8", "gw": "fd00::1"}], "ipam.routes[0].gw"),
        ([{"dst": "10.0.0.0/8", "gw": "10.1.0.1", "scope": 253}], "ipam.routes[0].scope"),
    ],
)
def test_what_cannot_be(node: CniNode, routes: list[dict[str, Any]], says: str) -> None:
    conf = routed(*routes, ranges=RANGES[:1])
    node.pod("p1")
    with node.unchanged():
        assert says in node.call("ADD", "p1", conf).error(7)
        assert says in node.call("STATUS", conf=conf).error(7)


def foreign(node: CniNode, answer: dict[str, Any], name: str = "odd") -> dict[str, Any]:
    """A network whose IPAM plugin answers so, and writes down the verbs it is called with."""
    text = json.dumps({"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.5/16"}], **answer})
    file = node.bin / name
    file.write_text(
        f"#!/bin/sh\ncat >/dev/null\necho $CNI_COMMAND >>{node.dir}/log\n"
        f"[ $CNI_COMMAND = ADD ] || exit 0\ncat <<EOF\n{text}\nEOF\n"
    )
    file.chmod(0o755)
    (node.dir / "log").write_text("")
    return network(cniVersion="1.0.0", ipam={"type": name})


def called(node: CniNode) -> list[str]:
    return Path(node.dir, "log").read_text().split()


def test_routes_of_another_ipam_plugin(node: CniNode) -> None:
    conf = foreign(
        node,
        {"routes": [{"dst": "10.0.0.1/8"}, {"dst": "0.0.0.0/0", "gw": "10.9.0.1", "mtu": 1400}]},
    )
    result = node.add("p1", conf)
    assert result["routes"] == [
        {"dst": "10.0.0.0/8", "gw": "169.254.1.1"},
        {"dst": "0.0.0.0/0", "gw": "10.9.0.1", "mtu": 1400},
    ]
    run(node.pods["p1"], "ping", "-c1", "-W5", BEHIND)
    node.delete("p1", conf)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"routes": [{"dst": "fd99::/64"}]}, "result of odd.routes[0].dst"),
        ({"routes": [{"dst": "10.0.0.0/8", "priority": -1}]}, "result of odd.routes[0].priority"),
        (
            {"ips": [{"address": "10.9.0.5/16"}, {"address": "10.9.0.5/24"}]},
            "result of odd: has the address 10.9.0.5 twice",
        ),
    ],
)
def test_nonsense_of_another_ipam_plugin(node: CniNode, answer: Any, says: str) -> None:
    conf = foreign(node, answer)
    node.pod("p1")
    with node.unchanged():
        assert says in node.call("ADD", "p1", conf).error(108)
    assert called(node) == ["ADD", "DEL"], "what it has given is given back"
