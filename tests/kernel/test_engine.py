"""ADD, DEL, CHECK, GC and sweep by plans, in real namespaces."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cnidaria.cni.errors import CniError, Code
from cnidaria.kernel import nsids, uapi
from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.netns import NetNS
from cnidaria.plan.attachment import Attachment
from cnidaria.plan.engine import Engine
from cnidaria.plan.journal import Journal, StateError
from cnidaria.plan.objects import Address, AnyLink, Macvlan, Neighbour, Object, Route
from cnidaria.plan.store import Store
from support.attachments import (
    attachment,
    boottime,
    bring_up,
    elements,
    engine,
    links,
    mac,
    ours,
    path_of,
    plan,
)
from support.namespaces import new_namespace, run
from support.node import wait_for

PATIENCE = 30.0


@pytest.fixture
def node(host: NetNS) -> NetNS:
    bring_up(host)
    return host


class Released:
    """Which attachments were released, and how: the engine's two events."""

    def __init__(self) -> None:
        self.asked: list[Attachment] = []
        self.done: list[Attachment] = []
        self.refuse = False

    def releasing(self, attachment: Attachment) -> None:
        self.asked.append(attachment)
        if self.refuse:
            raise CniError(Code.DELEGATE_FAILED, "the other plugin says no")

    def released(self, attachment: Attachment) -> None:
        self.done.append(attachment)

    def engine(self, directory: Path, **more: Any) -> Engine:
        return engine(directory, releasing=self.releasing, released=self.released, **more)


def assert_nothing(it: Engine, host: NetNS, pod: NetNS) -> None:
    assert ours(host) == []
    assert links(host) == set()
    assert links(pod) == set()
    assert it.store.all() == []


# -- ADD, CHECK, DEL ---------------------------------------------------------------------------


