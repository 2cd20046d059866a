"""Agents in one process that share a file, driven step by step under a clock of the test's.

The stateful test compares what they see with a model that is a dictionary.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cnidaria.cluster import (
    BlocksExhausted,
    ClusterView,
    NodeConflict,
    NodeNameTaken,
    NodeNetwork,
    StoreError,
)
from cnidaria.cluster.member import ANSWER_SECONDS, Member
from cnidaria.cluster.observer import Observer

EXPIRY = 10.0
STEP = EXPIRY / 5
NAMES = ("n1", "n2", "n3")
NETWORKS = ("pods", "more")
PREFIXES = ("10.1.0.0/24", "10.1.0.0/25", "10.1.1.0/24", "10.0.0.0/8", "fd00:1::/64")
POOL = "10.1.0.0/24"
ADDRESSES = {name: {4: f"192.0.2.{number}"} for number, name in enumerate(NAMES, 1)}


class Agent:
    """What a node's agent does with the store, without threads."""

    def __init__(self, world: World) -> None:
        self.member = Member(world.path, lambda: world.now, world.sleep)
        self.observer = Observer(world.path, lambda: world.now)

    def join(self, name: str) -> None:
        self.member.join(name, ADDRESSES[name], EXPIRY)
        self.observer.own = name

    def turn(self, *, beat: bool) -> ClusterView:
        view = self.observer.look()
        if beat or self.observer.take_asked():
            with contextlib.suppress(StoreError):
                self.member.beat(self.observer.dead())
        return view

    def close(self) -> None:
        self.member.close()
        self.observer.close()


