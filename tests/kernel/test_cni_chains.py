"""Our plugins together with the reference ones: before, after, above and below them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from cnidaria.cni.errors import CniError
from cnidaria.kernel.netns import NetNS
from cnidaria.testing.runtime import Attachment, Runtime
from support.cni import NETWORK, CniNode, network
from support.namespaces import new_namespace, run
from support.needs import needs
from support.node import PLUGIN_DIR


def plugin(name: str) -> pytest.MarkDecorator:
    return needs(f"{PLUGIN_DIR}/{name}")


@pytest.fixture(params=["agent", "one-shot"])
def node(request: pytest.FixtureRequest) -> Iterator[CniNode]:
    with CniNode() as node, node.agent() if request.param == "agent" else nullcontext():
        yield node


class Chain:
    """A conflist as a runtime on the node works it off."""

    def __init__(self, node: CniNode, *plugins: dict[str, Any], version: str = "1.0.0") -> None:
        conflist = {"cniVersion": version, "name": "pods", "plugins": plugins}
        self._node = node
        self._runtime = Runtime(conflist, node.path.split(":"))

    def __call__(self, verb: str, pod: str) -> Any:
        if pod not in self._node.pods:
            self._node.pod(pod)
        attachment = Attachment(pod, self._node.netns(pod))
        return self._node.host.run(getattr(self._runtime, verb), attachment)


FLAT = {key: NETWORK[key] for key in ("type", "ipam")}
IPAM = {"type": "cnidaria-ipam", "subnet": "10.4.0.0/29", "rangeEnd": "10.4.0.3"}
TUNING = {"net.core.somaxconn": "517"}


def host_local(node: CniNode) -> dict[str, Any]:
    return {
        "type": "host-local",
        "dataDir": str(node.dir / "leases"),
        "ranges": [[{"subnet": "10.5.0.0/24"}], [{"subnet": "fd00:5::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }


def assert_nothing_left(node: CniNode) -> None:
    state = node.state()
    assert not any([state["host links"], state["host objects"], state["journal"]])
    assert not any(state["pod links"].values())


@plugin("tuning")
@pytest.mark.parametrize("version", ["0.3.1", "1.0.0"])
def test_reference_plugin_behind_ours(node: CniNode, version: str) -> None:
    chain = Chain(node, FLAT, {"type": "tuning", "sysctl": TUNING}, version=version)
    result = chain("add", "p1")
    assert result["cniVersion"] == version
    assert result["ips"][0]["address"] == "10.1.0.2/32"
    said = run(node.pods["p1"], "cat", "/proc/sys/net/core/somaxconn")
    assert said.strip() == "517"
    if version == "1.0.0":
        chain("check", "p1")
    chain("delete", "p1")
    chain("delete", "p1")
    assert_nothing_left(node)


def reaches(namespace: NetNS, address: str) -> bool:
    """Whether a ping gets an answer, without help of an earlier one."""
    done = namespace.run(subprocess.run, ["ping", "-c1", "-W5", address], capture_output=True)
    return done.returncode == 0


@plugin("tuning")
@pytest.mark.parametrize("type_", ["cnidaria-flat", "cnidaria-overlay"])
def test_mac_that_a_plugin_behind_ours_changes(node: CniNode, type_: str) -> None:
    """Node and pods find one another (docs/decisions/0006), though what the pod knew is gone."""
    node.ip("link add up0 type bridge")
    node.ip("address add 192.0.2.1/24 dev up0")
    node.ip("address add 2001:db8::1/64 dev up0 nodad")
    node.ip("link set up0 up")
    mac = "c2:11:22:33:44:55"
    main = {"type": type_, "ipam": NETWORK["ipam"], "uplink": "up0", "mtu": 1400}
    chain = Chain(node, main, {"type": "tuning", "mac": mac})
    found = [chain("add", pod) for pod in ("p1", "p2")]
    for result in found:
        assert result["interfaces"][1]["mac"] == mac
    first, second = ([ip["address"].partition("/")[0] for ip in result["ips"]] for result in found)
    assert node.pod_ip("p1", "neighbour") == ""
    for v46, own in enumerate(("192.0.2.1", "2001:db8::1")):
        assert reaches(node.pods["p1"], own)
        assert reaches(node.host, second[v46])
        assert reaches(node.pods["p2"], first[v46])
    for pod in ("p1", "p2"):
        chain("check", pod)
        chain("delete", pod)
    node.ip("link del up0")
    assert_nothing_left(node)


@pytest.mark.parametrize("node", ["agent"], indirect=True)
def test_pod_without_default_route_is_found(node: CniNode) -> None:
    """It does not hear who asks for it, so nobody needs to."""
    routes = [{"dst": "198.51.100.0/24"}, {"dst": "2001:db8:100::/64"}]
    ipam = {**NETWORK["ipam"], "routes": routes}
    with new_namespace() as lan:
        fd = f"/proc/self/fd/{lan.fd}"
        node.host.run(
            subprocess.run,
            ["ip", "link", "add", "up0", "type", "veth", "peer", "up0", "netns", fd],
            check=True,
            pass_fds=[lan.fd],
        )
        for where, n in ((node.host, 1), (lan, 2)):
            run(where, "ip", "address", "add", f"198.51.100.{n}/24", "dev", "up0")
            run(where, "ip", "address", "add", f"2001:db8:100::{n}/64", "dev", "up0", "nodad")
            run(where, "ip", "link", "set", "up0", "up")
        node.ip("address add 192.0.2.1/24 dev lo")
        run(lan, "ip", "route", "add", "10.1.0.0/24", "via", "198.51.100.1")
        run(lan, "ip", "route", "add", "fd00:1::/64", "via", "2001:db8:100::1")
        node.pod("p1")
        run(node.pods["p1"], "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
        result = node.add("p1", network(ipam=ipam, defaultRoute=False))
        for ip in result["ips"]:
            assert reaches(lan, ip["address"].partition("/")[0])
        node.delete("p1")


def test_plugin_that_fails_behind_ours(node: CniNode) -> None:
    bad = node.bin / "bad"
    bad.write_text('#!/bin/sh\necho \'{"code": 42, "msg": "no"}\'; exit 1\n')
    bad.chmod(0o755)
    chain = Chain(node, FLAT, {"type": "bad"})
    with pytest.raises(CniError, match="no"):
        chain("add", "p1")
    bad.write_text("#!/bin/sh\n")
    chain("delete", "p1")
    assert_nothing_left(node)


@plugin("bridge")
def test_ours_behind_a_reference_plugin(node: CniNode) -> None:
    """Two networks' interfaces in one chain cannot have one name: nothing is taken away."""
    bridge = {"type": "bridge", "bridge": "br0", "ipam": IPAM}
    chain = Chain(node, bridge, FLAT)
    with pytest.raises(CniError, match="CNI_IFNAME = 'eth0'") as caught:
        chain("add", "p1")
    assert caught.value.code == 104
    assert "10.4.0.2" in node.pod_ip("p1", "address show eth0")
    chain("delete", "p1")
    node.ip("link del br0")
    assert_nothing_left(node)


