"""Pods under containerd's CRI, as the kubelet makes them: run, stop and remove a sandbox.

StopPodSandbox sends DEL with the namespace and the previous result, RemovePodSandbox a second DEL
with neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.containerd import SOCKET, start_containerd
from runtime.cri import API, Cri
from runtime.networks import POLICED, Network
from runtime.pods import life_of_two_pods
from runtime.policies import APPS, life_under_policies
from support.leftovers import NETWORK_KINDS, assert_nothing_left, snapshot
from support.needs import needs
from support.node import PLUGIN_DIR, Node, wait_for

pytestmark = needs(
    "containerd", "ctr", "runc", "busybox", "iptables", f"{PLUGIN_DIR}/portmap", str(API)
)


@pytest.fixture
def client(node: Node, image: Path) -> Iterator[Cri]:
    start_containerd(node, image, "k8s.io")
    with Cri(node, SOCKET) as cri:
        wait_for("containerd's network", cri.network_ready)
        yield cri


def test_two_pods_come_and_go(node: Node, client: Cri, network: Network) -> None:
    life_of_two_pods(node, client, network)


def test_a_stopped_sandbox_has_no_network(node: Node, client: Cri, network: Network) -> None:
    """All is gone after the stop already, and the remove, after the interface, succeeds."""
    before = snapshot(node)
    pod = client.attach("stopped")
    client.stop(pod)
    assert_nothing_left(node, before, network.residue, NETWORK_KINDS)
    client.stop(pod)
    client.remove(pod)
    assert_nothing_left(node, before, network.residue)


@pytest.mark.parametrize("network", POLICED, ids=str, indirect=True)
def test_policies_are_in_force(
    node: Node, client: Cri, network: Network, cnidaria: Callable[..., str]
) -> None:
    life_under_policies(node, client, network, cnidaria)


@pytest.mark.parametrize("network", POLICED[:1], ids=str, indirect=True)
def test_labels_of_annotations(
    node: Node, client: Cri, network: Network, cnidaria: Callable[..., str]
) -> None:
    """Where no file knows the pods, what their annotation says are their labels."""
    client.annotations = {app: {"cnidaria.io/labels": f"app={app},tier=1"} for app in APPS}
    life_under_policies(node, client, network, cnidaria, labelled=False)
