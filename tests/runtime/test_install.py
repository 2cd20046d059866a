"""Installed on a node, used, and taken away again: the node is as it was."""

from __future__ import annotations

import pytest

from runtime.cnitool import CNITOOL, Cnitool
from runtime.conftest import CNIDARIA, start_agent
from runtime.networks import NETWORKS, OVERLAY, Network
from support.leftovers import assert_nothing_left, snapshot
from support.needs import needs
from support.node import PLUGIN_DIR, CommandFailed, Node

pytestmark = needs(CNITOOL, "busybox", "iptables", f"{PLUGIN_DIR}/portmap")


@pytest.mark.parametrize("network", [*NETWORKS[:2], OVERLAY], ids=str)
def test_uninstall_leaves_the_node_as_it_was(network: Network) -> None:
    with Node() as node:
        network.write(node)
        plugins = sorted(path.name for path in node.path(PLUGIN_DIR).iterdir())
        before = snapshot(node)
        node.run(CNIDARIA, "install", f"--bin-dir={PLUGIN_DIR}")
        agent = start_agent(node)
        client = Cnitool(node, network)
        pod = client.attach("first")
        with pytest.raises(CommandFailed, match="the agent runs"):
            node.run(CNIDARIA, "uninstall", f"--bin-dir={PLUGIN_DIR}")
        agent.stop()
        with pytest.raises(CommandFailed, match="1 pods are attached"):
            node.run(CNIDARIA, "uninstall", f"--bin-dir={PLUGIN_DIR}")
        client.detach(pod)
        node.run(CNIDARIA, "uninstall", f"--bin-dir={PLUGIN_DIR}")
        assert_nothing_left(node, before)
        assert sorted(path.name for path in node.path(PLUGIN_DIR).iterdir()) == plugins
        assert not node.path("/run/cnidaria").exists()
