"""The agent's Unix socket: frames in, frames out.

Reading and writing is asyncio's; a call itself runs in a worker thread, since the kernel's answers
are waited for there.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
import socket
import stat
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from cnidaria.node.frame import LENGTH, Call, FrameError, Reply, body_length, parse_call

log = logging.getLogger(__name__)

WORKERS = 32
READ_DEADLINE = 10.0
BACKLOG = 512
PAUSE = 0.5
"""Seconds without new calls after there was no descriptor left for one."""
MAX_FDS = 4
_UCRED = struct.Struct("3i")


class Server:
    """Listens on ``path`` (mode 0600) and has ``answer`` answer each call."""

    def __init__(self, path: Path, answer: Callable[[Call], Reply]) -> None:
        self._path = path
        self._answer = answer
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="call")
        self._calls: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._inode = 0

    def listen(self) -> None:
        """Bind and listen; a stale socket of a dead agent is replaced (the state lock is held).

        Raises:
            OSError: the path cannot be bound, or something else than a socket is there.
        """
        self._close()
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                reason = "is no socket; the agent's socket would replace it"
                raise FileExistsError(errno.EEXIST, reason, os.fspath(self._path))
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            listener.bind(os.fspath(self._path))
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(mask)
        listener.listen(BACKLOG)
        self._inode = self._path.stat().st_ino
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def lost(self) -> bool:
        """Whether callers do not find the socket any more."""
        try:
            return self._path.stat().st_ino != self._inode
        except OSError:
            return True

    def _close(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def stop(self) -> None:
        """Take no more calls, finish those under way, remove the socket."""
        if not self.lost():
            self._path.unlink(missing_ok=True)
        self._close()
        if self._calls:
            await asyncio.wait(self._calls)
        self._pool.shutdown()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(BACKLOG):
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("cannot accept a call: %s", error.strerror)
                self._pause(listener)
                return
            connection.setblocking(False)
            task = asyncio.get_running_loop().create_task(self._serve(connection))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    def _answer_unless_gone(self, connection: socket.socket, call: Call) -> Reply | None:
        """In a worker: an ADD that nobody waits for any more would attach for nobody."""
        return None if _hung_up(connection) else self._answer(call)

    def _pause(self, listener: socket.socket) -> None:
        """What waits stays readable: listening on would only turn in a circle."""
        loop = asyncio.get_running_loop()

        def go_on() -> None:
            if self._listener is listener:
                loop.add_reader(listener, self._accept, listener)

        loop.remove_reader(listener)
        loop.call_later(PAUSE, go_on)

    async def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with connection:
            try:
                check_peer(connection)
                call = await asyncio.wait_for(receive(connection), READ_DEADLINE)
                if call is None:
                    return
            except (FrameError, OSError, TimeoutError) as error:
                log.warning("refused a call: %s", error or type(error).__name__)
                return
            try:
                reply = await loop.run_in_executor(
                    self._pool, self._answer_unless_gone, connection, call
                )
                if reply is None:
                    log.warning("the caller of %s went away before its turn", call.name)
                    return
                await asyncio.wait_for(loop.sock_sendall(connection, reply.pack()), READ_DEADLINE)
            except (OSError, TimeoutError) as error:
                log.warning("the caller of %s went away: %s", call.name, error)
            finally:
                call.close()


def _hung_up(connection: socket.socket) -> bool:
    """Whether the other side is gone. It sends nothing after its request, and ends last."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))


def check_peer(connection: socket.socket) -> None:
    """Let root and the agent's own user in.

    Raises:
        FrameError: the peer is somebody else.
    """
    size = _UCRED.size
    pid, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    if uid not in (0, os.geteuid()):
        raise FrameError(f"process {pid} of uid {uid} is neither root nor uid {os.geteuid()}")


async def receive(connection: socket.socket) -> Call | None:
    """Read one request and the descriptors that came with its first bytes.

    ``None`` for somebody who only wanted to know whether an agent listens.

    Raises:
        FrameError: it is not a request, or ends early; descriptors received are closed.
    """
    fds: list[int] = []
    data = bytearray()
    try:
        if not await _fill(connection, data, LENGTH.size, fds):
            return None
        await _fill(connection, data, LENGTH.size + body_length(bytes(data[: LENGTH.size])), fds)
        return parse_call(bytes(data[LENGTH.size :]), fds)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise


async def _fill(connection: socket.socket, data: bytearray, size: int, fds: list[int]) -> bool:
    """Read until ``data`` has ``size`` bytes; false if the other side ends before the first."""
    while len(data) < size:
        try:
            chunk, new, _, _ = socket.recv_fds(
                connection, size - len(data), MAX_FDS, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            await _readable(connection)
            continue
        fds += new
        if not chunk and not data:
            return False
        if not chunk:
            raise FrameError(f"the request ends after {len(data)} of {size} bytes")
        data += chunk
    return True


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)
