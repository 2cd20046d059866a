"""A netlink socket: batches with their answers, and dumps that are whole."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from struct import Struct, pack
from typing import NamedTuple

from cnidaria.kernel import codec, uapi
from cnidaria.kernel.codec import Part
from cnidaria.kernel.errors import KernelError
from cnidaria.kernel.netns import NetNS

Hook = Callable[[bytes], None]
"""Called before each step, with what is about to be sent or written."""

_ERROR = Struct("=i")
_BUFFER = 1 << 16  # a dump's datagrams have up to 32 KiB
_RECEIVE = 1 << 20
_SEND = 1 << 20  # the kernel gives what it allows
_OVERHEAD = 64
_BATCH_BYTES = 1 << 15
_BATCH_MESSAGES = 128
_DUMPS = 20
_TIMEOUT = 30  # seconds; the kernel answers before send returns, but for a lack of memory


class Request(NamedTuple):
    """What is asked of the kernel: a message's type, flags, and all after its header."""

    kind: int
    flags: int
    body: bytes


class Answer(NamedTuple):
    """What came of one request: an errno and the kernel's words, or the data it gave."""

    errno: int = 0
    reason: str = ""
    parts: tuple[Part, ...] = ()


_DONE = Answer()


class Channel:
    """One netlink socket. For one user at a time.

    Args:
        sock: a netlink socket; closed with this.
        strict: filters of dumps are checked and obeyed (rtnetlink).
    """

    def __init__(self, sock: socket.socket, *, strict: bool = True) -> None:
        self._sock = sock
        self._sequence = 0
        self._buffer = bytearray(_BUFFER)
        for option in (uapi.NETLINK_EXT_ACK, uapi.NETLINK_CAP_ACK):
            sock.setsockopt(uapi.SOL_NETLINK, option, 1)
        if strict:
            sock.setsockopt(uapi.SOL_NETLINK, uapi.NETLINK_GET_STRICT_CHK, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pack("@ll", _TIMEOUT, 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND)

    @classmethod
    def open(cls, namespace: NetNS, protocol: int) -> Channel:
        """A new one in a namespace.

        Raises:
            OSError: the namespace cannot be entered, or has no such protocol.
        """
        sock = namespace.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        return cls(sock, strict=protocol == uapi.NETLINK_ROUTE)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def batch(self, requests: Sequence[Request], hook: Hook | None = None) -> list[Answer]:
        """Send requests at once and gather their answers; after a failure the rest goes on.

        With a hook they are sent one by one.

        Raises:
            KernelError: the kernel gives no answer.
        """
        answers: list[Answer] = []
        for chunk in _chunks(requests, 1 if hook else _BATCH_MESSAGES):
            first = self._sequence + 1
            self._sequence += len(chunk)
            last = len(chunk) - 1
            data = b"".join(
                codec.message(
                    kind,
                    flags | uapi.NLM_F_REQUEST | (uapi.NLM_F_ACK if n == last else 0),
                    first + n,
                    body,
                )
                for n, (kind, flags, body) in enumerate(chunk)
            )
            if hook:
                hook(data)
            self._send(data)
            answers += self._gather(first, len(chunk))
        return answers

    def dump(self, kind: int, body: bytes) -> list[Part]:
        """All there is, by one consistent dump.

        Raises:
            KernelError: the kernel refuses, or things change too fast.
        """
        for _ in range(_DUMPS):
            self._sequence += 1
            flags = uapi.NLM_F_REQUEST | uapi.NLM_F_DUMP
            self._send(codec.message(kind, flags, self._sequence, body))
            found = self._collect()
            if found is not None:
                return found
        raise KernelError(errno.EINTR, "cannot read the kernel", "it changes too fast")

    def stream(self, kind: int, body: bytes) -> Iterator[Part]:
        """A dump of what changes all the time, as it comes: whole only by luck.

        Raises:
            KernelError: the kernel refuses.
        """
        self._sequence += 1
        self._send(codec.message(kind, uapi.NLM_F_REQUEST | uapi.NLM_F_DUMP, self._sequence, body))
        while True:
            for part in codec.parts(self._receive()):
                if part.sequence != self._sequence:
                    continue
                if part.kind in (uapi.NLMSG_ERROR, uapi.NLMSG_DONE):
                    answer = _answer(part)
                    if answer.errno:
                        raise KernelError(answer.errno, "cannot read the kernel", answer.reason)
                    return
                yield part

    def transaction(
        self, begin: Request, requests: Sequence[Request], end: Request, hook: Hook | None = None
    ) -> list[Answer]:
        """Send requests that are done all or not at all, and gather their answers.

        Where the whole is refused, the first request gets that answer.

        Raises:
            KernelError: the kernel gives no answer; EMSGSIZE: an ordinary user may not send so much
                at once.
        """
        first = self._sequence + 1
        self._sequence += len(requests) + 2
        last = first + len(requests)
        data = b"".join(
            codec.message(
                kind,
                flags | uapi.NLM_F_REQUEST | (uapi.NLM_F_ACK if first + n == last else 0),
                first + n,
                body,
            )
            for n, (kind, flags, body) in enumerate((begin, *requests, end))
        )
        if hook:
            hook(data)
        self._make_room(len(data))
        self._send(data)
        found: dict[int, Answer] = {}
        while not {first, last} & found.keys():
            for part in codec.parts(self._receive()):
                if part.kind == uapi.NLMSG_ERROR and first <= part.sequence <= last:
                    found[part.sequence] = _answer(part)
        whole = found.get(first, _DONE)
        answers = [found.get(first + 1 + n, _DONE) for n in range(len(requests))]
        return [whole, *answers[1:]] if whole.errno else answers

    def _gather(self, first: int, count: int) -> list[Answer]:
        answers = [_DONE] * count
        end = first + count - 1
        while True:
            for part in codec.parts(self._receive()):
                n = part.sequence - first
                if not 0 <= n < count:
                    continue
                if part.kind != uapi.NLMSG_ERROR:
                    answers[n] = Answer(parts=(*answers[n].parts, part))
                    continue
                answer = _answer(part)
                if answer.errno:
                    answers[n] = answer
                if part.sequence == end:
                    return answers

    def _collect(self) -> list[Part] | None:
        found: list[Part] = []
        whole = True
        while True:
            for part in codec.parts(self._receive()):
                if part.sequence != self._sequence:
                    continue
                whole = whole and not part.flags & uapi.NLM_F_DUMP_INTR
                if part.kind in (uapi.NLMSG_ERROR, uapi.NLMSG_DONE):
                    answer = _answer(part)
                    if answer.errno:
                        raise KernelError(answer.errno, "cannot read the kernel", answer.reason)
                    return found if whole else None
                found.append(part)

    def _make_room(self, size: int) -> None:
        """A transaction is one datagram: the socket's buffer must take it."""
        room = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        if size + _OVERHEAD <= room:
            return
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, uapi.SO_SNDBUFFORCE, size + _OVERHEAD)
        except PermissionError:  # not root of the machine: what net.core.wmem_max allows, doubled
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size + _OVERHEAD)
            room = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            if size + _OVERHEAD > room:
                what = f"cannot send a transaction of {size} bytes"
                reason = f"net.core.wmem_max lets {room} pass"
                raise KernelError(errno.EMSGSIZE, what, reason) from None

    def _send(self, data: bytes) -> None:
        try:
            self._sock.send(data)
        except OSError as error:
            raise _no_answer(error) from error

    def _receive(self) -> memoryview:
        try:
            length = self._sock.recv_into(self._buffer, 0, socket.MSG_TRUNC)
        except OSError as error:
            raise _no_answer(error) from error
        if length > len(self._buffer):
            raise KernelError(errno.EMSGSIZE, "cannot read the kernel's answer")
        return memoryview(self._buffer)[:length]


