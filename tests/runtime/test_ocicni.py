"""Pods under ocicni, the library by which CRI-O attaches its pods.

It is the one client here that sends CHECK (for a pod's status), STATUS and GC.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from runtime.networks import MODERN, NETWORKS, POLICED, Network
from runtime.pods import Pod, assert_detached, life_of_two_pods
from runtime.policies import life_under_policies
from support.image import PAGE
from support.leftovers import assert_nothing_left, snapshot
from support.needs import RUNTIMES, needs
from support.node import PLUGIN_DIR, Daemon, Node

OCICNI = str(RUNTIMES / "bin" / "ocicni")

pytestmark = needs(OCICNI, "busybox", "iptables", f"{PLUGIN_DIR}/portmap")
every_network = pytest.mark.parametrize("network", [*NETWORKS, MODERN], ids=str, indirect=True)


class Ocicni:
    """Pods are named network namespaces, as CRI-O's are, in which a web server runs."""

    maps_ports = True

    def __init__(self, node: Node, network: Network) -> None:
        self._node = node
        self._network = network
        self._servers: dict[str, Daemon] = {}
        self._descriptions: dict[str, dict[str, object]] = {}
        node.write("/run/www/index.html", PAGE)

    def call(self, verb: str, *names: str) -> list[str]:
        """One request for the pods of these names; the addresses in the answer."""
        pods = json.dumps([self._descriptions[name] for name in names])
        call = (OCICNI, verb, self._network.name, PLUGIN_DIR)
        answer = self._node.run(*call, stdin=pods).stdout
        found: list[str] = json.loads(answer)
        return found

    def attach(self, name: str, host_port: int | None = None) -> Pod:
        netns = f"/run/netns/{name}"
        self._node.run("ip", "netns", "add", name)
        mapping = {"hostPort": host_port, "containerPort": 80, "protocol": "tcp"}
        runtime_config = {self._network.name: {"PortMappings": [mapping]}} if host_port else {}
        self._descriptions[name] = {
            "Name": name,
            "Namespace": "default",
            "ID": f"id-{name}",
            "UID": f"uid-{name}",
            "NetNS": netns,
            "RuntimeConfig": runtime_config,
        }
        addresses = self.call("attach", name)
        if self._network.checks:
            assert self.call("status", name) == addresses
        serve = ("busybox", "httpd", "-f", "-p", "80", "-h", "/run/www")
        self._servers[name] = self._node.start(name, "nsenter", f"--net={netns}", *serve)
        return Pod(name, netns, tuple(addresses))

    def detach(self, pod: Pod) -> None:
        self.call("detach", pod.name)
        assert_detached(self._node, pod.netns)
        self.forget(pod)

    def forget(self, pod: Pod) -> None:
        """The pod vanishes with its namespace."""
        self._servers.pop(pod.name).stop()
        del self._descriptions[pod.name]
        self._node.run("ip", "netns", "delete", pod.name)


@pytest.fixture
def client(node: Node, network: Network) -> Ocicni:
    return Ocicni(node, network)


@every_network
def test_two_pods_come_and_go(node: Node, client: Ocicni, network: Network) -> None:
    life_of_two_pods(node, client, network)


@every_network
def test_gc_removes_what_a_vanished_pod_left(node: Node, client: Ocicni, network: Network) -> None:
    """After a pod that went without DEL, GC leaves only the pod that is still valid."""
    valid = client.attach("valid")
    before = snapshot(node)
    client.forget(client.attach("vanished"))
    client.call("gc", "valid")
    assert_nothing_left(node, before, network.residue)
    client.detach(valid)


@pytest.mark.parametrize("network", POLICED, ids=str, indirect=True)
def test_policies_are_in_force(
    node: Node, client: Ocicni, network: Network, cnidaria: Callable[..., str]
) -> None:
    life_under_policies(node, client, network, cnidaria)
