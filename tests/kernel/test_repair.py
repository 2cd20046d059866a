"""What somebody removes is put back, by events, while pods come and go."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.netns import NetNS
from cnidaria.plan.attachment import Attachment
from cnidaria.plan.engine import Engine
from cnidaria.plan.objects import Object, Route, Vxlan
from cnidaria.plan.reconcile import Reconciler
from cnidaria.plan.repair import Repairer
from cnidaria.plan.touched import Touched
from support.attachments import NODE, attachment, boottime, engine, links, mac, ours, plan
from support.namespaces import new_namespace, run
from support.node import wait_for

DESIRED: tuple[Object, ...] = (
    *NODE,
    Vxlan("vx0", vni=7, local="192.0.2.1", mtu=1350, mac=mac(7, 7), alias="cnidaria:node"),
    Route("10.70.0.0/24", dev="vx0"),
    Route("10.50.0.0/24", type="unreachable", metric=4_278_198_272),
    Route("10.80.0.0/24", via="192.0.2.2", dev="up0", onlink=True),
)


class Node:
    """A node under repair, with one pod that nobody touches by right."""

    def __init__(self, directory: Path, host: NetNS, pod: NetNS) -> None:
        self.host, self.pod = host, pod
        run(host, "ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
        run(host, "ip", "link", "set", "up1", "up")
        run(host, "ip", "link", "set", "up0", "up")
        self.engine: Engine = engine(directory)
        self.reconciler = Reconciler(Kernel, host, self.engine.store.frozen)
        assert self.reconciler.sync(DESIRED).errors == []
        self.made: Attachment = self.engine.attach(attachment(1, pod), host, pod)
        self.repairer = Repairer(self.engine, self.reconciler, host, boottime)

    def whole(self) -> bool:
        return (
            not Kernel(self.host).differences(DESIRED)
            and self.engine.check(self.made, self.host, self.pod) is None
        )

    def repaired(self) -> bool:
        return self.whole() and self.repairer.counts.total() > 0


@pytest.fixture
def node(tmp_path: Path, host: NetNS, pod: NetNS) -> Iterator[Node]:
    node = Node(tmp_path, host, pod)
    with node.repairer:
        yield node


HERE = [obj for obj in (*plan(1), *DESIRED) if obj.where == "host" and obj not in NODE]


@pytest.mark.parametrize("obj", HERE, ids=str)
def test_whatever_is_removed_comes_back(
    obj: Object, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert Kernel(node.host).withdraw([obj]) == []
        wait_for(f"{obj} put back", node.repaired)
    assert f"put back {obj}" in caplog.text
    assert node.repairer.counts[obj.kind] >= 1
    assert node.repairer.counts["refused"] == 0


def test_all_of_nftables(node: Node) -> None:
    run(node.host, "nft", "flush", "ruleset")
    wait_for("tables and elements put back", node.repaired)


CHANGES = {
    "down": ("down",),
    "mac": ("address", "02:00:00:00:00:99"),
    "mtu": ("mtu", "1300"),
    "name": ("name", "stolen0"),
    "alias": ("alias", "mine"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["cnd1", "vx0"])
def test_a_link_that_is_changed(name: str, change: str, node: Node) -> None:
    """Also right after it was made, when most changes are our own."""
    if change == "alias":  # without our mark it is somebody else's, and left alone
        run(node.host, "ip", "link", "set", name, *CHANGES[change])
        wait_for("the refusal", lambda: node.repairer.counts["refused"] > 0)
        return
    run(node.host, "ip", "link", "set", name, *CHANGES[change])
    wait_for(f"{name} and what is on it", node.repaired)
    assert name in links(node.host)


def test_the_mac_of_a_pod_is_left_alone_and_keeps_nothing_else_back(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """A later plugin of the chain, or the pod itself, has changed it (docs/decisions/0006)."""
    run(node.pod, "ip", "link", "set", "eth0", "address", "02:00:00:00:00:99")
    run(node.host, "ip", "link", "set", "cnd1", "mtu", "1300")

    def mtu() -> int | None:
        link = Kernel(node.host).link("cnd1")
        return link.mtu if link else None

    wait_for("repair", lambda: mtu() == 1400)
    peer = Kernel(node.pod).link("eth0")
    assert peer is not None and peer.mac == "02:00:00:00:00:99"
    assert "cannot be put back" not in caplog.text


def test_an_uplink_that_comes_back(node: Node) -> None:
    run(node.host, "ip", "link", "set", "up0", "down")
    wait_for("the refusal", lambda: node.repairer.counts["refused"] > 0)
    run(node.host, "ip", "link", "set", "up0", "up")
    wait_for("routes by the uplink", node.repaired)


def test_what_somebody_else_took_is_taken_back_when_it_is_free(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    run(node.host, "ip", "route", "replace", "10.70.0.0/24", "dev", "up1", "proto", "static")
    wait_for("the refusal", lambda: node.repairer.counts["refused"] > 0)
    assert "dev up1" in run(node.host, "ip", "route", "show", "10.70.0.0/24")
    assert "cannot be put back" in caplog.text
    run(node.host, "ip", "route", "del", "10.70.0.0/24")
    wait_for("our route", node.repaired)


def test_a_pod_that_is_gone_is_left_to_the_sweep(tmp_path: Path, node: Node) -> None:
    with new_namespace() as dying:
        node.engine.attach(attachment(2, dying), node.host, dying)
    wait_for("the end of the pod", lambda: "cnd2" not in links(node.host))
    node.repairer.look(Touched(everything=True))
    assert "cnd2" not in links(node.host)
    assert node.repairer.counts["refused"] == 0
    assert [one.container for one in node.engine.sweep(node.host, 0)] == ["c2"]


def test_pods_come_and_go_meanwhile(node: Node) -> None:
    """What we remove ourselves is not put back."""
    with new_namespace() as pod:
        for _ in range(30):
            made = node.engine.attach(attachment(2, pod), node.host, pod)
            Kernel(node.host).withdraw([DESIRED[-1]])
            node.engine.detach(made.key, node.host, pod)
        wait_for("the route", node.repaired)
        node.repairer.stop()
        node.engine.detach(node.made.key, node.host, node.pod)
        assert ours(node.host, DESIRED) == []
        assert links(pod) == set()
    assert set(node.repairer.counts) == {"route"}


def test_it_starts_with_a_look_at_everything(tmp_path: Path, host: NetNS, pod: NetNS) -> None:
    node = Node(tmp_path, host, pod)
    run(host, "ip", "link", "del", "cnd1")
    run(host, "ip", "link", "del", "vx0")
    with node.repairer:
        wait_for("links put back", node.repaired)
    node.repairer.stop()
