"""The write-ahead journal: what was intended and what was done, in order.

A file of records, each ``[length u32 LE][CRC-32 of the body u32 LE][body: msgpack]``.  The first
one names the boot that the rest belongs to: kernel state does not outlive a boot, so neither does
the journal.  A record is written with one ``write``; what follows the first damaged record is
dropped.  Nothing is synced to disk: after a crash of the machine it is worthless anyway.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from cnidaria.cni.errors import CniError, Code

HEADER: Final = struct.Struct("<II")
MAX_RECORD: Final = 16 << 20
"""Longest record that is believed, bytes: a damaged length must not make us allocate the world."""

FORMAT: Final = 1
NAME: Final = "journal"
NEW: Final = "journal.new"
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

Hook = Callable[[str], None]
"""Called after each change of the file with its name: ``append``, ``compact`` or ``rename``."""


class StateError(CniError):
    """The state directory cannot be used (code 107).

    Attributes:
        path: the file or directory.
        errno: what the system said.
    """

    def __init__(self, path: Path, error: int, doing: str, reason: str = "") -> None:
        name = errno.errorcode.get(error, str(error))
        reason = reason or f"{os.strerror(error)} ({name})"
        super().__init__(Code.STATE_UNAVAILABLE, f"{path}: cannot {doing}: {reason}")
        self.path = path
        self.errno = error

    @classmethod
    def of(cls, error: OSError, path: Path, doing: str) -> StateError:
        """``error`` happened to ``path`` while ``doing``."""
        return cls(path, error.errno or errno.EIO, doing)


def boot_id(source: Path = BOOT_ID) -> str:
    """The kernel's name for this boot.

    Raises:
        StateError: ``/proc`` is not there.
    """
    try:
        return source.read_text("ascii").strip()
    except OSError as error:
        raise StateError.of(error, source, "read the boot id") from error


def frame(record: Any) -> bytes:
    """``record`` as it is written."""
    body = msgspec.msgpack.encode(record)
    return HEADER.pack(len(body), zlib.crc32(body)) + body


def parse(data: bytes) -> tuple[list[Any], int, str]:
    """The records in ``data``, the length of the sound part, and what is wrong behind it."""
    records: list[Any] = []
    at = 0
    while at < len(data):
        body, problem = _body(data, at)
        if not problem:
            try:
                records.append(msgspec.msgpack.decode(body))
            except (ValueError, RecursionError):
                problem = "undecodable"
        if problem:
            return records, at, f"{problem} record at byte {at} of {len(data)}"
        at += HEADER.size + len(body)
    return records, at, ""


def _body(data: bytes, at: int) -> tuple[bytes, str]:
    if len(data) - at < HEADER.size:
        return b"", "torn"
    length, crc = HEADER.unpack_from(data, at)
    start = at + HEADER.size
    if length > MAX_RECORD:
        return b"", "damaged"
    body = data[start : start + length]
    if len(body) < length:
        return b"", "torn"
    return body, "" if zlib.crc32(body) == crc else "damaged"


class Journal:
    """The journal in ``directory``. Not thread-safe, and for one process at a time.

    Args:
        directory: made (0700) where it is missing, when the first record is written.
        boot: the present boot; the kernel's where not given.
        hook: see :data:`Hook`.

    Attributes:
        damage: what :meth:`load` had to drop; empty where everything was sound.
        size: length of the file, bytes.
    """

    def __init__(
        self, directory: Path, *, boot: str | None = None, hook: Hook | None = None
    ) -> None:
        self.path = directory / NAME
        self.damage = ""
        self.size = 0
        self._boot = boot
        self._hook = hook
        self._fd: int | None = None
        self._torn = False

    def load(self) -> list[Any]:
        """All sound records of this boot. Changes nothing.

        Raises:
            StateError: there is a journal and it cannot be read.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StateError.of(error, self.path, "read the journal") from error
        records, self.size, self.damage = parse(data)
        self._torn = self.size < len(data)
        if not records or not self._is_ours(records[0]):
            self.size = 0
            return []
        return records[1:]

    def append(self, record: Any) -> None:
        """Write one record: wholly, or not at all.

        Raises:
            StateError: it cannot be written; the file is as before.
        """
        data = frame(record)
        fd = self._open()
        try:
            if self._torn:
                os.ftruncate(fd, self.size)
                self._torn = False
            written = os.pwrite(fd, data, self.size)
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._torn = True
            self._cut(fd)
            raise StateError.of(error, self.path, "write to the journal") from error
        self.size += len(data)
        self._did("append")

    def compact(self, records: Iterable[Any]) -> None:
        """Replace the whole journal by ``records``.

        Raises:
            StateError: that cannot be done; the file is as before.
        """
        data = b"".join(frame(record) for record in (self._stamp(), *records))
        new = self.path.with_name(NEW)
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError.of(error, new, "make a journal") from error
        try:
            if os.pwrite(fd, data, 0) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._did("compact")
            new.rename(self.path)
        except OSError as error:
            os.close(fd)
            with suppress(OSError):
                new.unlink()
            raise StateError.of(error, new, "write a journal") from error
        self.close()
        self._fd, self.size, self._torn = fd, len(data), False
        self._did("rename")

    def require_writable(self) -> None:
        """See beforehand whether a record could be written, as far as that can be told.

        Raises:
            StateError: it could not.
        """
        place = self.path if self.path.exists() else self.path.parent
        while not place.exists():
            place = place.parent
        try:
            if not os.access(place, os.W_OK):
                system = os.statvfs(place).f_flag & os.ST_RDONLY
                code = errno.EROFS if system else errno.EACCES
                raise OSError(code, os.strerror(code))
            if not os.statvfs(place).f_bavail:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise StateError.of(error, self.path, "write to the journal") from error

    def lost(self) -> bool:
        """Whether somebody removed the file under us: what is written now, nobody will read."""
        return self._fd is not None and os.fstat(self._fd).st_nlink == 0

    def close(self) -> None:
        """Give the file back. A later :meth:`append` opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int:
        if self._fd is None:
            if not self.size:
                self.compact(())
            else:
                try:
                    self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
                except OSError as error:
                    raise StateError.of(error, self.path, "write to the journal") from error
        assert self._fd is not None
        return self._fd

    def _did(self, step: str) -> None:
        if self._hook:
            self._hook(step)

    def _cut(self, fd: int) -> None:
        """Take back half a record; where that fails too, the next append tries again."""
        try:
            os.ftruncate(fd, self.size)
            self._torn = False
        except OSError:
            self._torn = True

    def _stamp(self) -> dict[str, Any]:
        if self._boot is None:
            self._boot = boot_id()
        return {"journal": FORMAT, "boot": self._boot}

    def _is_ours(self, first: Any) -> bool:
        return bool(first == self._stamp())
