"""Pods under podman with its CNI backend.

It calls VERSION with a namespace, an interface and a path that are all just ``dummy``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.networks import POLICED, Network
from runtime.pods import Pod, assert_addresses, assert_node_reaches, life_of_two_pods
from runtime.policies import life_under_policies
from support.image import NAME
from support.leftovers import assert_nothing_left, snapshot
from support.needs import needs
from support.node import PLUGIN_DIR, Node

CONFIG = "/run/containers.conf"
LAST_WITH_CNI = 4
"""Major version of the last podman that can be built with the CNI backend."""

# Limits that podman asks for by itself may be more than the test's own process may have.
_CONFIG = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
[network]
network_backend = "cni"
network_config_dir = "/etc/cni/net.d"
cni_plugin_dirs = ["{plugins}"]
"""

pytestmark = needs("podman", "conmon", "runc", "busybox", "iptables", f"{PLUGIN_DIR}/portmap")


class Podman:
    """Containers on the network, with podman's storage and state in the node."""

    maps_ports = True

    def __init__(self, node: Node, network: Network) -> None:
        self._node = node
        self._network = network
        node.write(CONFIG, _CONFIG.format(plugins=PLUGIN_DIR))

    def call(self, *argv: str) -> str:
        storage = f"{self._node.dir}/podman"
        places = (f"--root={storage}/root", f"--runroot={storage}/run", "--storage-driver=vfs")
        tools = ("--runtime=runc", f"--tmpdir={storage}/tmp")
        env = {"CONTAINERS_CONF": CONFIG, "HOME": storage}
        return self._node.run("podman", *places, *tools, *argv, env=env).stdout

    def attach(self, name: str, host_port: int | None = None) -> Pod:
        where = (f"--network={self._network.name}", f"--cgroup-parent=/{self._node.cgroup}")
        publish = (f"--publish={host_port}:80",) if host_port else ()
        self.call("run", "--detach", f"--name={name}", *where, *publish, NAME)
        return self.inspect(name)

    def inspect(self, name: str) -> Pod:
        """The pod as podman describes it."""
        (container,) = json.loads(self.call("inspect", name))
        settings = container["NetworkSettings"]
        network = settings["Networks"][self._network.name]
        addresses = (network["IPAddress"], network["GlobalIPv6Address"])
        return Pod(name, settings["SandboxKey"], addresses)

    def detach(self, pod: Pod) -> None:
        self.call("rm", "--force", "--time=0", pod.name)


@pytest.fixture
def client(node: Node, network: Network, image: Path) -> Podman:
    podman = Podman(node, network)
    version = podman.call("version", "--format={{.Client.Version}}")
    if int(version.split(".")[0]) > LAST_WITH_CNI:
        pytest.skip(f"podman {version.strip()} has no CNI backend: {LAST_WITH_CNI} was the last")
    podman.call("load", f"--input={image}")
    return podman


def test_two_pods_come_and_go(node: Node, client: Podman, network: Network) -> None:
    life_of_two_pods(node, client, network)


def test_stopped_and_started_again(node: Node, client: Podman, network: Network) -> None:
    """A stop takes the network away, a start makes a new one for the same container."""
    before = snapshot(node)
    client.attach("again")
    client.call("stop", "--time=0", "again")
    client.call("start", "again")
    pod = client.inspect("again")
    assert_addresses(node, pod)
    assert_node_reaches(node, pod)
    client.detach(pod)
    assert_nothing_left(node, before, network.residue)


@pytest.mark.parametrize("network", POLICED, ids=str, indirect=True)
def test_policies_are_in_force(
    node: Node, client: Podman, network: Network, cnidaria: Callable[..., str]
) -> None:
    life_under_policies(node, client, network, cnidaria)
