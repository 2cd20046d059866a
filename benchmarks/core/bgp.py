"""Routes as BGP has them, and addresses to look up: the same for the same seed.

Lengths are distributed as in the global tables of 2025 (about 60 % /24 of IPv4, 45 % /48 of IPv6).
Prefixes come in allocations: one that covers, most times, and more-specific ones side by side in
it. Values are next hops: of 200, some much more frequent than others, and independent of what
covers a prefix.
"""

from __future__ import annotations

import itertools
import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BITS = {4: 32, 6: 128}
NO_VALUE = 0xFFFFFFFF
NEXT_HOPS = 200

LENGTHS = {
    4: {
        24: 603,
        23: 98,
        22: 112,
        21: 52,
        20: 44,
        19: 26,
        18: 14,
        17: 8,
        16: 13,
        15: 2,
        14: 2,
        13: 1,
        12: 1,
        25: 2,
    }
    | {11: 0.3, 10: 0.1, 9: 0.05, 8: 0.05, 26: 2, 27: 2, 28: 3, 29: 4, 30: 4, 32: 3},
    6: {
        48: 450,
        32: 110,
        44: 80,
        40: 75,
        36: 45,
        46: 40,
        47: 30,
        29: 30,
        33: 25,
        34: 20,
        42: 20,
        45: 20,
        38: 15,
        35: 12,
    }
    | {37: 8, 39: 8, 41: 8, 43: 8, 28: 5, 30: 5, 31: 4, 24: 1, 20: 0.2, 64: 4, 56: 2, 128: 1},
}
"""Of 1000 prefixes, how many have this length."""

REGIONS = {
    4: [((first << 24, 8), 1) for first in range(1, 224) if first not in (10, 127)],
    6: [
        *(((first << 112, 16), 32 / 16) for first in range(0x2A00, 0x2A10)),
        *(((first << 112, 16), 20 / 16) for first in range(0x2400, 0x2410)),
        *(((first << 112, 16), 14 / 8) for first in range(0x2600, 0x2608)),
        *(((first << 112, 16), 4 / 3) for first in (0x2801, 0x2803, 0x2806)),
        *(
            ((first << 112, 16), weight)
            for first, weight in ((0x2001, 15), (0x2804, 12), (0x2620, 1), (0x2C0F, 2))
        ),
    ],
}
"""Where allocations are, as base and length, and how many of a hundred: the registries' blocks."""

ALLOCATIONS = {4: (13, 22), 6: (28, 32)}
"""The shortest and the longest."""

Prefix = tuple[int, int]
"""Address as a number, length."""


@dataclass
class Routes:
    """A family's prefixes in their order, each with its value."""

    family: int
    prefixes: list[Prefix]
    values: list[int]

    def save(self, folder: Path) -> None:
        """Write them as the peers read them: native u32, IPv6 addresses in network order."""
        path = folder / f"v{self.family}"
        save(path.with_suffix(".addresses"), self.family, [bits for bits, _ in self.prefixes])
        path.with_suffix(".lengths").write_bytes(bytes(length for _, length in self.prefixes))
        path.with_suffix(".values").write_bytes(array("I", self.values).tobytes())


def save(path: Path, family: int, addresses: list[int]) -> None:
    if family == 4:
        path.write_bytes(array("I", addresses).tobytes())
    else:
        path.write_bytes(b"".join(bits.to_bytes(16, "big") for bits in addresses))


def routes(family: int, count: int, seed: int = 1) -> Routes:
    """A table of this many prefixes."""
    source = random.Random(f"{seed} {family}")
    found: set[Prefix] = set()
    for prefix in itertools.takewhile(lambda _: len(found) < count, _drawn(family, source)):
        found.add(prefix)
    prefixes = sorted(found)[:count] if len(found) > count else sorted(found)
    weights = [1 / (rank + 1) for rank in range(NEXT_HOPS)]
    values = source.choices(range(1, NEXT_HOPS + 1), weights, k=len(prefixes))
    return Routes(family, prefixes, values)


def _drawn(family: int, source: random.Random) -> Iterator[Prefix]:
    bits = BITS[family]
    lengths, weights = list(LENGTHS[family]), list(LENGTHS[family].values())
    shortest, longest = ALLOCATIONS[family]
    regions, shares = zip(*REGIONS[family], strict=True)
    while True:
        # So many allocations that each has a dozen prefixes or two, as autonomous systems have.
        base, kept = source.choices(regions, shares)[0]
        size = source.randint(max(shortest, kept), longest)
        base = (base >> (bits - kept) << (size - kept) | source.getrandbits(size - kept)) << (
            bits - size
        )
        wanted = source.choices(
            lengths, weights, k=min(60, max(1, int(source.paretovariate(0.9) * 3)))
        )
        at = source.getrandbits(10)
        for length in wanted:
            if length <= size:
                yield base >> (bits - length) << (bits - length), length
                continue
            # Subnets are numbered on from somewhere, with holes.
            at += source.choice((1, 1, 1, 1, 2, 3, 8))
            inside = min(length - size, 16)
            yield base | (at % (1 << inside)) << (bits - size - inside), length


def hits(table: Routes, count: int, seed: int = 2) -> list[int]:
    """Random addresses of random prefixes."""
    source = random.Random(f"{seed} hits {table.family}")
    bits = BITS[table.family]
    chosen = source.choices(table.prefixes, k=count)
    return [base | source.getrandbits(bits - length) for base, length in chosen]


def skewed(table: Routes, count: int, seed: int = 3) -> list[int]:
    """Addresses of prefixes of which few are asked for mostly; one in ten is of nobody."""
    source = random.Random(f"{seed} skewed {table.family}")
    bits = BITS[table.family]
    order = source.sample(table.prefixes, len(table.prefixes))
    ranks = (min(int(source.paretovariate(0.7)), len(order)) - 1 for _ in range(count))
    hit = (order[rank] for rank in ranks)
    found = [base | source.getrandbits(bits - length) for base, length in hit]
    for place, address in enumerate(misses(table, count // 10, seed)):
        found[place * 10] = address
    return found


def misses(table: Routes, count: int, seed: int = 4) -> list[int]:
    """Random addresses between prefixes, which none of them covers."""
    source = random.Random(f"{seed} misses {table.family}")
    bits = BITS[table.family]
    lasts = (base | ((1 << (bits - length)) - 1) for base, length in table.prefixes)
    # Of each prefix, the highest address that it and those before it cover.
    ends = itertools.accumulate(lasts, max)
    starts = (base for base, _ in table.prefixes[1:])
    gaps = [
        (end + 1, start - 1) for end, start in zip(ends, starts, strict=False) if end + 1 < start
    ]
    return [source.randint(*gap) for gap in source.choices(gaps, k=count)]
