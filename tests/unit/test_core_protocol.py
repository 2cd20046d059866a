"""What every class of the core can do: length, order, repr, equality, bytes, snapshot, difference.

What a class cannot, and why, is in ``EXCEPTIONS``.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import cnidaria_core
import pytest
from cnidaria_core import (
    AddressPool,
    BlockPool,
    JournaledPool,
    MalformedBytes,
    PolicyEngine,
    RouteTable,
)

CLASSES = {
    name: one
    for name, one in vars(cnidaria_core).items()
    if isinstance(one, type) and not issubclass(one, BaseException)
}
METHODS = {
    "len": "__len__",
    "iter": "__iter__",
    "repr": "__repr__",
    "equality": "__eq__",
    "to_bytes": "to_bytes",
    "from_bytes": "from_bytes",
    "snapshot": "snapshot",
    "diff": "diff",
}

_ONE = dict.fromkeys(
    ("len", "iter", "to_bytes", "from_bytes", "snapshot", "diff"),
    "one value that never changes, not a collection of them",
)
_IS_ONE = {"snapshot": "is one itself"}
EXCEPTIONS: dict[str, dict[str, str]] = {
    "AddressPoolSnapshot": _IS_ONE | {"from_bytes": "AddressPool.from_bytes makes a pool of it"},
    "BlockPoolSnapshot": _IS_ONE | {"from_bytes": "BlockPool.from_bytes makes a pool of it"},
    "RouteTableSnapshot": _IS_ONE | {"from_bytes": "RouteTable.from_bytes makes a table of it"},
    "PolicyEngineSnapshot": _IS_ONE
    | {"from_bytes": "PolicyEngine.from_bytes makes an engine of it"},
    "JournaledPool": {"from_bytes": "is made of its file; AddressPool.from_bytes takes its bytes"},
    "PolicyTables": {
        "to_bytes": "the engine's objects have bytes; ids mean something beside the engine only",
        "from_bytes": "as to_bytes",
        "snapshot": "never changes",
    },
    "PolicyChanges": {
        "to_bytes": "as PolicyTables",
        "from_bytes": "as PolicyTables",
        "snapshot": "never changes",
        "diff": "is one itself",
    },
    "BlockChange": _ONE,  # what a store keeps of it is its `record`, bytes
    "PolicyDecision": _ONE,
    "PolicyFilter": _ONE,  # `ports` is a tuple
    "PolicyReason": _ONE,
    "Verdict": _ONE,
}


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def pod(name: str, ip: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "n2", "labels": labels},
        "status": {"podIPs": [{"ip": ip}]},
    }


DENY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny", "namespace": "n2"},
    "spec": {
        "podSelector": {},
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [{"ipBlock": {"cidr": "10.1.0.0/16"}}], "ports": [{"port": 80}]},
            {"from": [{"podSelector": {"matchLabels": {"a": "b"}}}]},
        ],
    },
}


def address_pool() -> AddressPool:
    pool = AddressPool([("10.0.0.1", "10.0.0.20")], ["10.0.0.2"], 5)
    for owner, address in (("x", "10.0.0.9"), ("y", "10.0.0.3"), ("x", "10.0.0.4")):
        pool.allocate(owner, address)
    return pool


def journaled_pool(folder: Path) -> JournaledPool:
    path = folder / str(len(list(folder.iterdir())))
    pool = JournaledPool(path, [("10.0.0.1", "10.0.0.20")], ["10.0.0.2"], 5)
    for owner, address in (("x", "10.0.0.9"), ("y", "10.0.0.3"), ("x", "10.0.0.4")):
        pool.allocate(owner, address)
    return pool


def block_pool() -> BlockPool:
    pool = BlockPool("10.0.0.0/16", 26, spread=False)
    for node in ("a", "b", "a"):
        pool.commit(pool.claim(node))
    pool.commit(pool.allocate("a", "x"))
    return pool


def route_table() -> RouteTable:
    return RouteTable([("fd00::/8", 3), ("10.1.0.0/16", 2), ("10.0.0.0/8", 1)])


def engine() -> PolicyEngine:
    made = PolicyEngine()
    made.load(
        [pod("q", "10.0.0.2", a="b"), DENY, namespace("n2"), pod("p", "10.0.0.1"), namespace("n1")]
    )
    return made


def add_pod(engine: PolicyEngine) -> object:
    return engine.apply(pod("r", "10.1.0.9"))


def changed(engine: PolicyEngine) -> object:
    before = engine.version
    add_pod(engine)
    return engine.changes_since(before)


def verdict(engine: PolicyEngine) -> Any:
    return engine.verdict("n2/p", "n2/q", "TCP", 80)


@dataclass(frozen=True)
class Case:
    """How there is one to try.

    Args:
        make: what has the class, or makes it; equal ones at each call.
        change: make it another one; return the result if it is something else.
        get: what is asked for, of what was made.
        content: what iterating has to give.
        reader: of its bytes.
        writes: the methods that change it.
    """

    make: Callable[..., Any]
    change: Callable[[Any], object]
    get: Callable[[Any], Any] = lambda made: made
    content: list[Any] | None = None
    reader: Callable[[bytes], Any] | None = None
    writes: tuple[str, ...] = ()


ADDRESSES = ["10.0.0.3", "10.0.0.4", "10.0.0.9"]
BLOCKS = ["10.0.0.0/26", "10.0.0.64/26", "10.0.0.128/26"]
PREFIXES = ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"]
OBJECTS = [
    ("Namespace", None, "n1"),
    ("Namespace", None, "n2"),
    ("Pod", "n2", "p"),
    ("Pod", "n2", "q"),
    ("NetworkPolicy", "n2", "deny"),
]
POOL_WRITES = ("allocate", "release", "release_owner", "reserve", "unreserve")
BLOCK_WRITES = ("claim", "allocate", "release", "leave", "commit", "observe")
TABLE_WRITES = ("insert", "remove", "load", "load_buffers")
ENGINE_WRITES = ("apply", "delete", "load")


def snapshot(made: Any) -> Any:
    return made.snapshot()


def allocate(pool: Any) -> object:
    return pool.allocate("z")


def claim(pool: BlockPool) -> object:
    return pool.commit(pool.claim("c"))


def insert(table: RouteTable) -> object:
    return table.insert("10.2.0.0/16", 1)


FAMILIES = [
    ("AddressPool", address_pool, allocate, ADDRESSES, POOL_WRITES),
    ("BlockPool", block_pool, claim, BLOCKS, BLOCK_WRITES),
    ("RouteTable", route_table, insert, PREFIXES, TABLE_WRITES),
    ("PolicyEngine", engine, add_pod, OBJECTS, ENGINE_WRITES),
]
CASES = {
    name + suffix: Case(make, change, get, content, CLASSES[name].from_bytes, writes)  # type: ignore[attr-defined]
    for name, make, change, content, writes in FAMILIES
    for suffix, get in (("", Case.get), ("Snapshot", snapshot))
} | {
    "JournaledPool": Case(
        journaled_pool,
        allocate,
        content=ADDRESSES,
        reader=AddressPool.from_bytes,
        writes=POOL_WRITES,
    ),
    "PolicyTables": Case(engine, add_pod, PolicyEngine.tables),
    "PolicyChanges": Case(engine, add_pod, lambda made: made.changes_since(0)),
    "BlockChange": Case(block_pool, claim, lambda made: made.claim("d")),
    "PolicyDecision": Case(
        engine,
        lambda made: made.delete("NetworkPolicy", "deny", "n2") and made.apply(PASS),
        lambda made: next(iter(made.tables().filters.values())).default,
    ),
    "PolicyFilter": Case(
        engine,
        lambda made: made.delete("NetworkPolicy", "deny", "n2") and made.apply(PASS),
        lambda made: next(iter(made.tables().filters.values())),
    ),
    "PolicyReason": Case(
        engine,
        lambda made: made.delete("NetworkPolicy", "deny", "n2"),
        lambda made: verdict(made).ingress,
    ),
    "Verdict": Case(engine, lambda made: made.delete("NetworkPolicy", "deny", "n2"), verdict),
}
PASS = DENY | {
    "metadata": {"name": "pass", "namespace": "n2"},
    "spec": {"podSelector": {}, "ingress": [{}]},
}
HAVE = {
    what: [name for name in CLASSES if what not in EXCEPTIONS.get(name, {})] for what in METHODS
}


@dataclass
class Made:
    """One to try, what is equal to it, and what it becomes."""

    case: Case
    source: Any
    one: Any
    twin: Any

    def change(self) -> Any:
        """Change what it is of; return what is there then."""
        self.case.change(self.source)
        return self.case.get(self.source)


@pytest.fixture
def made(name: str, tmp_path: Path) -> Iterator[Made]:
    case = CASES[name]
    where = (tmp_path,) if name == "JournaledPool" else ()
    source, other = case.make(*where), case.make(*where)
    yield Made(case, source, case.get(source), case.get(other))
    if name == "JournaledPool":
        source.close()
        other.close()


def test_every_class_is_here() -> None:
    assert CASES.keys() == CLASSES.keys() >= EXCEPTIONS.keys()


@pytest.mark.parametrize("what", METHODS)
@pytest.mark.parametrize("name", CLASSES)
def test_all_have_all_but_what_is_excepted(name: str, what: str) -> None:
    own = METHODS[what] in vars(CLASSES[name])
    assert own is (what not in EXCEPTIONS.get(name, {}))


@pytest.mark.parametrize("name", HAVE["iter"])
def test_iteration_has_an_order_and_a_length(made: Made, name: str) -> None:
    assert len(made.one) == len(list(made.one)) > 0
    assert list(made.one) == list(made.twin)
    if made.case.content is not None:
        assert list(made.one) == made.case.content
        assert made.case.content[0] in made.one


@pytest.mark.parametrize("name", ["PolicyTables", "PolicyChanges"])
def test_elements_are_those_of_the_parts(made: Made, name: str) -> None:
    parts = ("endpoints", "blocks", "subjects", "rows", "filters", "reasons")
    told = [(part, *item) for part in parts for item in getattr(made.one, part).items()]
    assert list(made.one) == told and {part for part, *_ in told} == set(parts)


@pytest.mark.parametrize("name", CLASSES)
def test_what_it_is_called(made: Made, name: str) -> None:
    assert type(made.one) is CLASSES[name]
    assert repr(made.one).startswith(f"<{name}") and repr(made.one) == repr(made.one)


@pytest.mark.parametrize("name", CLASSES)
def test_equality(made: Made, name: str) -> None:
    assert made.one is not made.twin
    assert made.one == made.one and made.one == made.twin == made.one
    assert made.one != "something else" and made.one == mock.ANY
    other = made.change()
    assert other != made.twin != other


@pytest.mark.parametrize("name", CLASSES)
def test_only_what_never_changes_has_a_hash(made: Made, name: str) -> None:
    """And of that, what is small."""
    if name in {"PolicyDecision", "PolicyFilter", "PolicyReason", "Verdict"}:
        assert hash(made.one) == hash(made.twin)
    else:
        with pytest.raises(TypeError):
            hash(made.one)


@pytest.mark.parametrize("name", CLASSES)
def test_nothing_can_be_set(made: Made, name: str) -> None:
    for attribute in ("snapshot", "anything", "version"):
        with pytest.raises(AttributeError):
            setattr(made.one, attribute, None)
    with pytest.raises(TypeError):
        type("Sub", (CLASSES[name],), {})


@pytest.mark.parametrize("name", HAVE["to_bytes"])
def test_bytes_and_back(made: Made, name: str) -> None:
    assert made.case.reader is not None
    data = made.one.to_bytes()
    again = made.case.reader(data)
    assert again == made.one and made.one == again
    assert data == made.twin.to_bytes() == again.to_bytes()


@pytest.mark.parametrize("name", HAVE["to_bytes"])
def test_hostile_bytes_are_an_error(made: Made, name: str) -> None:
    read = made.case.reader
    assert read is not None
    data = made.one.to_bytes()
    for wrong in (b"", b"\xc0", data + b"\0", *(data[:end] for end in range(len(data)))):
        with pytest.raises(MalformedBytes):
            read(wrong)
    # [kind, version, body]: a text of fewer than 32 bytes, and a small number.
    version = 2 + (data[1] & 31)
    assert data[0] == 0x93 and data[version] == 1
    with pytest.raises(MalformedBytes, match="version 2: versions 1 to 1 are understood"):
        read(data[:version] + b"\2" + data[version + 1 :])
    for at in range(len(data)):
        for bits in (0x01, 0x80, 0xFF):
            try:
                other = read(data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :])
            except MalformedBytes:
                continue
            assert read(other.to_bytes()) == other


@pytest.mark.parametrize("name", HAVE["from_bytes"])
def test_bytes_of_another_class_are_refused(made: Made, name: str, tmp_path: Path) -> None:
    for other in HAVE["from_bytes"]:
        if other != name:
            with pytest.raises(MalformedBytes, match="bytes of "):
                CLASSES[other].from_bytes(made.one.to_bytes())  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", HAVE["snapshot"])
def test_a_snapshot_never_changes(made: Made, name: str) -> None:
    kept = made.one.snapshot()
    assert type(kept).__name__.endswith("Snapshot")
    assert kept == made.one == kept and kept.to_bytes() == made.one.to_bytes()
    content = list(kept)
    made.change()
    assert kept != made.one and made.one != kept
    assert kept == made.twin and list(kept) == content == made.case.content
    assert made.case.writes
    for write in made.case.writes:
        assert hasattr(made.one, write)
        with pytest.raises(AttributeError, match=f"{type(kept).__name__}.*{write}"):
            getattr(kept, write)
    with pytest.raises(TypeError):
        type(kept)()


@pytest.mark.parametrize("name", HAVE["diff"])
def test_differences(made: Made, name: str) -> None:
    assert not made.one.diff(made.twin) and not made.one.diff(made.one)
    other = made.change()
    forth, back = made.twin.diff(other), other.diff(made.twin)
    assert len(forth) == len(back) > 0
    if name == "PolicyTables":
        assert forth == made.source.changes_since(made.twin.version)
    elif not name.startswith("PolicyEngine"):
        assert back == [(key, after, before) for key, before, after in forth]
    with pytest.raises(TypeError):
        made.one.diff("something else")


def test_pools_of_all_kinds_are_compared(tmp_path: Path) -> None:
    plain, journaled = address_pool(), journaled_pool(tmp_path)
    for one in (plain, journaled, plain.snapshot(), journaled.snapshot()):
        for other in (plain, journaled, plain.snapshot(), journaled.snapshot()):
            assert one == other and not one.diff(other)
    journaled.allocate("z")
    assert plain != journaled != plain and journaled.snapshot() != plain
    journaled.close()
    with pytest.raises(ValueError, match="closed"):
        plain.diff(journaled)
    with pytest.raises(ValueError, match="closed"):
        journaled.to_bytes()


def test_a_closed_pool_equals_itself_alone(tmp_path: Path) -> None:
    one, other = journaled_pool(tmp_path), journaled_pool(tmp_path)
    assert one == other
    one.close()
    assert one == one and one != other and other != one and address_pool() != one != address_pool()
    other.close()
    assert one != other


def test_what_goes_through_routes_says_so() -> None:
    for routes in (route_table(), route_table().snapshot()):
        for through in (iter(routes), routes.items()):
            assert repr(through) == "<RouteIterator: 2 IPv4 and 1 IPv6 routes>"


HUGE = (2**128, -1, 10**400, -(10**400))
OUTSIDE: dict[str, Callable[[int], object]] = {
    "history": lambda n: PolicyEngine(history=n),
    "history of bytes": lambda n: PolicyEngine.from_bytes(b"", history=n),
    "version": lambda n: engine().changes_since(n),
    "version of a snapshot": lambda n: engine().snapshot().changes_since(n),
    "reason": lambda n: engine().reason(n),
    "port": lambda n: engine().verdict("n2/p", "n2/q", "TCP", n),
    "protocol": lambda n: engine().verdict("n2/p", "n2/q", n, 1),
    "port of a snapshot": lambda n: engine().snapshot().reachable("TCP", n),
    "port of a filter": lambda n: next(iter(engine().tables().filters.values())).decide(6, n),
    "protocol of a filter": lambda n: next(iter(engine().tables().filters.values())).decide(n, 1),
    "block length": lambda n: BlockPool("10.0.0.0/16", n),
    "most": lambda n: block_pool().allocate("a", "x", most=n),
    "keep": lambda n: block_pool().return_empty("a", n),
    "revision": lambda n: block_pool().observe("10.0.0.0/26", b"", n),
    "cool-down": lambda n: AddressPool([("10.0.0.1", "10.0.0.2")], cooldown=n),
    "allocated at": lambda n: address_pool().allocate("x", now=n),
    "released at": lambda n: address_pool().release("10.0.0.9", n),
    "all released at": lambda n: address_pool().release_owner("x", n),
    "cooling since": lambda n: address_pool().restore_cooling("10.0.0.9", n),
    "address": lambda n: address_pool().owner_of(-n if n > 0 else n),
    "family": lambda n: route_table().lookup(1, n),
    "length": lambda n: route_table().get(("10.0.0.0", n)),
    "value": lambda n: route_table().insert("10.0.0.0/8", n),
    "values": lambda n: RouteTable([("10.0.0.0/8", n)]),
}


@pytest.mark.parametrize("what", OUTSIDE)
@pytest.mark.parametrize("number", HUGE, ids=["128 bits", "negative", "huge", "hugely negative"])
def test_numbers_out_of_range_are_value_errors(what: str, number: int) -> None:
    with pytest.raises(ValueError, match=r"must be|is not|is neither|has no|is no"):
        OUTSIDE[what](number)


def test_times_of_a_journaled_pool_are_value_errors(tmp_path: Path) -> None:
    pool = journaled_pool(tmp_path)
    for call in (
        lambda: pool.allocate("x", now=10**400),
        lambda: pool.release("10.0.0.9", 10**400),
        lambda: pool.release_owner("x", 10**400),
        lambda: JournaledPool(tmp_path / "new", [("10.0.0.1", "10.0.0.2")], cooldown=10**400),
    ):
        with pytest.raises(ValueError, match="is not a number of seconds from 0 on"):
            call()


def test_a_snapshot_of_an_engine_answers_as_the_engine_did() -> None:
    live, twin = engine(), engine()
    kept = live.snapshot()
    live.delete("NetworkPolicy", "deny", "n2")
    assert live.verdict("n2/p", "n2/q", "TCP", 80)
    said = kept.verdict("n2/p", "n2/q", "TCP", 80)
    assert not said and said == twin.verdict("n2/p", "n2/q", "TCP", 80)
    assert kept.reason(said.ingress.id) == said.ingress
    assert kept.reachable("TCP", 80) == twin.reachable("TCP", 80) != live.reachable("TCP", 80)
    assert kept.tables() == twin.tables() and kept.version == twin.version == live.version - 1
    assert kept.changes_since(0) == twin.changes_since(0)
    columns = (
        array("I", [0x0A000001, 0x0A010000]),
        array("I", [0x0A000002] * 2),
        b"\6\6",
        array("H", [80, 80]),
    )
    assert kept.verdicts(*columns).tolist() == twin.verdicts(*columns).tolist() == [0, 1]
    assert live.verdicts(*columns).tolist() == [1, 1]
    assert kept.diff(live) == [("NetworkPolicy", "n2", "deny", "removed")]
    assert live.diff(kept) == [("NetworkPolicy", "n2", "deny", "added")]
    assert repr(kept) == "<PolicyEngineSnapshot: 5 objects, version 1>"
