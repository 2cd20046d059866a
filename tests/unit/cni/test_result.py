"""Results: what is written is read again, and nothing is lost on the way through a chain."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.result import Dns, Interface, Ip, Result, Route
from cnidaria.cni.versions import SUPPORTED

NEWEST: dict[str, Any] = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "cni0", "mac": "00:11:22:33:44:55", "mtu": 1450},
        {
            "name": "eth0",
            "sandbox": "/run/netns/a",
            "socketPath": "/run/s",
            "pciID": "0000:04:00.5",
        },
    ],
    "ips": [
        {"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 1},
        {"address": "fd00::5/64", "interface": 1},
    ],
    "routes": [
        {"dst": "0.0.0.0/0", "gw": "10.1.0.1"},
        {"dst": "::/0", "mtu": 1400, "advmss": 1340, "priority": 5, "table": 0, "scope": 253},
    ],
    "dns": {"nameservers": ["10.1.0.1"], "domain": "a", "search": ["b"], "options": ["c"]},
}
MIDDLE: dict[str, Any] = {
    "cniVersion": "0.4.0",
    "interfaces": [
        {"name": "cni0", "mac": "00:11:22:33:44:55"},
        {"name": "eth0", "sandbox": "/run/netns/a"},
    ],
    "ips": [
        {"version": "4", "address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 1},
        {"version": "6", "address": "fd00::5/64", "interface": 1},
    ],
    "routes": NEWEST["routes"],
    "dns": NEWEST["dns"],
}
OLDEST: dict[str, Any] = {
    "cniVersion": "0.2.0",
    "ip4": {
        "ip": "10.1.0.5/16",
        "gateway": "10.1.0.1",
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}],
    },
    "ip6": {"ip": "fd00::5/64", "routes": [{"dst": "::/0"}]},
    "dns": NEWEST["dns"],
}


@pytest.mark.parametrize("expected", [NEWEST, MIDDLE, OLDEST])
def test_the_three_shapes(expected: dict[str, Any]) -> None:
    assert Result.parse(NEWEST, "1.1.0").to_json(expected["cniVersion"]) == expected


@pytest.mark.parametrize("raw", [NEWEST, MIDDLE, OLDEST])
def test_nothing_is_lost_in_the_same_version(raw: dict[str, Any]) -> None:
    found = Result.parse(json.dumps(raw).encode(), "ignored")
    assert found.cni_version == raw["cniVersion"]
    assert found.to_json(raw["cniVersion"]) == raw
    assert json.loads(found.encode(raw["cniVersion"])) == raw


def with_unknown_keys(value: Any) -> Any:
    """``value`` with an unknown key in every object of it, free-form ones excepted."""
    if isinstance(value, list):
        return [with_unknown_keys(item) for item in value]
    if isinstance(value, dict):
        return {**{key: with_unknown_keys(item) for key, item in value.items()}, "x-Vendor": [1]}
    return value


@pytest.mark.parametrize("raw", [NEWEST, MIDDLE, OLDEST])
def test_unknown_keys_pass_through_in_the_same_version(raw: dict[str, Any]) -> None:
    marked = with_unknown_keys(raw)
    found = Result.parse(marked, "1.1.0")
    assert found.to_json(raw["cniVersion"]) == marked
    assert "x-Vendor" not in json.dumps(found.to_json("0.3.1"))


def test_keys_of_a_newer_version_pass_through_an_older_one() -> None:
    raw = {"cniVersion": "0.4.0", "interfaces": [{"name": "a", "mtu": 1450}], "dns": {}}
    found = Result.parse(raw, "0.4.0")
    assert found.interfaces[0].mtu == 0
    assert found.to_json("0.4.0") == raw
    assert found.to_json("1.1.0")["interfaces"] == [{"name": "a"}]


def test_addresses_become_canonical() -> None:
    raw = {"ips": [{"address": "FD00:0::5/064", "gateway": "::FFFF:10.0.0.1"}]}
    found = Result.parse(raw, "1.1.0")
    assert found.ips == (Ip("fd00::5/64", "10.0.0.1"),)


def test_a_result_of_our_own() -> None:
    result = Result(
        interfaces=(Interface("eth0", "c2:11:22:33:44:55", 1450, "/run/netns/a"),),
        ips=(Ip("10.0.0.5/32", interface=0),),
        routes=(Route("0.0.0.0/0", "169.254.1.1"),),
    )
    assert result.to_json("1.1.0") == {
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "eth0", "mac": "c2:11:22:33:44:55", "mtu": 1450, "sandbox": "/run/netns/a"}
        ],
        "ips": [{"address": "10.0.0.5/32", "interface": 0}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}],
    }
    assert result.to_json("0.3.1")["ips"] == [
        {"version": "4", "address": "10.0.0.5/32", "interface": 0}
    ]


def test_old_shapes_hold_one_address_a_family() -> None:
    result = Result(ips=(Ip("10.0.0.1/8"), Ip("10.0.0.2/8")), routes=(Route("fd00::/8"),))
    assert result.to_json("0.1.0") == {
        "cniVersion": "0.1.0",
        "ip4": {"ip": "10.0.0.1/8"},
        "dns": {},
    }


def test_old_shapes_need_an_address() -> None:
    with pytest.raises(CniError, match=r"no address, which a cniVersion of 0\.2\.0") as caught:
        Result().to_json("0.2.0")
    assert caught.value.code == Code.INCOMPATIBLE_VERSION


def test_there_is_no_other_version() -> None:
    with pytest.raises(CniError, match=r'of version "1\.2\.0" is not supported'):
        Result().to_json("1.2.0")


def test_the_callers_words_and_code() -> None:
    with pytest.raises(CniError, match=r"result of host-local\.ips = 1: must be a list") as caught:
        Result.parse(b'{"ips": 1}', "1.0.0", what="result of host-local", code=108)
    assert caught.value.code == 108


def test_what_a_chained_plugin_adds() -> None:
    before = Result.parse(NEWEST, "1.1.0")
    after = before.extended(
        interfaces=[Interface("tap0")],
        ips=[Ip("10.9.0.1/32", interface=0), Ip("10.9.0.2/32")],
        routes=[Route("10.9.0.0/16")],
    )
    assert after.interfaces[2] == Interface("tap0")
    assert [ip.interface for ip in after.ips] == [1, 1, 2, None]
    assert after.routes[-1] == Route("10.9.0.0/16")
    assert after.dns == before.dns
    assert before.extended(dns=Dns(domain="z")).dns.domain == "z"
    assert before.extended() == before


junk = st.dictionaries(st.text("xyz-", min_size=1), st.integers() | st.none() | st.text())


@given(st.sampled_from(SUPPORTED), junk, junk)
def test_any_unknown_key_survives(version: str, top: dict[str, Any], inner: dict[str, Any]) -> None:
    entry = {"ip4": {**inner, "ip": "10.0.0.1/8"}} if version < "0.3.0" else {}
    raw = {**top, **entry, "cniVersion": version, "dns": {**inner, "domain": "d"}}
    assert Result.parse(raw, version).to_json(version) == raw