def test_the_whole_way(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    it = engine(tmp_path)
    made = it.attach(attachment(1, pod), node, pod)
    assert made.state == "attached"
    assert (made.host_cookie, made.netns_cookie) == (node.cookie, pod.cookie)
    assert it.check(made, node, pod) is None
    assert Kernel(pod).differences([o for o in plan(1) if o.where == "pod"]) == []
    assert engine(tmp_path).store.all() == [made]
    assert it.detach(made.key, node, pod) is not None
    assert_nothing(it, node, pod)
    assert [entry.lease for entry in it.store.cooling()] == list(made.leases)
    assert it.detach(made.key, node, pod) is None


def test_only_addresses(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    it = engine(tmp_path)
    made = it.attach(attachment(1, pod, objects=()), node, pod)
    assert it.check(made, node, pod) is None
    it.detach(made.key, node)
    assert_nothing(it, node, pod)


@pytest.mark.parametrize("n", range(len(plan(1))), ids=lambda n: str(plan(1)[n]))
def test_check_names_what_is_missing(n: int, node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    it = engine(tmp_path)
    made = it.attach(attachment(1, pod), node, pod)
    obj = made.objects[n]
    with ExitStack() as stack:
        kernel = stack.enter_context(Kernel(node if obj.where == "host" else pod))
        if obj.kind == "sysctl":
            run(pod, "sysctl", "-q", f"{getattr(obj, 'name')}=1")  # noqa: B009
        else:
            assert kernel.withdraw([obj]) == []
    difference = it.check(made, node, pod)
    assert difference is not None
    assert difference.object == obj
    it.detach(made.key, node, pod)
    assert_nothing(it, node, pod)


def test_check_in_another_namespace_than_it_was(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    it = engine(tmp_path)
    made = it.attach(attachment(1, pod, netns_path=""), node, pod)
    with new_namespace() as other:
        difference = it.check(made, node, other)
    assert difference is not None
    assert "missing" in str(difference)


def test_nothing_is_kept_of_namespaces_that_are_gone(pod: NetNS, tmp_path: Path) -> None:
    it = engine(tmp_path)
    for _ in range(2):
        with new_namespace() as host:
            bring_up(host)
            made = it.attach(attachment(1, pod), host, pod)
            it.detach(made.key, host, pod)
    assert not it._hands._deleters


# -- ADD that fails ----------------------------------------------------------------------------


def test_the_interface_name_is_taken(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    run(pod, "ip", "link", "add", "eth0", "type", "bridge")
    released = Released()
    it = released.engine(tmp_path)
    with pytest.raises(CniError, match="'eth0'") as caught:
        it.attach(attachment(1, pod), node, pod)
    assert caught.value.code == Code.INTERFACE_EXISTS
    assert links(pod) == {"eth0"}
    assert Kernel(pod).link("eth0") is not None
    assert ours(node) == []
    assert it.store.all() == []
    assert [one.container for one in released.done] == ["c1"]
    assert len(released.asked) == 1


def test_a_second_add_changes_nothing(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    released = Released()
    it = released.engine(tmp_path)
    made = it.attach(attachment(1, pod), node, pod)
    with pytest.raises(CniError) as caught:
        it.attach(attachment(1, pod, objects=plan(2), leases=()), node, pod)
    assert caught.value.code == Code.ALREADY_ATTACHED
    assert it.check(made, node, pod) is None
    assert it.store.all() == [made]
    assert links(node) == {"cnd1"}
    assert released.asked == []


def test_a_repeated_request_gets_the_same_answer(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    request = attachment(1, pod)
    made = engine(tmp_path).attach(request, node, pod)
    again = engine(tmp_path)
    assert again.attach(request, node, pod) == made
    assert again.check(made, node, pod) is None


@pytest.mark.parametrize("n", range(len(plan(1)) + 1))
def test_a_failure_at_any_place_undoes_everything(
    n: int, node: NetNS, pod: NetNS, tmp_path: Path
) -> None:
    objects = list(plan(1))
    objects.insert(n, Route("10.9.0.0/16", dev="nowhere"))
    released = Released()
    it = released.engine(tmp_path)
    with pytest.raises(CniError, match="nowhere") as caught:
        it.attach(attachment(1, pod, objects=tuple(objects)), node, pod)
    assert caught.value.code == Code.KERNEL_REFUSED
    assert_nothing(it, node, pod)
    assert len(released.done) == 1
    made = it.attach(attachment(1, pod), node, pod)
    assert it.check(made, node, pod) is None


def test_somebody_elses_route_is_in_the_way(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    run(node, "ip", "route", "add", "10.1.0.1/32", "dev", "lo")
    it = engine(tmp_path)
    with pytest.raises(CniError, match=r"10\.1\.0\.1/32"):
        it.attach(attachment(1, pod), node, pod)
    assert "dev lo" in run(node, "ip", "route", "show", "10.1.0.1")
    assert_nothing(it, node, pod)


def test_what_two_attachments_share_stays_with_the_other(
    node: NetNS, pod: NetNS, tmp_path: Path
) -> None:
    """The second one fails, and some of its objects in the pod are the same as the first one's."""
    it = engine(tmp_path)
    first = it.attach(attachment(1, pod), node, pod)
    theirs = [replace(first.objects[0], name="cnd2", alias="cnidaria:net/c2/eth0/cnidaria-flat")]
    theirs += first.objects[1:]
    with pytest.raises(CniError) as caught:
        it.attach(attachment(2, pod, objects=tuple(theirs)), node, pod)
    assert caught.value.code == Code.INTERFACE_EXISTS
    assert it.check(first, node, pod) is None
    assert links(node) == {"cnd1"}


def test_what_cannot_be_given_back_is_kept(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    released = Released()
    it = released.engine(tmp_path)
    released.refuse = True
    broken = (*plan(1), Route("10.9.0.0/16", dev="nowhere"))
    with pytest.raises(CniError, match="nowhere") as caught:
        it.attach(attachment(1, pod, objects=broken), node, pod)
    assert "the other plugin says no" in caught.value.details
    assert [one.state for one in it.store.all()] == ["detaching"]
    assert released.done == []
    with pytest.raises(CniError, match="says no"):
        it.detach(attachment(1).key, node, pod)
    released.refuse = False
    made = it.attach(attachment(1, pod), node, pod)
    assert [one.objects for one in released.done] == [broken]
    assert it.store.all() == [made]


# -- state that cannot be written --------------------------------------------------------------


class Full(Journal):
    """A journal that takes some more records and then no more."""

    left = 1000

    def append(self, record: Any) -> None:
        if self.left <= 0:
            raise StateError(self.path, 28, "write to the journal")
        self.left -= 1
        super().append(record)


@pytest.mark.parametrize("left", [0, 1])
def test_add_without_room_changes_nothing(
    left: int, node: NetNS, pod: NetNS, tmp_path: Path
) -> None:
    released = Released()
    journal = Full(tmp_path)
    store = Store(journal, boottime)
    it = Engine(store, Kernel, boottime, releasing=released.releasing, released=released.released)
    journal.left = left
    with pytest.raises(CniError, match="ENOSPC") as caught:
        it.attach(attachment(1, pod), node, pod)
    assert caught.value.code == Code.STATE_UNAVAILABLE
    assert str(tmp_path) in caught.value.msg
    assert ours(node) == []
    assert links(pod) == set()
    # What was recorded before the room ran out is undone by whoever comes next.
    journal.left = 1000
    it.recover(node)
    assert_nothing(it, node, pod)
    assert len(released.done) == 1


def test_del_without_room_cleans_the_kernel(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    journal = Full(tmp_path)
    it = Engine(Store(journal, boottime), Kernel, boottime)
    made = it.attach(attachment(1, pod), node, pod)
    journal.left = 0
    with pytest.raises(CniError) as caught:
        it.detach(made.key, node, pod)
    assert caught.value.code == Code.STATE_UNAVAILABLE
    assert ours(node) == []
    assert links(pod) == set()
    assert [one.state for one in it.store.all()] == ["detaching"]
    journal.left = 1000
    it.detach(made.key, node, pod)
    assert_nothing(it, node, pod)


# -- DEL in all circumstances ------------------------------------------------------------------


def test_del_after_the_pod_is_gone(node: NetNS, tmp_path: Path) -> None:
    it = engine(tmp_path)
    with new_namespace() as pod:
        made = it.attach(attachment(1, pod), node, pod)
    it.detach(made.key, node)
    assert ours(node) == []
    assert it.store.all() == []


def test_del_leaves_somebody_elses_link_of_our_name(
    node: NetNS, pod: NetNS, tmp_path: Path
) -> None:
    it = engine(tmp_path)
    made = it.attach(attachment(1, pod), node, pod)
    run(node, "ip", "link", "del", "cnd1")
    run(node, "ip", "link", "add", "cnd1", "type", "bridge")
    it.detach(made.key, node, pod)
    assert links(node) == {"cnd1"}
    assert it.store.all() == []


@contextmanager
def process_in(namespace: NetNS) -> Iterator[None]:
    process = namespace.run(subprocess.Popen, ["sleep", "1000"])
    try:
        yield
    finally:
        process.kill()
        process.wait(PATIENCE)


def test_del_from_another_host_namespace(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    it = engine(tmp_path)
    made = it.attach(attachment(1, pod), node, pod)
    with new_namespace() as elsewhere, process_in(node):
        it.detach(made.key, elsewhere)
    assert_nothing(it, node, pod)


def test_a_link_inside_the_pod_alone(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    run(node, "ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
    objects: tuple[Object, ...] = (
        Macvlan("eth0", master="up0", mac=mac(1, 2), alias="cnidaria:net/c1/eth0"),
        Address("eth0", "10.1.0.1/24", where="pod"),
    )
    it = engine(tmp_path)
    made = it.attach(attachment(1, pod, objects=objects), node, pod)
    assert it.check(made, node, pod) is None
    it.detach(made.key, node)  # found by its path
    assert links(pod) == set()
    assert links(node) == {"up0", "up1"}


# -- many at once ------------------------------------------------------------------------------


def test_many_at_once(node: NetNS, tmp_path: Path) -> None:
    it = engine(tmp_path)
    with ExitStack() as stack, ThreadPoolExecutor(8) as threads:
        pods = {n: stack.enter_context(new_namespace()) for n in range(1, 25)}
        made = dict(
            zip(
                pods,
                threads.map(lambda n: it.attach(attachment(n, pods[n]), node, pods[n]), pods),
                strict=True,
            )
        )
        assert links(node) == {f"cnd{n}" for n in pods}
        for n, pod in pods.items():
            assert it.check(made[n], node, pod) is None
        assert all(threads.map(lambda n: it.detach(made[n].key, node, pods[n]), pods))
        assert ours(node) == []
        assert it.store.all() == []
        for pod in pods.values():
            assert links(pod) == set()


def test_dels_that_come_together_share_a_deletion(node: NetNS, tmp_path: Path) -> None:
    deletions: list[bytes] = []

    def hook(data: bytes) -> None:
        if int.from_bytes(data[4:6], sys.byteorder) == uapi.RTM_DELLINK:
            deletions.append(data)

    it = engine(tmp_path, lambda namespace: Kernel(namespace, hook))
    with ExitStack() as stack:
        count = 24
        start = threading.Barrier(count)
        pods = [stack.enter_context(new_namespace()) for _ in range(count)]
        made = [it.attach(attachment(n, pod), node, pod) for n, pod in enumerate(pods, 1)]

        def detach(one: Attachment) -> None:
            start.wait(PATIENCE)
            it.detach(one.key, node)

        with ThreadPoolExecutor(count) as threads:
            list(threads.map(detach, made))
    assert ours(node) == []
    assert it.store.all() == []
    assert len(deletions) < count / 2


def test_a_del_waits_for_its_add(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    working, go_on = threading.Event(), threading.Event()

    def hook(data: bytes) -> None:
        working.set()
        assert go_on.wait(PATIENCE)

    it = engine(tmp_path, lambda namespace: Kernel(namespace, hook))
    with ThreadPoolExecutor(2) as threads:
        add = threads.submit(it.attach, attachment(1, pod), node, pod)
        assert working.wait(PATIENCE)
        delete: Future[Attachment | None] = threads.submit(it.detach, attachment(1).key, node, pod)
        assert not delete.done()
        go_on.set()
        assert add.result(PATIENCE).state == "attached"
        assert delete.result(PATIENCE) is not None
    assert_nothing(it, node, pod)


class Faulty(Object, frozen=True):
    """A kind whose author made a mistake."""

    name: str

    @property
    def key(self) -> tuple[Any, ...]:
        return ("faulty", self.name)


def test_a_faulty_kind_does_not_keep_the_rest_there(
    node: NetNS, pod: NetNS, tmp_path: Path
) -> None:
    it = engine(tmp_path)
    with pytest.raises(TypeError, match="Faulty"):
        it.attach(attachment(1, pod, objects=(*plan(1), Faulty("x"))), node, pod)
    assert ours(node) == []
    assert links(pod) == set()
    assert [one.state for one in it.store.all()] == ["detaching"]
    # Its plugin is not loaded by the next process, which knows nothing of the kind.
    it = engine(tmp_path)
    assert it.recover(node).finished == [attachment(1).id]
    assert it.store.all() == []


# -- GC, sweep, recovery -----------------------------------------------------------------------


def test_gc(node: NetNS, tmp_path: Path) -> None:
    it = engine(tmp_path)
    with ExitStack() as stack:
        for n in (1, 2, 3):
            pod = stack.enter_context(new_namespace())
            network = "net" if n < 3 else "other"
            it.attach(attachment(n, pod, network=network), node, pod)
        assert it.gc("net", "another-type", set(), node) == []
        gone = it.gc("net", "cnidaria-flat", {("c1", "eth0"), ("c9", "eth0")}, node)
        assert [one.container for one in gone] == ["c2"]
        assert links(node) == {"cnd1", "cnd3"}
        assert it.gc("net", "cnidaria-flat", {("c1", "eth0")}, node) == []


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_sweep_waits_for_the_grace(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    clock = Clock()
    it = Engine(Store(Journal(tmp_path), clock), Kernel, clock)
    with new_namespace() as dying:
        it.attach(attachment(1, dying), node, dying)
        it.attach(attachment(2, dying, "eth1", objects=()), node, dying)
        it.attach(attachment(3, pod), node, pod)
        assert it.sweep(node, 10) == []
    wait_for("the end of the namespace", lambda: links(node) == {"cnd3"})
    clock.now += 100
    assert it.sweep(node, 10) == []
    clock.now -= 50  # set back: the grace begins again, and nothing breaks
    assert it.sweep(node, 10) == []
    clock.now += 10
    assert sorted(one.container for one in it.sweep(node, 10)) == ["c1", "c2"]
    assert [one.container for one in it.store.all()] == ["c3"]
    assert links(node) == {"cnd3"}


def test_sweep_spares_pods_whose_path_is_not_seen(node: NetNS, tmp_path: Path) -> None:
    it = engine(tmp_path)
    with new_namespace() as pod:
        it.attach(attachment(1, pod, netns_path="/nowhere"), node, pod)
        it.attach(attachment(2, pod, "eth1", netns_path="/nowhere", objects=()), node, pod)
        assert it.sweep(node, 0) == []
    number = it.store.all()[0].nsid
    wait_for("the namespace to end", lambda: number not in nsids.living(node))
    with new_namespace() as other:
        assert nsids.number(node, other) == number
        it.attach(attachment(3, other, netns_path="/nowhere"), node, other)
        assert [one.container for one in it.sweep(node, 0)] == ["c1", "c2"]
        assert [one.container for one in it.store.all()] == ["c3"]


def test_sweep_where_namespaces_have_no_numbers(
    node: NetNS, pod: NetNS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nsids, "number", lambda *_: nsids.NONE)
    it = engine(tmp_path)
    it.attach(attachment(1, pod, netns_path="/nowhere"), node, pod)
    it.attach(attachment(2, pod, "eth1", netns_path="/nowhere", objects=()), node, pod)
    with process_in(pod):
        assert it.sweep(node, 0) == []
    assert [one.container for one in it.sweep(node, 0)] == ["c2"]


def test_a_container_that_died_without_del_can_come_back(node: NetNS, tmp_path: Path) -> None:
    it = engine(tmp_path)
    with new_namespace() as old:
        it.attach(attachment(1, old), node, old)
    with new_namespace() as pod:
        made = it.attach(attachment(1, pod), node, pod)
        assert it.check(made, node, pod) is None
        it.detach(made.key, node, pod)
        assert_nothing(it, node, pod)


def test_recovery_tells_what_it_did(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    before = engine(tmp_path)
    with new_namespace() as pod2, new_namespace() as pod3, new_namespace() as lost:
        bring_up(lost)
        whole = before.attach(attachment(1, pod), node, pod)
        half = before.attach(attachment(2, pod2), node, pod2)
        elsewhere = before.attach(attachment(3, pod3), lost, pod3)
        before.store.detaching(half.id)
        begun = replace(attachment(4, pod), host_cookie=node.cookie)
        before.store.begin(begun)
    it = engine(tmp_path)
    found = it.recover(node)
    assert found.kept == [whole.id]
    assert found.finished == [half.id]
    assert found.undone == [begun.id]
    assert found.gone == [elsewhere.id]
    assert found.failed == {}
    assert it.store.all() == [whole]
    assert links(node) == {"cnd1"}
    assert it.check(whole, node, pod) is None
    assert path_of(pod) == whole.netns_path
    assert elements(1) in ours(node)


def test_recovery_goes_on_after_a_failure(node: NetNS, pod: NetNS, tmp_path: Path) -> None:
    before = engine(tmp_path)
    for n in (1, 2):
        before.store.begin(replace(attachment(n), host_cookie=node.cookie))
    released = Released()
    released.refuse = True
    it = released.engine(tmp_path)
    assert set(it.recover(node).failed) == {attachment(1).id, attachment(2).id}
    released.refuse = False
    assert it.recover(node).finished == [attachment(1).id, attachment(2).id]
    assert_nothing(it, node, pod)


def test_what_the_journal_has_lost_is_taken_over_from_the_kernel(
    node: NetNS, pod: NetNS, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Pod 1 is known, pod 2 is not any more."""
    with new_namespace() as other:
        engine(tmp_path / "lost").attach(attachment(2, other), node, other)
        before = engine(tmp_path)
        first = before.attach(attachment(1, pod), node, pod)
        before.store.close()
        it = engine(tmp_path)
        (adopted,) = it.recover(node).adopted
        assert adopted.key == ("net", "c2", "eth0", "cnidaria-flat")
        assert "unknown to the journal" in caplog.text
        assert {lease.address for lease in adopted.leases} == {"10.1.0.2", "fd00::2"}
        assert {type(obj) for obj in adopted.objects} == {AnyLink, Route, Neighbour}
        assert it.check(adopted, node, other) is None
        assert it.sweep(node, 0) == []
        it.store.close()
        again = engine(tmp_path)
        assert again.recover(node).adopted == []
        with pytest.raises(CniError) as caught:
            again.attach(attachment(2, other), node, other)
        assert caught.value.code == Code.ALREADY_ATTACHED
        again.detach(adopted.key, node, other)
    assert links(node) == {"cnd1"}
    assert again.check(first, node, pod) is None


def test_what_was_taken_over_goes_with_its_pod(node: NetNS, tmp_path: Path) -> None:
    with new_namespace() as dying:
        engine(tmp_path / "lost").attach(attachment(1, dying), node, dying)
        it = engine(tmp_path)
        (adopted,) = it.recover(node).adopted
        assert it.sweep(node, 0) == []
    wait_for("the end of the pod", lambda: links(node) == set())
    assert [one.key for one in it.sweep(node, 0)] == [adopted.key]
    assert it.store.all() == []


def test_what_cannot_be_recorded_is_taken_over_nevertheless(
    node: NetNS, pod: NetNS, tmp_path: Path
) -> None:
    engine(tmp_path / "lost").attach(attachment(1, pod), node, pod)
    it = engine(tmp_path / "state")
    (tmp_path / "state").touch()  # no directory
    (adopted,) = it.recover(node).adopted
    with pytest.raises(CniError, match=r"EEXIST|ENOTDIR"):
        it.detach(adopted.key, node, pod)
    assert links(node) == set(), "what can be done is done"
