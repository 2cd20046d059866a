"""Blocks of addresses for nodes: what one pool does, and many pools with one store."""

import ipaddress
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cnidaria_core import (
    AddressOfOtherNode,
    AddressOutOfRange,
    AddressReserved,
    AddressTaken,
    BlockChange,
    BlockConflict,
    BlockPool,
    BlocksExhausted,
    CoreError,
    InvalidAddress,
    InvalidPool,
    InvalidPrefix,
    MalformedBytes,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from support.block_store import CIDR as CIDR_OF_PROCESSES
from support.block_store import LENGTH as LENGTH_OF_PROCESSES
from support.block_store import SqliteStore

CIDR, LENGTH = "10.0.0.0/28", 30
ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


def take(pool: BlockPool, node: str, owner: str, *address: str) -> str:
    change = pool.allocate(node, owner, *address)
    pool.commit(change)
    assert change.address is not None
    return change.address


def test_own_block_then_a_new_one_then_an_orphan_then_a_loan() -> None:
    pool = BlockPool(CIDR, LENGTH, spread=False)
    assert [take(pool, "a", f"x{n}") for n in range(5)] == [f"10.0.0.{n}" for n in range(5)]
    assert pool.blocks_of("a") == ["10.0.0.0/30", "10.0.0.4/30"]
    assert take(pool, "b", "y") == "10.0.0.8" and take(pool, "c", "z") == "10.0.0.12"
    # b leaves, but c has borrowed of its block: an orphan, which d takes over.
    assert take(pool, "c", "loan", "10.0.0.9") == "10.0.0.9"
    assert ("10.0.0.9/32", "c") in pool.routes()
    for change in pool.leave("b"):
        pool.commit(change)
    assert pool.node_of("10.0.0.8/30") is None and pool.stats()["orphaned"] == 1
    assert take(pool, "d", "w") == "10.0.0.10", "the search goes on behind what c asked for"
    assert pool.node_of("10.0.0.8/30") == "d" and pool.stats()["orphaned"] == 0
    # Nothing is left to claim: e borrows, wherever there is room.
    loan = take(pool, "e", "v")
    assert pool.holder_of(loan) == ("e", "v") and pool.blocks_of("e") == []
    assert pool.stats() == {"blocks": 4, "claimed": 4, "orphaned": 0, "leased": 9, "borrowed": 2}


def test_most_blocks() -> None:
    pool = BlockPool(CIDR, LENGTH, borrow=False)
    for n in range(4):
        pool.commit(pool.allocate("a", f"x{n}", most=1))
    with pytest.raises(BlocksExhausted, match="1 of 4"):
        pool.allocate("a", "y", most=1)
    pool.commit(pool.allocate("a", "y", most=2))
    assert len(pool.blocks_of("a")) == len(pool) == 2


def test_empty_blocks_are_given_back() -> None:
    pool = BlockPool(CIDR, LENGTH, spread=False)
    for _ in range(3):
        pool.commit(pool.claim("a"))
    take(pool, "a", "x", "10.0.0.4")
    changes = pool.return_empty("a", keep=1)
    assert [(change.prefix, change.record, change.node) for change in changes] == [
        ("10.0.0.8/30", None, None)
    ]
    for change in [*changes, *pool.return_empty("a")]:
        pool.commit(change)
        if len(pool) == 2:
            break
    assert list(pool) == ["10.0.0.0/30", "10.0.0.4/30"]
    released = pool.release("10.0.0.4")
    assert released is not None and released.address == "10.0.0.4"
    pool.commit(released)
    assert pool.release("10.0.0.4") is None
    for change in pool.leave("a"):
        pool.commit(change)
    assert len(pool) == 0 and list(pool) == []


def test_the_second_of_two_changes_is_refused() -> None:
    store, view = BlockPool(CIDR, LENGTH, spread=False), BlockPool(CIDR, LENGTH, spread=False)
    late = view.claim("b")
    assert late.prefix == "10.0.0.0/30" and late.expected == 0 and late.node == "b"
    revision = store.commit(store.claim("a"))
    with pytest.raises(BlockConflict, match=rf"10\.0\.0\.0/30 has revision {revision}, not 0"):
        store.commit(late)
    record = BlockPool(CIDR, LENGTH, spread=False).claim("a").record
    assert view.observe("10.0.0.0/30", record, revision)
    assert not view.observe("10.0.0.0/30", record, revision), "no news"
    again = view.claim("b")
    assert again.prefix == "10.0.0.4/30"
    store.commit(again)
    assert view.observe(("10.0.0.0", 30)) and not view.observe(ipaddress.ip_network("10.0.0.0/30"))


def test_avoided_and_excluded() -> None:
    pool = BlockPool(CIDR, LENGTH, ["10.0.0.0/30", "10.0.0.4"], spread=False)
    assert pool.claim("a", avoid=["10.0.0.5", "10.0.0.10-10.0.0.11"]).prefix == "10.0.0.12/30"
    assert take(pool, "a", "x") == "10.0.0.5"
    with pytest.raises(AddressReserved):
        pool.allocate("a", "x", "10.0.0.4")
    with pytest.raises(BlocksExhausted):
        pool.claim("a", avoid=["10.0.0.0/8"])


POOLS = ("10.1.0.0/26", "fd00:1::/122")


@st.composite
def prefixes(draw: st.DrawFn, pool: str) -> str:
    """A prefix in or around ``pool``."""
    whole = ipaddress.ip_network(pool)
    length = draw(st.integers(whole.prefixlen - 2, whole.max_prefixlen))
    address = whole.network_address + draw(st.integers(-64, 128))
    return str(ipaddress.ip_network((address, length), strict=False))


@given(st.data(), st.sampled_from(POOLS), st.integers(0, 6))
def test_the_first_subnet_that_overlaps_nothing(data: st.DataObject, pool: str, more: int) -> None:
    avoid, exclude = (data.draw(st.lists(prefixes(pool), max_size=8)) for _ in range(2))
    length = ipaddress.ip_network(pool).prefixlen + more
    left_out = set().union(*(map(str, ipaddress.ip_network(prefix)) for prefix in exclude))
    free = [
        str(subnet)
        for subnet in ipaddress.ip_network(pool).subnets(new_prefix=length)
        if not any(subnet.overlaps(ipaddress.ip_network(prefix)) for prefix in avoid)
        and not {str(address) for address in subnet} <= left_out
    ]
    blocks = BlockPool(pool, length, exclude, spread=False)
    assert blocks.stats()["blocks"] == 1 << more
    avoid += [other for other in POOLS if other != pool]
    if free:
        assert blocks.claim("a", avoid=avoid).prefix == free[0]
    else:
        with pytest.raises(BlocksExhausted):
            blocks.claim("a", avoid=avoid)


def test_a_large_pool_costs_no_memory() -> None:
    pool = BlockPool("fd00::/8", 64, spread=False)
    assert pool.claim("a", avoid=["fd00::/64"]).prefix == "fd00:0:0:1::/64"


def test_spread_is_by_name() -> None:
    one, other = (BlockPool("10.0.0.0/8", 26) for _ in range(2))
    names = [f"node-{n}" for n in range(500)]
    claims = [one.claim(name).prefix for name in names]
    assert claims == [other.claim(name).prefix for name in names]
    assert len(set(claims)) > 480


def test_errors_name_what_is_wrong() -> None:
    pool = BlockPool(CIDR, LENGTH, borrow=False)
    take(pool, "a", "x", "10.0.0.1")
    wrong: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: BlockPool("10.0.0.0/28", 27), InvalidPool, "27: must be between 28 and 32"),
        (lambda: BlockPool("fd00::/8", 7), InvalidPool, "7: must be between 8 and 128"),
        (lambda: BlockPool("10.0.0.1/28", 30), InvalidPrefix, "10.0.0.1/28"),
        (lambda: BlockPool(CIDR, 30, ["fd00::1"]), InvalidPool, "fd00::1-fd00::1"),
        (lambda: pool.claim(""), ValueError, "node"),
        (lambda: pool.allocate("b", "y", "10.0.0.1"), AddressTaken, "taken by x"),
        (lambda: pool.allocate("b", "y", "10.0.0.2"), AddressOfOtherNode, "block of node a"),
        (lambda: pool.allocate("b", "y", "10.0.0.16"), AddressOutOfRange, "10.0.0.16"),
        (lambda: pool.allocate("b", "y", "10.0.0"), InvalidAddress, "10.0.0"),
        (lambda: pool.observe("10.0.0.0/29"), InvalidPrefix, "blocks are of length 30"),
        (lambda: pool.observe("10.0.0.0/30", b"x", 1), MalformedBytes, "header"),
        (lambda: pool.observe("10.0.0.0/30", pool.claim("b").record), MalformedBytes, "revision 0"),
        (lambda: BlockPool.from_bytes(b"x"), MalformedBytes, "header"),
        (lambda: "10.0.0.0/33" in pool, InvalidPrefix, "10.0.0.0/33"),
    ]
    for call, error, text in wrong:
        with pytest.raises(error, match=text.replace(".", r"\.")):
            call()