class World:
    """Agents that live, a file and a clock."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "cluster.db"
        self.now = 1000.0
        self.agents: list[Agent] = []

    def start(self) -> Agent:
        agent = Agent(self)
        self.agents.append(agent)
        return agent

    def crash(self, agent: Agent) -> None:
        self.agents.remove(agent)
        agent.close()

    def sleep(self, seconds: float) -> None:
        """Time passes while somebody waits: the others go on, and answer when asked."""
        self.now += seconds
        for agent in self.agents:
            agent.turn(beat=False)

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            for agent in self.agents:
                agent.turn(beat=True)
        for agent in self.agents:
            agent.turn(beat=False)

    def close(self) -> None:
        for agent in self.agents:
            agent.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def test_a_node_without_heartbeat_expires_and_is_removed(world: World) -> None:
    watcher, other = world.start(), world.start()
    watcher.join("n1")
    other.join("n2")
    world.pass_time(3 * EXPIRY)
    assert set(watcher.observer.view().nodes) == {"n1", "n2"}
    world.crash(other)
    world.pass_time(EXPIRY - STEP)
    assert set(watcher.observer.view().nodes) == {"n1", "n2"}
    world.pass_time(2 * STEP)
    assert set(watcher.observer.view().nodes) == {"n1"}
    assert set(world.start().observer.view().nodes) == {"n1"}, "removed from the file, too"


def test_a_living_agent_keeps_its_name(world: World) -> None:
    world.start().join("n1")
    newcomer = world.start()
    with pytest.raises(NodeNameTaken, match="'n1'"):
        newcomer.join("n1")


def test_a_name_is_asked_about_without_joining(world: World) -> None:
    first, newcomer = world.start(), world.start()
    newcomer.member.check_name("n1")
    first.join("n1")
    with pytest.raises(NodeNameTaken, match="'n1'"):
        newcomer.member.check_name("n1")
    first.member.check_name("n1")
    known = first.observer.view()
    world.crash(first)
    before = world.now
    newcomer.member.check_name("n1")
    assert world.now - before <= ANSWER_SECONDS + 0.1
    assert newcomer.observer.view() == known


def test_an_agent_that_does_not_answer_is_waited_for_once(world: World) -> None:
    """By whoever asks, until there is a sign of life: then it is asked again."""
    stopped = world.start()
    stopped.join("n1")
    world.agents.remove(stopped)
    world.start().member.check_name("n1")
    before = world.now
    for _ in range(3):
        world.start().member.check_name("n1")
    assert world.now == before
    world.agents.append(stopped)
    world.sleep(0)
    newcomer = world.start()
    with pytest.raises(NodeNameTaken, match="'n1'"):
        newcomer.member.check_name("n1")
    world.crash(stopped)
    world.start().join("n1")
    with pytest.raises(NodeNameTaken, match="'n1'"):
        newcomer.member.check_name("n1")


def test_a_crashed_agents_successor_joins_at_once_and_inherits_for_a_while(world: World) -> None:
    first, watcher = world.start(), world.start()
    first.join("n1")
    for network in NETWORKS:
        first.member.publish(network, NodeNetwork((POOL,)))
    world.crash(first)
    second, before = world.start(), world.now
    second.join("n1")
    assert world.now - before <= ANSWER_SECONDS + 0.1
    assert set(watcher.observer.view().nodes["n1"].networks) == set(NETWORKS)
    second.member.publish("pods", NodeNetwork(("10.1.1.0/24",)))
    world.pass_time(EXPIRY + STEP)
    assert set(watcher.observer.view().nodes["n1"].networks) == {"pods"}


def test_a_node_taken_for_dead_enters_again(world: World) -> None:
    sleeper, watcher = world.start(), world.start()
    sleeper.join("n1")
    sleeper.member.publish("pods", NodeNetwork((POOL,), {"mac": "x"}))
    watcher.join("n2")
    world.agents.remove(sleeper)
    world.pass_time(2 * EXPIRY)
    assert set(watcher.observer.view().nodes) == {"n2"}
    world.agents.append(sleeper)
    world.pass_time(STEP)
    assert watcher.observer.view().nodes["n1"].networks == {
        "pods": NodeNetwork((POOL,), {"mac": "x"})
    }


def test_a_displaced_agent_says_so(world: World) -> None:
    """Stopped for so long that its successor took it for crashed."""
    first = world.start()
    first.join("n1")
    world.agents.remove(first)
    second = world.start()
    second.join("n1")
    with pytest.raises(NodeNameTaken, match="'n1'"):
        first.member.beat({})
    with pytest.raises(NodeNameTaken):
        first.member.publish("pods", NodeNetwork((POOL,)))
    first.member.leave()
    assert "n1" in second.observer.view().nodes, "leaving does not take the successor out"
    first.close()


def test_nobody_expires_while_the_file_cannot_be_read(world: World) -> None:
    watcher, other = world.start(), world.start()
    watcher.join("n1")
    other.join("n2")
    world.pass_time(STEP)
    away = world.path.rename(world.path.with_name("away"))
    world.path.mkdir()
    world.now += 5 * EXPIRY
    with pytest.raises(StoreError, match=r"cluster\.db: is no regular file"):
        watcher.observer.look()
    world.path.rmdir()
    away.rename(world.path)
    assert watcher.observer.look() is watcher.observer.look()
    world.now += EXPIRY - 1
    assert "n2" not in watcher.observer.dead()


def test_nobody_expires_while_this_node_cannot_write(world: World) -> None:
    watcher, other = world.start(), world.start()
    watcher.join("n1")
    other.join("n2")
    watcher.observer.mute = True
    for _ in range(5):
        world.now += EXPIRY
        assert set(watcher.observer.look().nodes) == {"n1", "n2"}
    watcher.observer.mute = False
    world.now += EXPIRY
    assert set(watcher.observer.look().nodes) == {"n1"}


def test_overlapping_prefixes_name_both_nodes(world: World) -> None:
    first, second = world.start(), world.start()
    first.join("n1")
    second.join("n2")
    first.member.publish("pods", NodeNetwork(("10.1.0.0/24",)))
    with pytest.raises(NodeConflict, match=r"'pods': 10\.1\.0\.0/16 of node 'n2' .* node 'n1'"):
        second.member.publish("pods", NodeNetwork(("10.1.0.0/16",)))
    second.member.publish("more", NodeNetwork(("10.1.0.0/16",)))


def test_equal_addresses_name_both_nodes(world: World) -> None:
    first, second = world.start(), world.start()
    first.join("n1")
    second.member.join("n2", ADDRESSES["n1"], EXPIRY)
    first.member.publish("pods", NodeNetwork())
    with pytest.raises(NodeConflict, match=r"'n2' and 'n1' both have the address 192\.0\.2\.1"):
        second.member.publish("pods", NodeNetwork())


def test_a_claimed_block_is_found_again_and_the_pool_ends(world: World) -> None:
    agents = {name: world.start() for name in NAMES}
    for name, agent in agents.items():
        agent.join(name)
    first = agents["n1"].member.claim_block("pods", "10.1.0.0/24", 25)
    assert agents["n1"].member.claim_block("pods", "10.1.0.0/24", 25) == first
    second = agents["n2"].member.claim_block("pods", "10.1.0.0/24", 25)
    agents["n2"].member.leave()
    full = r"no /25 is free in 10\.1\.0\.0/24: 2 claimed of 2; nodes that are away .*: n2"
    with pytest.raises(BlocksExhausted, match=full):
        agents["n3"].member.claim_block("pods", "10.1.0.0/24", 25)
    agents["n2"].join("n2")
    assert agents["n2"].member.claim_block("pods", "10.1.0.0/24", 25) == second
    assert agents["n3"].member.release_blocks("pods", "n2") == (second,)
    assert agents["n3"].member.claim_block("pods", "10.1.0.0/24", 25) == second


def test_claiming_before_joining_is_a_fault_of_the_caller(world: World) -> None:
    with pytest.raises(RuntimeError, match=r"join\(\) comes first"):
        world.start().member.claim_block("pods", POOL, 26)


def test_a_block_may_be_claimed_for_a_node_that_has_not_joined(world: World) -> None:
    """As a run without an agent does."""
    agent = world.start()
    block = agent.member.claim_block("pods", POOL, 26, "n1")
    agent.join("n1")
    assert agent.member.claim_block("pods", POOL, 26) == block
    assert agent.member.claim_block("pods", POOL, 26, "n2") != block


def test_joining_again_changes_only_what_differs(world: World) -> None:
    agent, watcher = world.start(), world.start()
    agent.join("n1")
    agent.member.publish("pods", NodeNetwork((POOL,)))
    before = watcher.observer.view()
    agent.join("n1")
    assert watcher.observer.view() is before
    agent.member.join("n1", {6: "fd00::1"}, EXPIRY)
    node = watcher.observer.view().nodes["n1"]
    assert node.addresses == {6: "fd00::1"} and set(node.networks) == {"pods"}


def test_a_row_that_cannot_be_understood_costs_only_its_node(world: World) -> None:
    watcher, other = world.start(), world.start()
    watcher.join("n1")
    other.join("n2")
    with contextlib.closing(sqlite3.connect(world.path)) as db, db:
        db.execute("UPDATE nodes SET record = '{', revision = 99 WHERE name = 'n2'")
        db.execute("UPDATE state SET revision = 99")
    assert set(watcher.observer.view().nodes) == {"n1"}


class Cluster(RuleBasedStateMachine):
    """Agents join, publish, claim, leave, crash and restart in any order."""

    @initialize()
    def begin(self) -> None:
        self.world = World(Path(tempfile.mkdtemp()))
        self.living: dict[str, Agent] = {}
        self.said: dict[str, dict[str, NodeNetwork]] = {}
        self.blocks: dict[tuple[str, str], tuple[str, str]] = {}
        self.watcher = self.world.start()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()
            shutil.rmtree(self.world.path.parent)

    @rule(name=st.sampled_from(NAMES))
    def join(self, name: str) -> None:
        agent = self.world.start()
        if name in self.living:
            with pytest.raises(NodeNameTaken):
                agent.join(name)
            self.world.crash(agent)
        else:
            agent.join(name)
            self.living[name] = agent
            self.said.setdefault(name, {})

    @precondition(lambda self: self.living)
    @rule(data=st.data(), network=st.sampled_from(NETWORKS), prefix=st.sampled_from(PREFIXES))
    def publish(self, data: st.DataObject, network: str, prefix: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.living)))
        said = NodeNetwork((prefix,), {"by": name})
        if self.clashes(name, network, prefix):
            with pytest.raises(NodeConflict):
                self.living[name].member.publish(network, said)
        else:
            self.living[name].member.publish(network, said)
            self.said[name][network] = said

    def clashes(self, name: str, network: str, prefix: str) -> bool:
        others = [
            other
            for owner, networks in self.said.items()
            if owner != name and network in networks
            for other in networks[network].prefixes
        ]
        others += [
            block
            for (where, owner), (_, block) in self.blocks.items()
            if where == network and owner != name
        ]
        own = ip_network(prefix)
        return any(ip_network(other).overlaps(own) for other in others)

    @precondition(lambda self: self.living)
    @rule(data=st.data(), network=st.sampled_from(NETWORKS))
    def withdraw(self, data: st.DataObject, network: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.living)))
        self.living[name].member.withdraw(network)
        self.said[name].pop(network, None)

    @precondition(lambda self: self.living)
    @rule(data=st.data(), network=st.sampled_from(NETWORKS))
    def claim(self, data: st.DataObject, network: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.living)))
        try:
            block = self.living[name].member.claim_block(network, POOL, 26)
        except BlocksExhausted:
            free = [
                subnet
                for subnet in ip_network(POOL).subnets(new_prefix=26)
                if not self.clashes(name, network, str(subnet))
            ]
            assert not free
            return
        assert not self.clashes(name, network, block)
        assert self.blocks.setdefault((network, name), (POOL, block)) == (POOL, block)

    @precondition(lambda self: self.blocks)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        network, name = data.draw(st.sampled_from(sorted(self.blocks)))
        _, block = self.blocks.pop((network, name))
        assert self.watcher.member.release_blocks(network, name) == (block,)

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.living)))
        agent = self.living.pop(name)
        agent.member.leave()
        self.world.crash(agent)
        del self.said[name]

    @precondition(lambda self: self.living)
    @rule(data=st.data(), restart=st.booleans())
    def crash(self, data: st.DataObject, restart: bool) -> None:
        """A crashed agent is restarted, or its node is gone some time later."""
        name = data.draw(st.sampled_from(sorted(self.living)))
        self.world.crash(self.living.pop(name))
        if restart:
            self.join(name)
            for network, said in self.said[name].items():
                self.living[name].member.publish(network, said)
        else:
            # The first one that sees it dead must be a node itself to remove it.
            self.world.pass_time(2 * EXPIRY)
            if self.living:
                del self.said[name]
            else:
                self.join(name)
                for network, said in self.said[name].items():
                    self.living[name].member.publish(network, said)

    @rule(steps=st.integers(1, 8))
    def wait(self, steps: int) -> None:
        self.world.pass_time(steps * STEP)

    @invariant()
    def all_see_the_same(self) -> None:
        for agent in getattr(self, "world", World(Path())).agents:
            seen = agent.observer.view().nodes
            assert {name: dict(node.networks) for name, node in seen.items()} == self.said


TestCluster = Cluster.TestCase
TestCluster.settings = settings(stateful_step_count=25)
