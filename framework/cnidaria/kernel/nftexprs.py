"""Expressions of nftables rules to bytes and back."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from cnidaria.kernel import nftuapi as nf
from cnidaria.kernel.codec import (
    Attrs,
    attr,
    attribute_list,
    attributes,
    be16,
    be32,
    be64,
    nest,
    string,
    text,
    u8,
)
from cnidaria.kernel.objects import nftexpr as ex

E = TypeVar("E", bound=ex.Expr)

_VERDICT_REGISTER = 0
_NAMES = {number: name for name, number in nf.VERDICTS.items()}


def register(slot: int) -> int:
    """The kernel's number: of whole 16-byte registers (1 to 4) or of their words (8 to 23)."""
    return 1 + slot // 4 if slot % 4 == 0 else 8 + slot


def slot_of(raw: bytes) -> int:
    """Back from :func:`register`."""
    number = int.from_bytes(raw, "big")
    return 4 * (number - 1) if number < 8 else number - 8


def value(kind: int, data: bytes) -> bytes:
    """``NFTA_DATA_VALUE`` in an attribute."""
    return nest(kind, attr(nf.NFTA_DATA_VALUE, data))


def value_of(raw: bytes) -> bytes:
    """Back from :func:`value`."""
    return attributes(raw)[nf.NFTA_DATA_VALUE]


def verdict(kind: int, decision: ex.Verdict) -> bytes:
    """``NFTA_DATA_VERDICT`` in an attribute."""
    parts = [attr(nf.NFTA_VERDICT_CODE, struct.pack(">i", nf.VERDICTS[decision.code]))]
    if decision.chain:
        parts.append(text(nf.NFTA_VERDICT_CHAIN, decision.chain))
    return nest(kind, nest(nf.NFTA_DATA_VERDICT, *parts))


def verdict_of(raw: bytes) -> ex.Verdict:
    """Back from :func:`verdict`."""
    inner = attributes(attributes(raw)[nf.NFTA_DATA_VERDICT])
    code = struct.unpack(">i", inner[nf.NFTA_VERDICT_CODE])[0]
    chain = inner.get(nf.NFTA_VERDICT_CHAIN)
    return ex.Verdict(_NAMES[code], string(chain) if chain else None)  # type: ignore[arg-type]


def _name(table: dict[str, int], raw: bytes) -> Any:
    number = int.from_bytes(raw, "big")
    return next(name for name, known in table.items() if known == number)


_Encode = Callable[[Any], tuple[bytes, ...]]
_Decode = Callable[[Attrs], ex.Expr | None]
_ENCODE: dict[type[ex.Expr], tuple[str, _Encode]] = {}
_DECODE: dict[str, list[_Decode]] = {}


def _codec(
    kind: type[E], name: str, encode: Callable[[E], tuple[bytes, ...]], decode: _Decode
) -> None:
    """Several of ours may be one of the kernel's; the first that knows its attributes takes it."""
    _ENCODE[kind] = (name, encode)
    _DECODE.setdefault(name, []).append(decode)


def encode(expr: ex.Expr) -> bytes:
    """One expression as an element of a rule's list."""
    name, parts = _ENCODE[type(expr)]
    return nest(
        nf.NFTA_LIST_ELEM,
        text(nf.NFTA_EXPR_NAME, name),
        nest(nf.NFTA_EXPR_DATA, *parts(expr)),
    )


def decode(raw: bytes) -> ex.Expr | None:
    """Back from :func:`encode`; ``None`` is one that we never make."""
    outer = attributes(raw)
    data = attributes(outer.get(nf.NFTA_EXPR_DATA, b""))
    for decoder in _DECODE.get(string(outer[nf.NFTA_EXPR_NAME]), ()):
        try:
            found = decoder(data)
        except (KeyError, StopIteration):
            continue
        if found is not None:
            return found
    return None


@lru_cache(maxsize=1024)  # most rules are made of the same few
def read(raw: bytes) -> ex.Expr:
    """The same where it must not be taken for another one: what has more to it than what we make
    is :class:`~cnidaria.kernel.objects.nftexpr.Unknown`.
    """
    found = decode(raw)
    told = isinstance(found, ex.Verdict | ex.Counter)  # with all that there is to them
    if found is not None and (told or _is_whole(raw, found)):
        return found
    outer = attributes(raw)
    return ex.Unknown(string(outer[nf.NFTA_EXPR_NAME]), outer.get(nf.NFTA_EXPR_DATA, b""))


