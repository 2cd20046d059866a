"""Netlink's wire format: messages and attributes to bytes and back (``linux/netlink.h``).

pyroute2 is the slow twin that tests compare this with; docs/decisions/0002 says why it is not
what runs.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from cnidaria.kernel.uapi import NLA_F_NESTED, NLA_TYPE_MASK

_HEADER = Struct("=IHHII")  # length, type, flags, sequence number, port
_ATTR = Struct("=HH")  # length, type
_U16 = Struct("=H")
U32 = Struct("=I")
_I32 = Struct("=i")
HEADER_LENGTH = _HEADER.size
_PAD = (b"", b"\0\0\0", b"\0\0", b"\0")

Attrs = dict[int, bytes]
"""Attributes by number; of several with one number the last."""


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A whole message; ``body`` is the family's header and attributes."""
    return _HEADER.pack(HEADER_LENGTH + len(body), kind, flags, sequence, 0) + body


def attr(kind: int, data: bytes) -> bytes:
    """An attribute, padded to 4 bytes."""
    length = 4 + len(data)
    return _ATTR.pack(length, kind) + data + _PAD[length & 3]


def nest(kind: int, *attrs: bytes) -> bytes:
    """An attribute made of attributes."""
    data = b"".join(attrs)
    return _ATTR.pack(4 + len(data), kind | NLA_F_NESTED) + data


def u8(kind: int, value: int) -> bytes:
    """An attribute of one byte."""
    return attr(kind, bytes((value,)))


def u16(kind: int, value: int) -> bytes:
    """An attribute of 16 bits, host order."""
    return attr(kind, _U16.pack(value))


def u32(kind: int, value: int) -> bytes:
    """An attribute of 32 bits, host order."""
    return attr(kind, U32.pack(value))


def i32(kind: int, value: int) -> bytes:
    """An attribute of 32 bits with a sign, host order."""
    return attr(kind, _I32.pack(value))


def be16(kind: int, value: int) -> bytes:
    """An attribute of 16 bits, network order."""
    return attr(kind, value.to_bytes(2, "big"))


def be32(kind: int, value: int) -> bytes:
    """An attribute of 32 bits, network order."""
    return attr(kind, value.to_bytes(4, "big"))


def be64(kind: int, value: int) -> bytes:
    """An attribute of 64 bits, network order."""
    return attr(kind, value.to_bytes(8, "big"))


def text(kind: int, value: str) -> bytes:
    """An attribute of a text with its terminating zero."""
    return attr(kind, value.encode() + b"\0")


class Part(NamedTuple):
    """One message as it came."""

    kind: int
    flags: int
    sequence: int
    body: bytes


def parts(data: bytes | memoryview) -> Iterator[Part]:
    """The messages of one datagram."""
    data = bytes(data)
    at = 0
    while at + HEADER_LENGTH <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        if length < HEADER_LENGTH:
            return
        yield Part(kind, flags, sequence, data[at + HEADER_LENGTH : at + length])
        at += (length + 3) & ~3


def attributes(data: bytes, at: int = 0) -> Attrs:
    """The attributes from an offset on."""
    return dict(attribute_list(data, at))


def attribute_list(data: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    """The attributes from an offset on, in order, also where one number comes several times."""
    end = len(data)
    while at + 4 <= end:
        length, kind = _ATTR.unpack_from(data, at)
        if length < 4:
            return
        yield kind & NLA_TYPE_MASK, data[at + 4 : at + length]
        at += (length + 3) & ~3


def number(data: bytes) -> int:
    """An unsigned number in host order, of any length."""
    return U32.unpack(data)[0] if len(data) == 4 else int.from_bytes(data, sys.byteorder)


def string(data: bytes) -> str:
    """A text, with or without its terminating zero."""
    return data.rstrip(b"\0").decode(errors="surrogateescape")


@lru_cache(4096)
def packed(address: str) -> bytes:
    """4 or 16 bytes of an IP address."""
    return socket.inet_pton(family(address), address)


def unpacked(raw: bytes) -> str:
    """An IP address of 4 or 16 bytes, canonical."""
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def family(address: str) -> int:
    """``AF_INET`` or ``AF_INET6`` of an address or prefix."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def mac(text_: str) -> bytes:
    """6 bytes of a MAC."""
    return bytes.fromhex(text_.replace(":", ""))
