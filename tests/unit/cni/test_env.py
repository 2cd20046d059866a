"""The environment, as runtimes really set it."""

from __future__ import annotations

import pytest

from cnidaria.cni.env import Invocation, parse_args
from cnidaria.cni.errors import CniError, Code

ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "a1b2_c.3-4",
    "CNI_NETNS": "/var/run/netns/cni-1",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=u;X=y",
    "CNI_PATH": "/opt/cni/bin::/usr/lib/cni",
    "PATH": "/bin",
}


def test_what_containerd_sets() -> None:
    found = Invocation.parse(ENV)
    assert (found.command, found.container_id, found.ifname) == ("ADD", "a1b2_c.3-4", "eth0")
    assert found.netns == "/var/run/netns/cni-1"
    assert found.args["K8S_POD_NAME"] == "web-0"
    assert found.args["X"] == "y"
    assert "IgnoreUnknown" not in found.args
    assert found.path == ("/opt/cni/bin", "/usr/lib/cni")
    assert not found.netns_override
    assert found.tolerated == ()


@pytest.mark.parametrize("netns", ["", None])
def test_a_del_needs_no_netns(netns: str | None) -> None:
    env = {**ENV, "CNI_COMMAND": "DEL", "CNI_NETNS": netns}
    found = Invocation.parse({key: value for key, value in env.items() if value is not None})
    assert found.netns == ""
    assert found.tolerated == ()


@pytest.mark.parametrize("missing", ["CNI_CONTAINERID", "CNI_IFNAME"])
def test_a_del_needs_to_know_of_what(missing: str) -> None:
    with pytest.raises(CniError, match=f"DEL needs {missing}") as caught:
        Invocation.parse({**ENV, "CNI_COMMAND": "DEL", missing: ""})
    assert caught.value.code == Code.INVALID_ENVIRONMENT


def test_the_probe_of_podman() -> None:
    env = {**ENV, "CNI_COMMAND": "VERSION", "CNI_NETNS": "dummy", "CNI_PATH": "dummy"}
    assert Invocation.parse(env).command == "VERSION"


def test_verbs_that_concern_no_container() -> None:
    assert Invocation.parse({"CNI_COMMAND": "STATUS"}).path == ()
    assert Invocation.parse({"CNI_COMMAND": "GC", "CNI_PATH": "/a"}).path == ("/a",)
    with pytest.raises(CniError, match="GC needs CNI_PATH"):
        Invocation.parse({"CNI_COMMAND": "GC"})


@pytest.mark.parametrize(
    ("value", "override"),
    [("1", True), ("true", True), ("TRUE", True), ("0", False), ("yes", False), ("", False)],
)
def test_netns_override(value: str, override: bool) -> None:
    assert Invocation.parse({**ENV, "CNI_NETNS_OVERRIDE": value}).netns_override is override


def test_args() -> None:
    assert parse_args("") == {}
    assert parse_args("IP=10.0.0.1;MAC=c2:11:22:33:44:55;GATEWAY=10.0.0.254;") == {
        "IP": "10.0.0.1",
        "MAC": "c2:11:22:33:44:55",
        "GATEWAY": "10.0.0.254",
    }
    assert parse_args("IP=a;IP=b") == {"IP": "b"}
    assert parse_args("K8S_POD_ANYTHING=a=b") == {"K8S_POD_ANYTHING": "a=b"}


def test_requested_mac() -> None:
    assert Invocation.parse(ENV).requested_mac() is None
    assert Invocation.parse({**ENV, "CNI_ARGS": "MAC="}).requested_mac() is None
    found = Invocation.parse({**ENV, "CNI_ARGS": "MAC=C2-11-22-33-44-55"})
    assert found.requested_mac() == "c2:11:22:33:44:55"


@pytest.mark.parametrize("mac", ["x", "01:00:5e:00:00:01", "00:00:00:00:00:00", "c2:11:22:33:44"])
def test_a_mac_that_no_interface_can_have(mac: str) -> None:
    found = Invocation.parse({**ENV, "CNI_ARGS": f"MAC={mac}"})
    with pytest.raises(CniError, match=f"CNI_ARGS: MAC = '{mac}': must") as caught:
        found.requested_mac()
    assert caught.value.code == Code.INVALID_ENVIRONMENT
