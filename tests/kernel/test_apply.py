"""Every kind of object: applied, read back by ``ip``, applied again, changed, withdrawn."""

from __future__ import annotations

import errno
import re

import pytest

from cnidaria.kernel.driver import compare
from cnidaria.kernel.handle import Kernel, KernelError
from cnidaria.kernel.objects import (
    Address,
    AnyLink,
    Bridge,
    BridgePort,
    Encap,
    Fdb,
    LinkUp,
    Macvlan,
    Neighbour,
    Route,
    Rule,
    Sysctl,
    Veth,
    Vxlan,
)
from support.namespaces import run

MAC, PEER_MAC, REMOTE_MAC = (f"02:00:00:00:00:0{n}" for n in (1, 2, 3))

VETH = Veth("cnd1", peer="eth0", mac=MAC, peer_mac=PEER_MAC, mtu=1400, alias="cnidaria:net/c1/eth0")
VXLAN = Vxlan("vx1", 5, "10.0.0.1", dev="up0", mtu=1400, mac=MAC)

PREPARE = """
link add up0 type bridge
link set up0 up
address add 10.0.0.1/24 dev up0
address add fd01::1/64 dev up0 nodad
"""

# What is declared; the command that shows it; what it has to say.
CASES = {
    "veth": ((VETH,), "ip -d link show cnd1", r"mtu 1400.*addrgenmode none.*alias cnidaria:net"),
    "bridge": ((Bridge("br1", mtu=1400, mac=MAC),), "ip -d link show br1", r"UP.* mtu 1400.*stp_s"),
    "bridge port": (
        (Bridge("br1"), VETH, BridgePort("cnd1", "br1", hairpin=True, isolated=True)),
        "ip -d link show cnd1",
        r"master br1 .*hairpin on.*isolated on",
    ),
    "macvlan": (
        (Macvlan("mv1", master="up0", mac=MAC, where="host"),),
        "ip -d link show mv1",
        r"mv1@up0.*macvlan *mode bridge",
    ),
    "vxlan": (
        (VXLAN,),
        "ip -d link show vx1",
        r"mtu 1400.*vxlan id 5 local 10.0.0.1 dev up0 .*dstport 4789 .*nolearning",
    ),
    "vxlan v6": ((Vxlan("vx1", 5, "fd01::1"),), "ip -d link show vx1", "local fd01::1"),
    "vxlan external": ((Vxlan("vx1", external=True),), "ip -d link show vx1", "external"),
    "vxlan gpe": ((Vxlan("vx1", external=True, gpe=True),), "ip -d link show vx1", "gpe"),
    "link up": ((LinkUp("down0"),), "ip link show down0", r"[<,]UP[,>]"),
    "address": ((Address("up0", "10.9.0.1/24"),), "ip addr show up0", "inet 10.9.0.1/24"),
    "address v6": (
        (Address("up0", "fd09::1/64", nodad=True),),
        "ip addr show up0",
        r"fd09::1/64 scope global nodad (?!tentative)",
    ),
    "route": (
        (Route("10.2.0.0/24", via="10.0.0.2", dev="up0", mtu=1300, src="10.0.0.1"),),
        "ip route show proto 67",
        r"10.2.0.0/24 via 10.0.0.2 dev up0 src 10.0.0.1 mtu 1300",
    ),
    "route v6": (
        (Route("fd02::/64", via="fe80::2", dev="up0", metric=50),),
        "ip -6 route show proto 67",
        r"fd02::/64 via fe80::2 dev up0 metric 50",
    ),
    "route without a device": (
        (Route("10.2.0.0/24", via="10.0.0.2", dev=None),),
        "ip route show proto 67",
        "10.2.0.0/24 via 10.0.0.2 dev up0",
    ),
    "route on link": (
        (Route("0.0.0.0/0", via="169.254.1.1", dev="up0", onlink=True),),
        "ip route show proto 67",
        "default via 169.254.1.1 dev up0 onlink",
    ),
    "route of another table": (
        (Route("10.2.0.0/24", dev="up0", table=4711),),
        "ip route show table 4711",
        "10.2.0.0/24 dev up0 proto 67 scope link",
    ),
    "unreachable": (
        (Route("10.2.0.0/16", type="unreachable", metric=2**32 - 2),),
        "ip route show proto 67",
        "unreachable 10.2.0.0/16 metric 4294967294",
    ),
    "unreachable v6": (
        (Route("fd02::/48", type="unreachable", metric=2**31),),
        "ip -6 route show proto 67",
        "unreachable fd02::/48",
    ),
    "route encap": (
        (
            Vxlan("vx1", external=True),
            Route("10.2.0.0/24", dev="vx1", encap=Encap(5, "10.0.0.2", ttl=9)),
        ),
        "ip route show proto 67",
        r"10.2.0.0/24 +encap ip id 5 src 0.0.0.0 dst 10.0.0.2 ttl 9 .*dev vx1",
    ),
    "route encap v6": (
        (
            Vxlan("vx1", external=True),
            Route("fd02::/64", dev="vx1", encap=Encap(5, "fd01::2", src="fd01::1")),
        ),
        "ip -6 route show proto 67",
        r"encap ip6 id 5 src fd01::1 dst fd01::2 .*dev vx1",
    ),
    "neighbour": (
        (Neighbour("up0", "10.0.0.9", MAC),),
        "ip neigh show nud permanent",
        f"10.0.0.9 dev up0 lladdr {MAC} PERMANENT proto 67",
    ),
    "neighbour v6": (
        (Neighbour("up0", "fe80::9", MAC),),
        "ip neigh show nud permanent",
        f"fe80::9 dev up0 lladdr {MAC} PERMANENT proto 67",
    ),
    "fdb": (
        (VXLAN, Fdb("vx1", REMOTE_MAC, "10.0.0.2")),
        "bridge fdb show dev vx1",
        f"{REMOTE_MAC} dst 10.0.0.2 self permanent",
    ),
    "fdb of all": (
        (
            VXLAN,
            Fdb("vx1", "00:00:00:00:00:00", "10.0.0.2"),
            Fdb("vx1", "00:00:00:00:00:00", "10.0.0.3"),
        ),
        "bridge fdb show dev vx1",
        r"00:00:00:00:00:00 dst 10.0.0.2.*00:00:00:00:00:00 dst 10.0.0.3",
    ),
    "fdb of a bridge": (
        (Bridge("br1"), VETH, BridgePort("cnd1", "br1"), Fdb("cnd1", REMOTE_MAC)),
        "bridge fdb show dev cnd1",
        f"{REMOTE_MAC} .*master br1 static",
    ),
    "rule": (
        (Rule(4, 100, 4711, src="10.2.0.0/16", iif="cnd1", mark=5, mask=15),),
        "ip rule show priority 100",
        r"from 10.2.0.0/16 fwmark 0x5/0xf iif cnd1 .*lookup 4711 proto 67",
    ),
    "rule v6": (
        (Rule(6, 100, dst="fd02::/64", oif="up0", action="unreachable"),),
        "ip -6 rule show priority 100",
        r"to fd02::/64 oif up0 (proto 67 )?unreachable",
    ),
    "sysctl": (
        (Sysctl("net.ipv4.ip_forward", "1"),),
        "cat /proc/sys/net/ipv4/ip_forward",
        "1",
    ),
    "sysctl of a link": (
        (Sysctl.of_link("dot.7", "ipv6", "accept_ra", "0"),),
        "cat /proc/sys/net/ipv6/conf/dot.7/accept_ra",
        "0",
    ),
}
STAYS = {"link up", "sysctl", "sysctl of a link"}
"""Withdrawing them changes nothing."""


