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
    assert "fd00::b" in pool
    assert "10.0.0.1" not in pool


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