@pytest.mark.parametrize(
    ("node", "main"),
    [("agent", "bridge"), ("agent", "ptp"), ("one-shot", "bridge")],
    indirect=["node"],
)
@needs(f"{PLUGIN_DIR}/bridge", f"{PLUGIN_DIR}/ptp")
def test_our_ipam_under_a_reference_plugin(node: CniNode, main: str) -> None:
    chain = Chain(node, {"type": main, "ipam": {**IPAM, "routes": [{"dst": "0.0.0.0/0"}]}})
    pods = [f"p{n}" for n in range(2)]
    told = []
    for pod in pods:
        told.append(chain("add", pod)["ips"][0]["address"])
        if pod == "p0":
            chain("check", "p0")
    assert told == [f"10.4.0.{n}/29" for n in range(2, 4)]
    assert "default via 10.4.0.1" in node.pod_ip("p0", "route")
    with pytest.raises(CniError) as caught:
        chain("add", "full")
    assert "2 of 2" in str(caught.value)
    chain("delete", "full")
    for pod in pods:
        chain("delete", pod)
        chain("delete", pod)
    assert not node.attachments()


@plugin("host-local")
def test_host_local_under_ours(node: CniNode) -> None:
    conf = network(cniVersion="1.0.0", ipam=host_local(node))
    leases = node.dir / "leases" / "pods"
    result = node.add("p1", conf)
    assert [ip["address"] for ip in result["ips"]] == ["10.5.0.2/32", "fd00:5::2/128"]
    assert {path.name for path in leases.iterdir()} >= {"10.5.0.2", "fd00:5::2"}
    node.assert_consistent()
    assert node.call("CHECK", "p1", conf).result() is None
    with node.unchanged():
        node.call("ADD", "p1", conf).error(103)
    (leases / "10.5.0.2").unlink()
    (leases / "fd00:5::2").unlink()
    answer = node.call("CHECK", "p1", conf)
    assert json.loads(answer.stdout)["msg"].startswith("host-local: ")
    node.delete("p1", conf)
    node.delete("p1", conf)
    assert not [path.name for path in leases.iterdir() if path.name[0] in "1f"]

    node.pod("p2")
    node.pod_ip("p2", "link add eth0 type veth peer name eth9")
    node.call("ADD", "p2", conf).error(104)
    assert not [path.name for path in leases.iterdir() if path.name[0] in "1f"], "given back"
    assert not node.attachments()


@plugin("static")
def test_static_under_ours(node: CniNode) -> None:
    """Its CHECK compares with what it answered itself, not with the pod's /32."""
    ipam = {"type": "static", "addresses": [{"address": "10.6.0.9/24", "gateway": "10.6.0.1"}]}
    conf = network(cniVersion="1.0.0", ipam=ipam)
    result = node.add("p1", conf)
    assert result["ips"][0]["address"] == "10.6.0.9/32"
    assert node.call("CHECK", "p1", {**conf, "prevResult": result}).result() is None
    node.delete("p1", {**conf, "prevResult": result})
    assert_nothing_left(node)


@plugin("static")
def test_static_that_is_told_by_the_runtime(node: CniNode) -> None:
    """Nobody knows beforehand what pods get: the node forwards, and cannot masquerade."""
    conf = network(cniVersion="1.0.0", ipam={"type": "static"})
    address = {"CNI_ARGS": "IP=10.6.0.9/24;GATEWAY=10.6.0.1"}
    node.add("p1", conf, **address)
    assert run(node.host, "sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"
    node.delete("p1", conf, **address)
    with node.unchanged():
        refused = node.call("ADD", "p1", conf | {"masquerade": True}, **address)
        assert 'masquerade: needs an "ipam" that tells beforehand' in refused.error(7)
    assert_nothing_left(node)