@pytest.fixture
def node(host):
    for line in PREPARE.strip().splitlines():
        run(host, "ip", *line.split())
    for name in ("down0", "dot.7"):
        run(host, "ip", "link", "add", name, "type", "bridge")
    return host


def shown(namespace, command):
    """What a command says, on one line; nothing if the link is not there."""
    text = run(namespace, *command.split(), check=False)
    return " ".join(text.split())


@pytest.mark.parametrize("name", CASES)
def test_apply_compare_withdraw(node, pod, name):
    objects, command, expected = CASES[name]
    kernel = Kernel(node)
    before = shown(node, command)
    missing = kernel.differences(objects, pod=pod)
    assert missing[0].object == objects[0]

    kernel.apply(objects, pod=pod)
    text = shown(node, command)
    assert re.search(expected, text), text
    assert kernel.differences(objects, pod=pod) == []

    kernel.apply(objects, pod=pod)  # exactly so already
    assert re.search(expected, shown(node, command))
    assert kernel.differences(objects * 20, pod=pod) == []  # read all at once

    assert kernel.withdraw(objects) == []
    after = shown(node, command)
    assert re.search(expected, after) if name in STAYS else after == before
    assert kernel.withdraw(objects) == []
    assert kernel.owned() == []


@pytest.mark.parametrize("name", sorted(CASES.keys() - STAYS))
def test_owned_lists_what_was_applied(node, pod, name):
    objects = CASES[name][0]
    kernel = Kernel(node)
    kernel.apply(objects, pod=pod)
    owned = {obj.key: obj for obj in kernel.owned()}
    for obj in objects:
        if not isinstance(obj, BridgePort):
            found = owned[obj.key]
            assert isinstance(found, AnyLink) or not list(compare(obj, found))
    assert {type(obj) for obj in kernel.owned(Route)} <= {Route}
    assert kernel.withdraw(list(owned.values())) == []
    assert kernel.owned() == []


