"""A kind of kernel object of one's own: how long the transmit queue of a link is."""

import fcntl
import socket
import struct
from typing import Any, ClassVar

from cnidaria import Object, hookimpl
from cnidaria.kinds import Driver, Found, KernelError, Session

GET, SET = 0x8942, 0x8943  # SIOCGIFTXQLEN, SIOCSIFTXQLEN of linux/sockios.h
IFREQ = struct.Struct("=16si20x")


class Queues(Driver["TxQueue"]):
    def apply(self, session: Session, obj: "TxQueue") -> None:
        session.flush()  # what was declared before must be there: the link
        try:
            session.namespace.run(ask, SET, obj.dev, obj.packets)
        except OSError as error:
            raise KernelError(error.errno or 5, f"cannot add {obj}", object=obj) from error

    def withdraw(self, session: Session, obj: "TxQueue") -> None: ...  # it goes with its link

    def find(self, session: Session, obj: "TxQueue") -> Found | None:
        try:
            packets = session.namespace.run(ask, GET, obj.dev)
        except OSError:
            return None
        return Found(TxQueue(obj.dev, packets, where=obj.where), ours=True)

    def owned(self, session: Session) -> tuple[Object, ...]:
        return ()  # it bears no mark


class TxQueue(Object, frozen=True):
    dev: str
    packets: int

    DRIVER: ClassVar[Any] = Queues()

    @property
    def key(self) -> tuple[str, str]:
        return ("tx_queue", self.dev)

    def on(self) -> tuple[str]:
        return (self.dev,)

    def __str__(self) -> str:
        return f"transmit queue of {self.dev}"


def ask(request: int, dev: str, packets: int = 0) -> int:
    with socket.socket() as any_socket:
        reply = fcntl.ioctl(any_socket, request, IFREQ.pack(dev.encode(), packets))
    return int(IFREQ.unpack(reply)[1])


@hookimpl
def cnidaria_objects() -> list[type[Object]]:
    return [TxQueue]