def _is_whole(raw: bytes, found: ex.Expr) -> bool:
    """Whether the kernel says of it what we say; it tells more than that where that is 0."""
    (_, made), *_ = attribute_list(encode(found))
    have, want = (attributes(attributes(one).get(nf.NFTA_EXPR_DATA, b"")) for one in (raw, made))
    return all(want.get(key, bytes(len(value))) == value for key, value in have.items())


_codec(
    ex.Meta,
    "meta",
    lambda e: (
        be32(nf.NFTA_META_KEY, nf.META_KEYS[e.key]),
        be32(nf.NFTA_META_DREG, register(e.slot)),
    ),
    lambda a: ex.Meta(_name(nf.META_KEYS, a[nf.NFTA_META_KEY]), slot_of(a[nf.NFTA_META_DREG])),
)
_codec(
    ex.MetaSet,
    "meta",
    lambda e: (
        be32(nf.NFTA_META_KEY, nf.META_KEYS[e.key]),
        be32(nf.NFTA_META_SREG, register(e.slot)),
    ),
    lambda a: ex.MetaSet(_name(nf.META_KEYS, a[nf.NFTA_META_KEY]), slot_of(a[nf.NFTA_META_SREG])),
)
_codec(
    ex.Payload,
    "payload",
    lambda e: (
        be32(nf.NFTA_PAYLOAD_DREG, register(e.slot)),
        be32(nf.NFTA_PAYLOAD_BASE, nf.PAYLOAD_BASES[e.base]),
        be32(nf.NFTA_PAYLOAD_OFFSET, e.offset),
        be32(nf.NFTA_PAYLOAD_LEN, e.length),
    ),
    lambda a: ex.Payload(
        _name(nf.PAYLOAD_BASES, a[nf.NFTA_PAYLOAD_BASE]),
        int.from_bytes(a[nf.NFTA_PAYLOAD_OFFSET], "big"),
        int.from_bytes(a[nf.NFTA_PAYLOAD_LEN], "big"),
        slot_of(a[nf.NFTA_PAYLOAD_DREG]),
    ),
)


def _encode_ct(e: ex.Ct) -> tuple[bytes, ...]:
    parts = (
        be32(nf.NFTA_CT_KEY, nf.CT_KEYS[e.key]),
        be32(nf.NFTA_CT_DREG, register(e.slot)),
    )
    if e.direction is None:
        return parts
    return (*parts, u8(nf.NFTA_CT_DIRECTION, nf.CT_DIRECTIONS[e.direction]))


_codec(
    ex.Ct,
    "ct",
    _encode_ct,
    lambda a: ex.Ct(
        _name(nf.CT_KEYS, a[nf.NFTA_CT_KEY]),
        slot_of(a[nf.NFTA_CT_DREG]),
        _name(nf.CT_DIRECTIONS, a[nf.NFTA_CT_DIRECTION]) if nf.NFTA_CT_DIRECTION in a else None,
    ),
)
_codec(
    ex.CtSet,
    "ct",
    lambda e: (
        be32(nf.NFTA_CT_KEY, nf.CT_KEYS[e.key]),
        be32(nf.NFTA_CT_SREG, register(e.slot)),
    ),
    lambda a: ex.CtSet(_name(nf.CT_KEYS, a[nf.NFTA_CT_KEY]), slot_of(a[nf.NFTA_CT_SREG])),
)


def _encode_fib(e: ex.Fib) -> tuple[bytes, ...]:
    flags = sum(nf.FIB_FLAGS[flag] for flag in e.flags) | e.present * nf.NFTA_FIB_F_PRESENT
    return (
        be32(nf.NFTA_FIB_DREG, register(e.slot)),
        be32(nf.NFTA_FIB_RESULT, nf.FIB_RESULTS[e.result]),
        be32(nf.NFTA_FIB_FLAGS, flags),
    )


def _decode_fib(a: Attrs) -> ex.Fib:
    flags = int.from_bytes(a[nf.NFTA_FIB_FLAGS], "big")
    names: Any = tuple(name for name, bit in nf.FIB_FLAGS.items() if flags & bit)
    return ex.Fib(
        names,
        _name(nf.FIB_RESULTS, a[nf.NFTA_FIB_RESULT]),
        bool(flags & nf.NFTA_FIB_F_PRESENT),
        slot_of(a[nf.NFTA_FIB_DREG]),
    )


