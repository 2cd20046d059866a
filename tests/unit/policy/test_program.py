"""The content of a table: the same whichever way it came about, and walked as the engine says."""

from __future__ import annotations

from cnidaria_core import PolicyEngine
from hypothesis import given, settings
from hypothesis import strategies as st

from cnidaria.kinds import Packet, difference, walk
from cnidaria_policy.numbering import aligned, in_terms_of
from cnidaria_policy.program import Program
from support.policy_lab import NODES, NUMBERS, first_packet
from support.policy_twin import Twin
from support.policy_worlds import Object, questions, worlds

TABLE = "cnidaria-policy-x"


def compiled(world: list[Object], node: str) -> tuple[PolicyEngine, Program]:
    engine = PolicyEngine()
    engine.load(world)
    program = Program(TABLE)
    program.update(engine.tables(node))
    return engine, program


@settings(max_examples=40)
@given(worlds(), st.randoms())
def test_another_engine_calls_things_as_they_are_called_in_the_kernel(
    world: list[Object], random: object
) -> None:
    """In whatever order an agent reads them when it starts: every chain keeps its name, and so its
    counters. What a chain has as its default and what as exceptions may be another.
    """
    _, program = compiled(world, "n1")
    others = list(world)
    random.shuffle(others)  # type: ignore[attr-defined]
    again = anew(others, program)
    changes = difference(program.rules, again.rules)
    assert not changes.new_chains
    assert not changes.no_chains


@settings(max_examples=100)
@given(worlds(), worlds(), st.randoms())
def test_what_grew_is_what_would_be_compiled_anew(
    before: list[Object], world: list[Object], random: object
) -> None:
    """In whatever order things came, and whatever was there before: there is nothing to tell."""
    engine = PolicyEngine()
    engine.load(before)
    program = Program(TABLE)
    tables = engine.tables("n1")
    program.update(tables)
    version = tables.version
    others = list(world)
    random.shuffle(others)  # type: ignore[attr-defined]
    kept = {key(one) for one in world}
    for step in (*others, *(one for one in before if key(one) not in kept)):
        if key(step) in kept:
            engine.apply(step)
        else:
            kind, namespace, name = key(step)
            engine.delete(kind, name, namespace or None)
        version = follow(engine, program, version)
    again = anew(world, program)
    assert not difference(program.rules, in_terms_of(again.rules, program.rules))


def test_a_default_of_no_use_any_more_is_no_difference() -> None:
    """Both pods have other ports now, so nobody is led to the filter that was the default."""
    policy = {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "some"},
        "spec": {
            "tier": "Admin",
            "priority": 0,
            "subject": {"namespaces": {}},
            "egress": [
                {
                    "action": "Accept",
                    "to": [{"namespaces": {}}],
                    "protocols": [
                        {"tcp": {"destinationPort": {"number": 80}}},
                        {"destinationNamedPort": "http"},
                    ],
                },
                {"action": "Accept", "to": [{"namespaces": {}}]},
            ],
        },
    }
    world = [policy, pod(1, 53), pod(2, 53)]
    engine = PolicyEngine()
    engine.load([pod(1), pod(2, 80)])
    program = Program(TABLE)
    tables = engine.tables("n1")
    program.update(tables)
    version = tables.version
    for one in world:
        engine.apply(one)
        version = follow(engine, program, version)
    again = anew(world, program)
    assert again.rules.chains.keys() < program.rules.chains.keys()
    assert not difference(program.rules, in_terms_of(again.rules, program.rules))


def follow(engine: PolicyEngine, program: Program, version: int) -> int:
    """What has changed since a version; the version that it is now."""
    changes = engine.changes_since(version, "n1")
    program.update(changes)
    return changes.version


def pod(number: int, *http: int) -> Object:
    """With a port ``http``, or without."""
    address = f"10.0.1.{number}"
    ports = [{"name": "http", "containerPort": one} for one in http]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"p{number}", "namespace": "x", "labels": {}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": ports}]},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }


def anew(world: list[Object], there: Program) -> Program:
    """What another engine compiles, called as it is called there."""
    engine = PolicyEngine()
    engine.load(world)
    tables = engine.tables("n1")
    made = Program(TABLE, numbering=aligned(tables, there.rules))
    made.update(tables)
    return made


def key(obj: Object) -> tuple[str, str, str]:
    meta = obj["metadata"]
    return obj["kind"], meta.get("namespace", ""), meta["name"]


@settings(max_examples=40)
@given(worlds(most_pods=5))
def test_the_walk_through_the_tables_ends_as_the_engine_says(world: list[Object]) -> None:
    programs = {node: compiled(world, node)[1] for node in NODES}
    twin = Twin(world)
    for src, dst, protocol, port in list(questions(world))[::23]:
        if src == dst or twin.pod_at(src) is None is twin.pod_at(dst):
            continue
        name = "ICMPv6" if protocol == "ICMP" and ":" in src else protocol
        data = first_packet(name, (src, dst), (1024, port or 0), 1)
        packet = Packet(src, dst, NUMBERS[name], data)
        passes = all(
            walk(program.rules, chain, packet).verdict == "accept"
            for node, program in programs.items()
            if src not in NODES[node]
            for chain in (("local",) if dst in NODES[node] else ("egress", "ingress"))
        )
        assert passes == twin.verdict(src, dst, protocol, port).allowed
