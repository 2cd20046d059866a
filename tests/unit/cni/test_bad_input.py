"""Everything malformed that a runtime or an operator can hand over, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnidaria.cni.codec import MAX_BYTES, MAX_DEPTH, decode
from cnidaria.cni.config import NetConf, parse_conflist
from cnidaria.cni.env import Invocation
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.result import Result
from cnidaria.cni.versions import VERBS

GOOD = {"name": "net", "type": "cnidaria-flat", "cniVersion": "1.1.0"}
ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "a1b2",
    "CNI_NETNS": "/run/netns/pod",
    "CNI_IFNAME": "eth0",
}


def config(**changes: Any) -> bytes:
    """A good configuration with changes; ``None`` leaves the key out."""
    raw = {**GOOD, **changes}
    return json.dumps({key: value for key, value in raw.items() if value is not None}).encode()


def nested(depth: int, opening: bytes, closing: bytes) -> bytes:
    return b'{"name": "net", "type": "t", "x": ' + opening * depth + b"1" + closing * depth + b"}"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"name": "net",}', "not valid JSON"),
        (b"{} {}", "not valid JSON"),
        (b'{"name": NaN}', "not valid JSON"),
        (b'{"name": 1e999}', "not valid JSON"),
        (b'\xef\xbb\xbf{"name": "net"}', "not valid JSON"),
        (b'{"name": "a\x00b"}', "not valid JSON"),
        (b'{"name": "\xff\xfe"}', "not UTF-8"),
        (b'{"\xff": 1}', "not UTF-8"),
        (b"[]", "a list; must be a JSON object"),
        (b'"net"', "a string; must be a JSON object"),
        (b"null", "null; must be a JSON object"),
        (b" " * (20 << 20), f"is {20 << 20} bytes long; at most {MAX_BYTES} are read"),
        (b'{"name": "' + b"a" * MAX_BYTES + b'"}', "bytes long"),
        (nested(MAX_DEPTH, b"[", b"]"), f"nested deeper than {MAX_DEPTH} levels"),
        (nested(900, b'{"a":', b"}"), "nested deeper"),
        (nested(100_000, b"[", b"]"), "nested deeper"),
        (nested(150_000, b'{"a":', b"}"), "nested deeper"),
        (b"[" * MAX_BYTES, "nested deeper"),
    ],
)
@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_undecodable(data: bytes, says: str, verb: str) -> None:
    with pytest.raises(CniError) as caught:
        NetConf.parse(data, verb)
    assert caught.value.code == Code.DECODING_FAILURE
    assert says in caught.value.msg


def test_depth_that_is_allowed() -> None:
    assert NetConf.parse(nested(MAX_DEPTH - 1, b"[", b"]")).name == "net"


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"name": None}, 7, 'missing key "name"'),
        ({"name": ""}, 7, 'missing key "name"'),
        ({"name": 3}, 7, "name = 3: must be"),
        ({"name": "../etc"}, 7, 'name = "../etc": must be'),
        ({"name": "a/b"}, 7, 'name = "a/b"'),
        ({"name": "net\n"}, 7, 'name = "net\\n"'),
        ({"name": "nét"}, 7, 'name = "nét"'),
        ({"name": ".net"}, 7, 'name = ".net"'),
        ({"type": None}, 7, 'missing key "type"'),
        ({"type": "a/b"}, 7, 'type = "a/b": must be a file name'),
        ({"type": ".."}, 7, 'type = ".."'),
        ({"type": "a\\b"}, 7, "type = "),
        ({"type": "a\0b"}, 7, "type = "),
        ({"type": ["flat"]}, 7, 'type = ["flat"]'),
        ({"cniVersion": "1.2.0"}, 1, 'cniVersion = "1.2.0" is not supported'),
        ({"cniVersion": "banana"}, 1, 'cniVersion = "banana" is not supported'),
        ({"cniVersion": "1.1"}, 1, 'cniVersion = "1.1" is not supported'),
        ({"cniVersion": 1.1}, 7, "cniVersion = 1.1: must be a string, not a number"),
        ({"cni.dev/valid-attachments": {}}, 7, "must be a list or null"),
        ({"cni.dev/valid-attachments": [{}]}, 7, "cni.dev/valid-attachments[0] = {}: must have"),
        ({"cni.dev/attachments": ["a"]}, 7, 'cni.dev/attachments[0] = "a": must be an object'),
    ],
)
@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
def test_what_must_be_right_for_every_verb(
    changes: dict[str, Any], code: int, says: str, verb: str
) -> None:
    with pytest.raises(CniError) as caught:
        NetConf.parse(config(**changes), verb)
    assert caught.value.code == code
    assert says in caught.value.msg


TOLERATED: list[tuple[dict[str, Any], str]] = [
    ({"prevResult": "corrupt"}, 'prevResult = "corrupt": must be an object, not a string'),
    ({"prevResult": {"ips": [{"address": "x"}]}}, 'prevResult.ips[0].address = "x": must be an'),
    ({"prevResult": {"ips": [{}]}}, "prevResult.ips[0].address = null: must be an address"),
    ({"prevResult": {"ips": {"a": 1}}}, "prevResult.ips = "),
    ({"prevResult": {"interfaces": [None]}}, "prevResult.interfaces[0] = null: must be an object"),
    ({"prevResult": {"routes": [{"dst": "10.0.0.0/8", "mtu": "x"}]}}, "prevResult.routes[0].mtu"),
    ({"prevResult": {"routes": [{"dst": "10.0.0.0/8", "table": 1 << 64}]}}, "of 64 bits"),
    ({"prevResult": {"dns": []}}, "prevResult.dns = []: must be an object"),
    ({"prevResult": {"cniVersion": "0.4.0"}}, 'prevResult.cniVersion = "0.4.0": must be the shape'),
    ({"prevResult": {"cniVersion": "0.2.0"}}, 'prevResult.cniVersion = "0.2.0": must be the shape'),
    ({"prevResult": {"cniVersion": "9.9.9"}}, 'prevResult.cniVersion = "9.9.9": must be one of'),
    ({"prevResult": {"cniVersion": []}, "cniVersion": "1.0.0"}, ""),
    ({"prevResult": {"cniVersion": 7}}, "prevResult.cniVersion = 7: must be one of"),
    ({"dns": "8.8.8.8"}, 'dns = "8.8.8.8": must be an object'),
    ({"dns": {"nameservers": "8.8.8.8"}}, "dns.nameservers = "),
    ({"ipam": []}, "ipam = []: must be an object, not a list"),
    ({"runtimeConfig": 1}, "runtimeConfig = 1: must be an object"),
    ({"args": "x"}, "args = "),
    ({"args": {"cni": []}}, "args.cni = []: must be an object"),
    ({"ipMasq": "yes"}, 'ipMasq = "yes": must be true or false'),
    ({"capabilities": {"mac": 1}}, "capabilities.mac = 1: must be true or false"),
]


@pytest.mark.parametrize(("changes", "says"), TOLERATED)
@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
def test_malformed_parts_are_errors(changes: dict[str, Any], says: str, verb: str) -> None:
    if not says:
        assert NetConf.parse(config(**changes), verb).prev_result is not None
        return
    with pytest.raises(CniError) as caught:
        NetConf.parse(config(**changes), verb)
    assert caught.value.code == Code.INVALID_CONFIG
    assert says in caught.value.msg


@pytest.mark.parametrize(("changes", "says"), TOLERATED)
def test_a_del_goes_on_all_the_same(changes: dict[str, Any], says: str) -> None:
    conf = NetConf.parse(config(**changes), "DEL")
    assert conf.name == "net"
    if not says:
        return
    assert [says in error.msg for error in conf.tolerated] == [True]
    if "prevResult" in changes:
        assert conf.prev_result is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"CNI_COMMAND": ""}, "CNI_COMMAND = '': must be one of ADD, DEL"),
        ({"CNI_COMMAND": "add"}, "CNI_COMMAND = 'add': must be one of"),
        ({"CNI_COMMAND": "UPDATE"}, "CNI_COMMAND = 'UPDATE'"),
        ({"CNI_CONTAINERID": ""}, "ADD needs CNI_CONTAINERID: missing or empty"),
        ({"CNI_NETNS": "", "CNI_IFNAME": ""}, "ADD needs CNI_NETNS, CNI_IFNAME: missing"),
        ({"CNI_CONTAINERID": "../x"}, "CNI_CONTAINERID = '../x': must be"),
        ({"CNI_CONTAINERID": "a/b"}, "CNI_CONTAINERID = 'a/b'"),
        ({"CNI_CONTAINERID": "a\n"}, "CNI_CONTAINERID = 'a\\n'"),
        ({"CNI_CONTAINERID": "-a"}, "CNI_CONTAINERID = '-a'"),
        ({"CNI_CONTAINERID": "a\udcff"}, "CNI_CONTAINERID = 'a\\udcff'"),
        ({"CNI_CONTAINERID": "é"}, "CNI_CONTAINERID"),
        ({"CNI_IFNAME": "a" * 16}, "must be at most 15 bytes, is 16"),
        ({"CNI_IFNAME": "é" * 8}, "must be at most 15 bytes, is 16"),
        ({"CNI_IFNAME": ".."}, "CNI_IFNAME = '..': is a name that the kernel keeps"),
        ({"CNI_IFNAME": "all"}, "CNI_IFNAME = 'all'"),
        ({"CNI_IFNAME": "eth/0"}, "CNI_IFNAME = 'eth/0': must not contain"),
        ({"CNI_IFNAME": "../eth0"}, "CNI_IFNAME"),
        ({"CNI_IFNAME": "eth:0"}, "CNI_IFNAME"),
        ({"CNI_IFNAME": "eth 0"}, "CNI_IFNAME"),
        ({"CNI_IFNAME": "eth%d"}, "CNI_IFNAME"),
        ({"CNI_IFNAME": "eth\x07"}, "CNI_IFNAME"),
        ({"CNI_IFNAME": "\udcff"}, "CNI_IFNAME"),
        ({"CNI_NETNS": "netns/pod"}, "CNI_NETNS = 'netns/pod': must be an absolute path"),
        ({"CNI_NETNS": "../run/netns/pod"}, "must be an absolute path"),
        ({"CNI_NETNS": "/run/netns/../../etc/passwd"}, "must not contain '..'"),
        ({"CNI_NETNS": "/run/netns/.."}, "must not contain '..'"),
        ({"CNI_NETNS": "/run/\udcff"}, "must be printable UTF-8"),
        ({"CNI_NETNS": "/run/a\nb"}, "must be printable UTF-8"),
        ({"CNI_NETNS": "/" + "a" * 4095}, "must be at most 4095 bytes, is 4096"),
        ({"CNI_ARGS": "FOO"}, "'FOO' is not of the form KEY=VALUE"),
        ({"CNI_ARGS": "=x"}, "is not of the form KEY=VALUE"),
        ({"CNI_ARGS": "FOO=1"}, "unknown key 'FOO'"),
        ({"CNI_ARGS": "ip=10.0.0.1"}, "unknown key 'ip'"),
        ({"CNI_ARGS": "IgnoreUnknown=0;FOO=1"}, "unknown key 'FOO'"),
        ({"CNI_ARGS": "IgnoreUnknown=maybe"}, "IgnoreUnknown must be"),
    ],
)
def test_environment(changes: dict[str, str], says: str) -> None:
    with pytest.raises(CniError) as caught:
        Invocation.parse({**ENV, **changes})
    assert caught.value.code == Code.INVALID_ENVIRONMENT
    assert says in caught.value.msg
    json.loads(caught.value.to_json())


@pytest.mark.parametrize(
    "changes",
    [
        {"CNI_NETNS": "/run/netns/../../etc/passwd"},
        {"CNI_NETNS": "relative"},
        {"CNI_ARGS": "FOO"},
        {"CNI_ARGS": "FOO=1"},
    ],
)
def test_a_del_after_an_add_that_was_refused(changes: dict[str, str]) -> None:
    invocation = Invocation.parse({**ENV, "CNI_COMMAND": "DEL", **changes})
    assert len(invocation.tolerated) == 1
    assert invocation.netns == ("" if "CNI_NETNS" in changes else ENV["CNI_NETNS"])
    assert invocation.args == {}


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    [*GOOD, "prevResult", "dns", "ipam", "args", "runtimeConfig", "cni.dev/attachments", "x"]
)


@given(st.binary(max_size=64), st.sampled_from(VERBS))
def test_no_bytes_cause_anything_but_an_error(data: bytes, verb: str) -> None:
    for read in (lambda: NetConf.parse(data, verb), lambda: parse_conflist(data)):
        with pytest.raises(CniError):
            read()


def refusal(read: Callable[[], object]) -> int | None:
    """The code of the error that ``read`` raises, ``None`` if it succeeds."""
    try:
        read()
    except CniError as error:
        json.loads(error.to_json())
        return error.code
    return None


def read_all(conf: NetConf) -> None:
    for source in (conf.runtime, conf.args_cni):
        for name in ("ips", "ip_ranges", "mac", "pod_annotations", "dns", "labels"):
            getattr(source, name, None)


@given(st.dictionaries(keys, json_values), st.sampled_from(VERBS))
def test_no_values_cause_anything_but_an_error(raw: dict[str, Any], verb: str) -> None:
    data = msgspec.json.encode({**GOOD, **raw})
    assert refusal(lambda: read_all(NetConf.parse(data, verb))) in (None, 1, 6, 7)


@given(json_values)
def test_a_result_is_read_or_refused(raw: Any) -> None:
    assert refusal(lambda: Result.parse(raw, "1.1.0").encode("1.1.0")) in (None, 7)


@given(st.dictionaries(st.sampled_from([*ENV, "CNI_ARGS", "CNI_PATH"]), st.text()))
def test_no_environment_causes_anything_but_an_error(changes: dict[str, str]) -> None:
    assert refusal(lambda: Invocation.parse({**ENV, **changes})) in (None, 4)


def test_limits_can_be_set() -> None:
    with pytest.raises(CniError, match="at most 10 are read"):
        decode(b"[1, 2, 3, 4, 5]", "list", max_bytes=10)
