"""What others do to a namespace is told by the key of what they do it to."""

from __future__ import annotations

import socket

import pytest

from cnidaria.kernel.events import LOST, Event, Events
from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.objects import (
    Address,
    Bridge,
    Fdb,
    Neighbour,
    NftSet,
    NftTable,
    Route,
    Rule,
    Veth,
    Vxlan,
)
from support.namespaces import run

MAC, PEER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
BRIDGE = Bridge("br0", mac=MAC)
TABLE = NftTable("cnidaria_test")
PORTS = NftSet("cnidaria_test", "ports", ("inet_service",))


def told(events):
    """All that has come; what is done by netlink is told before it is answered."""
    found = []
    while events.wait(0.2):
        found += events.read()
    return found


# What is there; what somebody does; what is told.
CASES = {
    "link down": ([], "ip link set br0 down", Event(BRIDGE.key, False, True)),
    "link gone": ([], "ip link del br0", Event(BRIDGE.key, True, True)),
    "peer gone": (
        [Veth("cnd1", peer="eth0", mac=MAC, peer_mac=PEER_MAC, peer_where="host")],
        "ip link del eth0",
        Event(("link", "cnd1"), True, True),
    ),
    "somebody's link": ([], "ip link add other0 type bridge", Event(("link", "other0"))),
    "address": (
        [Address("br0", "10.0.0.1/24")],
        "ip addr del 10.0.0.1/24 dev br0",
        Event(("address", "br0", "10.0.0.1/24"), True, True),
    ),
    "address v6": (
        [Address("br0", "fd00::1/64", nodad=True)],
        "ip addr flush dev br0",
        Event(("address", "br0", "fd00::1/64"), True, True),
    ),
    "route": (
        [Route("10.2.0.0/24", dev="br0")],
        "ip route del 10.2.0.0/24",
        Event(("route", 254, "10.2.0.0/24", 0), True, True),
    ),
    "route replaced": (
        [Route("10.2.0.0/24", dev="br0")],
        "ip route replace blackhole 10.2.0.0/24",
        Event(("route", 254, "10.2.0.0/24", 0), False, False),
    ),
    "route v6": (
        [Route("fd02::/64", dev="br0")],
        "ip route del fd02::/64",
        Event(("route", 254, "fd02::/64", 1024), True, True),
    ),
    "neighbour": (
        [Neighbour("br0", "10.0.0.9", MAC)],
        "ip neigh del 10.0.0.9 dev br0",
        Event(("neighbour", "br0", "10.0.0.9"), True, True),
    ),
    "neighbour replaced": (
        [Neighbour("br0", "10.0.0.9", MAC)],
        f"ip neigh replace 10.0.0.9 lladdr {PEER_MAC} dev br0 nud stale",
        Event(("neighbour", "br0", "10.0.0.9"), False, True),
    ),
    "fdb": (
        [Vxlan("vx1", 5), Fdb("vx1", PEER_MAC, "10.0.0.2")],
        f"bridge fdb del {PEER_MAC} dst 10.0.0.2 dev vx1",
        Event(Fdb("vx1", PEER_MAC, "10.0.0.2").key, True),
    ),
    "fdb of all": (
        [Vxlan("vx1", 5), Fdb("vx1", "00:00:00:00:00:00", "10.0.0.2")],
        "bridge fdb del 00:00:00:00:00:00 dst 10.0.0.2 dev vx1",
        Event(Fdb("vx1", "00:00:00:00:00:00", "10.0.0.2").key, True),
    ),
    "rule": (
        [Rule(4, 100, 4711, src="10.2.0.0/16")],
        "ip rule del priority 100",
        Event(Rule(4, 100, 4711, src="10.2.0.0/16").key, True, True),
    ),
    "table": ([TABLE], "nft delete table inet cnidaria_test", Event(TABLE.key, True, True)),
    "elements": (
        [TABLE, PORTS.holding("80")],
        "nft flush set inet cnidaria_test ports",
        Event(TABLE.key, False, True),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_changes_are_told(host, name):
    objects, command, expected = CASES[name]
    Kernel(host).apply([BRIDGE, *objects])
    with Events(host) as events:
        told(events)  # what still comes of that
        run(host, *command.split())
        assert expected in told(events)


@pytest.mark.parametrize("name", ["address", "route", "neighbour", "fdb", "rule", "elements"])
def test_what_we_make_is_told_under_its_own_key(host, name):
    objects = CASES[name][0]
    Kernel(host).apply([BRIDGE])
    with Events(host) as events:
        Kernel(host).apply(objects)
        keys = {event.key for event in told(events)}
    assert {obj.key for obj in objects} - keys <= {PORTS.key}


def test_what_is_learned_is_not_told(host):
    Kernel(host).apply([BRIDGE])
    with Events(host) as events:
        run(host, "ip", "neigh", "add", "10.0.0.9", "lladdr", MAC, "dev", "br0", "nud", "stale")
        run(host, "ip", "neigh", "del", "10.0.0.9", "dev", "br0")
        assert [event for event in told(events) if event.key[0] != "link"] == []


def test_lost_events_are_told(host):
    kernel = Kernel(host)
    kernel.apply([BRIDGE])
    with Events(host) as events:
        for sock in events._sockets.values():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)
        routes = [Route(f"10.{n // 256}.{n % 256}.0/24", dev="br0") for n in range(2000)]
        kernel.apply(routes)
        assert LOST in told(events)
        run(host, "ip", "link", "set", "br0", "down")
        assert Event(BRIDGE.key, False, True) in told(events)


def test_only_the_namespace_asked_for(host, pod):
    with Events(host) as events:
        run(pod, "ip", "link", "add", "other0", "type", "bridge")
        assert told(events) == []
    events.close()
