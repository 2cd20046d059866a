"""Documents that agents share: what a follower knows is what was put, whatever happens between.

The stateful test compares followers, who look now and then, with a dictionary.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cnidaria.cluster import NodeNameTaken, StoreError, documents, open_store
from cnidaria.cluster.database import SCHEMA
from cnidaria.cluster.member import Member
from cnidaria.cluster.observer import Observer

EXPIRY = 10.0
KEYS = ("a", "b", "c")
OWNERS = ("", "n1", "n2")
Known = dict[tuple[str, str], bytes]


class Follower:
    """Knows the documents by what it was told since it last asked."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.cursor = ""
        self.known: Known = {}

    def look(self) -> Known:
        found = self.member.documents(self.cursor)
        if found.is_whole:
            self.known.clear()
        for key, value in found.changes.items():
            self.known.pop(key, None)
            if value is not None:
                self.known[key] = value
        self.cursor = found.cursor
        return self.known


class World:
    """A file, a clock, and what is open."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "cluster.db"
        self.now = 1000.0
        self.open: list[Member] = []

    def member(self) -> Member:
        self.open.append(Member(self.path, lambda: self.now, self.sleep))
        return self.open[-1]

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def bury(self, name: str) -> None:
        """Another node takes this one for dead."""
        observer = Observer(self.path, lambda: self.now)
        observer.look()
        self.now += 2 * EXPIRY
        observer.view()
        undertaker = self.member()
        undertaker.join("undertaker", {}, EXPIRY)
        undertaker.beat({who: beat for who, beat in observer.dead().items() if who == name})
        undertaker.leave()
        observer.close()

    def close(self) -> None:
        for member in self.open:
            member.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def test_each_owner_has_its_own_keys_and_all_changes_come_at_once(world: World) -> None:
    one, two = world.member(), Follower(world.member())
    assert two.look() == {}
    one.put({"a": b"1", "b": b"2"})
    one.put({"a": b"3"}, "n1")
    assert two.look() == {("", "a"): b"1", ("", "b"): b"2", ("n1", "a"): b"3"}
    one.put({"a": None, "c": b"4", "never": None})
    found = two.member.documents(two.cursor)
    assert (found.is_whole, found.changes) == (False, {("", "a"): None, ("", "c"): b"4"})


def test_what_changed_last_is_last_also_for_who_reads_all(world: World) -> None:
    one, two = world.member(), Follower(world.member())
    one.put({"pod": b"here"}, "n2")
    one.put({"pod": b"moved"}, "n1")
    assert list(two.look()) == [("n2", "pod"), ("n1", "pod")]
    one.put({"pod": b"back"}, "n2")
    assert list(two.look()) == list(Follower(one).look()) == [("n1", "pod"), ("n2", "pod")]


def test_to_put_the_same_again_is_no_change(world: World) -> None:
    one = world.member()
    one.put({"a": b"1"}, "n1")
    before = one.documents()
    one.put({"a": b"1", "b": None}, "n1")
    assert one.documents(before.cursor).changes == {}
    assert one.documents(before.cursor).cursor == before.cursor


def test_a_node_takes_its_documents_along_and_no_others(world: World) -> None:
    one, follower = world.member(), Follower(world.member())
    one.join("n1", {}, EXPIRY)
    one.put({"a": b"1", "b": b"2"}, "n1")
    one.put({"a": b"3"})
    one.put({"a": b"4"}, "n2")
    follower.look()
    one.leave()
    assert follower.look() == {("", "a"): b"3", ("n2", "a"): b"4"}


def test_a_node_taken_for_dead_may_enter_its_documents_again(world: World) -> None:
    one, follower = world.member(), Follower(world.member())
    one.join("n1", {}, EXPIRY)
    one.put({"a": b"1"}, "n1")
    assert follower.look() == {("n1", "a"): b"1"}
    world.bury("n1")
    assert follower.look() == {}
    one.beat({})
    one.put({"a": b"1"}, "n1")
    assert follower.look() == {("n1", "a"): b"1"}


def test_who_was_displaced_does_not_write_for_the_node(world: World) -> None:
    one, two = world.member(), world.member()
    one.join("n1", {}, EXPIRY)
    two.join("n1", {}, EXPIRY)  # no answer comes: the first one is taken for crashed
    two.put({"a": b"2"}, "n1")
    with pytest.raises(NodeNameTaken):
        one.put({"a": b"1"}, "n1")
    assert Follower(two).look() == {("n1", "a"): b"2"}


def test_a_follower_who_comes_too_late_reads_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "REMEMBERED", 2)
    one, late = world.member(), Follower(world.member())
    one.put({"gone": b"1", "stays": b"2"})
    late.look()
    one.put({"gone": None})
    for number in range(3):
        one.put({"other": b"%d" % number})
    assert late.member.documents(late.cursor).is_whole
    assert late.look() == {("", "stays"): b"2", ("", "other"): b"2"}
    with contextlib.closing(sqlite3.connect(world.path)) as db:
        assert db.execute("SELECT count(*) FROM documents").fetchone() == (2,)


def test_a_file_made_anew_is_another_store(world: World) -> None:
    one, follower = world.member(), Follower(world.member())
    one.put({"a": b"1"})
    follower.look()
    before = one.documents().store
    for path in list(world.path.parent.iterdir()):
        path.unlink()
    found = follower.member.documents(follower.cursor)
    assert found.is_whole and found.changes == {} and found.store != before
    one.put({"a": b"2"})
    assert follower.look() == {("", "a"): b"2"}


def test_a_file_of_the_former_format_is_completed(world: World) -> None:
    with contextlib.closing(sqlite3.connect(world.path, isolation_level=None)) as db:
        db.executescript(SCHEMA + "PRAGMA application_id = 0x434E4944; PRAGMA user_version = 1;")
        db.execute("INSERT INTO blocks VALUES ('pods', '10.1.0.0/25', 'n1')")
    one = world.member()
    one.put({"a": b"1"})
    assert Follower(one).look() == {("", "a"): b"1"}
    assert one.blocks("pods") == {"10.1.0.0/25": "n1"}


def test_watching_tells_of_changes_merged_and_of_trouble(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/cluster.db"

    async def scenario() -> None:
        writer, reader = open_store(url), open_store(url)
        async with contextlib.aclosing(reader.watch_documents()) as changes:
            await asyncio.wait_for(anext(changes), 20)
            for number in range(200):
                writer.put({"a": b"%d" % number}, "n1")
            woken, cursor, value = 0, "", b""
            while value != b"199":
                await asyncio.wait_for(anext(changes), 20)
                found = reader.documents(cursor)
                cursor, value = found.cursor, found.changes.get(("n1", "a")) or value
                woken += 1
            assert woken < 100
            away = (tmp_path / "cluster.db").rename(tmp_path / "away")
            (tmp_path / "cluster.db").mkdir()
            while reader.problem is None:
                await asyncio.wait_for(anext(changes), 20)
            with pytest.raises(StoreError, match="no regular file"):
                reader.documents(cursor)
            (tmp_path / "cluster.db").rmdir()
            away.rename(tmp_path / "cluster.db")
            while reader.problem is not None:
                await asyncio.wait_for(anext(changes), 20)
            assert reader.documents(cursor).changes == {}
        writer.close()
        reader.close()

    asyncio.run(scenario())


class Killed(Exception):
    """Somebody was, in the middle of a transaction."""


class Shared(RuleBasedStateMachine):
    """Owners put and take away, come, go, die; followers look, or are started anew."""

    @initialize()
    def begin(self) -> None:
        self.remembered = documents.REMEMBERED
        documents.REMEMBERED = 3  # type: ignore[misc]
        self.world = World(Path(tempfile.mkdtemp()))
        self.writer = self.world.member()
        self.there: Known = {}
        self.joined: dict[str, Member] = {}
        self.followers = [Follower(self.world.member()) for _ in range(2)]

    def teardown(self) -> None:
        if hasattr(self, "world"):
            documents.REMEMBERED = self.remembered  # type: ignore[misc]
            self.world.close()
            shutil.rmtree(self.world.path.parent)

    @rule(
        owner=st.sampled_from(OWNERS),
        changes=st.dictionaries(st.sampled_from(KEYS), st.none() | st.binary(max_size=2)),
    )
    def put(self, owner: str, changes: dict[str, bytes | None]) -> None:
        self.joined.get(owner, self.writer).put(changes, owner)
        for key, value in changes.items():
            self.there.pop((owner, key), None)
            if value is not None:
                self.there[owner, key] = value

    @rule(
        owner=st.sampled_from(OWNERS),
        changes=st.dictionaries(st.sampled_from(KEYS), st.binary(max_size=2), min_size=1),
    )
    def die_in_the_middle(self, owner: str, changes: dict[str, bytes]) -> None:
        with (
            contextlib.suppress(Killed),
            self.writer._database.transaction(write=True) as db,
        ):
            documents.write(db, owner, changes)
            raise Killed

    @rule(name=st.sampled_from(OWNERS[1:]))
    def join(self, name: str) -> None:
        member = self.joined.setdefault(name, self.world.member())
        member.join(name, {}, EXPIRY)

    @rule(name=st.sampled_from(OWNERS[1:]), dies=st.booleans())
    def go(self, name: str, dies: bool) -> None:
        if name not in self.joined:
            return
        member = self.joined.pop(name)
        if dies:
            self.world.bury(name)
        else:
            member.leave()
        self.there = {key: value for key, value in self.there.items() if key[0] != name}

    @rule(number=st.integers(0, 1), anew=st.booleans())
    def look(self, number: int, anew: bool) -> None:
        if anew:
            self.followers[number] = Follower(self.followers[number].member)
        assert self.followers[number].look() == self.there

    @invariant()
    def what_is_gone_is_forgotten(self) -> None:
        with self.writer._database.transaction(write=False) as db:
            count, oldest = db.execute(
                "SELECT count(*), min(revision) FROM documents WHERE value IS NULL"
            ).fetchone()
            (revision,) = db.execute("SELECT revision FROM documents_state").fetchone()
        assert not count or oldest > revision - documents.REMEMBERED


TestShared = Shared.TestCase
TestShared.settings = settings(stateful_step_count=25)