_codec(ex.Fib, "fib", _encode_fib, _decode_fib)
_codec(
    ex.Bitwise,
    "bitwise",
    lambda e: (
        be32(nf.NFTA_BITWISE_SREG, register(e.slot)),
        be32(nf.NFTA_BITWISE_DREG, register(e.slot)),
        be32(nf.NFTA_BITWISE_LEN, len(e.mask)),
        value(nf.NFTA_BITWISE_MASK, e.mask),
        value(nf.NFTA_BITWISE_XOR, e.xor),
    ),
    lambda a: ex.Bitwise(
        value_of(a[nf.NFTA_BITWISE_MASK]),
        value_of(a[nf.NFTA_BITWISE_XOR]),
        slot_of(a[nf.NFTA_BITWISE_SREG]),
    ),
)
_codec(
    ex.Byteorder,
    "byteorder",
    lambda e: (
        be32(nf.NFTA_BYTEORDER_SREG, register(e.slot)),
        be32(nf.NFTA_BYTEORDER_DREG, register(e.slot)),
        be32(nf.NFTA_BYTEORDER_OP, nf.NFT_BYTEORDER_HTON),
        be32(nf.NFTA_BYTEORDER_LEN, e.length),
        be32(nf.NFTA_BYTEORDER_SIZE, e.length),
    ),
    lambda a: ex.Byteorder(
        int.from_bytes(a[nf.NFTA_BYTEORDER_LEN], "big"), slot_of(a[nf.NFTA_BYTEORDER_SREG])
    ),
)
_codec(
    ex.Cmp,
    "cmp",
    lambda e: (
        be32(nf.NFTA_CMP_SREG, register(e.slot)),
        be32(nf.NFTA_CMP_OP, nf.CMP_OPS[e.op]),
        value(nf.NFTA_CMP_DATA, e.data),
    ),
    lambda a: ex.Cmp(
        _name(nf.CMP_OPS, a[nf.NFTA_CMP_OP]),
        value_of(a[nf.NFTA_CMP_DATA]),
        slot_of(a[nf.NFTA_CMP_SREG]),
    ),
)
_codec(
    ex.Range,
    "range",
    lambda e: (
        be32(nf.NFTA_RANGE_SREG, register(e.slot)),
        be32(nf.NFTA_RANGE_OP, nf.CMP_OPS[e.op]),
        value(nf.NFTA_RANGE_FROM_DATA, e.first),
        value(nf.NFTA_RANGE_TO_DATA, e.last),
    ),
    lambda a: ex.Range(
        _name(nf.CMP_OPS, a[nf.NFTA_RANGE_OP]),
        value_of(a[nf.NFTA_RANGE_FROM_DATA]),
        value_of(a[nf.NFTA_RANGE_TO_DATA]),
        slot_of(a[nf.NFTA_RANGE_SREG]),
    ),
)


def _encode_lookup(e: ex.Lookup) -> tuple[bytes, ...]:
    parts = [text(nf.NFTA_LOOKUP_SET, e.set), be32(nf.NFTA_LOOKUP_SREG, register(e.slot))]
    if e.to is not None:
        to = _VERDICT_REGISTER if e.to == "verdict" else register(e.to)
        parts.append(be32(nf.NFTA_LOOKUP_DREG, to))
    if e.invert:
        parts.append(be32(nf.NFTA_LOOKUP_FLAGS, nf.NFT_LOOKUP_F_INV))
    return tuple(parts)


def _decode_lookup(a: Attrs) -> ex.Lookup:
    to: Any = None
    if nf.NFTA_LOOKUP_DREG in a:
        raw = a[nf.NFTA_LOOKUP_DREG]
        to = slot_of(raw) if any(raw) else "verdict"
    flags = int.from_bytes(a.get(nf.NFTA_LOOKUP_FLAGS, b""), "big")
    return ex.Lookup(
        string(a[nf.NFTA_LOOKUP_SET]),
        slot_of(a[nf.NFTA_LOOKUP_SREG]),
        bool(flags & nf.NFT_LOOKUP_F_INV),
        to,
    )


_codec(ex.Lookup, "lookup", _encode_lookup, _decode_lookup)
_codec(
    ex.Verdict,
    "immediate",
    lambda e: (
        be32(nf.NFTA_IMMEDIATE_DREG, _VERDICT_REGISTER),
        verdict(nf.NFTA_IMMEDIATE_DATA, e),
    ),
    lambda a: verdict_of(a[nf.NFTA_IMMEDIATE_DATA]),
)
_codec(
    ex.Immediate,
    "immediate",
    lambda e: (
        be32(nf.NFTA_IMMEDIATE_DREG, register(e.slot)),
        value(nf.NFTA_IMMEDIATE_DATA, e.data),
    ),
    lambda a: ex.Immediate(value_of(a[nf.NFTA_IMMEDIATE_DATA]), slot_of(a[nf.NFTA_IMMEDIATE_DREG])),
)
_codec(
    ex.Counter,
    "counter",
    lambda _: (be64(nf.NFTA_COUNTER_BYTES, 0), be64(nf.NFTA_COUNTER_PACKETS, 0)),
    lambda _: ex.Counter(),
)
_codec(
    ex.Masquerade,
    "masq",
    lambda e: (
        (be32(nf.NFTA_MASQ_FLAGS, nf.NF_NAT_RANGE_PROTO_RANDOM_FULLY),) if e.fully_random else ()
    ),
    lambda a: ex.Masquerade(
        int.from_bytes(a.get(nf.NFTA_MASQ_FLAGS, b""), "big") == nf.NF_NAT_RANGE_PROTO_RANDOM_FULLY
    ),
)


