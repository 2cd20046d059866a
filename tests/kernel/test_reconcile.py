"""Node state: add, replace, prune; what is not ours, or a pod's, stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.netns import NetNS
from cnidaria.plan.engine import Engine
from cnidaria.plan.objects import Neighbour, Object, Route, Vxlan
from cnidaria.plan.reconcile import Reconciler
from support.attachments import NODE, PODS, attachment, engine, links, mac, ours
from support.namespaces import run


def vxlan(vni: int = 7) -> Vxlan:
    return Vxlan("vx0", vni=vni, local="192.0.2.1", mtu=1350, mac=mac(7, 7), alias="cnidaria:node")


def peer(n: int, hop: int = 1) -> list[Object]:
    via = f"10.{n >> 8}.{n & 255}.{hop}"
    return [
        Neighbour("vx0", via, mac(n, hop)),
        Route(f"10.{n >> 8}.{n & 255}.0/24", via=via, dev="vx0", onlink=True),
    ]


class Watched:
    """Counts how often all that is ours is listed."""

    def __init__(self) -> None:
        self.listed = 0

    @contextmanager
    def __call__(self, namespace: NetNS) -> Iterator[Kernel]:
        watch = self

        class Watching(Kernel):
            def owned(self, *kinds: type[Object]) -> list[Object]:
                watch.listed += 1
                return super().owned(*kinds)

        yield Watching(namespace)


@pytest.fixture
def node(host: NetNS, tmp_path: Path) -> tuple[Engine, Reconciler, Watched]:
    it = engine(tmp_path)
    watched = Watched()
    return it, Reconciler(watched, host, it.store.frozen), watched


Fixture = tuple[Engine, Reconciler, Watched]


def test_add_change_and_remove(node: Fixture, host: NetNS) -> None:
    _, reconciler, watched = node
    kernel = Kernel(host)
    first = [*NODE, vxlan(), *peer(1), *peer(2)]
    assert reconciler.sync(first).applied == first
    assert watched.listed == 1
    second = [*NODE, vxlan(), *peer(2, hop=9), *peer(3)]
    changes = reconciler.sync(second)
    assert changes.errors == []
    assert kernel.differences(second) == []
    assert {obj.key for obj in changes.withdrawn} == {
        *(obj.key for obj in peer(1)), peer(2)[0].key
    }  # fmt: skip
    assert ours(host, second) == []
    assert watched.listed == 1  # what did not change was not looked at
    assert not reconciler.sync(second)
    assert watched.listed == 2
    assert reconciler.sync([]).errors == []
    assert ours(host, ()) == []


def test_a_link_that_cannot_be_changed_is_made_anew(node: Fixture, host: NetNS) -> None:
    _, reconciler, _ = node
    reconciler.sync([vxlan(7), *peer(1)])
    changed = [vxlan(8), *peer(1)]
    assert reconciler.sync(changed).errors == []
    assert Kernel(host).differences(changed) == []
    assert not reconciler.sync(changed)


def test_somebody_elses_link_is_in_the_way(node: Fixture, host: NetNS) -> None:
    _, reconciler, _ = node
    run(host, "ip", "link", "add", "vx0", "type", "bridge")
    rest = Route("10.50.0.0/24", type="unreachable")
    changes = reconciler.sync([vxlan(), rest])
    assert [error.object for error in changes.errors] == [vxlan()]
    assert changes.applied == [rest]
    assert Kernel(host).link("vx0") is not None
    assert reconciler.sync([vxlan(), rest]).errors != []
    run(host, "ip", "link", "del", "vx0")
    assert reconciler.sync([vxlan(), rest]).errors == []
    assert Kernel(host).differences([vxlan(), rest]) == []


def test_it_is_told_again_after_a_failure(node: Fixture, host: NetNS) -> None:
    """What failed is not taken for done when something else changes."""
    _, reconciler, _ = node
    run(host, "ip", "route", "add", "10.50.0.0/24", "dev", "lo")
    mine = Route("10.50.0.0/24", dev="lo")
    assert len(reconciler.sync([mine]).errors) == 1
    run(host, "ip", "route", "del", "10.50.0.0/24")
    other = Route("10.60.0.0/24", type="unreachable")
    assert reconciler.sync([mine, other]).applied == [mine, other]


def test_what_was_there_before_is_adopted_or_pruned(
    node: Fixture, host: NetNS, tmp_path: Path
) -> None:
    it, reconciler, _ = node
    reconciler.sync([*NODE, vxlan(), *peer(1), *peer(2)])
    again = Reconciler(Kernel, host, it.store.frozen)
    changes = again.sync([*NODE, vxlan(), *peer(2)])
    assert changes.applied == []
    assert {obj.key for obj in changes.withdrawn} == {obj.key for obj in peer(1)}


def test_only_in_scope(node: Fixture, host: NetNS) -> None:
    _, reconciler, _ = node
    reconciler.sync([vxlan(), *peer(1)])
    changes = reconciler.sync([], scope=lambda obj: obj.kind == "neighbour")
    assert changes.withdrawn == [peer(1)[0]]
    assert links(host) == {"vx0"}


def test_pods_are_not_pruned(node: Fixture, host: NetNS, pod: NetNS) -> None:
    it, reconciler, _ = node
    reconciler.sync(NODE)
    made = it.attach(attachment(1, pod), host, pod)
    for _ in range(2):
        assert not reconciler.sync(NODE)
    assert it.check(made, host, pod) is None
    assert reconciler.sync([*NODE, vxlan()]).withdrawn == []
    assert it.check(made, host, pod) is None


def test_stray_elements_are_pruned(node: Fixture, host: NetNS, pod: NetNS) -> None:
    it, reconciler, _ = node
    mine = PODS.elements(("vx0", "192.0.2.7"))
    reconciler.sync([*NODE, mine])
    made = it.attach(attachment(1, pod), host, pod)
    stray = PODS.elements(("cnd9", "192.0.2.9"))
    Kernel(host).apply([stray])
    assert reconciler.sync([*NODE, mine]).withdrawn == [stray]
    assert it.check(made, host, pod) is None
    assert Kernel(host).differences([mine]) == []
