"""Versions and what they know."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnidaria.cni.codec import fold
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.versions import (
    CURRENT,
    SUPPORTED,
    VERBS,
    asked,
    gate,
    parse,
    same_family,
    version_reply,
)

FIRST = {"CHECK": "0.4.0", "STATUS": "1.1.0", "GC": "1.1.0"}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("version", SUPPORTED)
def test_gate(verb: str, version: str) -> None:
    first = SUPPORTED.index(FIRST.get(verb, "0.1.0"))
    if SUPPORTED.index(version) >= first:
        gate(verb, version)
        return
    with pytest.raises(CniError, match=f'cniVersion = "{version}" does not know {verb}') as caught:
        gate(verb, version)
    assert caught.value.code == Code.INCOMPATIBLE_VERSION


@pytest.mark.parametrize("version", ["1.2.0", "2.0.0", "", "1", "x"])
def test_gate_lets_no_other_version_through(version: str) -> None:
    with pytest.raises(CniError) as caught:
        gate("ADD", version)
    assert caught.value.code == Code.INCOMPATIBLE_VERSION
    assert "1.1.0" in caught.value.details


def test_versions_are_in_order() -> None:
    assert sorted(SUPPORTED, key=parse) == list(SUPPORTED)
    assert parse("") == parse("0.1.0")
    assert parse("1") == (1, 0, 0)


@pytest.mark.parametrize("text", ["x", "1.x", "1.1.0.0", "-1.0", "1..0", "²"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="must be one to three numbers"):
        parse(text)


def test_families() -> None:
    assert same_family("0.3.0", "0.4.0")
    assert same_family("1.0.0", "1.1.0")
    assert not same_family("0.2.0", "0.3.0")
    assert not same_family("0.4.0", "1.0.0")


@pytest.mark.parametrize(
    ("stdin", "asked"),
    [
        (b'{"cniVersion": "0.4.0"}', "0.4.0"),
        (b'{"cniVersion": "9.0.0"}', "1.1.0"),
        (b'{"cniVersion": []}', "1.1.0"),
        (b"", "1.1.0"),
        (b"\xff", "1.1.0"),
        (b"[" * 100_000, "1.1.0"),
    ],
)
def test_version_is_always_answered(stdin: bytes, asked: str) -> None:
    reply = json.loads(version_reply(stdin))
    assert reply == {"cniVersion": asked, "supportedVersions": list(SUPPORTED)}


@pytest.mark.parametrize(
    ("config", "version"),
    [
        ('{"name":"n", "CNIVERSION" : "0.4.0"}', "0.4.0"),
        ('{"cniVersion":"0.3.0","cniversion":"0.3.1"}', "0.3.1"),
        ('{"cniVersion":"0.4.0","CNIVersion":null}', "0.4.0"),
        ('{"prevResult":{"cniVersion":"0.3.1"},"cniVersion":"1.0.0"}', "1.0.0"),
        ('{"cniVersion":"1.0.0","prevResult":{"cniVersion":"0.3.1"}}', "1.0.0"),
        ('{"x":"cniVersion","y":"0.4.0"}', CURRENT),
        ('{"x":["cniVersion","0.4.0"]}', CURRENT),
        (r'{"a\"cniVersion":"0.4.0"}', CURRENT),
        ('{"":"cniVersion","cniVersion":"0.4.0"}', "0.4.0"),
        ('{"cniVersion":"1.0.0","broken":"cut', "1.0.0"),
        ('{"cniVersion":"0.4.0","ipam":', "0.4.0"),
        ('{"cniVersion":"0.4.0\\', CURRENT),
        ('{"cniVersion":"0.4.0","deep":' + "[" * 100_000, "0.4.0"),
        ('{"cniVersion":7}', CURRENT),
        ('["cniVersion","0.4.0"]', CURRENT),
    ],
    ids=lambda text: text[:60],
)
def test_the_version_to_answer_in(config: str, version: str) -> None:
    assert asked(config.encode()) == version


KEYS = st.sampled_from(["cniVersion", "CNIVERSION", "cniversion", "name", "", 'a"b', "\\"])
VALUES = st.recursive(
    st.none() | st.sampled_from([*SUPPORTED, "9.0.0", 'x"}', ","]) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.tuples(KEYS, VALUES), max_size=5))
def test_it_is_what_a_decoder_finds(pairs: list[tuple[str, Any]]) -> None:
    """Of whole JSON. What is no string is no version, so an earlier one stands."""
    text = ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs)
    texts = [v for k, v in pairs if fold(k) == "cniversion" and isinstance(v, str)]
    expected = texts[-1] if texts and texts[-1] in SUPPORTED else CURRENT
    assert asked(f"{{{text}}}".encode()) == expected