def _encode_nat(e: ex.Nat) -> tuple[bytes, ...]:
    slots = (
        (nf.NFTA_NAT_REG_ADDR_MIN, e.address),
        (nf.NFTA_NAT_REG_ADDR_MAX, e.address),
        (nf.NFTA_NAT_REG_PROTO_MIN, e.port),
        (nf.NFTA_NAT_REG_PROTO_MAX, e.port),
    )
    flags = nf.NF_NAT_RANGE_MAP_IPS * (e.address is not None)
    flags |= nf.NF_NAT_RANGE_PROTO_SPECIFIED * (e.port is not None)
    return (
        be32(nf.NFTA_NAT_TYPE, nf.NAT_TYPES[e.type]),
        be32(nf.NFTA_NAT_FAMILY, nf.FAMILIES[e.family]),
        *(be32(kind, register(slot)) for kind, slot in slots if slot is not None),
        be32(nf.NFTA_NAT_FLAGS, flags),
    )


def _decode_nat(a: Attrs) -> ex.Nat:
    def slot(kind: int) -> int | None:
        return slot_of(a[kind]) if kind in a else None

    return ex.Nat(
        _name(nf.NAT_TYPES, a[nf.NFTA_NAT_TYPE]),
        _name(nf.FAMILIES, a[nf.NFTA_NAT_FAMILY]),
        slot(nf.NFTA_NAT_REG_ADDR_MIN),
        slot(nf.NFTA_NAT_REG_PROTO_MIN),
    )


_codec(ex.Nat, "nat", _encode_nat, _decode_nat)


def _encode_reject(e: ex.Reject) -> tuple[bytes, ...]:
    kind = be32(nf.NFTA_REJECT_TYPE, nf.REJECT_TYPES[e.type])
    return (kind,) if e.type == "tcp-reset" else (kind, u8(nf.NFTA_REJECT_ICMP_CODE, e.code))


def _decode_reject(a: Attrs) -> ex.Reject:
    kind = _name(nf.REJECT_TYPES, a[nf.NFTA_REJECT_TYPE])
    return (
        ex.Reject(kind) if kind == "tcp-reset" else ex.Reject(kind, a[nf.NFTA_REJECT_ICMP_CODE][0])
    )


_codec(
    ex.Reject,
    "reject",
    _encode_reject,
    _decode_reject,
)


def _encode_log(e: ex.Log) -> tuple[bytes, ...]:
    parts = (text(nf.NFTA_LOG_PREFIX, e.prefix),) if e.prefix else ()
    if e.group is None:
        return (*parts, be32(nf.NFTA_LOG_LEVEL, nf.NFT_LOGLEVEL_WARNING))
    return (be16(nf.NFTA_LOG_GROUP, e.group), *parts, be32(nf.NFTA_LOG_SNAPLEN, e.snaplen))


def _decode_log(a: Attrs) -> ex.Log:
    group = int.from_bytes(a[nf.NFTA_LOG_GROUP], "big") if nf.NFTA_LOG_GROUP in a else None
    snaplen = int.from_bytes(a.get(nf.NFTA_LOG_SNAPLEN, b""), "big")
    return ex.Log(string(a.get(nf.NFTA_LOG_PREFIX, b"")), group, snaplen)


_codec(ex.Log, "log", _encode_log, _decode_log)
_codec(
    ex.Limit,
    "limit",
    lambda e: (
        be64(nf.NFTA_LIMIT_RATE, e.rate),
        be64(nf.NFTA_LIMIT_UNIT, e.seconds),
        be32(nf.NFTA_LIMIT_BURST, e.burst),
        be32(nf.NFTA_LIMIT_TYPE, nf.NFT_LIMIT_PKTS),
    ),
    lambda a: ex.Limit(
        *(
            int.from_bytes(a[kind], "big")
            for kind in (nf.NFTA_LIMIT_RATE, nf.NFTA_LIMIT_UNIT, nf.NFTA_LIMIT_BURST)
        )
    ),
)
_codec(ex.Notrack, "notrack", lambda _: (), lambda _: ex.Notrack())
