from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_network

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnidaria.plan.objects import (
    Address,
    Bridge,
    BridgePort,
    Encap,
    Fdb,
    LinkUp,
    Macvlan,
    Neighbour,
    NftChain,
    NftElement,
    NftElements,
    NftSet,
    NftTable,
    Object,
    Route,
    Rule,
    Sysctl,
    Veth,
    Vxlan,
    from_wire,
    register,
    to_wire,
)

MAC = "02:00:00:00:00:01"
OTHER_MAC = "02:00:00:00:00:02"

wheres = st.sampled_from(["host", "pod"])
names = st.from_regex(r"[a-z][a-z0-9.-]{0,14}", fullmatch=True)
macs = st.binary(min_size=5, max_size=5).map(lambda raw: "02:" + raw.hex(":"))
mtus = st.integers(68, 65535)
v4s = st.integers(0, 2**32 - 1).map(lambda n: str(IPv4Address(n)))
v6s = st.integers(0, 2**128 - 1).map(lambda n: str(IPv6Address(n)))
addresses = v4s | v6s


@st.composite
def prefixes(draw, of=addresses):
    address = draw(of)
    bits = draw(st.integers(0, 128 if ":" in address else 32))
    return str(ip_network(f"{address}/{bits}", strict=False))


@st.composite
def routes(draw):
    dst = draw(prefixes())
    same = v6s if ":" in dst else v4s
    leads = draw(st.booleans())
    return Route(
        dst,
        via=draw(st.none() | same) if leads else None,
        dev=draw(names) if leads else None,
        src=draw(st.none() | same),
        table=draw(st.integers(1, 2**32 - 1)),
        metric=draw(st.integers(0, 2**32 - 1)),
        mtu=draw(st.none() | st.integers(1, 65520)),
        encap=draw(st.none() | st.builds(Encap, st.integers(0, 2**24), addresses))
        if leads
        else None,
        type="unicast" if leads else draw(st.sampled_from(["blackhole", "unreachable"])),
        where=draw(wheres),
    )


objects = st.one_of(
    st.builds(
        Veth,
        names,
        peer=names,
        mac=macs,
        peer_mac=macs,
        mtu=mtus,
        alias=st.just("cnidaria:x"),
        where=st.just("host"),
        peer_where=st.just("pod"),
    ),
    st.builds(
        Bridge, names, mtu=mtus, mac=st.none() | macs, alias=st.just("cnidaria:"), where=wheres
    ),
    st.builds(BridgePort, names, names, hairpin=st.booleans(), isolated=st.booleans()),
    st.builds(Macvlan, names, master=names, alias=st.just("cnidaria:"), mac=st.none()),
    st.builds(Vxlan, names, st.integers(1, 2**24 - 1), addresses),
    st.builds(LinkUp, names, where=wheres),
    st.builds(Address, names, addresses.map(lambda a: f"{a}/32"), st.booleans(), where=wheres),
    routes(),
    st.builds(Neighbour, names, addresses, macs, where=wheres),
    st.builds(Fdb, names, macs, st.none() | addresses),
    st.builds(Rule, st.just(4), st.integers(0, 32767), src=prefixes(v4s), mark=st.integers(0, 9)),
    st.builds(NftTable, names.map(lambda n: f"cnidaria_{n}")),
    st.lists(v4s, unique=True).map(
        lambda some: NftSet("cnidaria", "pods", ("ipv4_addr",)).elements(*some)
    ),
)


@given(objects)
def test_survives_the_journal(obj):
    wire = msgpack.unpackb(msgpack.packb(to_wire(obj)))
    again = from_wire(wire)
    assert again == obj
    assert again.key == obj.key
    assert hash(obj.key) == hash(again.key)


