"""The slow reading of the policy documentation, by its own worked examples."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from support.policy_examples import EXAMPLES, Example
from support.policy_twin import Reason, Side, Twin
from support.policy_worlds import Object, questions, worlds


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.name)
def test_worked_example(example: Example) -> None:
    twin = Twin(example.objects())
    asked = example.questions()
    assert [twin.verdict(*question[:4]).allowed for question in asked] == [
        expected for *_, expected in asked
    ]


def test_the_reason_is_every_rule_that_allows_or_every_policy_that_isolates() -> None:
    (example,) = [one for one in EXAMPLES if one.name == "rules of several policies add up"]
    twin = Twin(example.objects())
    one, two = (("NetworkPolicy", "shop", name) for name in "pq")
    both = frozenset({Reason(one, 0), Reason(two, 0)})
    assert twin.verdict("10.0.1.1", "10.0.1.2", "TCP", 9100).ingress == Side(
        True, "networkpolicy", both
    )
    isolated = Side(False, "networkpolicy", frozenset({Reason(one), Reason(two)}))
    assert twin.verdict("10.0.2.1", "10.0.1.2", "TCP", 1).ingress == isolated


@settings(max_examples=25)
@given(worlds())
def test_what_nobody_selects_is_open(world: list[Object]) -> None:
    """Without policies everything is allowed; audited ones change only the audit's answer."""
    twin = Twin(one for one in world if one["kind"] in ("Namespace", "Node", "Pod"))
    assert all(twin.verdict(*question).allowed for question in list(questions(world))[::61])


@settings(max_examples=25)
@given(worlds(most_pods=4))
def test_the_nodes_reach_their_pods_whatever_is_written(world: list[Object]) -> None:
    twin = Twin(world)
    for pod in (
        one for one in world if one["kind"] == "Pod" and not one["spec"].get("hostNetwork")
    ):
        for src in twin.addresses_of_node(pod):
            for one in pod["status"]["podIPs"]:
                if (":" in src) == (":" in one["ip"]):
                    assert twin.verdict(src, one["ip"], "TCP", 80).ingress.allowed
