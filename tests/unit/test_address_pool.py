"""The core's address pool against a slow, obvious twin, and its contract towards Python."""

import ipaddress
import pickle
from concurrent.futures import ThreadPoolExecutor

import cnidaria_core
import pytest
from cnidaria_core import (
    AddressOutOfRange,
    AddressPool,
    AddressReserved,
    AddressTaken,
    CoreError,
    InvalidAddress,
    InvalidPool,
    MalformedBytes,
    PoolError,
    PoolExhausted,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

COOLDOWN = 5
RANGES = {
    4: [("10.0.0.250", "10.0.1.3"), ("10.0.0.1", "10.0.0.1"), ("192.168.7.0", "192.168.7.7")],
    6: [("fd00::fffa", "fd00::1:3"), ("fd00::1", "fd00::1"), ("fe80::", "fe80::7")],
}
EXCLUDE = {
    4: ["10.0.1.0-10.0.1.1", "192.168.7.4/31", "10.0.0.251", "172.16.0.0/12"],
    6: ["fd00::1:0-fd00::1:1", "fe80::4/127", "fd00::fffb", "2001:db8::/32"],
}


def addresses_of_pool(version: int) -> list[str]:
    """All addresses in their order, one by one."""
    holes: set[str] = set()
    for text in EXCLUDE[version][:3]:
        if "-" in text:
            first, last = map(ipaddress.ip_address, text.split("-"))
            holes |= {str(first), str(last)}
        else:
            holes |= {str(address) for address in ipaddress.ip_network(text)}
    found = []
    for first_text, last_text in RANGES[version]:
        address, last = ipaddress.ip_address(first_text), ipaddress.ip_address(last_text)
        while address <= last:
            if str(address) not in holes:
                found.append(str(address))
            address += 1
    return found


class Twin:
    """Lists, searched from end to end."""

    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses
        self.taken: dict[str, str] = {}
        self.reserved: set[str] = set()
        self.released: list[tuple[float, str]] = []
        self.cursor = 0

    def next(self, now: float) -> str | None:
        past = self.taken.keys() | self.reserved | {address for _, address in self.released}
        n = len(self.addresses)
        for step in range(n):
            at = (self.cursor + step) % n
            if self.addresses[at] not in past:
                self.cursor = at + 1
                return self.addresses[at]
        cooled = [address for at, address in self.released if at + COOLDOWN <= now]
        return cooled[0] if cooled else None

    def take(self, address: str, owner: str) -> None:
        self.taken[address] = owner
        self.released = [entry for entry in self.released if entry[1] != address]

    def release(self, address: str, now: float) -> str | None:
        owner = self.taken.pop(address, None)
        if owner is not None and address not in self.reserved:
            self.released.append((now, address))
        return owner


owners = st.sampled_from(["a", "b/eth0", "ü"])
places = st.integers(0, 1000)


class PoolMachine(RuleBasedStateMachine):
    version = 4

    def __init__(self) -> None:
        super().__init__()
        self.twin = Twin(addresses_of_pool(self.version))
        self.pool = AddressPool(RANGES[self.version], EXCLUDE[self.version], COOLDOWN)
        self.now = 0.0
        self.keep()

    def at(self, place: int) -> str:
        return self.twin.addresses[place % len(self.twin.addresses)]

    @rule(owner=owners)
    def allocate(self, owner: str) -> None:
        expected = self.twin.next(self.now)
        if expected is None:
            with pytest.raises(PoolExhausted) as caught:
                self.pool.allocate(owner, now=self.now)
            unowned = self.twin.reserved - self.twin.taken.keys()
            numbers = (len(self.twin.taken), len(self.twin.released), len(unowned))
            assert caught.value.args == (*numbers, len(self.twin.addresses))
        else:
            assert self.pool.allocate(owner, now=self.now) == expected
            self.twin.take(expected, owner)

    @rule(owner=owners, place=places, reserved=st.booleans())
    def allocate_this(self, owner: str, place: int, reserved: bool) -> None:
        address = self.at(place)
        if address in self.twin.taken:
            with pytest.raises(AddressTaken) as caught:
                self.pool.allocate(owner, address, self.now, reserved=reserved)
            assert caught.value.args == (address, self.twin.taken[address])
        elif address in self.twin.reserved and not reserved:
            with pytest.raises(AddressReserved):
                self.pool.allocate(owner, address, self.now)
        else:
            assert self.pool.allocate(owner, address, self.now, reserved=reserved) == address
            self.twin.take(address, owner)

    @rule(place=places)
    def release(self, place: int) -> None:
        address = self.at(place)
        assert self.pool.release(address, self.now) == self.twin.release(address, self.now)

    @rule(owner=owners)
    def release_owner(self, owner: str) -> None:
        held = [address for address, whose in self.twin.taken.items() if whose == owner]
        for address in held:
            self.twin.release(address, self.now)
        assert self.pool.release_owner(owner, self.now) == held

    @rule(place=places)
    def reserve(self, place: int) -> None:
        address = self.at(place)
        if address in self.twin.taken:
            with pytest.raises(AddressTaken):
                self.pool.reserve(address)
            return
        assert self.pool.reserve(address) is (address not in self.twin.reserved)
        self.twin.reserved.add(address)
        self.twin.released = [entry for entry in self.twin.released if entry[1] != address]

    @rule(place=places)
    def unreserve(self, place: int) -> None:
        address = self.at(place)
        assert self.pool.unreserve(address) is (address in self.twin.reserved)
        self.twin.reserved.discard(address)

    @rule(seconds=st.integers(0, COOLDOWN))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def by_bytes(self) -> None:
        """The pool of the pool's bytes is the same pool, and goes on as one."""
        again = AddressPool.from_bytes(self.pool.to_bytes())
        assert again == self.pool and again.snapshot() == self.pool.snapshot()
        assert again.to_bytes() == self.pool.to_bytes() == self.pool.snapshot().to_bytes()
        self.pool = again

    @rule()
    def keep(self) -> None:
        """Take a snapshot; what it has to be for good is what the twin is now."""
        self.kept = self.pool.snapshot(), dict(self.twin.taken)

    @invariant()
    def kept_is_as_it_was(self) -> None:
        snapshot, taken = self.kept
        assert len(snapshot) == len(taken) and set(snapshot) == set(taken)
        for owner in taken.values():
            assert snapshot.addresses_of(owner) == [a for a, who in taken.items() if who == owner]
        now = self.twin.taken
        changed = [
            (address, taken.get(address), now.get(address))
            for address in sorted({*taken, *now}, key=ipaddress.ip_address)
            if taken.get(address) != now.get(address)
        ]
        assert snapshot.diff(self.pool) == changed
        assert self.pool.diff(snapshot) == [(a, after, before) for a, before, after in changed]

    @precondition(lambda self: self.twin.taken)
    @rule()
    def restart(self) -> None:
        """A new pool, told the state of the old one, goes on as a twin told the same."""
        last = list(self.twin.taken)[-1]
        self.pool = AddressPool(RANGES[self.version], EXCLUDE[self.version], COOLDOWN)
        for address in self.twin.reserved:
            self.pool.reserve(address)
        released = self.twin.released[::-1]
        for released_at, address in released:
            self.pool.restore_cooling(address, released_at)
        for address, owner in self.twin.taken.items():
            self.pool.restore(address, owner)
        self.twin.cursor = self.twin.addresses.index(last) + 1
        # By time, whatever the order of restoring; those of the same time as restored.
        self.twin.released = sorted(released, key=lambda entry: entry[0])

    @invariant()
    def same(self) -> None:
        assert len(self.pool) == len(self.twin.taken)
        assert self.pool.stats() == {
            "capacity": len(self.twin.addresses),
            "taken": len(self.twin.taken),
            "reserved": len(self.twin.reserved - self.twin.taken.keys()),
            "released": len(self.twin.released),
        }
        order = self.twin.addresses.index
        expected = sorted(self.twin.taken.items(), key=lambda entry: order(entry[0]))
        assert self.pool.leases() == expected
        assert list(self.pool) == [address for address, _ in expected]


class PoolMachine6(PoolMachine):
    version = 6


TestPool4 = PoolMachine.TestCase
TestPool6 = PoolMachine6.TestCase
TestPool4.settings = TestPool6.settings = settings(
    max_examples=settings.default.max_examples // 2, stateful_step_count=50
)


def test_never_the_same_address_twice_from_many_threads() -> None:
    pool = AddressPool([("10.0.0.0", "10.0.15.255")])
    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(lambda n: pool.allocate(f"owner{n}"), range(4096)))
    assert len(set(got)) == 4096
    with pytest.raises(PoolExhausted):
        pool.allocate("one too many")


