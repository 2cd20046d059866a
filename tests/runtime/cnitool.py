"""Pods by cnitool: libcni's command line."""

from __future__ import annotations

import json

from runtime.networks import Network
from runtime.pods import Pod, assert_detached
from support.image import PAGE
from support.needs import RUNTIMES
from support.node import PLUGIN_DIR, Daemon, Node

CNITOOL = str(RUNTIMES / "bin" / "cnitool")
"""The program itself."""


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
        if self._network.has_status:
            self.call("status", netns)
        result = json.loads(self.call("add", netns))
        if self._network.checks:
            self.call("check", netns)
        serve = ("busybox", "httpd", "-f", "-p", "80", "-h", "/run/www")
        self._servers[name] = self._node.start(name, "nsenter", f"--net={netns}", *serve)
        return Pod(name, netns, tuple(ip["address"].split("/")[0] for ip in result["ips"]))

    def detach(self, pod: Pod) -> None:
        self._servers.pop(pod.name).stop()
        self.call("del", pod.netns)
        assert_detached(self._node, pod.netns)
        self._node.run("ip", "netns", "delete", pod.name)
