"""This node in a cluster store of which somebody else has its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cnidaria.api import NodeInfo
from cnidaria.cluster import (
    ClusterConfig,
    ClusterStore,
    ClusterView,
    NodeNameTaken,
    NodeRecord,
    builtin_stores,
    open_store,
)
from cnidaria.node.membership import LONGEST_PAUSE, Membership

INFO = NodeInfo("n1")


class Machine:
    """This node, and how often it has wanted to join."""

    def __init__(self, config: ClusterConfig) -> None:
        self.config = config
        self.now = 0.0
        self.joins = 0
        self.membership = Membership({"sqlite": self._open}, lambda: self.now)

    def _open(self, url: str) -> ClusterStore:
        store = builtin_stores()["sqlite"](url)
        join = store.join

        def count(*args: object) -> None:
            self.joins += 1
            join(*args)  # type: ignore[arg-type]

        store.join = count  # type: ignore[method-assign]
        return store

    def publish(self) -> bool:
        """Whether the name is its own."""
        try:
            self.membership.publish(self.config, INFO, "pods", ())
        except NodeNameTaken:
            return False
        else:
            return True

    def close(self) -> None:
        self.membership.close()


@pytest.fixture
def config(tmp_path: Path) -> ClusterConfig:
    return ClusterConfig(store=f"sqlite:{tmp_path}/cluster.db", node="n1")


@pytest.fixture
def machine(config: ClusterConfig) -> Iterator[Machine]:
    with closing(Machine(config)) as made:
        yield made


def test_a_name_that_is_taken_is_tried_ever_more_seldom(machine: Machine) -> None:
    """Who has it must answer each time. It is tried at once when that one is not seen any more."""
    with closing(open_store(machine.config.store)) as other:
        other.join("n1", {})
        for _ in range(600):
            assert not machine.publish()
            machine.now += 1.0
        assert machine.joins < 600 / LONGEST_PAUSE + 10
        other.leave()
    assert not machine.publish()  # nobody has told it yet
    machine.membership.seen(machine.config, ClusterView({"n2": NodeRecord("n2", "a")}))
    assert machine.publish()
    assert machine.membership.is_entered(machine.config)
    assert machine.membership.find_taken(machine.config) == ""


def test_who_has_not_joined_asks_whose_the_name_is(machine: Machine) -> None:
    """As a call without an agent does, and one that comes before the agent's first look."""
    membership, config = machine.membership, machine.config
    assert membership.find_taken(None) == ""
    with closing(Machine(config)) as early:
        assert early.membership.find_taken(config) == ""
    with closing(open_store(config.store)) as other:
        other.join("n1", {})
        assert membership.taken(config) == ""  # by what is known here
        assert "node name 'n1' is used" in membership.find_taken(config)
        assert set(other.view().nodes) == {"n1"}
        assert other.problem is None
    assert membership.find_taken(config) == ""  # nobody answers
    assert machine.joins == 0
