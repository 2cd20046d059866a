"""To bytes and back, and beside pyroute2: it knows the kernel's attributes by name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from cnidaria.kernel import codec, nftexprs, uapi
from cnidaria.kernel.entries import Addresses
from cnidaria.kernel.nftelements import Layout, decode_all, encode
from cnidaria.kernel.objects import Address, Encap, NftElement, NftSet, Route, nftexpr
from cnidaria.kernel.objects.nfttypes import TYPES
from cnidaria.kernel.routes import encode as encode_route

kinds = st.integers(1, 0x3FFF)


@given(st.lists(st.tuples(kinds, st.binary(max_size=300))))
def test_attributes_come_back(attrs):
    data = b"".join(codec.attr(kind, value) for kind, value in attrs)
    assert len(data) % 4 == 0
    assert list(codec.attribute_list(data)) == attrs


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_harm(data):
    list(codec.attribute_list(data))
    list(codec.parts(data))


@given(st.lists(st.binary(max_size=9).map(lambda body: body.ljust(12, b"\0")), max_size=5))
def test_messages_come_back(bodies):
    data = b"".join(codec.message(16, 5, n, body) for n, body in enumerate(bodies))
    assert [(part.sequence, part.body) for part in codec.parts(data)] == list(enumerate(bodies))


# -- beside pyroute2 -------------------------------------------------------------------------


def same_bytes(kind, data):
    """pyroute2's message, made of what it read in ours; only its nested flags are not set."""
    message = kind(data)
    message.decode()
    message.reset()
    message.encode()
    theirs = bytes(message.data)
    assert len(theirs) == len(data)
    for ours, other in zip(data, theirs, strict=True):
        assert ours in (other, other | uapi.NLA_F_NESTED >> 8)
    message = kind(data)
    message.decode()
    return message


metrics = st.none() | st.integers(1, 65495)
indices = st.integers(1, 2**31 - 1)


@st.composite
def routes(draw):
    return Route(
        f"0.0.0.0/{draw(st.integers(0, 32))}",
        via="10.0.0.1",
        dev="eth0",
        src="10.0.0.9",
        metric=draw(st.integers(0, 2**32 - 1)),
        table=draw(st.integers(1, 2**32 - 1)),
        mtu=draw(metrics),
        advmss=draw(metrics),
        onlink=True,
    )


@given(routes(), indices)
def test_routes_as_pyroute2_reads_and_writes_them(route, index):
    body = encode_route(route, index)
    message = same_bytes(rtmsg, codec.message(uapi.RTM_NEWROUTE, 5, 1, body))
    assert route.dst == f"0.0.0.0/{message['dst_len']}"
    assert message["proto"] == 67
    assert message.get_attr("RTA_DST") == ("0.0.0.0" if message["dst_len"] else None)
    assert message.get_attr("RTA_OIF") == index
    assert message.get_attr("RTA_GATEWAY") == "10.0.0.1"
    assert message.get_attr("RTA_PREFSRC") == "10.0.0.9"
    assert message.get_attr("RTA_PRIORITY") == (route.metric or None)
    assert route.table in (message["table"], message.get_attr("RTA_TABLE"))
    found = message.get_attr("RTA_METRICS")
    assert (found.get_attr("RTAX_MTU") if found else None) == route.mtu
    assert (found.get_attr("RTAX_ADVMSS") if found else None) == route.advmss


def test_encapsulation_that_pyroute2_does_not_know():
    """``RTA_ENCAP`` of IP is not in its tables: its type, and what follows, byte by byte."""
    route = Route("10.2.0.0/24", dev="vx1", encap=Encap(5, "10.0.0.2"))
    data = encode_route(route, 7)
    encap = (
        "0600 1500 0200 0000"  # RTA_ENCAP_TYPE: LWTUNNEL_ENCAP_IP
        "1800 1680 0c00 0100 00000000 00000005 0800 0200 0a000002"
    )
    assert data.endswith(bytes.fromhex(encap))


@given(st.integers(0, 128), indices, st.booleans())
def test_addresses_as_pyroute2_reads_and_writes_them(bits, index, nodad):
    body = Addresses._body(Address("eth0", f"fd00::5/{bits}", nodad), index)
    message = same_bytes(ifaddrmsg, codec.message(uapi.RTM_NEWADDR, 5, 1, body))
    assert (message["prefixlen"], message["index"]) == (bits, index)
    assert message.get_attr("IFA_LOCAL") == message.get_attr("IFA_ADDRESS") == "fd00::5"
    assert message.get_attr("IFA_FLAGS") == 2 * nodad
    assert message.get_attr("IFA_PROTO") == 67


