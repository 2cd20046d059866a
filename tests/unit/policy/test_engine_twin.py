"""The policy engine against the slow reading of the documentation, on random clusters."""

from __future__ import annotations

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


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.name)
def test_worked_example(example: Example) -> None:
    engine = PolicyEngine()
    engine.load(example.objects())
    asked = example.questions()
    assert [engine.verdict(*question[:4]).allowed for question in asked] == [
        expected for *_, expected in asked
    ]


# Shrinking what takes seconds to ask takes many minutes, and tells little more.
@settings(max_examples=30, phases=set(Phase) - {Phase.shrink})
@given(worlds())
def test_verdicts_and_reasons_are_the_twins(world: list[Object]) -> None:
    engine = PolicyEngine()
    engine.load(world)
    twin, audited = Twin(world), Twin(world, audit=True)
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
