"""Our protocol code and the Go libraries, asked the same random questions."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cnidaria.cni.address import canonical_cidr, canonical_ip, canonical_mac
from cnidaria.cni.codec import folded
from cnidaria.cni.config import NetConf, parse_conflist
from cnidaria.cni.env import check_container_id, check_ifname, parse_args
from cnidaria.cni.errors import CniError
from cnidaria.cni.netconf import network_name
from cnidaria.cni.result import Result
from cnidaria.cni.versions import SUPPORTED
from oracle.client import Oracle, Refused

EFFORT = int(os.environ.get("CNIDARIA_EFFORT", "1"))

thorough = settings(max_examples=300 * EFFORT)

words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8
)
v4 = st.integers(0, 2**32 - 1).map(lambda n: str(IPv4Address(n)))
v6 = st.one_of(
    st.integers(0, 2**128 - 1).map(lambda n: str(IPv6Address(n))),
    st.integers(0, 2**128 - 1).map(lambda n: IPv6Address(n).exploded.upper()),
    v4.map(lambda text: f"::ffff:{text}"),
    st.lists(st.sampled_from([0, 0, 1, 0xFFFF]), min_size=8, max_size=8).map(
        lambda groups: ":".join(f"{group:x}" for group in groups)
    ),
)
ips = st.one_of(v4, v6)
v4_cidrs = st.tuples(v4, st.integers(0, 32)).map(lambda pair: f"{pair[0]}/{pair[1]}")
v6_cidrs = st.tuples(v6, st.integers(0, 128)).map(lambda pair: f"{pair[0]}/{pair[1]}")
cidrs = st.one_of(v4_cidrs, v6_cidrs)
sizes = st.integers(-(2**31), 2**31 - 1)
unknown = st.sampled_from([("x-vendor", 1), ("Comment", "text"), ("nested", {"a": [1, None]})])


def objects(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[Any]:
    """JSON objects with keys in any letter case, ``null`` here and there, unknown keys."""

    @st.composite
    def build(draw: st.DrawFn) -> dict[str, Any]:
        found = draw(st.fixed_dictionaries(required, optional=optional))
        recased = {
            draw(st.sampled_from([key, key, key.upper(), key.title()])): value
            for key, value in found.items()
        }
        for key in optional:
            if key not in found and draw(st.integers(0, 5)) == 0:
                recased[key] = None
        recased.update(draw(st.lists(unknown, max_size=1)))
        return recased

    return build()


dns = objects(
    {},
    {
        "nameservers": st.lists(ips, max_size=2),
        "domain": st.one_of(st.just(""), words),
        "search": st.lists(words, max_size=2),
        "options": st.lists(words, max_size=2),
    },
)


def routes(dst: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    optional = {
        "gw": st.one_of(ips, st.just("")),
        **dict.fromkeys(("mtu", "advmss", "priority", "table", "scope"), sizes),
    }
    return st.lists(objects({"dst": dst}, optional), max_size=3)


interfaces = st.lists(
    objects(
        {},
        {
            "name": words,
            "mac": words,
            "mtu": sizes,
            "sandbox": words,
            "socketPath": words,
            "pciID": words,
        },
    ),
    max_size=3,
)
addresses = st.lists(
    objects(
        {"address": cidrs},
        {
            "gateway": st.one_of(ips, st.just("")),
            "interface": sizes,
            "version": st.sampled_from(["4", "6", "", "5"]),
        },
    ),
    max_size=4,
)
lists = objects(
    {}, {"interfaces": interfaces, "ips": addresses, "routes": routes(cidrs), "dns": dns}
)


def family(dst: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return objects({"ip": dst}, {"gateway": ips, "routes": routes(cidrs)})


families = objects({}, {"ip4": family(cidrs), "ip6": family(cidrs), "dns": dns})


@st.composite
def results(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    version = draw(st.sampled_from(SUPPORTED))
    body = draw(families if version in ("0.1.0", "0.2.0") else lists)
    return version, {**body, "cniVersion": version}


def outcome(ask: Callable[[], Any]) -> Any:
    """What ``ask`` gives, or that it refused."""
    try:
        return ask()
    except (CniError, Refused, ValueError):
        return "refused"


def as_go_holds_it(result: Result) -> Result:
    """``result`` without the keys that Go does not know: it loses them."""
    return Result(
        result.cni_version,
        tuple(replace(item, extra={}) for item in result.interfaces),
        tuple(replace(item, extra={}) for item in result.ips),
        tuple(replace(item, extra={}) for item in result.routes),
        replace(result.dns, extra={}),
    )


@thorough
@given(results(), st.sampled_from(SUPPORTED))
def test_results_convert_as_libcni_converts(
    oracle: Oracle, case: tuple[str, dict[str, Any]], to: str
) -> None:
    version, raw = case
    question = {"from": version, "to": to, "json": raw}
    ours = outcome(lambda: as_go_holds_it(Result.parse(raw, version)).to_json(to))
    assert ours == outcome(lambda: oracle.ask("convert", **question))


junk = st.recursive(
    st.one_of(st.none(), st.booleans(), sizes, words, cidrs, ips),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=3,
)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A result with one value replaced by something."""
    version, raw = copy.deepcopy(draw(results()))
    node: Any = raw
    for _ in range(draw(st.integers(1, 4))):
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if isinstance(node[key], dict | list) and node[key] and draw(st.booleans()):
            node = node[key]
            continue
        if key != "cniVersion":
            node[key] = draw(junk)
        break
    return version, raw


