"""Kernel settings: files below ``/proc/sys/net``, which show the namespace of who opens them."""

# ruff: noqa: ARG002, D102  what overrides is documented in driver.py
from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from cnidaria.kernel.driver import Driver, Found
from cnidaria.kernel.objects import Object, Sysctl
from cnidaria.kernel.session import Session, refused

ROOT = "/proc/sys"
_LIMIT = 4096  # a page: longer none can be


class Sysctls(Driver[Sysctl]):
    """Written only where the value is another: a read-only ``/proc/sys`` may be right already."""

    def apply(self, session: Session, obj: Sysctl) -> None:
        session.flush()
        try:
            session.namespace.run(_write, obj, session)
        except OSError as error:
            raise refused("add", obj, code=error.errno or errno.EIO) from error

    def withdraw(self, session: Session, obj: Sysctl) -> None:
        """What it was before is not known, and others may rely on what it is."""

    def find(self, session: Session, obj: Sysctl) -> Found | None:
        try:
            value = session.namespace.run(_read, obj)
        except OSError:
            return None
        return Found(Sysctl(obj.name, value or "''", where=obj.where), True)

    def owned(self, session: Session) -> Iterable[Object]:
        return ()


def _open(obj: Sysctl, flags: int) -> int:
    return os.open("/".join((ROOT, *obj.parts)), flags | os.O_CLOEXEC)


def _read(obj: Sysctl) -> str:
    fd = _open(obj, os.O_RDONLY)
    try:
        return " ".join(os.read(fd, _LIMIT).decode(errors="replace").split())
    finally:
        os.close(fd)


def _write(obj: Sysctl, session: Session) -> None:
    if _read(obj) == obj.value:
        return
    if session.hook:
        session.hook(str(obj).encode())
    fd = _open(obj, os.O_WRONLY)
    try:
        os.write(fd, obj.value.encode() + b"\n")
    finally:
        os.close(fd)
