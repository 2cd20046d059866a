"""A table as a whole: any content, changed into any other in one transaction, reads back."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnidaria.kernel import ruleset
from cnidaria.kernel.errors import KernelError
from cnidaria.kernel.netns import NetNS
from cnidaria.kernel.objects import NftChain, NftElement, NftSet, NftTable
from cnidaria.kernel.ruleset import Batch, Ruleset
from cnidaria.plan import expr
from support.namespaces import new_namespace

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


def here(place: NetNS) -> Ruleset:
    found = ruleset.read(place, TABLE)
    assert found is not None
    assert found[1] == "a test's"
    return found[0]


@settings(max_examples=60)
@given(st.lists(rulesets(), min_size=1, max_size=4))
def test_any_content_becomes_any_other(place: NetNS, steps: list[Ruleset]) -> None:
    ruleset.delete(place, TABLE)
    before = Ruleset()
    for want in steps:
        ruleset.commit(place, TABLE, "a test's", ruleset.difference(before, want), before)
        before = here(place)
        assert before == want
        assert not ruleset.difference(before, want)


def test_a_refused_change_changes_nothing(place: NetNS) -> None:
    ruleset.delete(place, TABLE)
    want = Ruleset(sets={"peers": PLACES["peers"]})
    one = NftElement(("10.0.0.1",), ("0:1",))
    want.elements["peers"] = {one.key: one}
    ruleset.commit(place, TABLE, "a test's", ruleset.difference(Ruleset(), want), Ruleset())
    batch = Batch()
    batch.add("peers", NftElement(("10.0.0.2",), ("0:1",)))
    batch.remove("peers", NftElement(("10.0.0.9",)))
    with pytest.raises(KernelError) as caught:
        ruleset.commit(place, TABLE, "a test's", batch, want)
    assert caught.value.errno == errno.ENOENT
    assert here(place) == want


def test_a_change_of_many_elements_is_one_transaction(place: NetNS) -> None:
    ruleset.delete(place, TABLE)
    many = [NftElement((f"10.{n >> 8}.{n & 255}.1",), ("0:1",), "x" * 100) for n in range(20_000)]
    want = Ruleset(sets={"peers": PLACES["peers"]}, elements={"peers": {e.key: e for e in many}})
    ruleset.commit(place, TABLE, "a test's", ruleset.difference(Ruleset(), want), Ruleset())
    assert here(place) == want
    assert len(want) == 20_001


def test_no_table_is_nothing_to_read_and_nothing_to_delete() -> None:
    with new_namespace() as namespace:
        assert ruleset.read(namespace, TABLE) is None
        ruleset.delete(namespace, TABLE)