@pytest.mark.parametrize("name", sorted(CASES.keys() - STAYS - {"bridge port"}))
def test_withdrawn_one_by_one(node, pod, name):
    """Not all at once with the link that they are on."""
    objects, command, _ = CASES[name]
    kernel = Kernel(node)
    before = shown(node, command)
    kernel.apply(objects, pod=pod)
    for obj in reversed(objects):
        assert kernel.withdraw([obj]) == []
        assert kernel.differences([obj], pod=pod)[0].field == ""
    assert shown(node, command) == before


def test_a_macvlan_is_made_right_in_the_pod(node, pod):
    macvlan = Macvlan("eth0", master="up0", mac=MAC)
    run(node, "ip", "link", "add", "eth0", "type", "bridge")  # the host's name is not in the way
    kernel = Kernel(pod)
    kernel.apply([macvlan], host=node)
    assert kernel.differences([macvlan], host=node) == []
    assert kernel.link("eth0").kind == "macvlan"
    assert kernel.withdraw([macvlan]) == []
    assert kernel.link("eth0") is None
    assert Kernel(node).link("eth0").kind == "bridge"


FOREIGN = {
    "veth": (VETH, "link add cnd1 type bridge"),
    "bridge": (Bridge("br1"), "link add br1 type bridge"),
    "vxlan": (VXLAN, "link add vx1 type vxlan id 5 dstport 4789 nolearning"),
    "address": (Address("up0", "10.9.0.1/24"), "address add 10.9.0.1/24 dev up0"),
    "route": (
        Route("10.2.0.0/24", via="10.0.0.2", dev="up0"),
        "route add 10.2.0.0/24 via 10.0.0.3 dev up0",
    ),
    "same route": (
        Route("10.2.0.0/24", via="10.0.0.2", dev="up0"),
        "route add 10.2.0.0/24 via 10.0.0.2 dev up0",
    ),
    "neighbour": (
        Neighbour("up0", "10.0.0.9", MAC),
        f"neigh add 10.0.0.9 dev up0 lladdr {PEER_MAC}",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_not_ours_is_left_alone(node, pod, name):
    obj, command = FOREIGN[name]
    run(node, "ip", *command.split())
    kernel = Kernel(node)

    def state():
        show = ("link", "address", "route", "neigh show nud permanent")
        return [run(node, "ip", *what.split()) for what in show]

    before = state()
    with pytest.raises(KernelError, match="is there") as refusal:
        kernel.apply([obj], pod=pod)
    assert refusal.value.errno == errno.EEXIST
    assert refusal.value.object == obj
    assert kernel.withdraw([obj]) == []
    assert kernel.delete_links([AnyLink(name) for name in ("cnd1", "br1", "vx1")]) == []
    assert state() == before
    assert kernel.owned() == []
    assert kernel.differences([obj], pod=pod)


def test_a_link_in_the_pod_is_not_taken_over(node, pod):
    run(pod, "ip", "link", "add", "eth0", "type", "bridge")
    with pytest.raises(KernelError, match=r"cannot add veth cnd1 \(host\)") as refusal:
        Kernel(node).apply([VETH], pod=pod)
    assert refusal.value.errno == errno.EEXIST
    assert refusal.value.object == VETH
    assert Kernel(pod).link("eth0").kind == "bridge"
    assert Kernel(node).link("cnd1") is None


def test_what_was_learned_gives_way(node):
    run(node, "ip", "neigh", "add", "10.0.0.9", "lladdr", PEER_MAC, "dev", "up0", "nud", "stale")
    neighbour = Neighbour("up0", "10.0.0.9", MAC)
    Kernel(node).apply([neighbour])
    assert Kernel(node).differences([neighbour]) == []


CHANGES = {
    "mtu": (VETH, "link set cnd1 mtu 1300", "mtu is 1300, must be 1400"),
    "down": (VETH, "link set cnd1 down", "up is False, must be True"),
    "mac": (Vxlan("vx1", 5, mac=MAC), f"link set vx1 address {PEER_MAC}", f"mac is '{PEER_MAC}'"),
    "gone": (VETH, "link del cnd1", "missing"),
    "route": (
        Route("10.2.0.0/24", via="10.0.0.2", dev="up0"),
        "route change 10.2.0.0/24 via 10.0.0.3 dev up0 proto 67",
        "via is '10.0.0.3', must be '10.0.0.2'",
    ),
    "route owner": (
        Route("10.2.0.0/24", via="10.0.0.2", dev="up0"),
        "route change 10.2.0.0/24 via 10.0.0.2 dev up0",
        "owner is 'somebody else'",
    ),
    "neighbour": (
        Neighbour("up0", "10.0.0.9", MAC),
        f"neigh change 10.0.0.9 dev up0 lladdr {PEER_MAC} nud permanent protocol 67",
        f"mac is '{PEER_MAC}', must be '{MAC}'",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_differences_name_what_changed(node, pod, name):
    obj, command, expected = CHANGES[name]
    kernel = Kernel(node)
    kernel.apply([obj], pod=pod)
    run(node, "ip", *command.split())
    assert expected in str(kernel.differences([obj], pod=pod)[0])
    assert kernel.differences([obj] * 20, pod=pod)


@pytest.mark.parametrize("name", sorted(CHANGES.keys() - {"mac", "route owner"}))
def test_applying_again_mends(node, pod, name):
    obj, command, _ = CHANGES[name]
    kernel = Kernel(node)
    kernel.apply([obj], pod=pod)
    run(node, "ip", *command.split())
    kernel.apply([obj], pod=pod)
    assert kernel.differences([obj], pod=pod) == []


def test_differences_see_the_peer(node, pod):
    kernel = Kernel(node)
    kernel.apply([VETH], pod=pod)
    run(pod, "ip", "link", "set", "eth0", "down")
    run(pod, "ip", "link", "set", "eth0", "name", "eth1")
    assert [str(d) for d in kernel.differences([VETH], pod=pod)] == [
        "veth cnd1 (host): peer is None, must be 'eth0'"
    ]
    assert kernel.differences([VETH]) == []  # the pod's namespace is not known


def test_two_metrics_of_one_prefix(node):
    """The kernel takes a metric of 0 for any when it removes: ours must not."""
    kernel = Kernel(node)
    first = Route("10.2.0.0/24", via="10.0.0.2", dev="up0")
    last = Route("10.2.0.0/24", type="unreachable", metric=4_278_198_272)
    kernel.apply([first, last])
    assert kernel.withdraw([first]) == []
    assert kernel.withdraw([first]) == []
    assert kernel.owned() == [last]
    assert kernel.differences([first, last])[0].object == first


def test_a_route_to_an_address_of_the_namespace_itself(node):
    kernel = Kernel(node)
    route = Route("10.9.0.1/32", dev="up0")
    kernel.apply([Address("up0", "10.9.0.1/32"), route])
    assert kernel.differences([route]) == []


def test_a_host_route_at_the_prefixs_first_address(node):
    """Asked for by its first address, the prefix is hidden behind it."""
    kernel = Kernel(node)
    both = [Route("10.2.0.0/24", via="10.0.0.2", dev="up0"), Route("10.2.0.0/32", dev="up0")]
    kernel.apply(both)
    assert kernel.differences(both) == []


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (
            Route("10.2.0.0/24", via="10.7.0.2", dev="up0"),
            "cannot add route 10.2.0.0/24 via 10.7.0.2 dev up0 (host): Nexthop has invalid gateway",
        ),
        (
            Route("10.2.0.0/24", dev="none0"),
            "cannot add route 10.2.0.0/24 dev none0 (host): there is no interface none0",
        ),
        (
            Route("10.2.0.0/24", via="10.7.0.2", where="pod"),
            "cannot add route 10.2.0.0/24 via 10.7.0.2 (pod): ",
        ),
        (LinkUp("none0"), "cannot add link none0 up (host): No such device"),
        (
            Sysctl("net.ipv4.no_such", "1"),
            "cannot add sysctl net.ipv4.no_such (host): No such file or directory",
        ),
        (
            Sysctl("net.ipv4.ip_forward", "x"),
            "cannot add sysctl net.ipv4.ip_forward (host): Invalid argument",
        ),
    ],
    ids=str,
)
def test_errors_are_for_people(node, obj, message):
    with pytest.raises(KernelError) as refusal:
        Kernel(node).apply([obj])
    assert str(refusal.value).startswith(message)
    assert refusal.value.object == obj


def test_withdraw_goes_on_after_an_error(node, monkeypatch):
    objects = [Address("up0", f"10.{n}.0.1/24") for n in (1, 2, 3)]
    kernel = Kernel(node)
    kernel.apply(objects)

    from cnidaria.kernel.entries import Addresses

    original = Addresses.key_body

    def broken(self, session, obj):
        body = original(self, session, obj)
        return b"\xff" + body[1:] if obj == objects[1] else body

    monkeypatch.setattr(Addresses, "key_body", broken)
    errors = kernel.withdraw(objects)
    assert [error.object for error in errors] == [objects[1]]
    assert kernel.owned(Address) == [objects[1]]


def test_many_routes_at_once(node):
    """More than fit into one batch, and one in the middle that is refused."""
    objects = [
        Route(f"10.{n // 256 + 50}.{n % 256}.0/24", via="10.0.0.2", dev="up0") for n in range(3000)
    ]
    kernel = Kernel(node)
    kernel.apply(objects)
    kernel.apply(objects)
    assert kernel.differences(objects) == []
    assert set(kernel.owned(Route)) == set(objects)
    assert kernel.withdraw(objects) == []
    bad = Route("10.50.0.0/24", via="10.7.7.7", dev="up0")
    with pytest.raises(KernelError) as refusal:
        kernel.apply([*objects[1:700], bad, *objects[700:]])
    assert refusal.value.object == bad


THEIR_ROUTES = {
    "unreachable 10.9.0.0/24": Route("10.9.0.0/24", type="unreachable"),
    "10.9.0.0/24 dev up0 table 100": Route("10.9.0.0/24", dev="up0", table=100),
    "unreachable fd00:9::/64 metric 5": Route("fd00:9::/64", type="unreachable", metric=5),
}


@pytest.mark.parametrize("theirs", THEIR_ROUTES)
def test_somebody_elses_route_of_any_kind_is_never_replaced(node, theirs):
    run(node, "ip", "route", "add", *theirs.split())
    before = run(node, "ip", "route", "show", "table", "all")
    with pytest.raises(KernelError, match="somebody else's is there"):
        Kernel(node).apply([THEIR_ROUTES[theirs]])
    assert run(node, "ip", "route", "show", "table", "all") == before
