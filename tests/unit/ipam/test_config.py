"""The section ``ipam``: host-local's defaults, our keys, and what is said about bad input."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from cnidaria.cni.config import NetConf
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.fields import json_schema
from cnidaria.cni.records import Route
from cnidaria.ipam import IpamConfig, IpamKeys, ipam_type, prefixes, prefixes_of_foreign

NET = "10.1.0.0/24"


def ranges(raw: dict[str, Any]) -> list[list[tuple[str, str, str]]]:
    config = IpamConfig.parse(raw)
    return [
        [(str(one.first), str(one.last), one.router) for one in found.ranges]
        for found in config.sets
    ]


def conf(ipam: dict[str, Any], version: str = "1.1.0", **more: Any) -> NetConf:
    raw = {"cniVersion": version, "name": "net", "type": "cnidaria-flat", "ipam": ipam, **more}
    return NetConf.parse(raw)


def test_defaults_are_host_locals():
    assert ranges({"subnet": NET}) == [[("10.1.0.1", "10.1.0.254", "10.1.0.1")]]
    assert ranges({"subnet": "fd00::/64"}) == [
        [("fd00::1", "fd00::ffff:ffff:ffff:ffff", "fd00::1")]
    ]


def test_every_key_of_host_local_is_taken():
    raw = {
        "type": "cnidaria-ipam",
        "subnet": NET,
        "rangeStart": "10.1.0.10",
        "rangeEnd": "10.1.0.19",
        "gateway": "10.1.0.254",
        "ranges": [[{"subnet": "fd00::/64", "rangeStart": "FD00::0010"}, {"subnet": "fd01::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "FD02::/16", "gw": "fd00::1"}],
        "resolvConf": "/etc/resolv.conf",
        "dataDir": "/var/lib/cni/networks",
    }
    assert ranges(raw) == [
        [("10.1.0.10", "10.1.0.19", "10.1.0.254")],
        [
            ("fd00::10", "fd00::ffff:ffff:ffff:ffff", "fd00::1"),
            ("fd01::1", "fd01::ffff:ffff:ffff:ffff", "fd01::1"),
        ],
    ]
    config = IpamConfig.parse(raw)
    assert config.routes == (Route("0.0.0.0/0"), Route("fd02::/16", "fd00::1"))
    assert config.resolv_conf == "/etc/resolv.conf"


def test_keys_match_in_any_letter_case_and_empty_addresses_are_none():
    raw = {"SUBNET": NET, "RangeSTART": "10.1.0.7", "gateway": "", "ranges": None}
    assert ranges(raw) == [[("10.1.0.7", "10.1.0.254", "10.1.0.1")]]


BAD = [
    ({"subnet": "10.1.0.1/24"}, "ipam.subnet", 'must be written "10.1.0.0/24"'),
    ({"subnet": "10.1.0.0/31"}, "ipam.subnet", "too small"),
    ({"subnet": "10.1.0.0/32"}, "ipam.subnet", "too small"),
    ({"subnet": "fd00::/127"}, "ipam.subnet", "at most 126"),
    ({"subnet": "10.1.0.0"}, "ipam.subnet", "prefix length"),
    ({"subnet": "10.1.0.0/33"}, "ipam.subnet", "at most 32"),
    ({"subnet": "10.1/16"}, "ipam.subnet", "must be an IP address"),
    ({"subnet": 5}, "ipam.subnet", "must be a subnet"),
    *(
        ({"ranges": [[{"subnet": subnet}]]}, "ipam.ranges[0][0].subnet", f"without {block}")
        for subnet, block in (
            ("0.0.0.0/0", "0.0.0.0/8"),
            ("0.1.0.0/16", "0.0.0.0/8"),
            ("127.0.1.0/24", "127.0.0.0/8"),
            ("126.0.0.0/7", "127.0.0.0/8"),
            ("169.254.1.0/24", "169.254.0.0/16"),
            ("239.1.0.0/16", "224.0.0.0/4"),
            ("240.0.0.0/8", "240.0.0.0/4"),
            ("255.255.255.252/30", "240.0.0.0/4"),
            ("::/0", "::/127"),
            ("::/126", "::/127"),
            ("::fffe:0:0/95", "::ffff:0:0/96"),
            ("::ffff:127.0.0.0/104", "127.0.0.0/8"),
            ("fe80::/64", "fe80::/10"),
            ("ff05::/64", "ff00::/8"),
        )
    ),
    ({"clusterPools": [{"prefix": "127.0.0.0/16"}]}, "clusterPools[0].prefix", "loopback"),
    ({"rangeStart": "10.1.0.5"}, "ipam.rangeStart", 'needs the key "ipam.subnet"'),
    ({"subnet": NET, "rangeStart": "10.2.0.5"}, "ipam.rangeStart", NET),
    ({"subnet": NET, "rangeEnd": "fd00::5"}, "ipam.rangeEnd", NET),
    ({"subnet": NET, "rangeEnd": "10.1.0.0"}, "ipam.rangeEnd", "below the range's start"),
    ({"subnet": NET, "rangeStart": "10.1.0.255"}, "ipam.rangeStart", "above the range's end"),
    ({"subnet": NET, "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"}, "ipam.rangeEnd", "below"),
    ({"subnet": NET, "gateway": "fd00::1"}, "ipam.gateway", "must be an IPv4 address"),
    ({"subnet": NET, "gateway": "x"}, "ipam.gateway", "must be an IP address"),
    ({"subnet": NET, "gateway": "fe80::1%eth0"}, "ipam.gateway", "without zone"),
    ({"ranges": [[]]}, "ipam.ranges[0]", "at least one range"),
    ({"ranges": [{"subnet": NET}]}, "ipam.ranges[0]", "must be a list"),
    ({"ranges": [[{}]]}, "ipam.ranges[0][0].subnet", "missing key"),
    (
        {"ranges": [[{"subnet": NET}, {"subnet": "10.2.0.0/24", "rangeStart": "10.1.0.1"}]]},
        "ipam.ranges[0][1].rangeStart",
        "10.2.0.0/24",
    ),
    (
        {"ranges": [[{"subnet": NET}, {"subnet": "10.1.0.128/25"}]]},
        "ipam.ranges[0][1].subnet",
        "overlaps with 10.1.0.1-10.1.0.254 of ipam.ranges[0][0]",
    ),
    ({"subnet": NET, "ranges": [[{"subnet": NET}]]}, "ipam.ranges[0][0].subnet", "of ipam"),
    (
        {"ranges": [[{"subnet": NET}, {"subnet": "fd00::/64"}]]},
        "ipam.ranges[0][1].subnet",
        "one family",
    ),
    ({"subnet": NET, "routes": [{"dst": "10.0.0.1/8"}]}, "ipam.routes[0].dst", "10.0.0.0/8"),
    ({"subnet": NET, "routes": [{"gw": "10.0.0.1"}]}, "ipam.routes[0].dst", "missing key"),
    ({"subnet": NET, "routes": [{"dst": "::/0", "mtu": -1}]}, "ipam.routes[0].mtu", "between"),
    ({"subnet": NET, "resolvConf": "resolv.conf"}, "ipam.resolvConf", "absolute"),
    ({"subnet": NET, "exclude": ["10.1.0.9-10.1.0.5"]}, "ipam.exclude[0]", "the lower address"),
    ({"subnet": NET, "exclude": ["10.1.0.9-fd00::1"]}, "ipam.exclude[0]", "the lower address"),
    ({"subnet": NET, "exclude": ["nine"]}, "ipam.exclude[0]", "must be an IP address"),
    ({"subnet": NET, "cooldown": -1}, "ipam.cooldown", "between 0 and 86400"),
    ({"subnet": NET, "cooldown": "30s"}, "ipam.cooldown", "a number"),
    ({"subnet": NET, "reservations": {"ten": "a/b"}}, "ipam.reservations", "the key must be"),
    ({"subnet": NET, "reservations": {"10.2.0.9": "a/b"}}, "ipam.reservations", "in no range"),
    ({"subnet": NET, "reservations": {"10.1.0.1": "a/b"}}, "ipam.reservations", "the gateway"),
    ({"subnet": NET, "reservations": {"10.1.0.9": ""}}, "ipam.reservations", "default/web-0"),
    (
        {"subnet": NET, "reservations": {"10.1.0.9": "a/b"}, "exclude": ["10.1.0.8/31"]},
        "ipam.reservations",
        "ipam.exclude",
    ),
    (
        {"subnet": "fd00::/64", "reservations": {"fd00::5": "a/b", "fd00:0::5": "c/d"}},
        "ipam.reservations",
        "twice",
    ),
    ({"clusterPools": [{"prefix": "10.0.0.0/16", "blockLength": 8}]}, "blockLength", "16 and 30"),
    ({"subent": NET}, "ipam.subent", 'did you mean "ipam.subnet"?'),
    ({"ranges": [[{"subnet": NET, "start": "10.1.0.9"}]]}, "ipam.ranges[0][0].start", "unknown"),
]


@pytest.mark.parametrize(("raw", "key", "problem"), BAD, ids=[f"{b[1]}-{b[2][:12]}" for b in BAD])
def test_bad_input_names_key_value_and_what_is_allowed(raw, key, problem):
    with pytest.raises(CniError) as caught:
        IpamConfig.parse(raw, "cnidaria-flat")
    assert caught.value.code == Code.INVALID_CONFIG
    assert caught.value.msg.startswith("cnidaria-flat: ")
    assert key in caught.value.msg and problem in caught.value.msg


def test_disjoint_ranges_of_one_subnet_are_right():
    raw = {
        "ranges": [
            [{"subnet": NET, "rangeEnd": "10.1.0.99"}],
            [{"subnet": NET, "rangeStart": "10.1.0.100", "gateway": "10.1.0.50"}],
        ]
    }
    config = IpamConfig.parse(raw)
    assert config.withheld(ip_address("10.1.0.50"))
    assert all("10.1.0.50-10.1.0.50" in spec.exclude for _, spec in config.pools)


def test_runtime_ranges_come_first():
    runtime = {"ipRanges": [[{"subnet": "10.9.0.0/24"}]]}
    found = IpamConfig.of(conf({"subnet": NET}, runtimeConfig=runtime))
    assert [str(one.ranges[0].subnet) for one in found.sets] == ["10.9.0.0/24", NET]
    alone = IpamConfig.of(conf({"type": "cnidaria-ipam"}, runtimeConfig=runtime))
    assert len(alone.sets) == 1


@pytest.mark.parametrize(
    ("ip_ranges", "key"),
    [
        ([[{"subnet": "10.9.0.1/24"}]], "runtimeConfig.ipRanges[0][0].subnet"),
        ([[{"subnet": NET}]], "ipam.subnet"),
        ([[{"subnet": "fe80::/64"}]], "runtimeConfig.ipRanges[0][0].subnet"),
        ([[]], "runtimeConfig.ipRanges[0]"),
        (5, "runtimeConfig.ipRanges"),
    ],
)
def test_bad_runtime_ranges(ip_ranges, key):
    with pytest.raises(CniError, match=f"{key.replace('[', '.').replace(']', '.')} = ") as caught:
        IpamConfig.of(conf({"subnet": NET}, runtimeConfig={"ipRanges": ip_ranges}))
    assert caught.value.code == Code.INVALID_CONFIG


@pytest.mark.parametrize("ipam", [{}, {"type": "cnidaria-ipam"}, {"ranges": []}])
def test_no_addresses_at_all(ipam):
    with pytest.raises(CniError, match="ipam") as caught:
        IpamConfig.of(conf(ipam))
    assert caught.value.code == Code.INVALID_CONFIG


def test_old_versions_know_one_address_of_a_family():
    two = {"ranges": [[{"subnet": NET}], [{"subnet": "10.2.0.0/24"}]]}
    dual = {"ranges": [[{"subnet": NET}], [{"subnet": "fd00::/64"}]]}
    assert IpamConfig.of(conf(two, "0.3.0"))
    assert IpamConfig.of(conf(dual, "0.2.0"))
    with pytest.raises(CniError, match=r"0\.2\.0"):
        IpamConfig.of(conf(two, "0.2.0"))


def test_cluster_pools_become_this_nodes_blocks():
    raw = {"clusterPools": [{"prefix": "10.244.0.0/16"}, {"prefix": "fd00:10::/48"}]}
    asked = []

    def claim(pool: str, length: int) -> str:
        asked.append((pool, length))
        return {24: "10.244.7.0/24", 64: "fd00:10:0:7::/64"}[length]

    config = IpamConfig.of(conf(raw), claim)
    assert asked == [("10.244.0.0/16", 24), ("fd00:10::/48", 64)]
    assert [str(prefix) for prefix in prefixes(config)] == ["10.244.7.0/24", "fd00:10:0:7::/64"]
    assert IpamConfig.of(conf(raw), claim) is config


def test_cluster_pools_need_a_cluster_and_must_not_overlap():
    pool = {"clusterPools": [{"prefix": "10.244.0.0/16"}]}
    with pytest.raises(CniError, match=r"ipam\.clusterPools"):
        IpamConfig.of(conf(pool))
    with pytest.raises(CniError, match="overlaps"):
        IpamConfig.of(conf({**pool, "subnet": "10.244.7.0/25"}), lambda *_: "10.244.7.0/24")


def test_a_reservation_may_be_of_another_nodes_block():
    raw = {
        "clusterPools": [{"prefix": "10.244.0.0/16"}],
        "reservations": {"10.244.9.9": "default/a", "10.244.7.9": "default/b"},
    }
    config = IpamConfig.of(conf(raw), lambda *_: "10.244.7.0/24")
    assert config.pools[0][1].reservations == (("10.244.7.9", "default/b"),)


@pytest.mark.parametrize(
    ("subnets", "covering"),
    [
        (["10.1.0.0/24", "10.1.1.0/24"], ["10.1.0.0/23"]),
        (["10.1.0.0/24", "10.1.2.0/24"], ["10.1.0.0/24", "10.1.2.0/24"]),
        (["fd00::/64", "10.1.0.0/24"], ["10.1.0.0/24", "fd00::/64"]),
    ],
)
def test_prefixes_are_as_few_as_possible(subnets, covering):
    config = IpamConfig.parse({"ranges": [[{"subnet": subnet}] for subnet in subnets]})
    assert [str(prefix) for prefix in prefixes(config)] == covering


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ({"type": "host-local", "Subnet": NET, "other": 1}, [NET]),
        ({"type": "static", "addresses": [{"address": "10.1.0.5/24"}]}, ["10.1.0.5/32"]),
        ({"type": "static", "addresses": [5]}, []),
        ({"type": "host-local", "subnet": "no"}, []),
        ({"type": "dhcp"}, []),
    ],
)
def test_prefixes_of_other_plugins(raw, found):
    assert [str(prefix) for prefix in prefixes_of_foreign(raw)] == found


def test_type_defaults_to_ours_and_is_a_file_name():
    assert ipam_type({}) == "cnidaria-ipam"
    assert ipam_type({"Type": "host-local"}) == "host-local"
    for bad in ("../host-local", "a/b", 5, ".."):
        with pytest.raises(CniError, match=r"ipam\.type"):
            ipam_type({"type": bad})


def test_the_schema_tells_every_key():
    schema = json_schema(IpamKeys)
    keys = schema["$defs"]["IpamKeys"]["properties"]
    assert {"subnet", "clusterPools", "reserveGateway", "cooldown"} <= set(keys)
