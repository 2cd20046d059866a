"""A table as a whole: any content, changed into any other in one transaction, reads back."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cnidaria.kernel import uapi
from cnidaria.kernel.errors import KernelError
from cnidaria.kernel.netns import NetNS
from cnidaria.kernel.objects import NftChain, NftElement, NftSet, NftTable
from cnidaria.kernel.ruleset import Batch, Ruleset, WholeTable, difference
from cnidaria.plan import expr
from support.namespaces import new_namespace, run

TABLE = NftTable("cnidaria-test")
T = TABLE.name
CHAINS = ("a", "b", "c")
PLACES = {
    "peers": NftSet(T, "peers", ("ipv4_addr",), data=("classid",)),
    "blocks": NftSet(T, "blocks", ("ipv4_addr",), data=("classid",), interval=True),
    "subjects": NftSet(T, "subjects", ("ipv6_addr",), data=("verdict",)),
    "ports": NftSet(T, "ports", ("inet_proto", "inet_service"), data=("verdict",), interval=True),
}
KEYS = {
    "peers": (("10.0.0.1",), ("10.0.0.2",), ("10.0.0.3",)),
    "blocks": (("10.0.0.0/24",), ("10.0.1.0-10.0.1.4",), ("10.0.1.5",), ("0.0.0.0/5",)),
    "subjects": (("fd00::1",), ("fd00::2",)),
    "ports": (("tcp", "80"), ("tcp", "81-90"), ("udp", "0-65535"), ("0-5", "0-65535")),
}


@st.composite
def rulesets(draw: st.DrawFn) -> Ruleset:
    """Chains that lead to chains before them, sets, and elements that lead to any chain."""
    made = Ruleset()
    for name in draw(st.lists(st.sampled_from(CHAINS), unique=True)):
        targets = [one for one in made.chains if one < name]
        rules = [
            expr.rule(expr.counter(), expr.goto(one), comment=draw(st.sampled_from(("", "why"))))
            for one in draw(st.lists(st.sampled_from(targets or [""]), max_size=2))
            if one
        ]
        made.chains[name] = NftChain(T, name, rules=tuple(rules))
    verdicts = [("accept",), ("drop",), *((f"goto {name}",) for name in made.chains)]
    for name in draw(st.lists(st.sampled_from(tuple(PLACES)), unique=True)):
        made.sets[name] = PLACES[name]
        if name == "ports":
            by_port = expr.vmap((expr.L4PROTO, expr.TH_DPORT), PLACES[name])
            made.chains["user"] = NftChain(T, "user", rules=(expr.rule(by_port),))
            if draw(st.booleans()):  # another set of the same name
                made.sets[name] = replace(PLACES[name], interval=False)
                continue
        data = verdicts if PLACES[name].data == ("verdict",) else [("0:1",), ("ff:2",)]
        keys = draw(st.lists(st.sampled_from(KEYS[name]), unique=True))
        comments = st.sampled_from(("", "shop/web"))
        some = [NftElement(key, draw(st.sampled_from(data)), draw(comments)) for key in keys]
        if some:
            made.elements[name] = {one.key: one for one in some}
    return made


@pytest.fixture(scope="module")
def place():
    with new_namespace() as namespace:
        yield namespace


@pytest.fixture
def table(place: NetNS) -> WholeTable:
    return fresh(place)


def fresh(place: NetNS) -> WholeTable:
    made = WholeTable(TABLE, "a test's")
    made.delete(place)
    return made


def peers(*addresses: str) -> Ruleset:
    some = [NftElement((one,), ("0:1",), "x" * 100) for one in addresses]
    return Ruleset(sets={"peers": PLACES["peers"]}, elements={"peers": {e.key: e for e in some}})


def change(table: WholeTable, place: NetNS, have: Ruleset, want: Ruleset) -> None:
    table.change(place, difference(have, want), want.sets)


@settings(max_examples=60)
@given(st.lists(rulesets(), min_size=1, max_size=4))
def test_any_content_becomes_any_other(place: NetNS, steps: list[Ruleset]) -> None:
    table = fresh(place)
    before = Ruleset()
    for want in steps:
        change(table, place, before, want)
        before = table.read(place) or Ruleset()
        assert before == want
        assert not difference(before, want)


def test_a_refused_change_changes_nothing(place: NetNS, table: WholeTable) -> None:
    want = peers("10.0.0.1")
    change(table, place, Ruleset(), want)
    batch = Batch()
    batch.add("peers", NftElement(("10.0.0.2",), ("0:1",)))
    batch.remove("peers", NftElement(("10.0.0.9",)))
    with pytest.raises(KernelError) as caught:
        table.change(place, batch, want.sets)
    assert caught.value.errno == errno.ENOENT
    assert table.read(place) == want


def test_a_change_of_many_elements_is_one_transaction(place: NetNS, table: WholeTable) -> None:
    """As large as the machine lets this user make it: else it is refused, and nothing changes."""
    want = peers(*(f"10.{n >> 8}.{n & 255}.1" for n in range(20_000)))
    if not may_send(4 << 20):
        with pytest.raises(KernelError, match=r"net\.core\.wmem_max") as caught:
            change(table, place, Ruleset(), want)
        assert caught.value.errno == errno.EMSGSIZE
        assert table.read(place) is None
        want = peers(*(f"10.0.{n}.1" for n in range(250)))
    change(table, place, Ruleset(), want)
    found = table.read(place)
    assert found is not None
    assert not difference(found, want)
    assert len(found) == len(want)


def may_send(size: int) -> bool:
    """Whether this process may send so much at once: root of the machine always may."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        with suppress(PermissionError):
            one.setsockopt(socket.SOL_SOCKET, uapi.SO_SNDBUFFORCE, size)
        return one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= size


