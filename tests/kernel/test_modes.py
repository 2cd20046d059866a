"""The built-in modes' plans in real namespaces, seen by a second pair of eyes."""

from __future__ import annotations

from typing import Any

import pytest

from cnidaria.api import Mode, Network, NodeInfo, NotReady, Peer, Request
from cnidaria.cni.fields import decode
from cnidaria.cni.netconf import NetConf
from cnidaria.ipam import LeaseSet
from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.netns import NetNS
from cnidaria.plan.lease import Lease
from cnidaria.plan.objects import Address, NftTable, Object, Veth
from cnidaria.plan.sides import Hands, Sides
from cnidaria.testing.witness import look
from cnidaria_flat import Flat
from cnidaria_overlay import Overlay
from cnidaria_policy import names

SUBNETS = {4: ("10.1.0.0/24", "10.1.0.5", 24), 6: ("fd00:1::/64", "fd00:1::5", 64)}
PEER = {4: ("10.1.1.0/24", "192.0.2.2"), 6: ("fd00:2::/64", "2001:db8::2")}
OWN = {4: "192.0.2.1", 6: "2001:db8::1"}


def network(mode: Mode[Any], families: list[int], **keys: object) -> Network[Any]:
    conf = {"type": mode.type, **keys}
    leases = tuple(Lease("pods", SUBNETS[f][1], SUBNETS[f][2]) for f in families)
    peer = Peer("b", {f: PEER[f][1] for f in (4, 6)}, tuple(PEER[f][0] for f in families))
    return Network(
        name="pods",
        config=decode(mode.Config, conf, mode.type),
        node=NodeInfo("a", "up0", 1500, OWN),
        prefixes=tuple(SUBNETS[f][0] for f in families),
        peers=(peer,),
        take=lambda _: LeaseSet(leases),
    )


def request(mode: Mode[Any]) -> Request:
    conf = NetConf.parse({"cniVersion": "1.1.0", "name": "pods", "type": mode.type}, "ADD")
    return Request("pods", "c1", "eth0", "/run/netns/c1", {}, conf)


def uplink(host: NetNS) -> None:
    pair = Veth("up0", "up1", "02:00:00:00:00:01", "02:00:00:00:00:02", peer_where="host")
    kernel = Kernel(host)
    kernel.apply([pair], host=host, pod=host)
    kernel.apply([Address("up0", "192.0.2.1/24"), Address("up0", "2001:db8::1/64", nodad=True)])


@pytest.mark.parametrize("mode", [Flat(), Overlay()], ids=lambda mode: mode.type)
@pytest.mark.parametrize("families", [[4], [6], [4, 6]], ids=str)
def test_what_a_mode_declares_is_what_another_reader_finds(
    host: NetNS, pod: NetNS, mode: Mode[Any], families: list[int]
) -> None:
    uplink(host)
    before = Kernel(host).owned()
    net = network(mode, families, masquerade=True)
    objects: list[Object] = [*mode.node(net), *mode.attach(request(mode), net).objects]
    hands, sides = Hands(Kernel), Sides(host, pod)
    hands.apply(objects, sides)

    assert not hands.differences(objects, sides)
    for where, namespace in (("host", host), ("pod", pod)):
        mine = [obj for obj in objects if obj.where == where]
        assert not look(namespace).missing(mine)

    assert not hands.withdraw(objects, sides)
    left = look(host)
    assert left.links == {"lo", "up0", "up1"}
    assert not left.neighbours
    assert Kernel(host).owned() == before
    assert look(pod).links == {"lo"}


@pytest.mark.parametrize("mode", [Flat(), Overlay()], ids=lambda mode: mode.type)
def test_a_witness_misses_what_is_not_there(host: NetNS, pod: NetNS, mode: Mode[Any]) -> None:
    plan = mode.attach(request(mode), network(mode, [4]))
    here = [obj for obj in plan if obj.where == "pod"]
    assert look(pod).missing(here) == [obj for obj in here if not obj.key[0].startswith("sysctl")]


def test_a_network_of_any_name_has_a_table_of_its_own() -> None:
    mode = Flat()
    net = network(mode, [4])
    for name in ("policy", "policy-pods"):
        named = Network(name, net.config, net.node, net.prefixes, net.peers, net.take)
        tables = {obj.name for obj in mode.node(named) if isinstance(obj, NftTable)}
        assert tables == {f"cnidaria/{name}"}
        assert tables.isdisjoint({names.TABLE, names.table("pods")})


def test_pods_of_the_overlay_have_room_for_the_encapsulation() -> None:
    mode = Overlay()
    plan = mode.attach(request(mode), network(mode, [4, 6]))
    assert next(obj for obj in plan if isinstance(obj, Veth)).mtu == 1450


def test_an_overlay_without_underlay_is_not_ready() -> None:
    mode = Overlay()
    net = network(mode, [4])
    lonely = Network(net.name, net.config, NodeInfo("a"), net.prefixes, net.peers, net.take)
    with pytest.raises(NotReady, match="no address that other nodes could reach"):
        list(mode.node(lonely))
