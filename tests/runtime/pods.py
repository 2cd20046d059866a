"""What a pod must be able to do, whichever client attached it."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from runtime.networks import RATE, SOMAXCONN, Network
from support.image import PAGE
from support.leftovers import assert_nothing_left, snapshot
from support.node import LAN, NODE_ADDRESSES, CommandFailed, Node, wait_for

HOST_PORT = 8080
"""The node's port that is mapped to the first pod's web server."""


@dataclass(frozen=True)
class Pod:
    """A pod that serves PAGE on port 80."""

    name: str
    netns: str
    """Path, inside the node, of its network namespace."""
    addresses: tuple[str, ...]
    """What the runtime says its addresses are."""


class Client(Protocol):
    """A runtime, or a tool, that attaches pods to the node's network."""

    maps_ports: bool
    """Whether it passes port mappings to the plugins."""

    def attach(self, name: str, host_port: int | None = None) -> Pod: ...

    def detach(self, pod: Pod) -> None: ...


def life_of_two_pods(node: Node, client: Client, network: Network) -> None:
    """Two pods come, reach everything that they should, and go without a trace."""
    before = snapshot(node)
    mapped = network.port_mapping and client.maps_ports
    first = client.attach("first", HOST_PORT if mapped else None)
    second = client.attach("second")
    for pod in (first, second):
        assert_addresses(node, pod)
        assert_node_reaches(node, pod)
    assert len({*first.addresses, *second.addresses}) == 4, "addresses are not unique"
    assert_pod_reaches(node, first, second)
    assert_pod_reaches(node, second, first)
    if mapped:
        assert page(node, NODE_ADDRESSES[0], HOST_PORT, netns=LAN) == PAGE
        assert page(node, NODE_ADDRESSES[1], HOST_PORT, netns=LAN) == PAGE
    if len(network.plugins) > 1:
        assert_chain_worked(node, first)
    client.detach(first)
    assert_node_reaches(node, second)
    client.detach(second)
    assert_nothing_left(node, before, network.residue)


def assert_addresses(node: Node, pod: Pod) -> None:
    """Its eth0 has just the addresses that the runtime was told."""
    listed = node.run("ip", "-j", "address", "show", "dev", "eth0", netns=pod.netns).stdout
    (link,) = json.loads(listed)
    found = {one["local"] for one in link["addr_info"] if one["scope"] == "global"}
    assert found == set(pod.addresses)


def assert_node_reaches(node: Node, pod: Pod) -> None:
    """Ping and TCP from the node to each address of the pod."""
    for address in pod.addresses:
        ping(node, address)
        wait_for(f"{pod.name}'s web server at {address}", partial(_serves, node, address))


def assert_pod_reaches(node: Node, pod: Pod, other: Pod) -> None:
    """Ping from a pod to its node and to another pod, and TCP to that."""
    for address in (*NODE_ADDRESSES, *other.addresses):
        ping(node, address, netns=pod.netns)
    for address in other.addresses:
        assert page(node, address, netns=pod.netns) == PAGE


def assert_chain_worked(node: Node, pod: Pod) -> None:
    """What the reference tuning and bandwidth plugins do behind ours is in force."""
    somaxconn = node.run("cat", "/proc/sys/net/core/somaxconn", netns=pod.netns).stdout
    assert int(somaxconn) == SOMAXCONN
    shaped = [
        qdisc
        for qdisc in json.loads(node.run("tc", "-j", "qdisc").stdout)
        if qdisc["kind"] == "tbf" and qdisc["options"]["rate"] == RATE // 8
    ]
    assert shaped, "no interface of the node has the pod's rate limit"


def assert_detached(node: Node, netns: str) -> None:
    """DEL took the pod's interface; the end of the namespace would have hidden it if not."""
    links = json.loads(node.run("ip", "-j", "link", netns=netns).stdout)
    assert "eth0" not in [link["ifname"] for link in links]


def ping(node: Node, address: str, netns: str | None = None) -> None:
    node.run("ping", "-n", "-c", "1", "-W", "5", address, netns=netns)


def page(node: Node, address: str, port: int = 80, netns: str | None = None) -> str:
    """What the web server at ``address`` answers."""
    host = f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
    # Not by wget's own -T: Debian's static busybox crashes on it.
    get = ("timeout", "5", "busybox", "wget", "-q", "-O", "-", f"http://{host}:{port}/")
    return node.run(*get, netns=netns).stdout


def _serves(node: Node, address: str) -> bool:
    try:
        return page(node, address) == PAGE
    except CommandFailed:
        return False
