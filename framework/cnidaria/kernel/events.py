"""What changes in a namespace, whoever changes it: netlink's multicast groups."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from cnidaria.kernel import codec, linkinfo, nftuapi, routes, uapi
from cnidaria.kernel.codec import Part
from cnidaria.kernel.entries import Addresses, FdbEntries, Neighbours, Rules
from cnidaria.kernel.netns import NetNS
from cnidaria.kernel.nftmessages import FAMILY_NAMES, NFGENMSG
from cnidaria.kernel.objects import TABLES
from cnidaria.kernel.session import Session

_GROUPS: Final = {
    uapi.NETLINK_ROUTE: (
        uapi.RTNLGRP_LINK,
        uapi.RTNLGRP_NEIGH,
        uapi.RTNLGRP_IPV4_IFADDR,
        uapi.RTNLGRP_IPV4_ROUTE,
        uapi.RTNLGRP_IPV4_RULE,
        uapi.RTNLGRP_IPV6_IFADDR,
        uapi.RTNLGRP_IPV6_ROUTE,
        uapi.RTNLGRP_IPV6_RULE,
    ),
    uapi.NETLINK_NETFILTER: (nftuapi.NFNLGRP_NFTABLES,),
}
_RECEIVE = 1 << 22
_BUFFER = 1 << 16
_MESSAGES = 1000
"""Read at once at most, so that nobody is kept waiting."""

_NEWGEN = 15  # NFT_MSG_NEWGEN: a transaction's end, of no table


@dataclass(frozen=True, slots=True)
class Event:
    """Something changed.

    Attributes:
        key: of the object in whose place it changed (:attr:`Object.key`); of nftables always the
            table's. ``()``: events were lost, anything may have changed.
        removed: it is there no more.
        ours: it bears our mark, or bore it.
    """

    key: tuple[Any, ...]
    removed: bool = False
    ours: bool = False


LOST: Final = Event(())


class Events:
    """A subscription to everything that can be declared, in one namespace.

    What goes with a link that is removed or set down is often not told by itself, IPv4 routes
    never: a link's event stands for all that is on it.

    Args:
        namespace: stays the caller's, and must be open as long as this is.

    Raises:
        OSError: the namespace cannot be entered.
    """

    def __init__(self, namespace: NetNS) -> None:
        self._namespace = namespace
        self._buffer = bytearray(_BUFFER)
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        try:
            for protocol, groups in _GROUPS.items():
                self._open(protocol, groups)
        except BaseException:
            self.close()
            raise

    def _open(self, protocol: int, groups: tuple[int, ...]) -> None:
        try:
            sock = self._namespace.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        except OSError as error:
            if protocol == uapi.NETLINK_NETFILTER and error.errno == errno.EPROTONOSUPPORT:
                return  # a kernel without nftables has no changes of them
            raise
        self._sockets[sock.fileno()] = sock
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE)
        with suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE)
        sock.bind((0, 0))  # without an address of its own it would be told nothing
        for group in groups:
            sock.setsockopt(uapi.SOL_NETLINK, uapi.NETLINK_ADD_MEMBERSHIP, group)
        self._poll.register(sock, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when there is something to :meth:`read`: for ``loop.add_reader``."""
        return self._poll.fileno()

    def close(self) -> None:
        """Closing twice is no error."""
        self._poll.close()
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def wait(self, timeout: float) -> bool:
        """Whether something is there to read within so many seconds."""
        return bool(self._poll.poll(timeout, 1))

    def read(self) -> list[Event]:
        """What has come, in order; never blocks. More may be left: see :meth:`fileno`.

        Of several like ones in a row one is told.
        """
        found: dict[Event, None] = {}
        with Session(self._namespace) as session:
            for fd, _ in self._poll.poll(0):
                for part in self._parts(self._sockets[fd]):
                    event = LOST if part is None else _event(session, part)
                    if event:
                        found.pop(event, None)
                        found[event] = None
        return list(found)

    def _parts(self, sock: socket.socket) -> Iterator[Part | None]:
        for _ in range(_MESSAGES):
            try:
                length = sock.recv_into(self._buffer)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield None
                continue
            yield from codec.parts(memoryview(self._buffer)[:length])


_SO_RCVBUFFORCE = 33
_REMOVALS = frozenset(
    {uapi.RTM_DELLINK, uapi.RTM_DELADDR, uapi.RTM_DELROUTE, uapi.RTM_DELNEIGH, uapi.RTM_DELRULE}
)
_DECODERS = {
    uapi.RTM_NEWADDR: Addresses.decode,
    uapi.RTM_NEWROUTE: routes.decode,
    uapi.RTM_NEWRULE: Rules.decode,
}


def _event(session: Session, part: Part) -> Event | None:
    """``None``: of no interest, as a neighbour that was learned."""
    if part.kind >> 8:
        return _nft_event(part)
    removed = part.kind in _REMOVALS
    kind = part.kind - removed
    if kind == uapi.RTM_NEWLINK:
        return _link_event(session, part, removed)
    if kind == uapi.RTM_NEWNEIGH:
        return _neighbour_event(session, part, removed)
    if kind not in _DECODERS:
        return None
    found = _DECODERS[kind](session, part)
    return Event(found.object.key, removed, found.ours) if found else None


def _link_event(session: Session, part: Part, removed: bool) -> Event | None:
    if part.body[0] != socket.AF_UNSPEC:
        return None  # a bridge port's state
    info = linkinfo.decode(part)
    session.forget()
    return Event(("link", info.name), removed, info.ours)


def _neighbour_event(session: Session, part: Part, removed: bool) -> Event | None:
    """What was learned comes and goes all the time: that is told only where it takes a place."""
    try:
        if part.body[0] == socket.AF_BRIDGE:
            return Event(FdbEntries.place(session, part), removed)
        key, ours = Neighbours.place(session, part)
    except KeyError:
        return None
    if ours or (not removed and Neighbours.decode(session, part)):
        return Event(key, removed, ours)
    return None


def _nft_event(part: Part) -> Event | None:
    kind = part.kind & 0xFF
    if part.kind >> 8 != nftuapi.NFNL_SUBSYS_NFTABLES or kind == _NEWGEN:
        return None
    # The first attribute of everything in a table is the table's name.
    raw = codec.attributes(part.body, NFGENMSG.size).get(nftuapi.NFTA_TABLE_NAME)
    if raw is None:
        return None
    name = codec.string(raw)
    family = FAMILY_NAMES.get(part.body[0], "")
    gone = kind == nftuapi.NFT_MSG_DELTABLE
    return Event(("nft_table", family, name), gone, name.startswith(TABLES))
