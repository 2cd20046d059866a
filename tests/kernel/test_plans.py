"""Random plans applied, withdrawn, damaged, checked and repaired; the kernel is the oracle."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cnidaria.cni.errors import CniError
from cnidaria.kernel.handle import Kernel
from cnidaria.plan.attachment import Attachment
from cnidaria.plan.objects import (
    Bridge,
    Fdb,
    Neighbour,
    Object,
    Route,
    Rule,
    Sysctl,
    Vxlan,
)
from cnidaria.plan.reconcile import Reconciler
from support.attachments import NODE, PODS, attachment, engine, links, mac, ours, plan
from support.namespaces import may_unshare, new_namespace, run

UNIVERSE: tuple[Object, ...] = (
    *NODE,
    PODS.elements(("br0", "192.0.2.1")),
    PODS.elements(("vx0", "192.0.2.2")),
    Bridge("br0", mtu=1400, alias="cnidaria:node"),
    Route("10.60.0.0/24", dev="br0"),
    Vxlan("vx0", vni=7, local="192.0.2.1", mtu=1350, mac=mac(7, 7), alias="cnidaria:node"),
    Neighbour("vx0", "10.70.0.0", mac(8, 8)),
    Fdb("vx0", mac(8, 8), dst="192.0.2.8"),
    Route("10.70.0.0/24", via="10.70.0.0", dev="vx0", onlink=True),
    Route("fd70::/64", dev="vx0"),
    Route("10.50.0.0/24", type="unreachable", metric=4_278_198_272),
    Rule(4, 99, table=99, mark=0x10, mask=0x10),
    Sysctl("net.ipv4.ip_forward", "1"),
)

EFFORT = int(os.environ.get("CNIDARIA_EFFORT", "1"))

FOREIGN = "198.51.100.0/24"
PODS_AT_MOST = 3


def closed(objects: Sequence[Object]) -> list[Object]:
    """Those of ``objects`` whose links and tables are among them."""
    names = {name for obj in objects for name in obj.names()}
    node = all(obj in objects for obj in NODE)
    return [
        obj
        for obj in objects
        if set(obj.on()) <= names and (node or not obj.kind.startswith("nft_"))
    ]


class PlanMachine(RuleBasedStateMachine):
    """A node with its own state and some pods; what is there is compared after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.host = self.stack.enter_context(new_namespace())
        self.pods = [self.stack.enter_context(new_namespace()) for _ in range(PODS_AT_MOST)]
        self.directory = Path(tempfile.mkdtemp())
        self.stack.callback(shutil.rmtree, self.directory)
        run(self.host, "ip", "link", "add", "foreign0", "type", "bridge")
        run(self.host, "ip", "route", "add", "unreachable", FOREIGN)
        self.kernel = Kernel(self.host)
        self.attached: dict[int, Attachment] = {}
        self.damaged = False
        self.start()
        self.sync(list(NODE))

    def teardown(self) -> None:
        self.stack.close()

    def start(self) -> None:
        self.engine = engine(self.directory)
        self.reconciler = Reconciler(Kernel, self.host, self.engine.store.frozen)

    # -- what is done ----------------------------------------------------------------------

    @rule(objects=st.lists(st.sampled_from(UNIVERSE[len(NODE) :]), unique=True))
    def desire(self, objects: list[Object]) -> None:
        self.sync(closed([obj for obj in UNIVERSE if obj in (*NODE, *objects)]))

    def sync(self, desired: list[Object]) -> None:
        assert self.reconciler.sync(desired).errors == []
        if not self.damaged:
            assert not self.reconciler.sync(desired)

    @precondition(lambda self: len(self.attached) < PODS_AT_MOST)
    @rule(n=st.integers(1, PODS_AT_MOST))
    def attach(self, n: int) -> None:
        if n not in self.attached:
            pod = self.pods[n - 1]
            self.attached[n] = self.engine.attach(attachment(n, pod), self.host, pod)

    @rule(n=st.integers(1, PODS_AT_MOST), seen=st.booleans())
    def detach(self, n: int, seen: bool) -> None:
        pod = self.pods[n - 1] if seen else None
        gone = self.engine.detach(attachment(n).key, self.host, pod)
        assert gone == self.attached.pop(n, None)

    @rule(n=st.integers(1, PODS_AT_MOST), at=st.integers(0, len(plan(1))))
    def attach_in_vain(self, n: int, at: int) -> None:
        objects = list(plan(n))
        objects.insert(at, Route("10.9.0.0/16", dev="nowhere"))
        pod = self.pods[n - 1]
        with pytest.raises(CniError):
            self.engine.attach(attachment(n, pod, objects=tuple(objects)), self.host, pod)

    @rule()
    def restart(self) -> None:
        desired = list(self.reconciler.desired)
        self.start()
        assert self.engine.recover(self.host).kept == [one.id for one in self.attached.values()]
        self.sync(desired)

    @precondition(lambda self: self.expected())
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        """Somebody removes something of ours."""
        obj = data.draw(st.sampled_from(self.expected()))
        if obj.kind not in ("sysctl", "nft_table", "nft_set"):
            self.damaged = True
            assert self.kernel.withdraw([obj]) == []
            assert any(one.object == obj for one in self.kernel.differences([obj]))

    @rule(up=st.booleans())
    def set_down(self, up: bool) -> None:
        """Somebody sets a link of ours down, and perhaps up again: its routes are gone."""
        for name in sorted(links(self.host) - {"foreign0"})[:1]:
            self.damaged = True
            run(self.host, "ip", "link", "set", name, "down")
            if up:
                run(self.host, "ip", "link", "set", name, "up")

    @rule()
    def repair(self) -> None:
        assert self.reconciler.put_back(self.reconciler.desired).errors == []
        for one in self.attached.values():
            here = [obj for obj in one.objects if obj.where == "host"]
            assert self.engine.put_back(one.key, self.host, here).errors == []
        self.damaged = False

    # -- what must be ----------------------------------------------------------------------

    def expected(self) -> list[Object]:
        pods = [obj for one in self.attached.values() for obj in one.objects]
        return [*self.reconciler.desired, *(obj for obj in pods if obj.where == "host")]

    @invariant()
    def all_is_there(self) -> None:
        if self.damaged:
            return
        assert self.kernel.differences(self.reconciler.desired) == []
        for n, one in self.attached.items():
            assert self.engine.check(one, self.host, self.pods[n - 1]) is None

    @invariant()
    def nothing_else_is_there(self) -> None:
        expected = {obj.key for obj in self.expected()}
        assert [obj for obj in ours(self.host, ()) if obj.key not in expected] == []
        for n, pod in enumerate(self.pods, 1):
            assert links(pod) <= ({"eth0"} if n in self.attached else set())
        assert [one.container for one in self.engine.store.all()] == [
            one.container for one in self.attached.values()
        ]

    @invariant()
    def what_is_not_ours_stays(self) -> None:
        assert "foreign0" in links(self.host)
        assert FOREIGN in run(self.host, "ip", "route", "show", "type", "unreachable")


class TestPlans(PlanMachine.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=15 * EFFORT, stateful_step_count=25)

    @pytest.fixture(autouse=True)
    def _namespaces(self) -> None:
        if not may_unshare():
            pytest.skip("may not make network namespaces: run by scripts/in-namespaces")
