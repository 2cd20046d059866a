"""Numbers that a network namespace has for others (``linux/net_namespace.h``).

The kernel takes a number back when the other namespace ends, so it tells which ones live, also
those that no path and no process leads to from here.
"""

from __future__ import annotations

import sys
from typing import Final

from cnidaria.kernel import uapi
from cnidaria.kernel.codec import Part, attributes, i32
from cnidaria.kernel.errors import KernelError
from cnidaria.kernel.netlink import Request
from cnidaria.kernel.netns import NetNS
from cnidaria.kernel.session import Session

NONE: Final = -1
"""No number, or for the kernel: whichever is free."""

_HEAD: Final = b"\0" * 4  # struct rtgenmsg, padded


def number(namespace: NetNS, other: NetNS) -> int:
    """What ``namespace`` calls ``other``; a number is given where there is none yet.

    :data:`NONE` if that cannot be had, as for a namespace of its own.
    """
    which = i32(uapi.NETNSA_FD, other.fd)
    try:
        with Session(namespace) as session:
            known = _of(session, which)
            if known == NONE and other.cookie != namespace.cookie:
                any_ = i32(uapi.NETNSA_NSID, NONE)
                session.ask(Request(uapi.RTM_NEWNSID, 0, _HEAD + any_ + which))
                known = _of(session, which)
            return known
    except KernelError:
        return NONE


def living(namespace: NetNS) -> frozenset[int]:
    """The numbers that are in use.

    Raises:
        KernelError: the kernel does not answer.
    """
    with Session(namespace) as session:
        return frozenset(map(_number, session.dump(uapi.RTM_GETNSID, _HEAD)))


def _of(session: Session, which: bytes) -> int:
    parts = session.ask(Request(uapi.RTM_GETNSID, 0, _HEAD + which)).parts
    return next(map(_number, parts), NONE)


def _number(part: Part) -> int:
    raw = attributes(part.body, len(_HEAD))[uapi.NETNSA_NSID]
    return int.from_bytes(raw, sys.byteorder, signed=True)
