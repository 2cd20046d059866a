"""Pods under cnitool, CNI's own command line: ADD, CHECK and DEL as libcni sends them."""

from __future__ import annotations

import json

import pytest

from runtime.networks import Network
from runtime.pods import Pod, life_of_two_pods
from support.image import PAGE
from support.leftovers import assert_nothing_left, snapshot
from support.needs import RUNTIMES, needs
from support.node import PLUGIN_DIR, Daemon, Node

CNITOOL = str(RUNTIMES / "bin" / "cnitool")

pytestmark = needs(CNITOOL, "busybox", "iptables", f"{PLUGIN_DIR}/portmap")


class Cnitool:
    """Pods are named network namespaces in which a web server runs."""

    maps_ports = True

    def __init__(self, node: Node, network: Network) -> None:
        self._node = node
        self._network = network
        self._servers: dict[str, Daemon] = {}
        self._host_ports: dict[str, int] = {}
        node.write("/run/www/index.html", PAGE)

    def call(self, verb: str, netns: str) -> str:
        env = {"CNI_PATH": PLUGIN_DIR, "NETCONFPATH": "/etc/cni/net.d"}
        if host_port := self._host_ports.get(netns):
            mapping = {"hostPort": host_port, "containerPort": 80, "protocol": "tcp"}
            env["CAP_ARGS"] = json.dumps({"portMappings": [mapping]})
        return self._node.run(CNITOOL, verb, self._network.name, netns, env=env).stdout

    def attach(self, name: str, host_port: int | None = None) -> Pod:
        netns = f"/run/netns/{name}"
        self._node.run("ip", "netns", "add", name)
        if host_port:
            self._host_ports[netns] = host_port
        result = json.loads(self.call("add", netns))
        if self._network.checks:
            self.call("check", netns)
        serve = ("busybox", "httpd", "-f", "-p", "80", "-h", "/run/www")
        self._servers[name] = self._node.start(name, "nsenter", f"--net={netns}", *serve)
        return Pod(name, netns, tuple(ip["address"].split("/")[0] for ip in result["ips"]))

    def detach(self, pod: Pod) -> None:
        self._servers.pop(pod.name).stop()
        self.call("del", pod.netns)
        self._node.run("ip", "netns", "delete", pod.name)


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
