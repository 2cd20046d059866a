"""Packets that a rule tells about (``linux/netfilter/nfnetlink_log.h``): NFLOG groups."""

from __future__ import annotations

import errno
import socket
from struct import pack
from typing import NamedTuple

from cnidaria.kernel import codec, uapi
from cnidaria.kernel.codec import attr, attributes, string
from cnidaria.kernel.errors import KernelError
from cnidaria.kernel.netns import NetNS
from cnidaria.kernel.nftmessages import NFGENMSG

NFNL_SUBSYS_ULOG = 4
NFULNL_MSG_PACKET, NFULNL_MSG_CONFIG = 0, 1
NFULA_CFG_CMD, NFULA_CFG_MODE, NFULA_CFG_TIMEOUT, NFULA_CFG_QTHRESH = 1, 2, 4, 5
NFULNL_CFG_CMD_BIND = 1
NFULNL_COPY_PACKET = 2
NFULA_PAYLOAD, NFULA_PREFIX = 9, 10
_BUFFER = 4 << 20


class Told(NamedTuple):
    """One packet: the rule's prefix, and the packet from its IP header on, maybe clipped."""

    prefix: str
    packet: bytes


class Listener:
    """Listens to one group of a namespace; a context manager.

    The kernel does not wait for who listens: what does not fit is lost, and counted.

    Raises:
        KernelError: EPERM: somebody else listens to the group, or one may not.
        OSError: the namespace cannot be entered.

    Attributes:
        lost: how often packets were lost.
    """

    def __init__(self, namespace: NetNS, group: int) -> None:
        self.lost = 0
        self._sock = namespace.socket(socket.AF_NETLINK, socket.SOCK_RAW, uapi.NETLINK_NETFILTER)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        try:
            self._ask(group, attr(NFULA_CFG_CMD, bytes((NFULNL_CFG_CMD_BIND,))))
            copy = attr(NFULA_CFG_MODE, pack(">IBx", 0xFFFF, NFULNL_COPY_PACKET))
            # Tell each at once: a person waits for it.
            self._ask(group, copy + codec.be32(NFULA_CFG_QTHRESH, 1))
        except BaseException:
            self._sock.close()
            raise

    def _ask(self, group: int, body: bytes) -> None:
        kind = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG
        head = NFGENMSG.pack(socket.AF_UNSPEC, 0, group)
        flags = uapi.NLM_F_REQUEST | uapi.NLM_F_ACK
        self._sock.send(codec.message(kind, flags, 1, head + body))
        for part in codec.parts(self._sock.recv(1 << 16)):
            if part.kind == uapi.NLMSG_ERROR:
                code = -int.from_bytes(part.body[:4], "little", signed=True)
                if code:
                    raise KernelError(code, f"cannot listen to NFLOG group {group}")

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Listen no more."""
        self._sock.close()

    def fileno(self) -> int:
        """To wait for."""
        return self._sock.fileno()

    def read(self) -> list[Told]:
        """What has been told since; waits for the first."""
        try:
            data = self._sock.recv(1 << 16)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self.lost += 1
            return []
        return [
            Told(string(attrs.get(NFULA_PREFIX, b"")), attrs.get(NFULA_PAYLOAD, b""))
            for part in codec.parts(data)
            if part.kind == NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET
            for attrs in (attributes(part.body, NFGENMSG.size),)
        ]