@thorough
@given(damaged())
def test_what_libcni_refuses_is_refused(oracle: Oracle, case: tuple[str, dict[str, Any]]) -> None:
    version, raw = case
    question = {"from": version, "to": version, "json": raw}
    ours = outcome(lambda: as_go_holds_it(Result.parse(raw, version)).to_json(version))
    if ours != "refused":
        assert ours == outcome(lambda: oracle.ask("convert", **question))


@given(st.one_of(cidrs, words, st.text("0123456789abcdef.:/%", max_size=20)))
@example("10.1.2.3/08")
@example("::ffff:1.2.3.4/64")
@example("010.1.2.3/8")
@example("1.2.3.4/255.0.0.0")
@example("fe80::1%eth0/64")
def test_cidrs(oracle: Oracle, text: str) -> None:
    assert outcome(lambda: canonical_cidr(text)) == outcome(lambda: oracle.ask("cidr", text=text))


@given(st.one_of(ips, words, st.text("0123456789abcdef.:%", max_size=20)))
@example("1:0:2:3:4:5:6:7")
@example("::1.2.3.4")
@example("1::2::3")
@example("")
def test_ips(oracle: Oracle, text: str) -> None:
    assert outcome(lambda: canonical_ip(text)) == outcome(lambda: oracle.ask("ip", text=text))


@given(
    st.binary(min_size=6, max_size=6).flatmap(
        lambda raw: st.sampled_from(
            [raw.hex(":"), raw.hex("-").upper(), raw.hex(".", 2), raw.hex(" ")]
        )
    )
)
@example("c2:11:22-33-44-55")
@example("c2:11:22:33:44:5")
@example("c211.2233.4455")
def test_macs(oracle: Oracle, text: str) -> None:
    theirs = outcome(lambda: oracle.ask("mac", text=text))
    if theirs == "00:00:00:00:00:00" or (theirs != "refused" and int(theirs[:2], 16) & 1):
        theirs = "refused"  # no interface can have it: on purpose stricter than Go
    assert outcome(lambda: canonical_mac(text)) == theirs


names = st.one_of(words, st.text("aZ09_.-/: %\n\t", max_size=18), st.text("a", max_size=300))


@given(names)
@example("a\n")
@example("..")
def test_container_ids_and_network_names(oracle: Oracle, text: str) -> None:
    assert outcome(lambda: check_container_id(text)) == outcome(
        lambda: oracle.ask("containerid", text=text)
    )
    assert outcome(lambda: network_name(text)) == outcome(lambda: oracle.ask("network", text=text))


@given(names)
@example("\u00a0")
@example("\u20ac" * 5)
@example("\u20ac" * 6)
def test_interface_names(oracle: Oracle, text: str) -> None:
    ours = outcome(lambda: check_ifname(text))
    theirs = outcome(lambda: oracle.ask("ifname", text=text))
    if "%" in text or text in ("all", "default") or not text.isprintable():
        assert ours == "refused"  # on purpose stricter: the kernel would take another name, or none
    else:
        assert ours == theirs


pairs = st.tuples(
    st.sampled_from(["IP", "MAC", "GATEWAY", "K8S_POD_NAME", "IgnoreUnknown", "FOO", "ip"]),
    st.sampled_from(["", "1", "0", "true", "False", "x y", "10.0.0.1"]),
)