def _no_answer(error: OSError) -> KernelError:
    code = errno.ETIMEDOUT if error.errno == errno.EAGAIN else error.errno or errno.EIO
    return KernelError(code, "cannot talk to the kernel")


def _answer(part: Part) -> Answer:
    """Of ``NLMSG_ERROR`` and ``NLMSG_DONE``: an ack is an error of 0."""
    code = -_ERROR.unpack_from(part.body)[0] if len(part.body) >= _ERROR.size else 0
    if code <= 0:
        return _DONE
    return Answer(code, _reason(part) or os.strerror(code))


def _reason(part: Part) -> str:
    """The extended ack's text."""
    if not part.flags & uapi.NLM_F_ACK_TLVS:
        return ""
    at = 4
    if part.kind == uapi.NLMSG_ERROR:
        echoed = codec.HEADER_LENGTH
        if not part.flags & uapi.NLM_F_CAPPED:
            echoed = codec.number(part.body[4:8])
        at += (echoed + 3) & ~3
    with suppress(KeyError):
        return codec.string(codec.attributes(part.body, at)[uapi.NLMSGERR_ATTR_MSG])
    return ""


def _chunks(requests: Sequence[Request], most: int) -> list[list[Request]]:
    chunks: list[list[Request]] = []
    size = _BATCH_BYTES
    for request in requests:
        length = codec.HEADER_LENGTH + len(request.body) + 3
        if not chunks or len(chunks[-1]) >= most or size + length > _BATCH_BYTES:
            chunks.append([])
            size = 0
        chunks[-1].append(request)
        size += length
    return chunks