@given(objects)
def test_reads_like_words(obj):
    assert re.match(r"[a-z]+ \S+", str(obj))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinkUp(""), "LinkUp.dev = ''"),
        (lambda: LinkUp("a/b"), "LinkUp.dev = 'a/b'"),
        (lambda: LinkUp("sixteen-bytes-ab"), "1 to 15 bytes"),
        (lambda: Neighbour("eth0", "10.0.0.1", "01:00:00:00:00:00"), "a unicast MAC"),
        (lambda: Neighbour("eth0", "10.0.0.256", MAC), "Neighbour.address = '10.0.0.256'"),
        (lambda: Veth("a", peer="b", mac=MAC, peer_mac=MAC, mtu=67), "Veth.mtu = 67"),
        (lambda: Veth("a", peer="b", mac=MAC, peer_mac=MAC, alias="b"), "Veth.alias = 'b'"),
        (
            lambda: Veth("a", peer="a", mac=MAC, peer_mac=MAC, peer_where="host"),
            "Veth.peer = 'a'",
        ),
        (lambda: Vxlan("vx", 0, "10.0.0.1"), "Vxlan.vni = 0"),
        (lambda: Vxlan("vx", 5, "10.0.0.1", external=True), "Vxlan.vni (external) = 5"),
        (lambda: Vxlan("vx", 5, "10.0.0.1", gpe=True), "Vxlan.gpe = True"),
        (lambda: Address("eth0", "10.0.0.1"), "with its prefix length"),
        (lambda: Route("10.0.0.1/24", dev="eth0"), "has host bits set"),
        (lambda: Route("10.0.0.0/24"), "Route.dev = None"),
        (lambda: Route("10.0.0.0/24", via="fd00::1"), "of the address family of 10.0.0.0/24"),
        (lambda: Route("10.0.0.0/24", dev="e", onlink=True), "Route.onlink = True"),
        (lambda: Route("10.0.0.0/24", dev="e", type="blackhole"), "Route.dev = 'e'"),
        (lambda: Encap(-1, "10.0.0.1"), "Encap.id = -1"),
        (lambda: Rule(4, 1, src="fd00::/8"), "of address family 4"),
        (lambda: Sysctl("kernel.panic", "0"), "Sysctl.name = 'kernel.panic'"),
        (lambda: Sysctl("net/../kernel/panic", "0"), "Sysctl.name"),
        (lambda: NftTable("filter"), "begins with 'cnidaria'"),
        (lambda: NftSet("cnidaria", "s", ("string",)), "NftSet.type = 'string'"),
        (lambda: NftSet("cnidaria", "s", ("ipv4_addr",)).elements("fd00::1"), "ipv4_addr"),
        (lambda: NftSet("cnidaria", "s", ("ipv4_addr",)).elements("10.0.0.0/8"), "single value"),
        (lambda: NftChain("cnidaria", "c", hook="ingress"), "NftChain.device = None"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_value(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Route("10.0.0.1", dev="e"), Route("10.0.0.1/32", dev="e", scope="link")),
        (Route("FD00::0/8", dev="e"), Route("fd00::/8", dev="e", metric=1024)),
        (Neighbour("e", "FD00::0:1", MAC.upper()), Neighbour("e", "fd00::1", MAC)),
        (Address("e", "10.0.0.1/32", nodad=True), Address("e", "10.0.0.1/32")),
        (Rule(4, 9, mark=1), Rule(4, 9, mark=1, mask=2**32 - 1)),
        (Sysctl("net/ipv4/ip_forward", "1\n"), Sysctl("net.ipv4.ip_forward", "1")),
        (
            NftSet("cnidaria", "s", ("inet_proto", "inet_service"), interval=True).elements(
                ("17", "0x50-0x50")
            ),
            NftElements(
                "cnidaria",
                "s",
                (NftElement(("udp", "80")),),
                type=("inet_proto", "inet_service"),
                interval=True,
            ),
        ),
    ],
)
def test_one_value_has_one_spelling(one, other):
    assert one == other
    assert one.key == other.key


def test_ranges_that_are_prefixes_are_written_so():
    pods = NftSet("cnidaria", "s", ("ipv4_addr",), interval=True)
    keys = [e.key[0] for e in pods.elements("10.0.0.0-10.0.0.255", "10.1.0.1-10.1.0.2").elements]
    assert keys == ["10.0.0.0/24", "10.1.0.1-10.1.0.2"]


def test_links_say_what_they_make_and_others_what_they_are_on():
    veth = Veth("cnd1", peer="eth0", mac=MAC, peer_mac=OTHER_MAC)
    assert veth.ends() == (("host", "cnd1"), ("pod", "eth0"))
    assert veth.names() == ("cnd1",)
    assert Macvlan("eth0", master="uplink").ends() == (("pod", "eth0"),)
    assert Route("10.0.0.1/32", dev="cnd1").on() == ("cnd1",)
    assert BridgePort("cnd1", "br0").on() == ("cnd1", "br0")
    assert Sysctl.of_link("eth0.5", "ipv6", "accept_ra", "0").on() == ("eth0.5",)
    assert Sysctl("net.ipv4.conf.all.forwarding", "1").on() == ()
    assert Sysctl("net.ipv4.ip_forward", "1").on() == ()


def test_an_unknown_kind_or_field_is_refused():
    with pytest.raises(ValueError, match=r"kind = 'wormhole': must be one of address, any_link"):
        from_wire({"kind": "wormhole"})
    with pytest.raises(ValueError, match=r"route: .*unknown field `distance`"):
        from_wire({"kind": "route", "dst": "10.0.0.0/8", "dev": "e", "distance": 3})
    with pytest.raises(ValueError, match=r"route: .*Route.dst = 'x'"):
        from_wire({"kind": "route", "dst": "x", "dev": "e"})


def test_others_may_bring_kinds_but_not_take_ours():
    @register
    class Tap(Object, frozen=True):
        name: str

    assert from_wire(to_wire(Tap("t"))) == Tap("t")
    assert register(Tap) is Tap

    class Impostor(Object, frozen=True, tag="route"):
        name: str

    with pytest.raises(ValueError, match="two kinds of objects are named 'route'"):
        register(Impostor)
