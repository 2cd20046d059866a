"""The policy engine as a whole: as bytes and back, compared with another, who reaches whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import pytest
from cnidaria_core import MalformedBytes, PolicyEngine, Verdict
from hypothesis import given, settings
from hypothesis import strategies as st

from support.policy_worlds import Object, questions, worlds


def engine_of(world: list[Object]) -> PolicyEngine:
    engine = PolicyEngine()
    engine.load(world)
    return engine


def said(verdict: Verdict) -> tuple[object, ...]:
    """All but the ids of reasons, which every engine gives anew."""
    sides = (verdict.egress, verdict.ingress)
    return verdict.allowed, *(
        (one.allow, one.kind, one.namespace, one.name, one.direction, one.rule) for one in sides
    )


def addresses(pod: Mapping[str, Any]) -> list[str]:
    return [one["ip"] for one in (pod.get("status") or {}).get("podIPs") or []]


@settings(max_examples=25)
@given(worlds())
def test_bytes_and_back(world: list[Object]) -> None:
    engine = engine_of(world)
    again = PolicyEngine.from_bytes(engine.to_bytes())
    assert again == engine
    assert list(again) == list(engine)
    assert engine.diff(again) == []
    assert again.to_bytes() == engine.to_bytes()
    for question in questions(world):
        assert said(again.verdict(*question)) == said(engine.verdict(*question))


@settings(max_examples=25)
@given(worlds(), st.data())
def test_damaged_bytes_are_an_error_or_another_engine(
    world: list[Object], data: st.DataObject
) -> None:
    whole = engine_of(world).to_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255))
    for damaged in (whole[:at], whole[:at] + bytes([other]) + whole[at + 1 :]):
        try:
            made = PolicyEngine.from_bytes(damaged)
        except MalformedBytes:
            continue
        assert PolicyEngine.from_bytes(made.to_bytes()) == made


@pytest.mark.parametrize("data", [b"", b"\xc0", b"\x93\xa3abc\x01\x90", b"\xff" * 40])
def test_bytes_of_something_else(data: bytes) -> None:
    with pytest.raises(MalformedBytes):
        PolicyEngine.from_bytes(data)


@settings(max_examples=25)
@given(worlds())
def test_differences_lead_from_one_to_the_other(world: list[Object]) -> None:
    whole, half = engine_of(world), engine_of(world[::2])
    changes = half.diff(whole)
    assert changes == sorted(changes, key=lambda one: list(whole).index(one[:3]))
    keys = {one[:3] for one in changes}
    assert {what for *_, what in changes} <= {"added", "changed"}
    assert keys == {key for key in whole if key not in set(half)} | {
        one[:3] for one in changes if one[3] == "changed"
    }
    back = {one[:3]: one[3] for one in whole.diff(half)}
    mirrored = {"added": "removed", "changed": "changed"}
    assert back == {one[:3]: mirrored[one[3]] for one in changes}
    for kind, namespace, name, what in whole.diff(half):
        if what == "removed":
            whole.delete(kind, name, namespace)
    if "changed" not in back.values():
        assert whole == half


def living(world: list[Object]) -> Iterator[tuple[str, list[str]]]:
    for pod in world:
        spec, status = pod.get("spec") or {}, pod.get("status") or {}
        if pod["kind"] != "Pod" or spec.get("hostNetwork") or not addresses(pod):
            continue
        if status.get("phase") not in ("Succeeded", "Failed"):
            meta = pod["metadata"]
            yield f"{meta.get('namespace') or 'default'}/{meta['name']}", addresses(pod)


@settings(max_examples=25)
@given(worlds(), st.sampled_from([("TCP", 80), ("UDP", 53), ("ICMP", None)]))
def test_who_reaches_whom_is_what_single_verdicts_say(
    world: list[Object], aim: tuple[str, int | None]
) -> None:
    engine = engine_of(world)
    identities, matrix = engine.reachable(*aim)
    pods = dict(living(world))
    shared = [one for several in pods.values() for one in several]
    assert sorted(name for some in identities for name in some) == sorted(pods)
    if len(set(shared)) != len(shared):
        return  # of two pods with one address only the last one is judged
    assert matrix.shape == ((len(identities),) * 2 if identities else (0,))
    for (row, some), (column, others) in product(enumerate(identities), repeat=2):
        for src, dst in product(some, others):
            if src == dst:
                continue
            firsts = [{":" in one: one for one in reversed(pods[end])} for end in (src, dst)]
            pairs = [(firsts[0][six], firsts[1][six]) for six in firsts[0].keys() & firsts[1]]
            reached = bool(pairs) and all(engine.verdict(*pair, *aim).allowed for pair in pairs)
            assert bool(matrix[row, column]) is reached, (src, dst)


def test_nobody_reaches_nobody() -> None:
    identities, matrix = PolicyEngine().reachable("TCP", 1)
    assert (identities, matrix.nbytes) == ([], 0)
