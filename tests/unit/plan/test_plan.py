"""Plans and what goes with a link of theirs."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cnidaria.cni.result import Interface, Ip, Result
from cnidaria.plan.attachment import alias_of, key_of
from cnidaria.plan.cover import covered
from cnidaria.plan.objects import Address, Macvlan, Neighbour, Object, Route, Sysctl, Veth
from cnidaria.plan.outcome import as_told, lacking
from cnidaria.plan.plan import Plan

VETH = Veth("cnd1", peer="eth0", mac="02:00:00:00:00:01", peer_mac="02:00:00:00:00:02")


def test_a_plan_keeps_its_order() -> None:
    objects = [VETH, Address("eth0", "10.1.0.5/32", where="pod")]
    plan = Plan(iter(objects))
    assert list(plan) == objects
    assert len(plan) == 2
    assert plan.result is None


def test_an_object_is_declared_once() -> None:
    with pytest.raises(ValueError, match="declared twice"):
        Plan([Route("10.0.0.0/8", dev="a"), Route("10.0.0.0/8", dev="b")])
    Plan([Route("10.0.0.0/8", dev="a"), Route("10.0.0.0/8", dev="a", where="pod")])


@pytest.mark.parametrize(
    ("obj", "goes"),
    [
        (VETH, False),
        (Address("eth0", "10.1.0.5/32", where="pod"), True),
        (Address("eth0", "10.1.0.5/32"), False),
        (Route("10.1.0.5/32", dev="cnd1"), True),
        (Neighbour("cnd1", "10.1.0.5", VETH.mac), True),
        (Route("10.1.0.5/32", dev="vxlan0"), False),
        (Route("10.1.0.0/24", type="unreachable"), False),
        (Sysctl("net.ipv6.conf.eth0.accept_ra", "0", where="pod"), True),
        (Macvlan("eth1", master="cnd1"), False),
    ],
)
def test_what_goes_with_the_veth(obj: Object, goes: bool) -> None:
    objects = list(dict.fromkeys([VETH, obj]))
    assert (len(objects) - 1 in covered(objects)) == goes


def test_what_the_result_of_the_chain_says_of_a_plan() -> None:
    veth = Veth("cnd0", peer="eth0", mac="02:00:00:00:00:01", peer_mac="02:00:00:00:00:02")
    macvlan = Macvlan("eth0", master="up0")
    here = Macvlan("eth0", master="up0", mac="02:00:00:00:00:03", where="host")
    address = Address("eth0", "10.1.0.5/32", where="pod")
    objects = [veth, macvlan, here, address, Address("cnd0", "10.9.9.9/32")]
    told = Result(
        interfaces=(Interface("eth0", "02-00-00-00-00-77", sandbox="/p"), Interface("cnd0", "x")),
        ips=(Ip("10.1.0.5/24"),),
    )
    changed = as_told(objects, told)
    assert changed[0] == replace(veth, peer_mac="02:00:00:00:00:77")
    assert changed[1] == replace(macvlan, mac="02:00:00:00:00:77")
    assert changed[2:] == objects[2:]
    neighbours = [
        Neighbour("eth0", "10.1.0.1", veth.mac, where="pod"),
        Neighbour("eth1", "10.1.0.1", veth.mac, where="pod"),
        Neighbour("eth0", "10.1.0.1", veth.mac),
    ]
    assert as_told([veth, *neighbours], told)[1:] == neighbours[1:], "its link had another MAC"
    assert as_told([veth, *neighbours], Result()) == [veth, *neighbours]
    assert as_told(objects, Result()) == objects
    assert lacking(objects, told) == []
    assert lacking(objects, Result(ips=(Ip("10.1.0.6/24"),))) == ["10.1.0.5/32"]


def test_an_alias_tells_the_key_or_at_least_one_from_another() -> None:
    short = ("net", "c1", "eth0", "cnidaria-flat")
    assert key_of(alias_of(short)) == short
    long = [("net", f"{'c' * 240}{n}", "eth0", "cnidaria-flát") for n in range(2)]
    aliases = [alias_of(key) for key in long]
    assert aliases[0] != aliases[1]
    for alias in aliases:
        assert len(alias.encode()) <= 254 and alias.startswith("cnidaria:")
        assert key_of(alias) is None