def test_exceptions_survive_pickling() -> None:
    for error in (
        AddressOfOtherNode("10.0.0.1", "a"),
        BlocksExhausted(3, 4),
        BlockConflict("10.0.0.0/30", 1, 2),
    ):
        assert isinstance(error, CoreError)
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.args, str(again)) == (type(error), error.args, str(error))


def test_snapshots_bytes_equality() -> None:
    pool = BlockPool("fd00::/48", 64, ["fd00::/96"], spread=False)
    before = pool.snapshot()
    assert take(pool, "a", "x") == "fd00::1:0:0" and take(pool, "a", "y", "fd00::2:0:0")
    again = BlockPool.from_bytes(pool.to_bytes())
    assert again == pool and again.to_bytes() == pool.to_bytes() and again != "pool"
    assert (again.cidr, again.block_len, again.routes()) == ("fd00::/48", 64, pool.routes())
    assert before.diff(pool) == [("fd00::/64", None, "a")]
    take(again, "b", "z", "fd00::3:0:0")
    assert pool.diff(again) == [("fd00::3:0:0/128", None, "b")]
    assert again.diff(before) == [("fd00::/64", "a", None), ("fd00::3:0:0/128", "b", None)]
    assert again != pool and again.snapshot() != pool.snapshot() == pool.snapshot()
    assert len(before) == 0 and list(pool.snapshot()) == ["fd00::/64"] == list(pool)
    assert "fd00::/64" in pool and "fd00:0:0:1::/64" not in pool
    assert pool.blocks() == [("fd00::/64", "a", 2)]
    assert pool.addresses_of("y") == ["fd00::2:0:0"]
    assert [change.prefix for change in pool.release_owner("y")] == ["fd00::/64"]
    assert repr(pool) == "<BlockPool fd00::/48: 1 of 65536 /64 claimed>"
    assert repr(pool.snapshot()) == "<BlockPoolSnapshot: 1 blocks>"
    change = pool.allocate("a", "z")
    assert repr(change) == "<BlockChange fd00::/64 of revision 2, fd00::1:0:1>"
    assert change == pool.allocate("a", "z") != pool.allocate("a", "w")
    for unhashable in (pool, change, before):
        with pytest.raises(TypeError):
            hash(unhashable)


