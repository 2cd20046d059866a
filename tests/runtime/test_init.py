"""What ``cnidaria init`` prints and the directory of a network, taken as they are by cnitool."""

from __future__ import annotations

import json

import pytest

from runtime.cnitool import CNITOOL, Cnitool
from runtime.conftest import CNIDARIA, start_agent
from runtime.networks import FLAT, Network
from support.needs import needs
from support.node import PLUGIN_DIR, Node

pytestmark = needs(CNITOOL, "busybox", "iptables", f"{PLUGIN_DIR}/portmap")

ALONE = Network("alone", (FLAT,), cni_version="1.1.0")
CHAINED = Network("chained", (), checks=False)
"""The reference portmap's CHECK does not know two address families."""


@pytest.mark.parametrize(
    ("options", "network"), [([], ALONE), (["--portmap"], CHAINED)], ids=["alone", "portmap"]
)
def test_init(options: list[str], network: Network) -> None:
    with Node() as node:
        node.run(CNIDARIA, "install", f"--bin-dir={PLUGIN_DIR}")
        subnets = ("--subnet", "10.22.0.0/24", "--subnet", "fd00:22::/64")
        text = node.run(CNIDARIA, "init", "flat", *subnets, *options).stdout
        node.write("/etc/cni/net.d/10-pods.conflist", text)
        client = Cnitool(node, network)
        pod = client.attach("first", 8080 if options else None)
        assert len(pod.addresses) == 2
        client.detach(pod)


def test_plugins_in_the_directory_named_after_the_network() -> None:
    with Node() as node:
        node.run(CNIDARIA, "install", f"--bin-dir={PLUGIN_DIR}")
        node.write(
            "/etc/cni/net.d/10-pods.conflist", json.dumps({"cniVersion": "1.1.0", "name": "pods"})
        )
        node.write("/etc/cni/net.d/pods/10-flat.conf", json.dumps(FLAT))
        start_agent(node)
        told = json.loads(node.run(CNIDARIA, "status", "--json").stdout)
        assert told["networks"].keys() == {"pods"}
        client = Cnitool(node, ALONE)
        client.detach(client.attach("first"))