def test_cooldown_and_least_recently_released_first() -> None:
    pool = AddressPool([("10.0.0.1", "10.0.0.3")], cooldown=30)
    first, second, third = (pool.allocate("x", now=0) for _ in range(3))
    pool.release(second, now=10)
    pool.release(first, now=11)
    pool.release(third, now=12)
    with pytest.raises(PoolExhausted) as caught:
        pool.allocate("y", now=39.9)
    assert (caught.value.taken, caught.value.cooling) == (0, 3)
    assert "0 of 3 are taken, 3 cool down" in str(caught.value)
    assert pool.allocate("y", now=40) == second
    assert pool.allocate("y", third, now=40) == third
    assert pool.allocate("y", now=41) == first


def test_reserved_address_returns_to_its_reservation() -> None:
    pool = AddressPool([("10.0.0.1", "10.0.0.2")])
    assert pool.reserve("10.0.0.1")
    assert pool.allocate("for me", "10.0.0.1", reserved=True) == "10.0.0.1"
    assert pool.release("10.0.0.1") == "for me"
    assert pool.stats()["reserved"] == 1
    with pytest.raises(AddressReserved, match=r"10\.0\.0\.1 is reserved"):
        pool.allocate("another", "10.0.0.1")


def test_addresses_are_canonical() -> None:
    pool = AddressPool([("FD00:0::1", "fd00::ffff:0")])
    assert pool.allocate("x", "fd00:0:0::000A") == "fd00::a"
    assert pool.owner_of("FD00::A") == "x"
    assert pool.addresses_of("x") == ["fd00::a"]
    assert "FD00::A" in pool and "fd00::b" not in pool
    assert pool.covers("fd00::b") and not pool.covers("10.0.0.1")