class Nodes(RuleBasedStateMachine):
    """Four nodes, each with its own view of a store that compares and swaps."""

    @initialize(borrow=st.booleans())
    def start(self, borrow: bool) -> None:
        self.store: dict[str, tuple[bytes, int]] = {}
        self.revision = 0
        self.views = [BlockPool(CIDR, LENGTH, borrow=borrow) for _ in range(4)]
        self.held: dict[str, tuple[str, str]] = {}
        self.blocks: dict[str, str] = {}

    def swap(self, who: int, change: BlockChange) -> bool:
        prefix, view = change.prefix, self.views[who]
        done = self.store.get(prefix, (b"", 0))[1] == change.expected
        if done:
            self.revision += 1
            self.store.pop(prefix, None)
            if change.record is not None:
                self.store[prefix] = change.record, self.revision
        view.observe(prefix, *self.store.get(prefix, ()))
        return done

    @rule(who=st.integers(0, 3), owner=st.sampled_from("xyz"), most=st.integers(0, 3))
    def allocate(self, who: int, owner: str, most: int) -> None:
        for _ in range(10):
            try:
                change = self.views[who].allocate(f"n{who}", owner, most=most)
            except BlocksExhausted:
                return
            if self.swap(who, change):
                assert change.address not in self.held
                self.held[str(change.address)] = f"n{who}", owner
                return
        raise AssertionError("what was observed does not help")

    @rule(who=st.integers(0, 3))
    def claim(self, who: int) -> None:
        try:
            change = self.views[who].claim(f"n{who}")
        except BlocksExhausted:
            return
        if self.swap(who, change):
            taken = [a for a in self.held if ipaddress.ip_address(a) in network(change.prefix)]
            assert not taken and change.expected == 0

    @rule(who=st.integers(0, 3), of=st.integers(0, 3))
    def release(self, who: int, of: int) -> None:
        own = sorted(address for address, (node, _) in self.held.items() if node == f"n{of}")
        for address in own[:1]:
            change = self.views[who].release(address)
            if change is not None and self.swap(who, change):
                del self.held[address]

    @rule(who=st.integers(0, 3), keep=st.integers(0, 1))
    def return_empty(self, who: int, keep: int) -> None:
        for change in self.views[who].return_empty(f"n{who}", keep):
            self.swap(who, change)

    @rule(who=st.integers(0, 3))
    def leave(self, who: int) -> None:
        for change in self.views[who].leave(f"n{who}"):
            if self.swap(who, change):
                for address, (node, _) in list(self.held.items()):
                    inside = ipaddress.ip_address(address) in network(change.prefix)
                    if node == f"n{who}" and inside:
                        del self.held[address]

    @rule(who=st.integers(0, 3))
    def look(self, who: int) -> None:
        for subnet in network(CIDR).subnets(new_prefix=LENGTH):
            self.views[who].observe(subnet, *self.store.get(str(subnet), ()))

    @invariant()
    def the_store_has_what_was_given(self) -> None:
        view = BlockPool(CIDR, LENGTH)
        for prefix, (record, revision) in self.store.items():
            view.observe(prefix, record, revision)
        addresses = map(str, network(CIDR))
        holders = {address: view.holder_of(address) for address in addresses}
        assert {a: holder for a, holder in holders.items() if holder} == self.held


