"""Policies judged three ways: the slow reading of the documentation, the engine, and packets."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from cnidaria_core import PolicyEngine
from hypothesis import given
from hypothesis import strategies as st

from cnidaria import NftTable
from cnidaria.kernel.netns import NetNS
from cnidaria.kinds import Ruleset, WholeTable, difference
from cnidaria_policy.program import Program
from support.namespaces import may_unshare
from support.policy_examples import EXAMPLES, Example
from support.policy_lab import Lab, Question, lab
from support.policy_twin import Twin
from support.policy_worlds import Object, clusters, policies, questions

TABLE = "cnidaria-policy-lab"
ASKED = 100
"""Questions about one random cluster."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Lab]:
    if not may_unshare():
        pytest.skip("may not make network namespaces: run by scripts/in-namespaces")
    with lab() as made:
        yield made


class Enforced:
    """A node's table, written as the engine changes."""

    def __init__(self, engine: PolicyEngine, node: str, namespace: NetNS) -> None:
        self.engine = engine
        self.node = node
        self.namespace = namespace
        self.table = WholeTable(NftTable(TABLE), "a test's")
        self.program = Program(TABLE)
        tables = engine.tables(node)
        self.program.update(tables)
        self.version = tables.version
        have = self.table.read(namespace) or Ruleset()
        batch = difference(have, self.program.rules)
        self.table.change(namespace, batch, self.program.rules.sets)

    def follow(self) -> None:
        changes = self.engine.changes_since(self.version, self.node)
        self.version = changes.version
        if len(batch := self.program.update(changes)):
            self.table.change(self.namespace, batch, self.program.rules.sets)

    def check(self) -> None:
        """The kernel has what was written, which is what tables written at once would be."""
        fresh = Program(TABLE)
        fresh.update(self.engine.tables(self.node))
        assert not len(difference(self.program.rules, fresh.rules))
        found = self.table.read(self.namespace)
        assert found is not None
        assert not len(difference(found, fresh.rules))


def judge(cluster: Lab, engine: PolicyEngine, twin: Twin, asked: list[Question]) -> None:
    """All three agree."""
    truth = [twin.verdict(*question).allowed for question in asked]
    by_engine = [engine.verdict(*question).allowed for question in asked]
    assert differing(asked, truth, by_engine) == []
    cluster.forget_connections()
    by_kernel = cluster.ask(asked, truth)
    assert differing(asked, truth, by_kernel) == []


def differing(asked: list[Question], right: list[bool], said: list[bool]) -> list[str]:
    return [
        f"{src} > {dst} {protocol}/{port} must be {'allowed' if yes else 'denied'}"
        for (src, dst, protocol, port), yes, answer in zip(asked, right, said, strict=True)
        if yes != answer
    ]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.name)
def test_worked_example(cluster: Lab, example: Example) -> None:
    engine = PolicyEngine()
    engine.load(example.objects())
    for name, namespace in cluster.nodes.items():
        Enforced(engine, name, namespace).check()
    asked = [one[:4] for one in example.questions() if one[0] != one[1]]
    judge(cluster, engine, Twin(example.objects()), asked)


@given(clusters(), st.lists(policies(), min_size=3, max_size=3), st.randoms())
def test_random_cluster(
    cluster: Lab, world: list[Object], steps: list[list[Object]], random: Random
) -> None:
    """Policies come and go one by one; each change is written element by element."""
    engine = PolicyEngine()
    engine.load(world)
    nodes = [Enforced(engine, name, place) for name, place in cluster.nodes.items()]
    before: list[Object] = []
    for step in steps:
        for obj in gone(before, step):
            engine.delete(obj["kind"], obj["metadata"]["name"], obj["metadata"].get("namespace"))
            for node in nodes:
                node.follow()
        for obj in step:
            engine.apply(obj)
            for node in nodes:
                node.follow()
        for node in nodes:
            node.check()
        twin = Twin([*world, *step])
        asked = [one for one in questions(world) if of_a_pod(twin, one)]
        judge(cluster, engine, twin, random.sample(asked, min(len(asked), ASKED)))
        before = step


def gone(before: list[Object], now: list[Object]) -> list[Object]:
    """Policies that are not there any more."""

    def name(one: Object) -> tuple[str, str, str | None]:
        return one["kind"], one["metadata"]["name"], one["metadata"].get("namespace")

    return [one for one in before if name(one) not in map(name, now)]


def of_a_pod(twin: Twin, question: Question) -> bool:
    """Between two ends, one of them a pod: others' packets nobody judges."""
    src, dst, *_ = question
    return src != dst and (twin.pod_at(src) is not None or twin.pod_at(dst) is not None)
