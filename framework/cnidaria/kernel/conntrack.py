"""Connections that the kernel remembers (``linux/netfilter/nfnetlink_conntrack.h``)."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from cnidaria.kernel import codec, uapi
from cnidaria.kernel.codec import Attrs, attr, attributes, nest
from cnidaria.kernel.errors import KernelError
from cnidaria.kernel.netlink import Request
from cnidaria.kernel.netns import NetNS
from cnidaria.kernel.nftmessages import NFGENMSG
from cnidaria.kernel.session import Session

NFNL_SUBSYS_CTNETLINK = 1
IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE = 1, 2
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY = 1, 2
CTA_ID = 12
CTA_TUPLE_MASTER = 14
CTA_ZONE = 18
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_IP_V4_SRC, CTA_IP_V6_SRC = 1, 3
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT = 1, 2
_GET, _DELETE = (
    NFNL_SUBSYS_CTNETLINK << 8 | one for one in (IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE)
)


class Flow(NamedTuple):
    """A connection between its true ends, whatever NAT makes of it on the way.

    Attributes:
        src: who began it; ``dst``: who answers.
        protocol: IP protocol number.
        port: that ``dst`` answers from; 0 of protocols without ports.
        family, handle: what the kernel knows it by.
        master: the connection that this one belongs to, as data of FTP to its commands; ``None``:
            it stands for itself, or nobody knows that other one any more.
    """

    src: str
    dst: str
    protocol: int
    port: int
    family: int
    handle: bytes
    master: Flow | None = None


def flows(namespace: NetNS, ends: Collection[str]) -> Iterator[Flow]:
    """The connections that begin at, or lead to, one of these addresses.

    Raises:
        KernelError: the kernel does not answer.
    """
    wanted = {codec.packed(one) for one in ends}
    belonging: list[tuple[Flow, bytes]] = []
    with Session(namespace) as session:
        channel = session.channel(uapi.NETLINK_NETFILTER)
        for part in channel.stream(_GET, NFGENMSG.pack(0, 0, 0)):
            attrs = attributes(part.body, NFGENMSG.size)
            reply = attributes(attrs[CTA_TUPLE_REPLY])
            src = _source(attributes(attrs[CTA_TUPLE_ORIG]))
            dst = _source(reply)
            if src in wanted or dst in wanted:
                found = _flow(part.body[0], attrs)
                if CTA_TUPLE_MASTER in attrs:
                    belonging.append((found, _key(attrs, CTA_TUPLE_MASTER)))
                else:
                    yield found
        asked = [Request(_GET, 0, NFGENMSG.pack(one.family, 0, 0) + key) for one, key in belonging]
        for (one, _), answer in zip(belonging, channel.batch(asked), strict=True):
            yield one._replace(master=next(map(_told, answer.parts), None))


def _told(part: codec.Part) -> Flow:
    return _flow(part.body[0], attributes(part.body, NFGENMSG.size))


def _flow(family: int, attrs: Attrs) -> Flow:
    reply = attributes(attrs[CTA_TUPLE_REPLY])
    proto = attributes(reply.get(CTA_TUPLE_PROTO, b""))
    return Flow(
        codec.unpacked(_source(attributes(attrs[CTA_TUPLE_ORIG]))),
        codec.unpacked(_source(reply)),
        proto.get(CTA_PROTO_NUM, b"\0")[0],
        int.from_bytes(proto.get(CTA_PROTO_SRC_PORT, b""), "big"),
        family,
        _handle(attrs),
    )


def _source(tuple_: Attrs) -> bytes:
    addresses = attributes(tuple_[CTA_TUPLE_IP])
    return addresses.get(CTA_IP_V4_SRC) or addresses[CTA_IP_V6_SRC]


def _handle(attrs: Attrs) -> bytes:
    """What was first sent, the zone, and a number that no later connection of these ends has."""
    number = attr(CTA_ID, attrs[CTA_ID]) if CTA_ID in attrs else b""
    return _key(attrs, CTA_TUPLE_ORIG) + number


def _key(attrs: Attrs, which: int) -> bytes:
    """What is first sent by a connection that is named in this attribute, and the zone."""
    zone = attr(CTA_ZONE, attrs[CTA_ZONE]) if CTA_ZONE in attrs else b""
    return nest(CTA_TUPLE_ORIG, _padded(attrs[which])) + zone


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def forget(namespace: NetNS, gone: Iterable[Flow]) -> int:
    """Have the kernel forget connections; how many there still were.

    Raises:
        KernelError: the kernel refuses.
    """
    requests = [Request(_DELETE, 0, NFGENMSG.pack(one.family, 0, 0) + one.handle) for one in gone]
    if not requests:
        return 0
    with Session(namespace) as session:
        answers = session.channel(uapi.NETLINK_NETFILTER).batch(requests)
    for answer in answers:
        if answer.errno not in (0, errno.ENOENT):
            raise KernelError(answer.errno, "cannot end a connection", answer.reason)
    return sum(not answer.errno for answer in answers)