@pytest.mark.parametrize(
    ("ranges", "text"),
    [(("10.0.0.1", "10.0.0.9"), "10.0.0.5"), (("fd00::1", "fd00::9"), "fd00::5")],
)
def test_addresses_in_any_form(ranges: tuple[str, str], text: str) -> None:
    pool, address = AddressPool([ranges]), ipaddress.ip_address(text)
    for form in (text, int(address), address.packed, address):
        assert pool.allocate("x", form) == text
        assert form in pool and form in pool.snapshot() and pool.covers(form)
        assert pool.owner_of(form) == pool.snapshot().owner_of(form) == "x"
        assert pool.release(form) == "x"
        pool.restore(form, "y")
        pool.release_owner("y")
        pool.restore_cooling(form, 1.0)
        assert pool.reserve(form) and pool.unreserve(form)
    for wrong in (None, 1.5, ["10.0.0.5"], ipaddress.ip_network("10.0.0.0/8")):
        with pytest.raises(TypeError, match="address"):
            pool.owner_of(wrong)  # type: ignore[arg-type]
    for wrong in (-1, 1 << 128, b"123"):
        with pytest.raises(ValueError, match=str(len(wrong) if type(wrong) is bytes else wrong)):
            pool.owner_of(wrong)


def test_what_nobody_used_need_not_cool_down() -> None:
    pool = AddressPool([("10.0.0.1", "10.0.0.2")], cooldown=30)
    first, second = pool.allocate("x"), pool.allocate("y")
    pool.release(first, now=10, used=False)
    assert pool.stats()["released"] == 0
    assert pool.allocate("z", now=10) == first
    assert pool.release_owner("y", now=10, used=False) == [second]
    assert pool.allocate("z", now=10) == second


