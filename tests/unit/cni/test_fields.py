"""A mode's configuration: what is taken, and what is said about the rest."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pytest

from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.fields import (
    Check,
    Cidr,
    Doc,
    InterfaceName,
    IpAddress,
    MacAddress,
    ModeConfig,
    Range,
    Section,
    decode,
    json_schema,
)


class Speed(Enum):
    SLOW = "slow"
    FAST = "fast"


class Except(Section):
    except_: list[Cidr] = msgspec.field(name="except")


class Sqlite(Section, tag_field="kind", tag="sqlite"):
    path: str


class Etcd(Section, tag_field="kind", tag="etcd"):
    urls: Annotated[list[str], msgspec.Meta(min_length=1)]


class Limits(Section):
    low: int = 0
    high: int = 10

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low = {self.low}: must be at most high, {self.high}")


class Config(ModeConfig):
    mtu: Annotated[int, Range(576, 65535, "bytes")] | None = None
    vni: Annotated[int, Range(1, 16777215, "VNI")] = 1
    source_check: bool = True
    masquerade: bool | Except = False
    rules: Literal["strict", "loose"] = "strict"
    speed: Speed = Speed.SLOW
    gateway: IpAddress | None = None
    mac: MacAddress | None = None
    weights: dict[str, int] = {}
    pair: tuple[int, str] = (0, "")
    share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5
    step: Annotated[int, msgspec.Meta(multiple_of=4)] = 4
    label: Annotated[str, msgspec.Meta(max_length=3, pattern="^[a-z]*$")] = ""
    even: Annotated[int, Check(lambda n: "must be even" if n % 2 else "", "an even number")] = 0
    store: Sqlite | Etcd | None = None
    limits: Limits = Limits()
    ip_masq: bool = False
    anything: Any = None
    master: Annotated[InterfaceName, Doc("the interface towards the others")]


def read(**keys: Any) -> Config:
    return decode(Config, {"master": "eth0", **keys}, "cnidaria-flat")


def test_defaults() -> None:
    config = read()
    assert config == Config(master="eth0")
    assert (config.mtu, config.source_check, config.masquerade) == (None, True, False)


def test_values() -> None:
    config = read(
        mtu=1400,
        sourceCheck=False,
        masquerade={"except": ["10.0.0.0/8"]},
        speed="fast",
        gateway="fd00::1",
        pair=[1, "a"],
        share=0.25,
        store={"kind": "etcd", "urls": ["http://a"]},
        limits={"low": 3},
        anything={"a": [None]},
    )
    assert config.masquerade == Except(except_=["10.0.0.0/8"])
    assert config.speed is Speed.FAST
    assert config.pair == (1, "a")
    assert config.store == Etcd(urls=["http://a"])
    assert config.limits == Limits(low=3)
    assert config.anything == {"a": [None]}


def test_keys_in_any_letter_case() -> None:
    config = decode(
        Config,
        {"MASTER": "a", "Master": "eth1", "SOURCECHECK": False, "Masquerade": {"EXCEPT": []}},
        "cnidaria-flat",
    )
    assert config == Config(master="eth1", source_check=False, masquerade=Except(except_=[]))


def test_null_is_as_good_as_absent() -> None:
    assert read(mtu=None, vni=None, masquerade=None, limits={"low": None}) == read()
    with pytest.raises(CniError, match='missing key "master"'):
        read(master=None)
    assert decode(Config, {"master": "eth0", "MASTER": None}, "x").master == "eth0"


def test_keys_of_the_specification_pass() -> None:
    conf = {
        "cniVersion": "1.1.0",
        "name": "net",
        "type": "cnidaria-flat",
        "args": {},
        "ipam": {},
        "dns": {},
        "prevResult": {},
        "RuntimeConfig": {},
        "capabilities": {},
        "cni.dev/valid-attachments": [],
        "vendor.io/key": 1,
        "a.b": 2,
    }
    assert read(**conf) == read()


def test_a_well_known_key_may_be_declared() -> None:
    assert read(ipMasq=True).ip_masq


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"masquerad": True}, 'unknown key "masquerad"; did you mean "masquerade"?'),
        ({"source_check": False}, 'unknown key "source_check"; did you mean "sourceCheck"?'),
        ({"runtimeconfg": {}}, 'unknown key "runtimeconfg"; did you mean "runtimeConfig"?'),
        ({"qqq": 1}, 'unknown key "qqq"'),
        (
            {"masquerade": {"excpt": []}},
            'unknown key "masquerade.excpt"; did you mean "masquerade.except"?',
        ),
        ({"masquerade": {}}, 'missing key "masquerade.except": a list'),
        (
            {"masquerade": 3},
            'masquerade = 3: must be true, false or an object with the key "except"',
        ),
        (
            {"masquerade": {"except": ["10.0.0.1/8"]}},
            'masquerade.except[0] = "10.0.0.1/8": must be written "10.0.0.0/8"',
        ),
        (
            {"masquerade": {"except": ["10.0.0.0/8", 3]}},
            'masquerade.except[1] = 3: must be a network such as "10.1.0.0/16", no host bits set',
        ),
        (
            {"masquerade": {"except": ["10/8"]}},
            'masquerade.except[0] = "10/8": must be an IP address',
        ),
        ({"vni": 16777300}, "vni = 16777300: must be between 1 and 16777215"),
        ({"vni": "1"}, 'vni = "1": must be an integer between 1 and 16777215'),
        ({"vni": True}, "vni = true: must be an integer between 1 and 16777215"),
        ({"vni": 1.5}, "vni = 1.5: must be an integer between 1 and 16777215"),
        ({"MTU": 5}, "mtu = 5: must be between 576 and 65535"),
        ({"sourceCheck": "yes"}, 'sourceCheck = "yes": must be true or false'),
        ({"rules": "lose"}, 'rules = "lose": must be one of "loose", "strict"'),
        ({"speed": "warp"}, 'speed = "warp": must be one of "slow", "fast"'),
        ({"gateway": "x"}, 'gateway = "x": must be an IP address'),
        ({"gateway": "FD00::1"}, 'gateway = "FD00::1": must be written "fd00::1"'),
        ({"mac": "x"}, 'mac = "x": must be a MAC address such as'),
        ({"weights": {"a": "b"}}, 'weights.a = "b": must be an integer'),
        ({"weights": []}, "weights = []: must be an object"),
        ({"pair": [1]}, "pair = [1]: must be a list of 2 items"),
        ({"pair": [1, 2]}, "pair[1] = 2: must be a string"),
        ({"share": 1}, "share = 1: must be more than 0 and less than 1"),
        ({"share": "x"}, "must be a number more than 0 and less than 1"),
        ({"step": 5}, "step = 5: must be a multiple of 4"),
        ({"label": "abcd"}, 'label = "abcd": must have at most 3 characters, has 4'),
        ({"label": "A"}, 'label = "A": must match ^[a-z]*$'),
        ({"even": 3}, "even = 3: must be even"),
        ({"even": "x"}, 'even = "x": must be an even number'),
        ({"store": {"kind": "redis"}}, 'store.kind = "redis": must be one of'),
        ({"store": {"kind": "etcd", "urls": []}}, "store.urls = []: must have at least 1 items"),
        ({"store": {"kind": "sqlite", "pth": "x"}}, 'did you mean "store.path"?'),
        ({"limits": {"low": 20}}, "limits: low = 20: must be at most high, 10"),
        ({"master": "a/b"}, "must not contain '/'"),
        ({"master": 3}, "master = 3: must be the name of a network interface"),
        ({"master": None}, 'missing key "master": the interface towards the others'),
    ],
)
def test_what_is_wrong_is_said(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(CniError) as caught:
        read(**keys)
    assert caught.value.code == Code.INVALID_CONFIG
    assert caught.value.msg.startswith("cnidaria-flat: ")
    assert says in caught.value.msg


def test_an_unknown_key_comes_with_its_value_and_the_known_ones() -> None:
    with pytest.raises(CniError) as caught:
        read(qqq={"a": 1})
    assert 'qqq = {"a":1}' in caught.value.details
    assert "sourceCheck" in caught.value.details


def test_long_values_are_cut() -> None:
    with pytest.raises(CniError) as caught:
        read(vni="x" * 100_000)
    assert len(caught.value.msg) < 300


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        read().vni = 5  # type: ignore[misc]


def test_json_schema() -> None:
    schema = json_schema(Config)
    properties = schema["$defs"]["Config"]["properties"]
    assert properties["vni"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 16777215,
        "description": "VNI",
        "default": 1,
    }
    assert schema["$defs"]["Config"]["required"] == ["master"]
    assert schema["$defs"]["Except"]["additionalProperties"] is False
    assert "additionalProperties" not in schema["$defs"]["Config"]
