"""The store against a model: what was written is what comes back."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from cnidaria.plan.attachment import Attachment
from cnidaria.plan.journal import Journal, frame
from cnidaria.plan.lease import Lease
from cnidaria.plan.objects import Address, Route, Veth
from cnidaria.plan.store import COMPACT_AT_LEAST, StateError, Store


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def attachment(n: int, **fields: Any) -> Attachment:
    address = f"10.1.{n // 250}.{n % 250 + 1}"
    given: dict[str, Any] = {
        "network": "net",
        "container": f"c{n}",
        "ifname": "eth0",
        "plugin": "cnidaria-flat",
        "request_id": n.to_bytes(16, "big"),
        "netns_path": f"/run/netns/c{n}",
        "netns_cookie": 2**63 + n,
        "host_cookie": 1,
        "config": {"name": "net", "x": {"é": [1, None, 1.5]}},
        "leases": (Lease("net", address, 24, "10.1.0.1"),),
        "objects": (
            Veth(
                f"cnd{n}", peer="eth0", mac="02:00:00:00:00:01", peer_mac="02:00:00:00:00:02",
                mtu=1500, alias=f"cnidaria:net/c{n}/eth0",
            ),
            Address("eth0", f"{address}/32", where="pod"),
            Route(f"{address}/32", dev=f"cnd{n}", scope="link"),
        ),
        "result": {"cniVersion": "1.1.0", "ips": [{"address": f"{address}/32"}]},
        "created": 5.0,
    }  # fmt: skip
    return Attachment(**{**given, **fields})


def opened(directory: Path, clock: Clock | None = None) -> Store:
    return Store(Journal(directory, boot="boot"), clock or Clock())


def test_an_attachment_survives_unchanged(tmp_path: Path) -> None:
    store = opened(tmp_path)
    begun = store.begin(attachment(1))
    assert opened(tmp_path).all() == [begun]
    done = store.commit(begun.id, {"cniVersion": "1.0.0"})
    assert done == replace(attachment(1), state="attached", result={"cniVersion": "1.0.0"})
    again = opened(tmp_path)
    assert again.all() == [done]
    assert again.get("net", "c1", "eth0", "cnidaria-flat") == done
    assert again.by_id(done.id) == done


def test_finding(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for n in range(3):
        store.begin(attachment(n, network=f"net{n % 2}"))
    assert [one.container for one in store.find(network="net0")] == ["c0", "c2"]
    assert [one.container for one in store.find(container="c1")] == ["c1"]
    assert store.find(network="net0", container="c1") == []
    assert len(store.find()) == 3


def test_one_attachment_of_a_key(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.begin(attachment(1))
    with pytest.raises(ValueError, match="exists"):
        store.begin(attachment(1, request_id=b"another"))
    assert len(opened(tmp_path).all()) == 1


def test_a_beginning_may_be_followed_by_the_whole(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.begin(attachment(1, objects=(), leases=(), delegate={"plugin": "dhcp"}))
    store.begin(attachment(1))
    assert opened(tmp_path).all() == store.all() == [attachment(1)]
    with store.frozen() as claims:
        assert claims.count(1, attachment(1).objects[0]) == 1
    store.forget(attachment(1).id)
    with store.frozen() as claims:
        assert claims.count(1, attachment(1).objects[0]) == 0


def test_released_addresses_cool_down(tmp_path: Path) -> None:
    clock = Clock()
    store = opened(tmp_path, clock)
    for n in (1, 2):
        store.begin(attachment(n))
    clock.now += 5
    for n in (2, 1):
        store.forget(attachment(n).id)
        clock.now += 5
    for one in (store, opened(tmp_path, clock)):
        assert [entry.lease.address for entry in one.cooling()] == ["10.1.0.3", "10.1.0.2"]
        assert [entry.released_at for entry in one.cooling()] == [1005.0, 1010.0]
    store.compact()
    assert opened(tmp_path, clock).cooling() == store.cooling()
    store.begin(attachment(1))
    assert [entry.lease.address for entry in store.cooling()] == ["10.1.0.3"]
    clock.now = 1005.0 + 30.0
    assert store.cooling() == []
    assert opened(tmp_path, clock).cooling() == []


def test_a_clock_set_back_does_not_cool_for_ever(tmp_path: Path) -> None:
    clock = Clock(1e6)
    store = opened(tmp_path, clock)
    store.begin(attachment(1))
    store.forget(attachment(1).id)
    clock.now = 10.0
    again = opened(tmp_path, clock)
    assert [entry.released_at for entry in again.cooling()] == [10.0]
    clock.now = 40.0
    assert again.cooling() == []


def test_objects_of_unknown_kinds_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = attachment(1).to_record()
    stranger = {"kind": "third-party-tunnel", "name": "x"}
    record["objects"].insert(0, stranger)
    journal = Journal(tmp_path, boot="boot")
    journal.append({"op": "begin", "attachment": record})
    store = opened(tmp_path)
    assert store.all()[0].objects == attachment(1).objects
    assert store.all()[0].foreign == (stranger,)
    store.compact()
    assert opened(tmp_path).all() == store.all()
    assert "third-party-tunnel" in caplog.text


def test_records_that_make_no_sense_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(tmp_path)
    store.begin(attachment(1))
    journal = Journal(tmp_path, boot="boot")
    journal.load()
    for nonsense in (
        1, None, {}, {"op": "commit", "id": "?", "result": None}, {"op": "begin"},
        {"op": "begin", "attachment": {"network": 1}}, {"op": "forget", "id": [], "at": 0},
        {"op": "cooling", "entry": {}},
    ):  # fmt: skip
        journal.append(nonsense)
    journal.append({"op": "commit", "id": attachment(1).id, "result": None})
    with caplog.at_level(logging.ERROR):
        assert [one.state for one in opened(tmp_path).all()] == ["attached"]
    assert caplog.text.count("left out") == 8


def test_the_journal_does_not_grow_for_ever(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.begin(attachment(0))
    for n in range(1, 3000):
        store.begin(attachment(n))
        store.forget(attachment(n).id)
    assert (tmp_path / "journal").stat().st_size <= 5 * COMPACT_AT_LEAST
    again = opened(tmp_path)
    assert [one.container for one in again.all()] == ["c0"]
    assert again.cooling() == store.cooling()


def states(store: Store) -> list[tuple[str, str]]:
    return [(one.container, one.state) for one in store.all()]


def test_truncated_or_flipped_anywhere_it_is_what_it_once_was(tmp_path: Path) -> None:
    store = opened(tmp_path)
    once: list[list[tuple[str, str]]] = [[]]
    for change in (
        lambda: store.begin(attachment(1)),
        lambda: store.commit(attachment(1).id),
        lambda: store.begin(attachment(2, objects=(), config={})),
        lambda: store.detaching(attachment(1).id),
        lambda: store.forget(attachment(1).id),
    ):
        change()
        once.append(states(store))
    path = tmp_path / "journal"
    data = path.read_bytes()
    seen = []
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        seen.append(states(opened(tmp_path)))
    assert [now for n, now in enumerate(seen) if n == 0 or seen[n - 1] != now] == once
    for bit in range(0, len(data) * 8, 7):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert states(opened(tmp_path)) in once[:-1]


def test_a_removed_journal_is_written_anew(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.begin(attachment(1))
    shutil.rmtree(tmp_path)
    store.begin(attachment(2))
    assert [one.container for one in opened(tmp_path).all()] == ["c1", "c2"]


class Full(Journal):
    """A journal that cannot be written any more."""

    full = False

    def append(self, record: Any) -> None:
        if self.full:
            raise StateError(self.path, 28, "write to the journal")
        super().append(record)


def test_what_is_going_is_declared_no_more(tmp_path: Path) -> None:
    """It may be withdrawn already, and is nobody's to make again."""
    store = Store(Journal(tmp_path), Clock())
    shared = Route("10.9.0.0/16", dev="up0")
    for n in (1, 2, 3):
        one = attachment(n)
        store.begin(replace(one, objects=(*one.objects, shared)))
    store.commit(attachment(1).id)
    store.detaching(attachment(3).id)
    wanted = [obj for n in (1, 2) for obj in attachment(n).objects if obj.where == "host"]
    assert sorted(map(str, store.declared(1))) == sorted(map(str, [*wanted, shared]))
    assert store.declared(9) == []
    store.close()


