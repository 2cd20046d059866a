"""``cnidaria plan``: it says what ADD then does, and does nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from cnidaria.plan.objects import from_wire
from support.cni import CNIDARIA, NETWORK, CniNode, network

PLUGIN = {key: NETWORK[key] for key in ("type", "ipam")}
POLICY = {"type": "cnidaria-policy"}


@pytest.fixture
def node() -> Iterator[CniNode]:
    with CniNode() as node:
        yield node


def plan(node: CniNode, *options: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    file = str(node.settings.conf_dir / "10-pods.conflist")
    state = ("--state-dir", str(node.settings.state_dir))
    done: subprocess.CompletedProcess[str] = node.host.run(
        subprocess.run,
        [CNIDARIA, "plan", "-" if stdin else file, *state, *options],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    return done


def planned(node: CniNode, *options: str) -> dict[str, Any]:
    done = plan(node, "--json", *options)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def objects(raw: list[dict[str, Any]]) -> list[Any]:
    return [from_wire({**wire}) for wire in raw]


@pytest.mark.parametrize("changes", [{}, {"type": "cnidaria-overlay", "masquerade": True}], ids=str)
def test_it_is_what_add_does(node: CniNode, changes: dict[str, Any]) -> None:
    node.ip("link add up0 type veth peer name up1")
    node.ip("address add 192.0.2.2/24 dev up0")
    node.ip("link set up0 up")
    node.ip("link set up1 up")
    node.ip("route add default via 192.0.2.1")
    node.conflist({**PLUGIN, **changes})
    assert not node.settings.state_dir.exists()
    with node.unchanged():
        first = planned(node)
    assert not node.settings.state_dir.exists(), "nothing is written"
    node.add("before", network(**changes))
    with node.unchanged():
        again = planned(node, "--container", "p1", "--ifname", "net1")
        assert again == planned(node, "--container", "p1", "--ifname", "net1"), "no lease is taken"
    assert first["result"]["ips"][0]["address"] == "10.1.0.2/32"
    assert again["result"]["ips"][0]["address"] == "10.1.0.3/32"
    (step,) = again["plugins"]
    assert step["notes"] == []

    result = node.add("p1", network(**changes), CNI_IFNAME="net1")
    (made,) = [one for one in node.attachments() if one.container == "p1"]
    assert tuple(objects(step["pod"])) == made.objects
    for interface in (*result["interfaces"], *again["result"]["interfaces"]):
        if "sandbox" in interface:
            interface["sandbox"] = "the pod"
    assert again["result"] == result
    node.assert_consistent()
    assert step["node"]


def test_for_people(node: CniNode) -> None:
    node.conflist(PLUGIN, {"type": "portmap", "capabilities": {"portMappings": True}})
    done = plan(node, "--pod", "shop/web-0")
    assert done.returncode == 0
    for part in (
        "cnidaria-flat of network pods\n  the node:\n    host  sysctl net.ipv4.ip_forward  value=1",
        "  the pod:\n    host  veth cnd",
        "    pod   address 10.1.0.2/32 on eth0\n",
        "portmap of network pods\n  note: another plugin, which is not asked\n",
        'result\n  {\n    "cniVersion": "1.1.0"',
    ):
        assert part in done.stdout


def test_what_cannot_be_known_is_an_example_and_said(node: CniNode) -> None:
    node.conflist({"type": "cnidaria-flat", "ipam": {"type": "whereabouts", "range": "x"}})
    found = planned(node)
    assert found["plugins"][0]["notes"] == ["addresses are examples: whereabouts is not asked"]
    assert found["result"]["ips"][0]["address"] == "192.0.2.2/32"

    store = node.dir / "cluster.db"
    pools = {"clusterPools": [{"prefix": "10.64.0.0/16"}]}
    node.conflist({"type": "cnidaria-flat", "cluster": {"store": f"sqlite:{store}"}, "ipam": pools})
    found = planned(node)
    assert found["result"]["ips"][0]["address"] == "10.64.0.2/32"
    assert not store.exists(), "nobody is asked, nothing is claimed"
    assert found["plugins"][0]["notes"] == [
        "no agent has told of the other nodes: as if there were none",
        "this node's block of 10.64.0.0/16 is an example: none is claimed",
    ]

    node.conflist({"type": "bridge", "ipam": {"subnet": "10.5.0.0/24"}}, POLICY)
    found = planned(node, "--pod", "shop/web-0")
    bridge, policy = found["plugins"]
    assert bridge["notes"] == ["another plugin, which is not asked: its result is an example"]
    assert policy["pod"][0]["addresses"] == ["10.5.0.2"]
    assert (policy["pod"][0]["namespace"], policy["pod"][0]["name"]) == ("shop", "web-0")
    assert found["result"]["ips"][0]["address"] == "10.5.0.2/24"


def test_what_the_agent_told_of_the_cluster_is_used(node: CniNode) -> None:
    pools = {"clusterPools": [{"prefix": "10.64.0.0/16"}]}
    cluster = {"store": f"sqlite:{node.dir}/cluster.db", "node": "a", "addresses": ["192.0.2.2"]}
    node.conflist({"type": "cnidaria-flat", "cluster": cluster, "ipam": pools})
    with node.agent() as agent:
        agent.wait_until_it_answers()
        found = planned(node)
        assert found["plugins"][0]["notes"] == []
        assert found["result"]["ips"][0]["address"] == "10.64.0.2/32"


@pytest.mark.parametrize(
    ("conflist", "options", "says"),
    [
        ({**PLUGIN, "mtu": 576}, [], "mtu = 576: must be at least 1280"),
        ({**PLUGIN, "uplink": "nosuch0"}, [], "uplink 'nosuch0': there is no such interface"),
        ({"type": "cnidaria-flat"}, [], 'missing key "ipam"'),
        (PLUGIN, ["--pod", "web-0"], "--pod web-0: must be a namespace and a name"),
        (PLUGIN, ["--ifname", "a/b"], "CNI_IFNAME = 'a/b'"),
        (PLUGIN, ["--container", "../x"], "CNI_CONTAINERID = '../x'"),
    ],
    ids=str,
)
def test_what_is_wrong(
    node: CniNode, conflist: dict[str, Any], options: list[str], says: str
) -> None:
    node.conflist(conflist)
    done = plan(node, *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("cnidaria plan: ")
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr


def test_standard_input_and_files_that_are_none(node: CniNode) -> None:
    text = json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [PLUGIN]})
    done = plan(node, "--json", stdin=text)
    assert json.loads(done.stdout)["result"]["cniVersion"] == "0.4.0"
    assert "is not valid JSON" in plan(node, stdin="{").stderr
    assert "No such file" in plan(node).stderr