# -- nftables --------------------------------------------------------------------------------

slots = st.integers(0, 15)
raws = st.binary(min_size=1, max_size=16)
names = st.from_regex(r"[a-z]{1,12}", fullmatch=True)


def fields(kind):
    """Expressions of a kind from the types of their fields."""
    special = {
        "slot": slots,
        "data": raws,
        "mask": st.just(b"\xff" * 4),
        "xor": st.just(b"\0" * 4),
        "first": st.just(b"\0\1"),
        "last": st.just(b"\0\2"),
        "set": names,
        "prefix": names,
        "offset": st.integers(0, 100),
        "length": st.integers(1, 16),
        "code": st.integers(0, 3),
        "to": st.none() | slots | st.just("verdict"),
        "address": st.none() | slots,
        "port": st.none() | slots,
        "flags": st.just(("saddr", "iif")),
        "rate": st.integers(1, 2**40),
        "seconds": st.sampled_from((1, 60)),
        "burst": st.integers(0, 100),
    }
    return {name: special[name] for name in kind.__struct_fields__ if name in special}


exprs = st.one_of(
    *(
        st.builds(kind, **fields(kind))
        for kind in {*nftexpr.Expr.__subclasses__()} - {nftexpr.Unknown}
        if kind not in (nftexpr.Verdict, nftexpr.Reject)
    ),
    st.sampled_from(
        [
            nftexpr.Verdict("drop"),
            nftexpr.Verdict("continue"),
            nftexpr.Verdict("jump", "there"),
            nftexpr.Reject("tcp-reset"),
            nftexpr.Reject("icmpx", 3),
            nftexpr.Log("prefix", 3, 64),
            nftexpr.Log(group=0),
        ]
    ),
)


@given(exprs)
def test_expressions_come_back(expr):
    ((_, raw),) = codec.attribute_list(nftexprs.encode(expr))
    assert nftexprs.decode(raw) == expr


@given(slots)
def test_registers_come_back(slot):
    number = nftexprs.register(slot)
    assert nftexprs.slot_of(number.to_bytes(4, "big")) == slot


def values(name, interval):
    kind = TYPES[name]
    if name == "ifname":
        return names
    top = (1 << 8 * kind.length) - 1
    numbers = st.integers(0, top)
    if not interval:
        return numbers.map(kind.write)
    return st.tuples(numbers, numbers).map(lambda two: kind.between(min(two), max(two)))


@st.composite
def elements(draw):
    interval = draw(st.booleans())
    types = tuple(draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=3)))
    data = draw(st.sampled_from([(), ("verdict",), ("mark",), ("ipv4_addr", "inet_service")]))
    key = tuple(draw(values(name, interval)) for name in types)
    given_data = {
        (): (),
        ("verdict",): ("goto there",),
        ("mark",): ("0x10",),
        ("ipv4_addr", "inet_service"): ("10.0.0.1", "80"),
    }[data]
    made = NftSet("cnidaria", "s", types, data=data, interval=interval)
    return Layout(types, data, interval), made.elements(NftElement(key, given_data)).elements[0]


@given(elements())
def test_elements_come_back(given_):
    layout, element = given_
    raw = [item for one in encode(layout, element) for _, item in codec.attribute_list(one)]
    assert decode_all(layout, raw) == [element]


@given(st.lists(st.integers(0, 255), min_size=2, max_size=20, unique=True))
def test_intervals_come_back_whatever_their_order(bounds):
    """Pairs of neighbours make intervals; some touch each other."""
    bounds = sorted(bounds)
    layout = Layout(("inet_proto",), (), True)
    kind = TYPES["inet_proto"]
    pairs = zip(bounds[::2], bounds[1::2], strict=False)
    wanted = {NftElement((kind.between(*pair),)) for pair in pairs}
    raw = [
        item
        for element in wanted
        for one in encode(layout, element)
        for _, item in codec.attribute_list(one)
    ]
    assert set(decode_all(layout, raw[::-1])) == wanted
