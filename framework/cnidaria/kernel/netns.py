"""Network namespaces by file descriptor: opened, told apart, and entered."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, ParamSpec, Protocol, TypeVar

from cnidaria.kernel.enter import CLONE_NEWNET, SELF, new_namespace, run_in


class Closes(Protocol):
    """What can be closed."""

    def close(self) -> None:
        """Let go of it."""


P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=Closes)

SO_NETNS_COOKIE: Final = 71
NS_GET_NSTYPE: Final = 0xB703
_IDLE_SOCKETS: Final = 8


class NotANamespaceError(ValueError):
    """A file that is no network namespace."""


class NetNS:
    """A network namespace, held by a descriptor of its own: it lives while this is open.

    Sockets in it are kept for the next use. All who hold the same namespace share them, so that
    opening a namespace that is open elsewhere costs next to nothing. Thread-safe.

    Attributes:
        fd: the descriptor; -1 once closed.
        path: where it was found, for people; ``None`` if it came as a descriptor.
    """

    def __init__(self, fd: int, path: str | None = None) -> None:
        """Takes over ``fd``, also when it raises.

        Raises:
            NotANamespaceError: it is no network namespace.
            OSError: the descriptor is bad.
        """
        self.path = path
        self.fd = fd
        try:
            _check(fd, path)
            self._shared = _Shared.of(fd)
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, path: str) -> NetNS:
        """The namespace at a path, as ``/run/netns/x`` or ``/proc/PID/ns/net``.

        Nothing but a namespace is ever really opened: no FIFO waits, no device wakes.

        Raises:
            NotANamespaceError: something else is there.
            OSError: nothing is there, or it cannot be had.
        """
        flags = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        peek = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            _check_filesystem(peek, path)
            return cls(os.open(f"/proc/self/fd/{peek}", os.O_RDONLY | flags), path)
        finally:
            os.close(peek)

    @classmethod
    def current(cls) -> NetNS:
        """The calling thread's."""
        return cls(os.open(SELF, os.O_RDONLY | os.O_CLOEXEC))

    @classmethod
    def new(cls) -> NetNS:
        """A new one, which ends with this, if nobody else opens it. Its loopback is down.

        Raises:
            OSError: it cannot be made.
        """
        return cls(new_namespace())

    @classmethod
    def from_fd(cls, fd: int, path: str | None = None) -> NetNS:
        """The namespace of a descriptor, which stays the caller's.

        Raises:
            NotANamespaceError: it is something else.
            OSError: the descriptor is bad.
        """
        return cls(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3), path)

    @property
    def cookie(self) -> int:
        """The kernel's name for it, never used again while the machine runs (Linux 5.14)."""
        return self._shared.cookie(self.fd)

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns or raises, called inside the namespace.

        What it starts, processes and threads, stays inside.

        Raises:
            OSError: the namespace cannot be entered.
        """
        return run_in(self.fd, lambda: function(*args, **kwargs))

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A new socket in the namespace; the caller's to close.

        Raises:
            OSError: no such socket, or the namespace cannot be entered.
        """
        return self.run(socket.socket, family, kind | socket.SOCK_CLOEXEC, protocol)

    @contextmanager
    def borrow(self, protocol: int, make: Callable[[], C]) -> Iterator[C]:
        """A netlink socket that nobody else uses meanwhile: an idle one, or one of ``make``.

        After an exception it is closed: an answer might still be on its way.
        """
        shared = self._shared
        one = shared.take(protocol)
        borrowed: C = make() if one is None else one  # type: ignore[assignment]  # of this protocol
        try:
            yield borrowed
        except BaseException:
            borrowed.close()
            raise
        shared.put(protocol, borrowed)

    def close(self) -> None:
        """Let go of it. Closing twice is no error."""
        self.__dict__.pop("_shared", None)  # first: the inode's number is free with the fd
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> NetNS:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __str__(self) -> str:
        return self.path or f"network namespace {self.__dict__.get('_shared')}"

    def __repr__(self) -> str:
        return f"<NetNS {self} fd {self.fd}>"


class _Shared:
    """What all holders of one namespace share. Its sockets close with the last of them."""

    def __init__(self, inode: int) -> None:
        self.inode = inode
        self._cookie = 0
        self._idle: dict[int, list[Closes]] = {}

    @classmethod
    def of(cls, fd: int) -> _Shared:
        """By inode: while somebody holds the namespace, no other gets its number."""
        stat = os.fstat(fd)
        with _lock:
            shared = _open.get((stat.st_dev, stat.st_ino))
            if shared is None:
                shared = _open[stat.st_dev, stat.st_ino] = cls(stat.st_ino)
            return shared

    def cookie(self, fd: int) -> int:
        """Asked once, of any socket in the namespace."""
        if not self._cookie:
            args = (socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            with run_in(fd, lambda: socket.socket(*args)) as probe:
                raw = probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
            self._cookie = int.from_bytes(raw, "little")
        return self._cookie

    def take(self, protocol: int) -> Closes | None:
        """An idle socket. Lists are atomic to append to and to pop from."""
        try:
            return self._idle[protocol].pop()
        except (KeyError, IndexError):
            return None

    def put(self, protocol: int, one: Closes) -> None:
        """For the next use, unless there are plenty."""
        idle = self._idle.setdefault(protocol, [])
        if len(idle) < _IDLE_SOCKETS:
            idle.append(one)
        else:
            one.close()

    def forget(self) -> None:
        """Close what is idle."""
        for idle in self._idle.values():
            while idle:
                idle.pop().close()

    def __del__(self) -> None:
        self.forget()

    def __str__(self) -> str:
        return f"net:[{self.inode}]"


def _check_filesystem(fd: int, path: str | None) -> None:
    """There is one nsfs in a kernel: what is on another device is no namespace."""
    if os.fstat(fd).st_dev != os.stat(SELF).st_dev:
        raise NotANamespaceError(f"{path or f'fd {fd}'}: must be a network namespace")


def _check(fd: int, path: str | None) -> None:
    _check_filesystem(fd, path)
    if fcntl.ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET:
        raise NotANamespaceError(
            f"{path or f'fd {fd}'}: must be a network namespace, is one of another type"
        )


def _after_fork() -> None:
    """A child must not use its parent's sockets: it would get its answers."""
    global _lock  # noqa: PLW0603  another thread of the parent may hold it
    _lock = threading.Lock()
    for shared in list(_open.values()):
        shared.forget()


_lock = threading.Lock()
_open: weakref.WeakValueDictionary[tuple[int, int], _Shared] = weakref.WeakValueDictionary()
os.register_at_fork(after_in_child=_after_fork)
