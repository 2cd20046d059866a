"""What a request says of a pod: who it is, and by what the node is connected to it."""

from __future__ import annotations

import pytest

from cnidaria import Result
from cnidaria.cni.records import Interface
from cnidaria_policy import host_side, pod_name


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"K8S_POD_NAMESPACE": "shop", "K8S_POD_NAME": "web"}, ("shop", "web")),
        ({"K8S_POD_NAME": "web"}, ("default", "web")),
        ({"K8S_POD_NAMESPACE": "shop"}, ("shop", "c0ffee")),
        ({"K8S_POD_NAMESPACE": "", "K8S_POD_NAME": ""}, ("default", "c0ffee")),
        ({}, ("default", "c0ffee")),
    ],
    ids=["Kubernetes", "podman", "no name", "empty", "nothing"],
)
def test_who_a_pod_is(args: dict[str, str], expected: tuple[str, str]) -> None:
    assert pod_name(args, "c0ffee") == expected


@pytest.mark.parametrize(
    ("interfaces", "expected"),
    [
        ("br0 veth1 eth0@pod", "veth1"),
        ("veth1 eth0@pod", "veth1"),
        ("br0 veth1 eth0@pod bwp7", "veth1"),
        ("eth0@pod veth1", "veth1"),
        ("veth0 eth0@pod veth1 net1@pod", "veth0"),
        ("eth0@pod", ""),
        ("", ""),
    ],
)
def test_the_nodes_end_of_a_pods_link(interfaces: str, expected: str) -> None:
    """Of the bridge plugin, ptp, bridge and bandwidth, others."""
    made = []
    for one in interfaces.split():
        name, _, sandbox = one.partition("@")
        made.append(Interface(name, sandbox=sandbox))
    assert host_side(Result(interfaces=tuple(made)), "eth0") == expected