def test_no_table_is_nothing_to_read_and_nothing_to_delete(place: NetNS, table: WholeTable) -> None:
    assert table.read(place) is None
    table.delete(place)


def test_what_others_change_is_noticed(place: NetNS, table: WholeTable) -> None:
    """Also while changes of our own go on; a change of another table may be taken for one."""
    assert not table.is_untouched(place)
    assert table.read(place) is None
    assert table.is_untouched(place)
    change(table, place, Ruleset(), peers("10.0.0.1"))
    change(table, place, peers("10.0.0.1"), peers("10.0.0.2"))
    assert table.is_untouched(place)
    run(place, "nft", "add", "element", "inet", T, "peers", "{ 10.0.0.7 : 0:9 }")
    assert not table.is_untouched(place)
    change(table, place, peers("10.0.0.2"), peers("10.0.0.3"))
    assert not table.is_untouched(place)
    assert len(table.read(place) or ()) == 3
    assert table.is_untouched(place)


def test_tables_beside_each_other_know_of_each_others_changes(
    place: NetNS, table: WholeTable
) -> None:
    other = WholeTable(NftTable(f"{T}-beside"), "a test's")
    table.beside, other.beside = (other,), (table,)
    both = (table, other)
    try:
        for one in both:
            one.read(place)
        change(table, place, Ruleset(), peers("10.0.0.1"))
        assert all(one.is_untouched(place) for one in both)
        run(place, "nft", "add", "element", "inet", T, "peers", "{ 10.0.0.7 : 0:9 }")
        change(other, place, Ruleset(), Ruleset())
        assert not any(one.is_untouched(place) for one in both)
    finally:
        other.delete(place)


MORE = {
    "an expression": "{ type ipv4_addr; counter; elements = { 10.0.0.1 counter }; }",
    "a timeout": "{ type ipv4_addr; flags timeout; elements = { 10.0.0.1 timeout 1h }; }",
    "another type": "{ type ipv4_addr . mark; elements = { 10.0.0.1 . 1 }; }",
    "a type that we do not know": "{ type ether_addr . pkt_type; }",
}


@pytest.mark.parametrize("what", MORE)
def test_a_set_of_another_kind_is_made_anew(place: NetNS, table: WholeTable, what: str) -> None:
    """It may decide otherwise, or vanish."""
    plain = NftSet(T, "some", ("ipv4_addr",))
    want = Ruleset(
        sets={"some": plain}, elements={"some": {("10.0.0.1",): NftElement(("10.0.0.1",))}}
    )
    change(table, place, Ruleset(), want)
    run(place, "nft", f"delete set inet {T} some; add set inet {T} some {MORE[what]}")
    have = table.read(place)
    assert have is not None
    assert len(difference(have, want))
    change(table, place, have, want)
    assert table.read(place) == want


def test_a_table_of_somebody_else_is_left_alone(place: NetNS, table: WholeTable) -> None:
    run(place, "nft", "add", "table", "inet", T)
    with pytest.raises(KernelError, match="somebody else's"):
        table.read(place)
    table.delete(place)
    assert T in run(place, "nft", "list", "tables")
    run(place, "nft", "delete", "table", "inet", T)
