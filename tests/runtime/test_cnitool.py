"""Pods under cnitool, CNI's own command line: every verb as libcni sends it."""

from __future__ import annotations

import pytest

from runtime.cnitool import CNITOOL, Cnitool
from runtime.networks import MODERN, NETWORKS, OVERLAY, Network
from runtime.pods import life_of_two_pods
from support.leftovers import assert_nothing_left, snapshot
from support.needs import needs
from support.node import PLUGIN_DIR, Node

pytestmark = [
    needs(CNITOOL, "busybox", "iptables", f"{PLUGIN_DIR}/portmap"),
    pytest.mark.parametrize("network", [*NETWORKS, MODERN, OVERLAY], ids=str, indirect=True),
]


@pytest.fixture
def client(node: Node, network: Network) -> Cnitool:
    return Cnitool(node, network)


def test_two_pods_come_and_go(node: Node, client: Cnitool, network: Network) -> None:
    life_of_two_pods(node, client, network)


def test_del_twice_and_without_the_namespace(node: Node, client: Cnitool, network: Network) -> None:
    """The second DEL has no cached result any more, and the namespace is gone."""
    before = snapshot(node)
    pod = client.attach("gone")
    client.detach(pod)
    client.call("del", pod.netns)
    assert_nothing_left(node, before, network.residue)
