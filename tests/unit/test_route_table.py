"""The core's route table against a slow, obvious twin, and its contract towards Python."""

import array
import contextlib
import ipaddress
import random
import threading
from collections.abc import Iterator

import pytest
from cnidaria_core import (
    CoreError,
    InvalidAddress,
    InvalidBuffer,
    InvalidPrefix,
    InvalidValue,
    MalformedBytes,
    RouteTable,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

Key = tuple[int, int, int]
"""Family, address as a number, length."""

BITS = {4: 32, 6: 128}


class Twin:
    """A dictionary for each length, asked from the longest to the shortest."""

    def __init__(self) -> None:
        self.lengths: dict[tuple[int, int], dict[int, int]] = {}

    def insert(self, key: Key, value: int) -> int | None:
        family, bits, length = key
        routes = self.lengths.setdefault((family, length), {})
        before = routes.get(bits)
        routes[bits] = value
        return before

    def remove(self, key: Key) -> int | None:
        family, bits, length = key
        return self.lengths.get((family, length), {}).pop(bits, None)

    def matches(self, family: int, bits: int) -> list[tuple[Key, int]]:
        found = []
        for length in range(BITS[family], -1, -1):
            base = bits >> (BITS[family] - length) << (BITS[family] - length)
            value = self.lengths.get((family, length), {}).get(base)
            if value is not None:
                found.append(((family, base, length), value))
        return found

    def items(self) -> list[tuple[Key, int]]:
        found = [
            ((family, bits, length), value)
            for (family, length), routes in self.lengths.items()
            for bits, value in routes.items()
        ]
        return sorted(found)

    def copy(self) -> dict[str, int]:
        return {text(key): value for key, value in self.items()}


def text(key: Key) -> str:
    family, bits, length = key
    kind = ipaddress.IPv4Address if family == 4 else ipaddress.IPv6Address
    return f"{kind(bits)}/{length}"


def texts(routes: list[tuple[Key, int]]) -> list[tuple[str, int]]:
    return [(text(key), value) for key, value in routes]


def near(family: int, place: int) -> int:
    """Addresses that share many bits, so that prefixes cover each other."""
    low = place & 0xFFFF
    if family == 4:
        return (10 << 24) | ((place >> 16 & 3) << 16) | low
    return (0x2001_0DB8 << 96) | ((place >> 16 & 3) << 80) | (low << 64) | low


families = st.sampled_from([4, 6])
places = st.integers(0, 2**18 - 1)
values = st.one_of(st.integers(0, 3), st.integers(0, RouteTable.NO_VALUE - 1))


@st.composite
def keys(draw: st.DrawFn) -> Key:
    family = draw(families)
    length = draw(st.integers(0, BITS[family]))
    shift = BITS[family] - length
    return family, near(family, draw(places)) >> shift << shift, length


class TableMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.twin = RouteTable(), Twin()
        self.kept: list[tuple[object, dict[str, int]]] = []

    @rule(key=keys(), value=values)
    def insert(self, key: Key, value: int) -> None:
        assert self.table.insert(text(key), value) == self.twin.insert(key, value)

    @rule(key=keys())
    def remove(self, key: Key) -> None:
        assert self.table.remove(text(key)) == self.twin.remove(key)

    @rule(place=st.integers(0, 10**6))
    def remove_one_that_is_there(self, place: int) -> None:
        routes = self.twin.items()
        if routes:
            key, value = routes[place % len(routes)]
            assert self.table.remove(text(key)) == value == self.twin.remove(key)

    @rule(routes=st.lists(st.tuples(keys(), values), max_size=30))
    def load(self, routes: list[tuple[Key, int]]) -> None:
        self.table.load(texts(routes))
        for key, value in routes:
            self.twin.insert(key, value)

    @rule(family=families, place=places)
    def look_up(self, family: int, place: int) -> None:
        bits = near(family, place)
        expected = self.twin.matches(family, bits)
        assert self.table.matches(bits, family) == texts(expected)
        first = texts(expected[:1])
        assert self.table.lookup(bits, family) == (first[0] if first else None)
        assert self.table.lookup_value(bits, family) == (first[0][1] if first else None)

    @rule(key=keys())
    def look_at_prefix(self, key: Key) -> None:
        network = ipaddress.ip_network(text(key))
        whole = self.twin.copy()
        assert self.table.get(network) == whole.get(text(key))
        inside = [
            (prefix, value)
            for prefix, value in whole.items()
            if (other := ipaddress.ip_network(prefix)).version == network.version
            and other.subnet_of(network)
        ]
        assert self.table.covered_by(network) == inside

    @rule()
    def keep(self) -> None:
        snapshot, routes = self.table.snapshot(), self.twin.copy()
        for earlier, before in self.kept[-2:]:
            changes = [
                (prefix, before.get(prefix), routes.get(prefix))
                for prefix in sorted(before.keys() | routes.keys(), key=place_of)
                if before.get(prefix) != routes.get(prefix)
            ]
            assert earlier.diff(snapshot) == changes
            assert (earlier == snapshot) is (not changes)
        self.kept.append((snapshot, routes))

    @rule()
    def go_on_with_bytes(self) -> None:
        data = self.table.to_bytes()
        again = RouteTable.from_bytes(data)
        assert again == self.table and again.to_bytes() == data
        self.table = again

    @invariant()
    def same(self) -> None:
        assert len(self.table) == len(self.twin.items())

    def teardown(self) -> None:
        assert dict(self.table.items()) == self.twin.copy()
        for snapshot, routes in self.kept:
            assert list(snapshot.items()) == list(routes.items())


def place_of(prefix: str) -> tuple[int, int, int]:
    network = ipaddress.ip_network(prefix)
    return network.version, int(network.network_address), network.prefixlen


TestTable = TableMachine.TestCase
TestTable.settings = settings(stateful_step_count=40)


def random_keys(source: random.Random, family: int, count: int) -> Iterator[Key]:
    """Prefixes of all lengths, many of them inside of each other."""
    spans = [source.getrandbits(BITS[family]) for _ in range(count // 50 + 1)]
    for _ in range(count):
        length = min(BITS[family], max(0, int(source.gauss(BITS[family] * 0.6, BITS[family] / 6))))
        kept = source.randint(0, length)
        shift = BITS[family] - kept
        bits = source.choice(spans) >> shift << shift | source.getrandbits(shift)
        shift = BITS[family] - length
        yield family, bits >> shift << shift, length


def buffer_of(family: int, addresses: list[int]) -> memoryview:
    if family == 4:
        return memoryview(array.array("I", addresses))
    halves = array.array("Q")
    for bits in addresses:
        halves.extend((bits >> 64, bits & (2**64 - 1)))
    return memoryview(halves).cast("B").cast("Q", (len(addresses), 2))


@pytest.mark.parametrize("family", [4, 6])
def test_a_million_lookups(family: int, effort: int) -> None:
    """Half random, half inside of prefixes; the twin says of each prefix's edges what they have."""
    source = random.Random(f"routes {family} {effort}")
    table, twin = RouteTable(), Twin()
    for key in random_keys(source, family, 4_000):
        value = source.randrange(50)
        twin.insert(key, value)
        table.insert(text(key), value)
    routes = twin.items()
    for key, _ in source.sample(routes, len(routes) // 3):
        twin.remove(key)
        table.remove(text(key))
    assert RouteTable((text(key), value) for key, value in twin.items()) == table
    firsts, expected = intervals(twin, family)
    addresses, wanted = [], []
    for _ in range(520_000 * effort):
        place = source.randrange(len(firsts))
        last = firsts[place + 1] - 1 if place + 1 < len(firsts) else 2 ** BITS[family] - 1
        addresses.append(source.randint(firsts[place], last))
        wanted.append(expected[place])
    found = memoryview(table.lookup_many(buffer_of(family, addresses)))
    assert found.tolist() == wanted


def intervals(twin: Twin, family: int) -> tuple[list[int], list[int]]:
    """Where the twin's answers may change, and what they are from there on."""
    edges = {0}
    for (version, bits, length), _ in twin.items():
        if version == family:
            edges |= {bits, bits + (1 << (BITS[family] - length))}
    firsts = sorted(edge for edge in edges if edge < 2 ** BITS[family])
    matches = (twin.matches(family, first) for first in firsts)
    return firsts, [found[0][1] if found else RouteTable.NO_VALUE for found in matches]


def test_addresses_and_prefixes_in_all_forms() -> None:
    table = RouteTable([("10.0.0.0/8", 1), (("10.1.0.0", 16), 2), (("fd00::", 8), 3)])
    table.insert(ipaddress.ip_network("fd00:1::/32"), 4)
    for address in ("10.1.2.3", bytes([10, 1, 2, 3]), ipaddress.ip_address("10.1.2.3")):
        assert table.lookup(address) == ("10.1.0.0/16", 2)
    assert table.lookup(0x0A010203, 4) == ("10.1.0.0/16", 2)
    assert table.lookup_value(0xFD << 120, 6) == 3
    assert table.lookup("11.0.0.0") is None and table.lookup_value("::") is None
    assert table.matches("fd00:1::1") == [("fd00:1::/32", 4), ("fd00::/8", 3)]
    assert list(table) == ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8", "fd00:1::/32"]
    assert ("10.1.0.0", 16) in table and "10.2.0.0/16" not in table
    assert repr(table) == "<RouteTable: 2 IPv4 and 2 IPv6 routes>"
    assert repr(table.snapshot()) == "<RouteTableSnapshot: 2 IPv4 and 2 IPv6 routes>"
    assert table != RouteTable() and table != 1
    assert all(size > 0 for size in table.memory().values())


def test_all_orders_of_buffers() -> None:
    table = RouteTable([("10.0.0.0/8", 1), ("fd00::/8", 2)])
    sought = [ipaddress.ip_address("10.9.8.7"), ipaddress.ip_address("9.9.9.9")]
    found = [1, RouteTable.NO_VALUE]
    host = array.array("I", map(int, sought))
    packed = memoryview(b"".join(address.packed for address in sought))
    assert memoryview(table.lookup_many(host)).tolist() == found
    rows = packed.cast("B", (2, 4))
    assert memoryview(table.lookup_many(rows, order="network")).tolist() == found
    out = array.array("I", [0, 0])
    assert table.snapshot().lookup_many(host, out=out) is out and list(out) == found

    six = memoryview(ipaddress.ip_address("fd00::9").packed + bytes(16))
    values = table.lookup_many(six.cast("B", (2, 16)), order="network")
    assert memoryview(values).tolist() == [2, RouteTable.NO_VALUE]
    values = table.lookup_many(buffer_of(6, [0xFD << 120, 0]))
    assert memoryview(values).tolist() == [2, RouteTable.NO_VALUE]


def test_loading_buffers() -> None:
    lengths, numbers = bytes([8, 16]), array.array("I", [1, 2])
    table = RouteTable()
    table.load_buffers(array.array("I", [10 << 24, 0x0A010000]), lengths, numbers)
    networks = memoryview(bytes([0xFD, *bytes(15), 0xFC, *bytes(15)])).cast("B", (2, 16))
    table.load_buffers(networks, lengths, numbers, order="network")
    assert dict(table.items()) == {"10.0.0.0/8": 1, "10.1.0.0/16": 2, "fc00::/16": 2, "fd00::/8": 1}
    before = table.to_bytes()
    wrong = array.array("I", [10 << 24, 0x0A010001])
    with pytest.raises(InvalidPrefix, match=r"row 1: .*10\.1\.0\.1/16"):
        table.load_buffers(wrong, lengths, numbers)
    with pytest.raises(InvalidValue, match="row 0"):
        table.load_buffers(networks, lengths, array.array("I", [2**32 - 1, 0]), order="network")
    with pytest.raises(InvalidBuffer, match="lengths"):
        table.load_buffers(wrong, bytes(3), numbers)
    assert table.to_bytes() == before


@pytest.mark.parametrize(
    ("addresses", "order", "reason"),
    [
        (array.array("H", [1]), "host", "u32"),
        (array.array("I", [1]), "network", "network order"),
        (memoryview(bytes(32)).cast("B", (2, 16)), "host", "u32"),
        (memoryview(array.array("I", [1, 2, 3])).cast("B").cast("I", (3, 1)), "host", "shape"),
        (memoryview(bytes(32)).cast("B", (4, 8)), "network", "u32"),
        (memoryview(array.array("I", [1, 2, 3]))[::2], "host", "contiguous"),
    ],
)
def test_wrong_buffers(addresses: memoryview, order: str, reason: str) -> None:
    with pytest.raises(InvalidBuffer, match=reason):
        RouteTable().lookup_many(addresses, order=order)


def test_what_is_wrong_is_said() -> None:
    table = RouteTable()
    for value in (-1, 2**32 - 1, 2**40):
        with pytest.raises(InvalidValue, match=f"{value} is no value"):
            table.insert("10.0.0.0/8", value)
    with pytest.raises(InvalidPrefix):
        table.insert("10.0.0.1/8", 1)
    with pytest.raises(InvalidPrefix):
        table.load([("10.0.0.0/8", 1), ("x", 2)])
    with pytest.raises(InvalidAddress):
        table.lookup("10.0.0")
    with pytest.raises(TypeError, match="family"):
        table.lookup(1)
    with pytest.raises(ValueError, match="order"):
        table.lookup_many(array.array("I"), order="big")
    with pytest.raises(TypeError, match="buffer protocol"):
        table.lookup_many([1])
    with pytest.raises(ValueError, match="300: must be a number from 0 to 255"):
        table.lookup(1, 300)
    for row in (("10.0.0.0/8", 1, 2), ("10.0.0.0/8",), (), 5):
        with pytest.raises(ValueError, match="must be a prefix and a value"):
            table.load([row])
    assert len(table) == 0 and issubclass(InvalidValue, CoreError)


def test_hostile_bytes() -> None:
    data = RouteTable([("10.0.0.0/8", 1), ("fd00::/8", 2)]).to_bytes()
    for end in range(len(data)):
        with pytest.raises(MalformedBytes):
            RouteTable.from_bytes(data[:end])
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0xFF
        with contextlib.suppress(MalformedBytes):
            assert len(RouteTable.from_bytes(bytes(changed))) == 2


def test_readers_see_whole_versions() -> None:
    """A load changes all values at once: no bulk lookup sees some of the old ones."""
    prefixes = [f"10.{place}.0.0/16" for place in range(256)]
    table = RouteTable((prefix, 0) for prefix in prefixes)
    addresses = array.array("I", [(10 << 24) | (place << 16) for place in range(256)] * 40)
    stop = threading.Event()
    seen: list[set[int]] = []

    def read() -> None:
        while not stop.is_set():
            seen.append(set(memoryview(table.lookup_many(addresses))))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for value in range(1, 60):
        table.load([(prefix, value) for prefix in prefixes])
        table.insert("192.0.2.0/24", value)
    stop.set()
    for reader in readers:
        reader.join()
    assert seen and all(len(found) == 1 for found in seen)