def network(text: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(text)


TestNodes = Nodes.TestCase
TestNodes.settings = settings(
    max_examples=settings.default.max_examples // 2, stateful_step_count=40
)


def test_processes_share_a_file_and_never_an_address(tmp_path: Path) -> None:
    path = tmp_path / "store"
    SqliteStore(path).close()
    nodes = [f"node{n}" for n in range(4)]
    # 4 nodes of 120 in 512 addresses: at the end they have to borrow.
    command = [sys.executable, "-c", "from support.block_store import main; main()", str(path)]
    processes = [
        subprocess.Popen([*command, node, "120"], stdout=subprocess.PIPE, text=True, env=ENV)
        for node in nodes
    ]
    results = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert len({address for got in results for address in got}) == 480
    pool = BlockPool(CIDR_OF_PROCESSES, LENGTH_OF_PROCESSES)
    store = SqliteStore(path)
    store.show(pool)
    store.close()
    assert pool.stats()["leased"] == 480
    for node, got in zip(nodes, results, strict=True):
        holders = [(node, f"{node}-{n}") for n in range(120)]
        assert [pool.holder_of(address) for address in got] == holders


def test_the_last_revision_of_a_store_is_not_followed_by_the_first() -> None:
    pool = BlockPool(CIDR, LENGTH)
    change = pool.allocate("n0", "x")
    pool.observe(change.prefix, change.record, 2**64 - 1)
    with pytest.raises(ValueError, match="there is none after it"):
        pool.commit(pool.allocate("n0", "y"))
    assert BlockPool.from_bytes(pool.to_bytes()) == pool
