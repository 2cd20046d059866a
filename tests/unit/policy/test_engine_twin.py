"""The policy engine against the slow reading of the documentation, on random clusters."""

from __future__ import annotations

from array import array
from ipaddress import ip_address

import pytest
from cnidaria_core import PolicyEngine, PolicyReason
from hypothesis import Phase, given, settings

from support.policy_examples import EXAMPLES, Example
from support.policy_twin import Reason, Side, Twin
from support.policy_worlds import Object, questions, worlds


def agrees(reason: PolicyReason, side: Side) -> bool:
    """Whether the engine names one of the reasons that the twin has."""
    if reason.allow is not side.allowed:
        return False
    if side.exempt or not side.because:
        return reason.name is None
    name = (reason.kind or "", reason.namespace or "", reason.name or "")
    tier = reason.tier.lower() == side.tier
    return tier and Reason(name, reason.rule) in side.because


NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132, "ICMP": 1}


def in_bulk(engine: PolicyEngine, asked: list[tuple[str, str, str, int | None]]) -> list[bool]:
    """The answers of one call; IPv4 as IPv6 has it, too."""

    def column(at: int) -> memoryview:
        packed = b"".join(as_ipv6(str(question[at])) for question in asked)
        return memoryview(packed).cast("B", (len(asked), 16))

    protocols = bytes(NUMBERS[protocol] for _, _, protocol, _ in asked)
    ports = array("H", [port or 0 for *_, port in asked])
    return [bool(one) for one in engine.verdicts(column(0), column(1), protocols, ports)]


def as_ipv6(text: str) -> bytes:
    address = ip_address(text)
    return bytes(10) + b"\xff\xff" + address.packed if address.version == 4 else address.packed


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.name)
def test_worked_example(example: Example) -> None:
    engine = PolicyEngine()
    engine.load(example.objects())
    asked = example.questions()
    assert [engine.verdict(*question[:4]).allowed for question in asked] == [
        expected for *_, expected in asked
    ]


# Shrinking what takes seconds to ask takes many minutes, and tells little more.
@settings(max_examples=settings.default.max_examples * 2, phases=set(Phase) - {Phase.shrink})
@given(worlds())
def test_verdicts_and_reasons_are_the_twins(world: list[Object]) -> None:
    engine = PolicyEngine()
    engine.load(world)
    twin, audited = Twin(world), Twin(world, audit=True)
    assert in_bulk(engine, list(questions(world))) == [
        engine.verdict(*question).allowed for question in questions(world)
    ]
    for question in questions(world):
        verdict, truth = engine.verdict(*question), twin.verdict(*question)
        assert verdict.allowed is truth.allowed, (question, verdict, truth)
        assert agrees(verdict.egress, truth.egress), (question, verdict, truth)
        assert agrees(verdict.ingress, truth.ingress), (question, verdict, truth)
        truth = audited.verdict(*question)
        egress = verdict.egress_audit or verdict.egress
        ingress = verdict.ingress_audit or verdict.ingress
        assert agrees(egress, truth.egress), (question, verdict, truth)
        assert agrees(ingress, truth.ingress), (question, verdict, truth)
