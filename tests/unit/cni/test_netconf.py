"""Configurations of one plugin, as runtimes really send them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cnidaria.cni.config import NetConf, ValidAttachment, is_well_known
from cnidaria.cni.env import Invocation
from cnidaria.cni.errors import CniError
from cnidaria.cni.records import Dns

NAMES = {"name": "net", "type": "cnidaria-flat", "cniVersion": "1.1.0"}


def parse(verb: str = "ADD", **keys: Any) -> NetConf:
    return NetConf.parse(json.dumps({**NAMES, **keys}).encode(), verb)


def invocation(args: str = "") -> Invocation:
    return Invocation.parse(
        {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": "a",
            "CNI_NETNS": "/run/netns/a",
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": args,
        }
    )


def test_the_least() -> None:
    conf = NetConf.parse(b'{"name": "net", "type": "t"}')
    assert (conf.name, conf.type, conf.cni_version) == ("net", "t", "0.1.0")
    assert conf.prev_result is None
    assert conf.valid_attachments is None
    assert conf.own == {}
    assert conf.dns == Dns()
    assert conf.requested_mac(invocation()) is None


def test_keys_in_any_letter_case() -> None:
    conf = NetConf.parse(
        b'{"NAME": "net", "Type": "t", "CniVersion": "0.4.0", "DNS": {"Domain":"d"}}'
    )
    assert (conf.name, conf.type, conf.cni_version, conf.dns.domain) == ("net", "t", "0.4.0", "d")


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "first", "name": "net", "type": "t"}',
        '{"name": "first", "Name": "net", "type": "t"}',
        '{"name": "a", "NAME": "b", "name": "net", "type": "t"}',
        '{"NAME": "net", "name": null, "type": "t"}',
        '{"type": "t", "ſname": 1, "name": "net", "\u212aey": 1}',
    ],
)
def test_the_last_of_equal_keys_wins(text: str) -> None:
    assert NetConf.parse(text.encode()).name == "net"


def test_the_modes_own_keys_keep_their_spelling() -> None:
    conf = parse(
        Masquerade=True, uplink="eth0", **{"vendor.io/x": 1, "cni.dev/y": 2, "IPMASQ": True}
    )
    assert conf.own == {"Masquerade": True, "uplink": "eth0"}
    assert conf.ip_masq is True
    assert conf.raw["vendor.io/x"] == 1


def test_well_known_keys() -> None:
    assert is_well_known("RuntimeConfig")
    assert is_well_known("cni.dev/anything")
    assert not is_well_known("uplink")


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_valid_attachments(key: str) -> None:
    assert parse("GC", **{key: None}).valid_attachments == frozenset()
    assert parse("GC", **{key: []}).valid_attachments == frozenset()
    found = parse("GC", **{key: [{"containerID": "a", "ifname": "eth0"}]}).valid_attachments
    assert found == {ValidAttachment("a", "eth0")}
    assert parse("GC").valid_attachments is None


def test_the_specifications_name_of_valid_attachments_comes_first() -> None:
    conf = parse(
        "GC",
        **{
            "cni.dev/attachments": [{"containerID": "a", "ifname": "eth0"}],
            "cni.dev/valid-attachments": [{"containerid": "b", "IfName": "eth0"}],
        },
    )
    assert conf.valid_attachments == {ValidAttachment("b", "eth0")}


def test_a_prev_result_without_version_has_the_configurations() -> None:
    conf = parse(
        cniVersion="0.4.0", prevResult={"ips": [{"version": "4", "address": "10.0.0.1/8"}]}
    )
    assert conf.prev_result is not None
    assert conf.prev_result.cni_version == "0.4.0"
    assert conf.prev_result.ips[0].address == "10.0.0.1/8"


def test_a_prev_result_may_be_of_another_version_of_the_same_shape() -> None:
    conf = parse(cniVersion="1.1.0", prevResult={"cniVersion": "1.0.0"})
    assert conf.prev_result is not None
    assert conf.prev_result.cni_version == "1.0.0"


def test_what_containerd_adds() -> None:
    conf = parse(
        runtimeConfig={
            "portMappings": "for another plugin",
            "bandwidth": {"IngressRate": 1000, "IngressBurst": 10, "EgressRate": 2000},
            "dns": {"Servers": ["10.0.0.10"], "Searches": ["a.b"], "Options": ["ndots:5"]},
            "io.kubernetes.cri.pod-annotations": {"A": "1", "a": "2"},
            "mac": "C2:11:22:33:44:55",
            "ips": ["10.0.0.5/24", "fd00::5"],
            "ipRanges": [[{"subnet": "10.0.0.0/24"}]],
        }
    )
    assert conf.runtime.dns == Dns(("10.0.0.10",), search=("a.b",), options=("ndots:5",))
    assert conf.runtime.pod_annotations == {"A": "1", "a": "2"}
    assert conf.runtime.mac == "c2:11:22:33:44:55"
    assert conf.runtime.ips == ("10.0.0.5/24", "fd00::5")
    assert conf.runtime.ip_ranges == [[{"subnet": "10.0.0.0/24"}]]


def test_args_cni() -> None:
    labels = [{"key": "app", "value": "web"}]
    raw = {"ips": ["10.0.0.5"], "mac": "c2:11:22:33:44:55", "labels": labels, "Vendor": 1}
    conf = parse(args={"CNI": raw, "other": 1})
    assert conf.args_cni.ips == ("10.0.0.5",)
    assert conf.args_cni.mac == "c2:11:22:33:44:55"
    assert conf.args_cni.labels == {"app": "web"}
    assert parse(args={"cni": {"labels": {"app": "web"}}}).args_cni.labels == {"app": "web"}
    assert parse(args={"other": 1}).args_cni.labels == {}


def test_which_requested_mac_counts() -> None:
    first, second, third = (f"c2:00:00:00:00:0{n}" for n in "123")
    runtime, args = {"runtimeConfig": {"mac": first}}, {"args": {"cni": {"mac": second}}}
    by_args = invocation(f"MAC={third}")
    assert parse(**runtime, **args).requested_mac(by_args) == first
    assert parse(**args).requested_mac(by_args) == second
    assert parse().requested_mac(by_args) == third


@pytest.mark.parametrize(
    ("keys", "read", "says"),
    [
        ({"runtimeConfig": {"mac": 1}}, "mac", "runtimeConfig.mac = 1: must be a string"),
        ({"runtimeConfig": {"mac": "x"}}, "mac", 'runtimeConfig.mac = "x": must be a MAC address'),
        ({"runtimeConfig": {"ips": "10.0.0.1"}}, "ips", "runtimeConfig.ips = "),
        (
            {"runtimeConfig": {"ipRanges": {}}},
            "ip_ranges",
            "runtimeConfig.ipRanges = {}: must be a",
        ),
        ({"runtimeConfig": {"dns": 1}}, "dns", "runtimeConfig.dns = 1"),
        (
            {"runtimeConfig": {"io.kubernetes.cri.pod-annotations": {"a": 1}}},
            "pod_annotations",
            "must be an object with strings as values",
        ),
    ],
)
def test_a_malformed_capability_fails_who_asks_for_it(
    keys: dict[str, Any], read: str, says: str
) -> None:
    conf = parse(**keys)
    with pytest.raises(CniError) as caught:
        getattr(conf.runtime, read)
    assert caught.value.code == 7
    assert says in caught.value.msg


def test_a_bad_mac_of_args() -> None:
    conf = parse(args={"cni": {"mac": "01:00:5e:00:00:01"}})
    with pytest.raises(CniError, match=r"args\.cni\.mac = .*: must be an individual MAC address"):
        conf.requested_mac(invocation())
