"""What the engine is told of the pods that live here."""

from __future__ import annotations

import yaml

from cnidaria_policy.objects import PolicyPod
from cnidaria_policy.world import World, node_key, node_object
from support.policy_examples import cluster_policy, network_policy

SHUT = network_policy("{podSelector: {}, ingress: []}", "shut", "x")


def attachment(id: str, *addresses: str) -> PolicyPod:  # noqa: A002
    return PolicyPod("pods", id, "x", "db", addresses, "eth0")


def denied(world: World, address: str) -> bool:
    src = "fd00::9" if ":" in address else "10.0.0.9"
    return not world.engine.verdict(src, address, "TCP", 80).allowed


def test_a_pod_has_the_addresses_of_all_its_attachments() -> None:
    """Of another interface, and of a sandbox that is going, until they are gone."""
    world = World("n1")
    world.engine.apply(yaml.safe_load(SHUT))
    world.attach([attachment("c/eth0", "10.0.0.1", "fd00::1")])
    world.attach([attachment("c/net1", "10.1.0.1")])
    world.attach([attachment("d/eth0", "10.0.0.2")])
    every = ("10.0.0.2", "10.0.0.1", "fd00::1", "10.1.0.1")
    assert [denied(world, one) for one in every] == [True] * 4
    pod = world.local("x", "db")
    assert pod is not None
    assert (pod.id, pod.addresses) == ("d/eth0", every)
    assert [world.name_of(one) for one in every] == ["x/db"] * 4
    world.detach(attachment("c/eth0", "10.0.0.1", "fd00::1"))
    assert [denied(world, one) for one in every] == [True, False, False, True]
    world.detach(attachment("d/eth0", "10.0.0.2"))
    world.detach(attachment("c/net1", "10.1.0.1"))
    assert not any(denied(world, one) for one in every)


def test_the_node_that_no_source_knows_has_the_kernels_addresses() -> None:
    """A deny for all networks holds towards the own node, too; what a source says comes first."""
    world = World("n1")
    deny = cluster_policy(
        "{tier: Admin, priority: 1, subject: {namespaces: {}}, egress: "
        "[{action: Deny, to: [{networks: [0.0.0.0/0, '::/0']}]}]}"
    )
    world.engine.apply(yaml.safe_load(deny))
    world.attach([attachment("c/eth0", "10.0.0.1", "fd00::1")])

    def rows() -> set[str]:
        return {way for _, way, _ in world.engine.tables("n1").rows}

    assert "local" not in rows()
    assert world.see(["127.0.0.1", "192.0.2.1", "fe80::1", "2001:db8::1", "::1"])
    assert "local" in rows()
    assert world.engine.verdict("192.0.2.1", "10.0.0.1", "TCP", 80).allowed
    assert not world.engine.verdict("fd00::1", "2001:db8::1", "TCP", 80).allowed
    assert not world.see(["2001:db8::1", "192.0.2.1"])
    told = node_object("n1", ["198.51.100.1"])
    assert world.replace({node_key("n1"): told})
    assert world.see(["192.0.2.1"])
    assert next(iter(world.engine))[0] == "Node"
    assert not world.see(["192.0.2.2"])
    world.replace({})
    assert world.see(["192.0.2.2"])
    assert world.see([])
    assert "local" not in rows()