@given(
    st.lists(pairs, max_size=4, unique_by=lambda pair: pair[0]), st.sampled_from(["", "junk", "=x"])
)
def test_cni_args(oracle: Oracle, items: list[tuple[str, str]], tail: str) -> None:
    text = ";".join([*(f"{key}={value}" for key, value in items), *filter(None, [tail])])
    theirs = outcome(lambda: oracle.ask("args", text=text))
    ours = outcome(lambda: dict(parse_args(text)))
    if ours == "refused" or theirs == "refused":
        assert ours == theirs or tail == "=x"  # Go takes the empty name for an unknown one
    else:
        assert {key: value for key, value in theirs.items() if value} == {
            key: value for key, value in ours.items() if value and key in theirs
        }


recased = st.sampled_from([str, str.upper, str.lower, str.title])


@st.composite
def configurations(draw: st.DrawFn) -> str:
    """JSON text of a configuration: keys in any case, some of them twice."""
    version = draw(st.sampled_from([*SUPPORTED, ""]))
    scalars = {
        "name": st.sampled_from(["net", "n.1"]),
        "type": st.sampled_from(["flat", "x"]),
        "cniVersion": st.sampled_from([version, "0.4.0"]),
    }
    members = [("name", "net"), ("type", "flat"), ("cniVersion", version)]
    for key in draw(st.lists(st.sampled_from(list(scalars)), max_size=3)):
        members.append((key, draw(scalars[key])))
    optional = {
        "dns": dns,
        "capabilities": st.dictionaries(words, st.booleans(), max_size=2),
        "cni.dev/valid-attachments": attachments,
        "prevResult": results().map(lambda case: case[1]),
    }
    for key, values in optional.items():
        if draw(st.booleans()):
            members.append((key, draw(values)))
    members = draw(st.permutations(members))
    texts = [f"{json.dumps(draw(recased)(key))}: {json.dumps(value)}" for key, value in members]
    return "{" + ", ".join(texts) + "}"


attachments = st.one_of(
    st.none(),
    st.lists(objects({"containerID": words, "ifname": words}, {}), max_size=2),
)


@given(configurations())
def test_configurations(oracle: Oracle, text: str) -> None:
    theirs = outcome(lambda: oracle.ask("netconf", raw=text))
    ours = outcome(lambda: NetConf.parse(text.encode()))
    if theirs == "refused" or ours == "refused":
        assert ours == theirs
        return
    assert (ours.name, ours.type) == (theirs["name"], theirs["type"])
    assert ours.cni_version == (theirs["cniVersion"] or "0.1.0")
    assert ours.capabilities == (theirs["capabilities"] or {})
    found = {key: list(getattr(ours.dns, key)) for key in ("nameservers", "search", "options")}
    assert {key: theirs["dns"].get(key, []) for key in found} == found
    assert ours.dns.domain == theirs["dns"].get("domain", "")
    kept = {(one["containerID"], one["ifname"]) for one in theirs["validAttachments"] or ()}
    assert {(one.container_id, one.ifname) for one in ours.valid_attachments or ()} == kept
    if theirs["prevResult"] is None:
        assert ours.prev_result is None
    else:
        result = as_go_holds_it(ours.prev_result)
        assert result.to_json(result.cni_version) == theirs["prevResult"]


versions = st.sampled_from([*SUPPORTED, "1.2.0", "2.0.0", "1", "x", "0.4", 3, "1.1.0.0"])
booleans = st.sampled_from([True, False, "true", "FALSE", "yes", 1, None])


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["net", 3]),
            "cniVersion": versions,
            "cniVersions": st.lists(versions, max_size=4),
            "disableCheck": booleans,
            "disableGC": booleans,
            "loadOnlyInlinedPlugins": booleans,
            "plugins": st.lists(
                st.sampled_from([{"type": "flat"}, {"Type": "x", "a": 1}, {"type": ""}, {}, 3]),
                max_size=2,
            ),
        },
    )
)
def test_network_configuration_lists(oracle: Oracle, raw: dict[str, Any]) -> None:
    theirs = outcome(lambda: oracle.ask("conflist", json=raw))
    ours = outcome(lambda: parse_conflist(json.dumps(raw).encode()))
    if theirs == "refused" or ours == "refused":
        assert ours == theirs
        return
    assert ours.name == theirs["name"]
    assert ours.cni_version == (theirs["cniVersion"] or "0.1.0")
    assert ours.disable_check == theirs["disableCheck"]
    assert ours.disable_gc == theirs["disableGC"]
    assert ours.load_only_inlined_plugins == theirs["loadOnlyInlinedPlugins"]
    assert [folded(plugin)["type"] for plugin in ours.plugins] == theirs["plugins"]
