"""What the engine is told of the pods that live here."""

from __future__ import annotations

import yaml

from cnidaria_policy.objects import PolicyPod
from cnidaria_policy.world import World
from support.policy_examples import network_policy

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
