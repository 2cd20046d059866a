"""Doing one thing in another network namespace, and coming back."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar

if TYPE_CHECKING:
    import ctypes

T = TypeVar("T")

CLONE_NEWNET: Final = 0x40000000
SELF: Final = "/proc/thread-self/ns/net"
LOST: Final = 70
"""Exit status of a process that could not come back (``EX_SOFTWARE``)."""

log = logging.getLogger(__name__)

if sys.version_info >= (3, 12):
    setns, unshare = os.setns, os.unshare
else:

    def setns(fd: int, nstype: int) -> None:
        """Python's own of 3.12.

        Raises:
            OSError: the namespace cannot be entered.
        """
        import ctypes

        if _libc().setns(fd, nstype):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    def unshare(flags: int) -> None:
        """Python's own of 3.12.

        Raises:
            OSError: no new namespace can be had.
        """
        import ctypes

        if _libc().unshare(flags):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    @cache
    def _libc() -> ctypes.CDLL:
        import ctypes

        return ctypes.CDLL(None, use_errno=True)


def run_in(fd: int, call: Callable[[], T]) -> T:
    """What ``call`` returns or raises in the namespace of ``fd``.

    A thread of several switches itself: 4 times as fast as handing over to another. The main
    thread never does, as ``/proc/self`` shows its namespace to everybody; nor does a thread that
    may not come back, as where the process is root of a user namespace but not of its network.
    Those have a new thread do it, which ends there.

    Raises:
        OSError: the namespace cannot be entered.
    """
    if threading.current_thread() is threading.main_thread():
        return _Errand(fd, call).run()
    home = os.open(SELF, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            setns(home, CLONE_NEWNET)
        except OSError:
            return _Errand(fd, call).run()
        setns(fd, CLONE_NEWNET)
        try:
            return call()
        finally:
            _come_back(home)
    finally:
        os.close(home)


def new_namespace() -> int:
    """A descriptor of a network namespace that nobody else has; the caller's to close.

    Raises:
        OSError: it cannot be made.
    """

    def make() -> int:
        unshare(CLONE_NEWNET)
        return os.open(SELF, os.O_RDONLY | os.O_CLOEXEC)

    with open(SELF, "rb") as here:
        return _Errand(here.fileno(), make).run()


def _come_back(home: int) -> None:
    try:
        setns(home, CLONE_NEWNET)
    except OSError as error:
        _give_up(error)


def _give_up(error: OSError) -> NoReturn:
    """Whatever this thread did next, it would do to a pod. State is safe: see the journal."""
    log.critical("cannot come back from a network namespace: %s", error)
    os._exit(LOST)


class _Errand(Generic[T]):
    """One call in a thread of its own that ends inside the namespace."""

    def __init__(self, fd: int, call: Callable[[], T]) -> None:
        self._fd = fd
        self._call = call
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> T:
        thread = threading.Thread(target=self._go, name="netns", daemon=True)
        thread.start()
        thread.join()
        if self._error is not None:
            raise self._error
        result: T = self._result
        return result

    def _go(self) -> None:
        try:
            setns(self._fd, CLONE_NEWNET)
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001  it is the caller's
            self._error = error
