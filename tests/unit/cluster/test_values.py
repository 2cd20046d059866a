"""What nodes may say of themselves, and what a conflist may say about the cluster."""

from __future__ import annotations

import os
from typing import Any

import pytest

from cnidaria.cluster import ClusterConfig, ClusterView, NodeNetwork, NodeRecord
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.fields import decode


@pytest.mark.parametrize("prefix", ["10.1.0.1/24", "10.1.0.0", "10.1.0.0/33", "FD00::/64", "x"])
def test_a_prefix_that_is_none(prefix: str) -> None:
    with pytest.raises(ValueError, match=prefix):
        NodeNetwork((prefix,))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"expiry": 0}, "expiry"),
        ({"expiry": float("nan")}, "expiry"),
        ({"addresses": {4: "fd00::1"}}, "fd00::1"),
        ({"addresses": {6: "FD00::1"}}, "FD00::1"),
        ({"networks": {"a/b": NodeNetwork()}}, "a/b"),
    ],
)
def test_a_node_that_cannot_be(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        NodeRecord(**{"name": "n1", "incarnation": "1", **fields})


def test_peers_are_the_others_of_the_network() -> None:
    pods = {"pods": NodeNetwork(("10.1.0.0/24",))}
    nodes = [NodeRecord(name, "1", networks=pods) for name in ("n2", "n1", "n3")]
    view = ClusterView({node.name: node for node in [*nodes, NodeRecord("n4", "1")]})
    assert [node.name for node, _ in view.peers("pods", "n1")] == ["n2", "n3"]


def test_the_key_cluster() -> None:
    raw = {
        "store": "sqlite:/c.db",
        "NODE": "n1",
        "addresses": ["192.0.2.1", "fd00::1"],
        "expiry": 9,
    }
    config = decode(ClusterConfig, raw, "test")
    assert config.node_name == "n1" and config.addresses == ("192.0.2.1", "fd00::1")
    assert decode(ClusterConfig, {"store": "sqlite:/c.db"}, "test").node_name == os.uname().nodename


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("store", "/no/scheme"),
        ("store", "sqlite:"),
        ("node", ""),
        ("addresses", ["192.0.2.1", "192.0.2.2"]),
        ("addresses", ["192.0.2.300"]),
        ("expiry", 0.5),
        ("nodeName", "n1"),
    ],
)
def test_the_key_cluster_wrong(key: str, value: Any) -> None:
    with pytest.raises(CniError, match=key) as caught:
        decode(ClusterConfig, {"store": "sqlite:/c.db", key: value}, "test")
    assert caught.value.code == Code.INVALID_CONFIG
