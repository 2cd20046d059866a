"""What guards pods' links: the same content whichever links came and went before."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnidaria import NftTable
from cnidaria.kinds import Batch, Ruleset, difference
from cnidaria_policy.links import Content, Link, content

NAMES = ("veth1", "veth2", "cali3")
TABLES = [NftTable("cnidaria-policy-x/links", family) for family in ("inet", "bridge")]


@st.composite
def links(draw: st.DrawFn) -> dict[str, Link]:
    some = draw(st.lists(st.sampled_from(NAMES), unique=True))
    addresses = st.sampled_from(("10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"))
    return {
        name: Link(
            name,
            draw(st.sampled_from(("shop/web", "shop/db"))),
            tuple(draw(st.lists(addresses, unique=True, max_size=3))),
            draw(st.frozensets(st.sampled_from(("egress", "ingress")))),
        )
        for name in some
    }


def changed(before: Ruleset, batch: Batch) -> dict[str, set[object]]:
    """The elements after the changes, which must be possible."""
    there = {name: set(some.values()) for name, some in before.elements.items()}
    for name, gone in batch.less.items():
        for one in gone:
            there[name].remove(one)
    for name, more in batch.more.items():
        assert there.setdefault(name, set()).isdisjoint(more)
        there[name].update(more)
    return {name: some for name, some in there.items() if some}


@pytest.mark.parametrize("table", TABLES, ids=lambda one: one.family)
@settings(max_examples=200)
@given(steps=st.lists(links(), min_size=1, max_size=5))
def test_changes_lead_to_what_would_be_made_anew(
    table: NftTable, steps: list[dict[str, Link]]
) -> None:
    followed = Content(table)
    for wanted in steps:
        before = Ruleset(elements={name: dict(e) for name, e in followed.rules.elements.items()})
        batch = followed.follow(wanted)
        anew = Content(table)
        anew.follow(wanted)
        assert followed.rules == anew.rules
        assert not difference(followed.rules, anew.rules)
        elements = {name: set(some.values()) for name, some in anew.rules.elements.items()}
        assert changed(before, batch) == elements


def test_without_links_there_is_no_table() -> None:
    assert not content(TABLES[0], {})
    assert content(TABLES[0], {"veth1": Link("veth1", "shop/web", ("10.0.0.1",))})
