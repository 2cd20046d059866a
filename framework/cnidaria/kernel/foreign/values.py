"""Values of which some bits are known: what a packet has in a field, as far as it can be told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

ENOUGH_BITS: Final = 4
"""What asks for as many bits of an address asks for somebody: a network that is large is none."""


class Value(NamedTuple):
    """A field of a packet.

    Attributes:
        length: bytes.
        data: the known bits, as a number in network order; the others are 0.
        known: which these are.
        label: names the field where conditions are compared; empty: it may change on the way.
        nameless: the unknown bits are those of an end that no rule names: it differs from each
            single value, and is in no network but those that are larger than a 16th of all.
    """

    length: int
    data: int
    known: int
    label: str = ""
    nameless: bool = False

    @property
    def lowest(self) -> int:
        """The smallest it can be."""
        return self.data

    @property
    def highest(self) -> int:
        """The largest it can be."""
        return self.data | (ones(self.length) & ~self.known)

    @property
    def raw(self) -> bytes | None:
        """Its bytes, if all of them are known."""
        whole = self.known == ones(self.length)
        return self.data.to_bytes(self.length, "big") if whole else None


def ones(length: int) -> int:
    """All bits of so many bytes."""
    return (1 << 8 * length) - 1


def exact(raw: bytes, label: str = "") -> Value:
    """All of it is known."""
    return Value(len(raw), int.from_bytes(raw, "big"), ones(len(raw)), label)


def unknown(length: int, label: str, *, nameless: bool = False) -> Value:
    """Nothing of it is known."""
    return Value(length, 0, 0, label, nameless)


def joined(fields: Iterable[tuple[int, Value]], offset: int, length: int, label: str) -> Value:
    """``length`` bytes from ``offset`` on of a header with these fields at their offsets."""
    data = known = 0
    nameless = False
    for at, field in fields:
        shift = 8 * (offset + length - at - field.length)
        data |= _shifted(field.data, shift)
        known |= _shifted(field.known, shift)
        overlaps = at < offset + length and offset < at + field.length
        nameless = nameless or (overlaps and field.nameless)
    mask = ones(length)
    return Value(length, data & mask, known & mask, label, nameless)


def _shifted(number: int, by: int) -> int:
    return number << by if by >= 0 else number >> -by


def first(value: Value, length: int) -> Value:
    """The first bytes of it, as interface names are compared with ``eth*``; padded with unknown."""
    if length == value.length:
        return value
    shift = 8 * (value.length - length)
    label = value.label and f"{value.label}[:{length}]"
    data, known = _shifted(value.data, -shift), _shifted(value.known, -shift)
    return Value(length, data, known, label, value.nameless and known != ones(length))


def masked(value: Value, mask: bytes, xor: bytes) -> Value:
    """``value & mask ^ xor``."""
    value = first(value, len(mask))
    bits, flip = int.from_bytes(mask, "big"), int.from_bytes(xor, "big")
    whole = bits == ones(len(mask))
    known = value.known | (ones(len(mask)) & ~bits)
    label = value.label
    if label and not (whole and not flip):
        label = f"{label}&{bits:x}^{flip:x}"
    data = (value.data & bits ^ flip) & known
    asked = (bits & ~value.known).bit_count()
    return Value(len(mask), data, known, label, value.nameless and asked >= ENOUGH_BITS)


def swapped(value: Value) -> Value:
    """In the other byte order."""

    def turn(number: int) -> int:
        return int.from_bytes(number.to_bytes(value.length, "big"), "little")

    return value._replace(
        data=turn(value.data),
        known=turn(value.known),
        label=value.label and f"swapped {value.label}",
    )


def within(value: Value, low: bytes, high: bytes) -> bool | None:
    """Whether it is from ``low`` to ``high``, both included; ``None``: that cannot be told."""
    value = first(value, len(low))
    bottom, top = int.from_bytes(low, "big"), int.from_bytes(high, "big")
    if bottom == top and (value.data ^ bottom) & value.known:
        return False
    if value.highest < bottom or value.lowest > top:
        return False
    if bottom <= value.lowest and value.highest <= top:
        return True
    few = top - bottom < 1 << 8 * len(low) - ENOUGH_BITS
    return False if value.nameless and few else None


def compare(op: str, value: Value, data: bytes) -> bool | None:
    """Whether a comparison of nftables holds; ``None``: that cannot be told.

    Args:
        op: ``eq``, ``neq``, ``lt``, ``lte``, ``gt`` or ``gte``.
    """
    size = len(data)
    bottom = bytes(size)
    number = int.from_bytes(data, "big")
    if op in ("eq", "neq"):
        holds, inverted = within(value, data, data), op == "neq"
    elif op in ("lte", "gt"):
        holds, inverted = within(value, bottom, data), op == "gt"
    elif number == 0:
        holds, inverted = False, op == "gte"  # nothing is below 0
    else:
        below = (number - 1).to_bytes(size, "big")
        holds, inverted = within(value, bottom, below), op == "gte"
    return None if holds is None else holds != inverted