def test_a_clock_that_goes_back_stands_still() -> None:
    pool = AddressPool([("10.0.0.1", "10.0.0.2")], cooldown=30)
    first, second = pool.allocate("x"), pool.allocate("y")
    pool.release(second, now=100)
    pool.release(first, now=50)
    with pytest.raises(PoolExhausted):
        pool.allocate("z", now=129)
    assert pool.allocate("z", now=130) == second
    assert pool.allocate("z", now=130) == first


def test_equality_is_about_what_comes_next_too() -> None:
    def pool() -> AddressPool:
        return AddressPool([("10.0.0.1", "10.0.0.3")], cooldown=5)

    one, other = pool(), pool()
    assert one == other and one is not other
    assert one != AddressPool([("10.0.0.1", "10.0.0.3")], cooldown=6)
    assert one != "pool" and one.snapshot() == one
    one.allocate("x", "10.0.0.2")
    assert one != other
    one.release("10.0.0.2", used=False)
    assert one == other
    one.release(one.allocate("x"), used=False)
    assert one != other, "the round robin is one farther"
    with pytest.raises(TypeError):
        hash(one)
    with pytest.raises(TypeError):
        hash(one.snapshot())


def test_a_snapshot_does_not_change() -> None:
    pool = AddressPool([("10.0.0.0", "10.0.255.255")])
    first = [pool.allocate(f"pod{n}") for n in range(3000)]
    snapshot = pool.snapshot()
    pool.release_owner("pod7")
    pool.allocate("late", first[7])
    pool.allocate("later")
    assert snapshot.leases() == [(address, f"pod{n}") for n, address in enumerate(first)]
    assert len(snapshot) == 3000 and snapshot.stats()["taken"] == 3000
    assert snapshot.capacity == pool.capacity == 65536
    assert snapshot.addresses_of("pod7") == [first[7]] and snapshot.addresses_of("later") == []
    assert repr(snapshot) == "<AddressPoolSnapshot: 3000 of 65536 taken>"
    assert snapshot.diff(pool) == [
        (first[7], "pod7", "late"),
        (pool.addresses_of("later")[0], None, "later"),
    ]
    assert snapshot.diff(snapshot) == [] == pool.diff(pool)
    with pytest.raises(TypeError):
        snapshot.diff("pool")  # type: ignore[arg-type]


def test_pools_of_other_ranges_differ_by_address() -> None:
    narrow = AddressPool([("10.0.0.2", "10.0.0.3")])
    wide = AddressPool([("10.0.0.0", "10.0.0.3")])
    for pool in (narrow, wide):
        pool.allocate("x", "10.0.0.3")
    narrow.allocate("y", "10.0.0.2")
    wide.allocate("z", "10.0.0.1")
    expected = [("10.0.0.1", None, "z"), ("10.0.0.2", "y", None)]
    assert narrow.diff(wide) == expected


def test_bytes_of_something_else_are_refused() -> None:
    pool = AddressPool([("10.0.0.1", "10.0.0.3")])
    pool.allocate("x")
    data = pool.to_bytes()
    for end in range(len(data)):
        with pytest.raises(MalformedBytes):
            AddressPool.from_bytes(data[:end])
    with pytest.raises(MalformedBytes, match="follow"):
        AddressPool.from_bytes(data + b"x")


def test_any_size() -> None:
    pool = AddressPool([("::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")])
    assert pool.capacity == 2**128 - 1
    assert AddressPool([("0.0.0.0", "255.255.255.255")]).capacity == 2**32
    excluded = AddressPool([("fd00::", "fd00::ffff:ffff:ffff:ffff")], ["fd00::/65"])
    assert excluded.capacity == 2**63
    assert excluded.allocate("x") == "fd00::8000:0:0:0"


