"""Kernel settings: files below ``/proc/sys/net``, which show the namespace of who opens them."""

# ruff: noqa: ARG002, D102  what overrides is documented in driver.py
from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

from cnidaria.kernel.driver import Driver, Found
from cnidaria.kernel.objects import Object, Sysctl
from cnidaria.kernel.session import Session, refused

ROOT = Path("/proc/sys")


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


def _path(obj: Sysctl) -> Path:
    return ROOT.joinpath(*obj.parts)


def _read(obj: Sysctl) -> str:
    return " ".join(_path(obj).read_text().split())


def _write(obj: Sysctl, session: Session) -> None:
    if _read(obj) != obj.value:
        if session.hook:
            session.hook(str(obj).encode())
        _path(obj).write_text(obj.value + "\n")