def test_nothing_changes_where_nothing_can_be_written(tmp_path: Path) -> None:
    journal = Full(tmp_path, boot="boot")
    store = Store(journal, Clock())
    store.begin(attachment(1))
    journal.full = True
    before = store.all()
    with pytest.raises(StateError, match="ENOSPC"):
        store.begin(attachment(2))
    with pytest.raises(StateError):
        store.commit(attachment(1).id)
    with pytest.raises(StateError):
        store.forget(attachment(1).id)
    assert store.all() == before
    with pytest.raises(StateError):
        store.detaching(attachment(1).id)
    assert [one.state for one in store.all()] == ["detaching"]
    journal.full = False
    store.forget(attachment(1).id)
    assert opened(tmp_path).all() == []


@dataclass
class Model:
    """What a store is: two dictionaries and a set."""

    attachments: dict[str, Attachment] = field(default_factory=dict)
    released: dict[str, float] = field(default_factory=dict)
    node_parts: set[tuple[int, tuple[str, str]]] = field(default_factory=set)

    def copy(self) -> Model:
        return Model(dict(self.attachments), dict(self.released), set(self.node_parts))


class StoreMachine(RuleBasedStateMachine):
    """Random changes, restarts, compactions and truncations."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(
            tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        )
        self.clock = Clock()
        self.model = Model()
        self.history: list[tuple[int, Model]] = []
        self.store = opened(self.directory, self.clock)

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.directory)

    def size(self) -> int:
        path = self.directory / "journal"
        return path.stat().st_size if path.exists() else 0

    def changed(self) -> None:
        self.history.append((self.size(), self.model.copy()))

    def pick(self, n: int) -> str | None:
        ids = sorted(self.model.attachments)
        return ids[n % len(ids)] if ids else None

    @rule(n=st.integers(0, 5))
    def begin(self, n: int) -> None:
        new = attachment(n)
        if new.id in self.model.attachments:
            with pytest.raises(ValueError, match="exists"):
                self.store.begin(new)
            return
        self.store.begin(new)
        self.model.attachments[new.id] = new
        self.model.released.pop(new.leases[0].address, None)
        self.changed()

    @rule(n=st.integers(0, 5), result=st.none() | st.just({"ips": []}))
    def commit(self, n: int, result: dict[str, Any] | None) -> None:
        if id_ := self.pick(n):
            self.store.commit(id_, result)
            old = self.model.attachments[id_]
            self.model.attachments[id_] = replace(
                old, state="attached", result=old.result if result is None else result
            )
            self.changed()

    @rule(n=st.integers(0, 5))
    def detaching(self, n: int) -> None:
        if id_ := self.pick(n):
            self.store.detaching(id_)
            old = self.model.attachments[id_]
            self.model.attachments[id_] = replace(old, state="detaching")
            self.changed()

    @rule(n=st.integers(0, 5))
    def forget(self, n: int) -> None:
        if id_ := self.pick(n):
            self.store.forget(id_)
            old = self.model.attachments.pop(id_)
            self.model.released[old.leases[0].address] = self.clock.now
            self.changed()

    @rule(host=st.integers(1, 2), name=st.sampled_from("ab"), there=st.booleans())
    def node_part(self, host: int, name: str, there: bool) -> None:
        place = host, (name, "cnidaria-flat")
        size = self.size()
        self.store.node_part(*place, there=there)
        if (place in self.model.node_parts) == there:
            assert self.size() == size
            return
        (self.model.node_parts.add if there else self.model.node_parts.discard)(place)
        self.changed()

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = opened(self.directory, self.clock)

    @rule()
    def compact(self) -> None:
        self.store.compact()
        self.history.clear()
        self.changed()

    @precondition(lambda self: self.history)
    @rule(data=st.data())
    def crash_and_truncate(self, data: st.DataObject) -> None:
        """What is cut off never was; what is left of a record is nothing."""
        self.store.close()
        length = data.draw(st.integers(self.history[0][0], self.size()))
        os.truncate(self.directory / "journal", length)
        self.history = [entry for entry in self.history if entry[0] <= length]
        self.model = self.history[-1][1].copy()
        self.store = opened(self.directory, self.clock)

    @invariant()
    def same(self) -> None:
        assert {one.id: one for one in self.store.all()} == self.model.attachments
        for one in self.model.attachments.values():
            assert self.store.get(*one.key) == one
        assert set(self.store.node_parts()) == self.model.node_parts
        with_pods = {1: {("net", "cnidaria-flat")}} if self.model.attachments else {}
        for host in (1, 2):
            assert self.store.networks_of_pods(host).keys() == with_pods.get(host, set())
        cooling = {entry.lease.address: entry.released_at for entry in self.store.cooling()}
        assert cooling == {
            address: at for address, at in self.model.released.items() if at + 30 > self.clock.now
        }

    @invariant()
    def claims(self) -> None:
        with self.store.frozen() as claims:
            for n in range(6):
                one = attachment(n)
                held = int(one.id in self.model.attachments)
                assert claims.count(1, one.objects[0]) == held
                assert claims.count(2**63 + n, one.objects[1]) == held


TestStore = StoreMachine.TestCase
TestStore.settings = settings(stateful_step_count=40)


def test_a_frame_is_small(tmp_path: Path) -> None:
    """Documented sizes: an attachment costs about a kilobyte of journal."""
    assert len(frame({"op": "begin", "attachment": attachment(1).to_record()})) < 2048
