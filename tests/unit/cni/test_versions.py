"""Versions and what they know."""

from __future__ import annotations

import json

import pytest

from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.versions import SUPPORTED, VERBS, gate, parse, same_family, version_reply

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
