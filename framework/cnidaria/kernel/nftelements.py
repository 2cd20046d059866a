"""Elements of nftables sets and maps, to bytes and back.

A set without intervals has a key for each element. A concatenation with intervals has a key and,
where they differ, a key for the end. Of a single type with intervals, start and end are elements
of their own: the end is the first key that is not in it any more.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Literal

from cnidaria.kernel import nftuapi as nf
from cnidaria.kernel.codec import attributes, be32, nest
from cnidaria.kernel.nftcomments import comment, read_comment
from cnidaria.kernel.nftexprs import value, value_of, verdict, verdict_of
from cnidaria.kernel.objects import NftElement
from cnidaria.kernel.objects.nft import VERDICT, as_verdict
from cnidaria.kernel.objects.nfttypes import TYPES, DataType


@dataclass(frozen=True)
class Layout:
    """How the elements of a set are laid out: type names of keys and of values."""

    key: tuple[str, ...]
    data: tuple[str, ...]
    interval: bool

    @cached_property
    def key_lengths(self) -> tuple[int, ...]:
        """Bytes of each part of a key: parts of a concatenation are padded to 4."""
        return _lengths(self.key)

    @cached_property
    def data_lengths(self) -> tuple[int, ...]:
        """Of each part of a value."""
        return () if self.data == (VERDICT,) else _lengths(self.data)

    @property
    def pairs(self) -> bool:
        """Whether start and end are elements of their own."""
        return self.interval and len(self.key) == 1


def _lengths(names: Sequence[str]) -> tuple[int, ...]:
    lengths = [TYPES[name].length for name in names]
    return tuple(lengths if len(lengths) == 1 else [-(-length // 4) * 4 for length in lengths])


def _order(kind: DataType, ranged: bool) -> Literal["little", "big"]:
    """Ranges are compared byte by byte: then everything is in network order."""
    return sys.byteorder if kind.host_order and not ranged else "big"


def _write(kind: DataType, number: int, length: int, *, ranged: bool = False) -> bytes:
    return number.to_bytes(kind.length, _order(kind, ranged)).ljust(length, b"\0")


def _read(kind: DataType, raw: bytes, *, ranged: bool = False) -> int:
    return int.from_bytes(raw[: kind.length], _order(kind, ranged))


def _split(names: Sequence[str], lengths: Sequence[int], raw: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    for name, length in zip(names, lengths, strict=True):
        yield name, raw[at : at + length]
        at += length


def encode(layout: Layout, element: NftElement) -> list[bytes]:
    """As items of ``NFTA_SET_ELEM_LIST_ELEMENTS``."""
    bounds = [TYPES[name].bounds(part) for name, part in zip(layout.key, element.key, strict=True)]
    low, high = (
        b"".join(
            _write(TYPES[name], bound[end], length, ranged=layout.interval)
            for name, bound, length in zip(layout.key, bounds, layout.key_lengths, strict=True)
        )
        for end in (0, 1)
    )
    attrs = [value(nf.NFTA_SET_ELEM_KEY, low)]
    if layout.interval and not layout.pairs:
        attrs.append(value(nf.NFTA_SET_ELEM_KEY_END, high))
    if element.data:
        attrs.append(_encode_data(layout, element.data))
    attrs.append(comment(nf.NFTA_SET_ELEM_USERDATA, element.comment))
    items = [nest(nf.NFTA_LIST_ELEM, *attrs)]
    if layout.pairs and (after := int.from_bytes(high, "big") + 1) < 1 << 8 * len(high):
        end = value(nf.NFTA_SET_ELEM_KEY, after.to_bytes(len(high), "big"))
        flags = be32(nf.NFTA_SET_ELEM_FLAGS, nf.NFT_SET_ELEM_INTERVAL_END)
        items.append(nest(nf.NFTA_LIST_ELEM, end, flags))
    return items


def _encode_data(layout: Layout, data: tuple[str, ...]) -> bytes:
    if layout.data == (VERDICT,):
        return verdict(nf.NFTA_SET_ELEM_DATA, as_verdict("verdict", data[0]))
    parts = zip(layout.data, data, layout.data_lengths, strict=True)
    raw = b"".join(
        _write(TYPES[name], TYPES[name].bounds(part)[0], length) for name, part, length in parts
    )
    return value(nf.NFTA_SET_ELEM_DATA, raw)


MORE = "has an expression or a timeout"
"""Stands for the comment of an element that is more than what we make: it is another one."""
_NEVER_MADE = {
    nf.NFTA_SET_ELEM_TIMEOUT,
    nf.NFTA_SET_ELEM_EXPR,
    nf.NFTA_SET_ELEM_OBJREF,
    nf.NFTA_SET_ELEM_EXPRESSIONS,
}


@dataclass(frozen=True)
class _Item:
    low: bytes
    high: bytes
    ends: bool
    data: tuple[str, ...]
    comment: str


def decode_all(layout: Layout, raw: Sequence[bytes]) -> list[NftElement]:
    """Back from :func:`encode`, of the elements of a whole set."""
    items = [_item(layout, each) for each in raw]
    if layout.pairs:
        items = list(_joined(items))
    return sorted((_element(layout, item) for item in items), key=lambda element: element.key)


def _item(layout: Layout, raw: bytes) -> _Item:
    attrs = attributes(raw)
    low = value_of(attrs[nf.NFTA_SET_ELEM_KEY])
    end = attrs.get(nf.NFTA_SET_ELEM_KEY_END)
    flags = int.from_bytes(attrs.get(nf.NFTA_SET_ELEM_FLAGS, b""), "big")
    ends = bool(flags & nf.NFT_SET_ELEM_INTERVAL_END)
    data = attrs.get(nf.NFTA_SET_ELEM_DATA)
    comment = read_comment(attrs.get(nf.NFTA_SET_ELEM_USERDATA, b""))
    return _Item(
        low,
        value_of(end) if end else low,
        ends,
        _decode_data(layout, data) if data and not ends else (),
        MORE if _NEVER_MADE & attrs.keys() else comment,
    )


def _joined(items: Sequence[_Item]) -> Iterator[_Item]:
    """Starts with the ends that come next; an end at a start's key is the one before's."""
    ordered = sorted(items, key=lambda item: (item.low, not item.ends))
    for item, after in zip_longest(ordered, ordered[1:]):
        if not item.ends:
            size = len(item.low)
            last = int.from_bytes(after.low, "big") - 1 if after else (1 << 8 * size) - 1
            yield _Item(item.low, last.to_bytes(size, "big"), False, item.data, item.comment)


def _element(layout: Layout, item: _Item) -> NftElement:
    lows = _split(layout.key, layout.key_lengths, item.low)
    highs = _split(layout.key, layout.key_lengths, item.high)
    key = []
    for (name, low), (_, high) in zip(lows, highs, strict=True):
        kind = TYPES[name]
        first, last = (_read(kind, raw, ranged=layout.interval) for raw in (low, high))
        key.append(kind.between(first, last))
    return NftElement(tuple(key), item.data, item.comment)


def key_of(layout: Layout, raw: bytes) -> tuple[str, ...]:
    """The texts of a key as it is in registers."""
    parts = _split(layout.key, layout.key_lengths, raw)
    return tuple(
        TYPES[name].write(_read(TYPES[name], part, ranged=layout.interval)) for name, part in parts
    )


def _decode_data(layout: Layout, raw: bytes) -> tuple[str, ...]:
    if layout.data == (VERDICT,):
        return (str(verdict_of(raw)),)
    parts = _split(layout.data, layout.data_lengths, value_of(raw))
    return tuple(TYPES[name].write(_read(TYPES[name], part)) for name, part in parts)
