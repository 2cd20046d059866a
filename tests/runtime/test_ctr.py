"""Pods under ``ctr run --cni``: containerd's own client, which calls the plugins itself.

It reads /etc/cni/net.d, names the namespace as /proc/PID/ns/net, and sends DEL without one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.containerd import SOCKET, ctr, start_containerd
from runtime.networks import POLICED, Network
from runtime.pods import Pod, life_of_two_pods
from runtime.policies import life_under_policies
from support.image import NAME
from support.needs import needs
from support.node import PLUGIN_DIR, Daemon, Node, wait_for

NAMESPACE = "default"

pytestmark = needs("containerd", "ctr", "runc", "busybox", "iptables", f"{PLUGIN_DIR}/portmap")


class Ctr:
    """Containers in the foreground of a ctr each."""

    maps_ports = False

    def __init__(self, node: Node) -> None:
        self._node = node
        self._runs: dict[str, Daemon] = {}

    def attach(self, name: str, host_port: int | None = None) -> Pod:
        assert host_port is None, "ctr cannot map ports"
        run = ("run", "--rm", "--cni", "--cgroup", f"/{self._node.cgroup}/{name}", NAME, name)
        self._runs[name] = self._node.start(name, "ctr", "--address", SOCKET, *run)
        self._runs[name].wait_until(lambda: self._pid(name) is not None)
        cached = next(self._node.path("/var/lib/cni/results").glob(f"*-{NAMESPACE}-{name}-eth0"))
        ips = json.loads(cached.read_text())["result"]["ips"]
        addresses = tuple(ip["address"].split("/")[0] for ip in ips)
        return Pod(name, f"/proc/{self._pid(name)}/ns/net", addresses)

    def detach(self, pod: Pod) -> None:
        ctr(self._node, "task", "kill", "--signal", "SIGKILL", pod.name)
        run = self._runs.pop(pod.name)
        wait_for(f"the end of ctr run {pod.name}", lambda: not run.running())

    def _pid(self, name: str) -> int | None:
        """Process id of the running container."""
        tasks = self._node.run("ctr", "--address", SOCKET, "task", "list").stdout.split("\n")
        for task in map(str.split, tasks):
            if task and task[0] == name and task[2] == "RUNNING":
                return int(task[1])
        return None


@pytest.fixture
def client(node: Node, image: Path) -> Ctr:
    start_containerd(node, image, NAMESPACE)
    return Ctr(node)


def test_two_pods_come_and_go(node: Node, client: Ctr, network: Network) -> None:
    life_of_two_pods(node, client, network)


@pytest.mark.parametrize("network", POLICED, ids=str, indirect=True)
def test_policies_are_in_force(
    node: Node, client: Ctr, network: Network, cnidaria: Callable[..., str]
) -> None:
    life_under_policies(node, client, network, cnidaria, f"{NAMESPACE}-{{}}")