@pytest.mark.parametrize(
    ("ranges", "exclude", "names"),
    [
        ([], [], ["ranges"]),
        ([("10.0.0.9", "10.0.0.1")], [], ["10.0.0.9-10.0.0.1"]),
        ([("10.0.0.1", "10.0.0.9"), ("10.0.0.9", "10.0.0.10")], [], ["10.0.0.1-", "-10.0.0.10"]),
        ([("10.0.0.1", "10.0.0.9"), ("fd00::1", "fd00::2")], [], ["fd00::1-fd00::2"]),
        ([("10.0.0.1", "10.0.0.9")], ["fd00::1"], ["fd00::1"]),
        ([("10.0.0.1", "10.0.0.9")], ["10.0.0.1/24"], ["10.0.0.1/24"]),
        ([("10.0.0.1", "10.0.0.9")], ["10.0.0.0/33"], ["10.0.0.0/33"]),
        ([("fd00::1", "fd00::9")], ["fd00::/129"], ["fd00::/129"]),
        ([("10.0.0.1", "10.0.0.9")], ["10.0.0.4-10.0.0.3"], ["10.0.0.4-10.0.0.3"]),
        ([("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")], [], ["IPv6"]),
    ],
)
def test_invalid_pools_are_named(
    ranges: list[tuple[str, str]], exclude: list[str], names: list[str]
) -> None:
    with pytest.raises(InvalidPool) as caught:
        AddressPool(ranges, exclude)
    assert all(name in str(caught.value) for name in names)


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.01", "10.0.0.1/32", "fd00::1%eth0", "x"])
def test_invalid_addresses_are_named(text: str) -> None:
    pool = AddressPool([("10.0.0.1", "10.0.0.9")])
    for call in (
        lambda: pool.allocate("x", text),
        lambda: pool.release(text),
        lambda: pool.reserve(text),
        lambda: pool.unreserve(text),
        lambda: pool.owner_of(text),
        lambda: pool.restore(text, "x"),
        lambda: pool.restore_cooling(text, 0),
        lambda: text in pool,
        lambda: pool.covers(text),
        lambda: text in pool.snapshot(),
        lambda: pool.snapshot().owner_of(text),
        lambda: AddressPool([(text, "10.0.0.1")]),
    ):
        with pytest.raises(InvalidAddress) as caught:
            call()
        assert caught.value.address == text


@pytest.mark.parametrize("time", [-1.0, float("nan"), float("inf")])
def test_times_are_seconds(time: float) -> None:
    pool = AddressPool([("10.0.0.1", "10.0.0.9")])
    for call in (
        lambda: pool.allocate("x", now=time),
        lambda: pool.release("10.0.0.1", time),
        lambda: pool.release_owner("x", time),
        lambda: pool.restore_cooling("10.0.0.1", time),
        lambda: AddressPool([("10.0.0.1", "10.0.0.9")], cooldown=time),
    ):
        with pytest.raises(ValueError, match="seconds"):
            call()
    assert len(pool) == 0


def test_out_of_range_is_an_error_to_take_and_nothing_to_give_back() -> None:
    pool = AddressPool([("10.0.0.1", "10.0.0.9")])
    for address in ("10.0.0.0", "10.0.0.10", "fd00::1"):
        for call in (
            lambda address=address: pool.allocate("x", address),
            lambda address=address: pool.reserve(address),
            lambda address=address: pool.restore(address, "x"),
            lambda address=address: pool.restore_cooling(address, 0),
        ):
            with pytest.raises(AddressOutOfRange, match=address):
                call()
        assert pool.release(address) is None
        assert pool.owner_of(address) is None
        assert pool.unreserve(address) is False


def test_exceptions_are_one_family_and_survive_pickling() -> None:
    for error in (
        AddressOutOfRange("10.0.0.1"),
        AddressReserved("10.0.0.1"),
        AddressTaken("10.0.0.1", "x"),
        InvalidAddress("x"),
        InvalidPool("text"),
        PoolExhausted(1, 2, 3, 4),
    ):
        assert isinstance(error, CoreError)
        assert isinstance(error, PoolError) is not isinstance(error, InvalidAddress)
        assert isinstance(error, LookupError if isinstance(error, PoolExhausted) else ValueError)
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.args, str(again)) == (type(error), error.args, str(error))
    public = {name for name in vars(cnidaria_core) if name[0].isupper()}
    assert set(cnidaria_core.__all__) == public
