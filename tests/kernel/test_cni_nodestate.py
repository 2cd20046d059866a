"""What networks have on the node itself: it comes with the first pod and goes with the last."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cnidaria.kernel.netns import NetNS
from support.cni import CniNode, network
from support.namespaces import make_uplink, new_namespace
from support.node import wait_for

OVERLAY: dict[str, Any] = network(type="cnidaria-overlay", uplink="up0")

DIE_WITH_THE_NODES_PART = """
import json, os, sys
from cnidaria.cni.config import NetConf
from cnidaria.kernel.netns import NetNS
from cnidaria.node.settings import Settings
from cnidaria.node.state import open_state
from cnidaria.plugins import load

with open_state(Settings.from_env(), load(), 5) as state, NetNS.current() as host:
    network = state.networks.open(NetConf.parse(sys.argv[1].encode(), "ADD"), host)
    with state.networks.in_use(network, host):
        state.networks.bring_up(network, host)
        os._exit(9)
"""


@pytest.fixture
def node() -> Iterator[CniNode]:
    with CniNode() as node:
        make_uplink(node.host, "192.168.7.1/24")
        yield node


@contextmanager
def sleeping_in(namespace: NetNS) -> Iterator[None]:
    """A process by which the namespace can be found."""
    process = namespace.run(subprocess.Popen, ["sleep", "60"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def killed_after_bring_up(node: CniNode, host: NetNS) -> None:
    died = host.run(
        subprocess.run,
        [sys.executable, "-c", DIE_WITH_THE_NODES_PART, json.dumps(OVERLAY)],
        env={"CNIDARIA_STATE_DIR": str(node.settings.state_dir)},
        check=False,
        timeout=60,
    )
    assert died.returncode == 9


def test_a_run_that_died_before_it_had_a_pod(node: CniNode) -> None:
    node.delete("none", OVERLAY)
    killed_after_bring_up(node, node.host)
    assert any("vx-" in one for one in node.owned())
    node.delete("none", network())
    assert node.owned() == []


def test_the_same_in_the_namespace_of_another_caller(node: CniNode) -> None:
    with new_namespace() as caller, sleeping_in(caller):
        make_uplink(caller, "192.168.7.9/24")
        killed_after_bring_up(node, caller)
        assert any("vx-" in one for one in node.owned(caller))
        with node.agent():
            assert node.owned(caller) == []
        killed_after_bring_up(node, caller)
    node.delete("none")
    assert node.owned() == []


@pytest.mark.parametrize("agent", [True, False], ids=["agent", "one-shot"])
def test_a_configuration_that_changed_meanwhile(node: CniNode, agent: bool) -> None:
    """What the first one wanted goes, too."""
    changed = OVERLAY | {"vni": 7, "mtu": 1400, "masquerade": True}
    node.add("p1", changed)
    node.add("p2", OVERLAY)
    if agent:
        with node.agent():
            node.delete("p1", OVERLAY)
            assert any("vx-" in one for one in node.owned())
            node.delete("p2", OVERLAY)
            assert node.owned() == []
    else:
        node.delete("p1", OVERLAY)
        assert any("vx-" in one for one in node.owned())
        node.delete("p2", OVERLAY)
    assert node.owned() == []


@pytest.mark.parametrize("agent", [True, False], ids=["agent", "one-shot"])
def test_what_two_networks_share_goes_with_the_last(node: CniNode, agent: bool) -> None:
    halves = [
        network(name=name, ipam={"subnet": "10.1.0.0/24", "rangeStart": first, "rangeEnd": last})
        for name, first, last in (("a", "10.1.0.10", "10.1.0.19"), ("b", "10.1.0.20", "10.1.0.29"))
    ]
    if agent:
        with node.agent():
            shared(node, halves)
    else:
        shared(node, halves)


def shared(node: CniNode, halves: list[dict[str, Any]]) -> None:
    for half in halves:
        node.add(half["name"], half)
    assert "unreachable 10.1.0.0/24" in node.ip("route")
    node.delete("a", halves[0])
    assert "unreachable 10.1.0.0/24" in node.ip("route")
    assert node.call("CHECK", "b", halves[1]).result() is None
    node.delete("b", halves[1])
    assert node.owned() == []


def test_an_uplink_that_goes_away_takes_nothing_along(node: CniNode) -> None:
    """Until it is known again what the network needs, the node stays as it was."""
    node.conflist({"type": "cnidaria-overlay", "uplink": "up0", "ipam": OVERLAY["ipam"]})
    with node.agent() as agent:
        node.add("p1", OVERLAY)
        before = node.owned()
        node.ip("link set up0 name away")
        wait_for("the agent to notice", lambda: "up0" in agent.log, 30)
        assert node.owned() == before
        node.ip("link set away name up0")
        wait_for("STATUS", lambda: node.call("STATUS", conf=OVERLAY).exit == 0, 30)
        assert node.owned() == before
        node.delete("p1", OVERLAY)
