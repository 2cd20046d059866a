"""Kubernetes objects in files: YAML or JSON, with the line of whatever is wrong.

YAML is read as :mod:`.documents` tells; no kinds are taken that mean nothing here.  A file with an
error is refused as a whole.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from cnidaria_core import InvalidObject, PolicyEngine

from cnidaria_policy.documents import Path as Place
from cnidaria_policy.documents import Wrong, documents, nearest, steps

NAMESPACED: Final = ("Pod", "NetworkPolicy")
SUFFIXES: Final = (".yaml", ".yml", ".json")
LARGEST: Final = 64 << 20
"""Bytes of a file that are read."""
_CHUNK: Final = 1 << 20

Json = Mapping[str, Any]
Key = tuple[str, str, str]
"""Kind, namespace (``""`` of what has none), name."""


def printable(text: str) -> str:
    """For people's terminals: what cannot be printed is escaped."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def shown(file: Path) -> str:
    """Its name for people."""
    return printable(str(file))


class Refused(Exception):
    """A file that cannot be used; the text names file, line, field and what is allowed."""

    def __init__(self, file: Path, line: int, why: str) -> None:
        super().__init__(printable(f"{file}:{line}: {why}"))
        self.file = file
        self.line = line


@dataclass(frozen=True)
class Manifest:
    """One object of a file, and the line at which it begins."""

    obj: Json
    file: Path
    line: int

    @property
    def key(self) -> Key:
        """What the object is known by."""
        return key_of(self.obj)


def key_of(obj: Json) -> Key:
    """Kind, namespace and name of an object that was accepted."""
    meta = obj["metadata"]
    namespaced = obj["kind"] in NAMESPACED
    return obj["kind"], (meta.get("namespace") or "default") if namespaced else "", meta["name"]


def ports_of(pod: Json) -> Iterator[Json]:
    """The ports of a pod's containers, sidecars among them: what runs as long as the pod does."""
    spec = pod.get("spec") or {}
    sidecars = (
        one for one in spec.get("initContainers") or [] if one.get("restartPolicy") == "Always"
    )
    for container in (*(spec.get("containers") or []), *sidecars):
        yield from container.get("ports") or []


def read(file: Path, *, waits: bool = False) -> list[Manifest]:
    """All objects of a file, each valid by itself.

    Args:
        waits: also read what is no regular file, as a pipe, until its end comes.

    Raises:
        Refused: the first thing that is wrong.
        OSError: the file cannot be read, or is no regular one.
    """
    return parse(file, content(file, waits=waits))


def parse(file: Path, data: bytes) -> list[Manifest]:
    """All objects of a file that says this. Raises :class:`Refused`."""
    return list(_read(file, data))


def content(file: Path, *, waits: bool = False) -> bytes:
    """What a file says: no more than can be right, and of nothing that might have no end, or never
    begin.

    Raises:
        Refused: it is too large.
        OSError: it cannot be read, is no regular file, or somebody is writing it.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY
    if not waits:
        _refuse_irregular(file, file.stat())  # to open a device may do something
        flags |= os.O_NONBLOCK
    fd = os.open(file, flags)
    try:
        found = os.fstat(fd)
        if not waits:
            _refuse_irregular(file, found)  # it may be another one by now
            _refuse_unfinished(file, fd)
        data = bytearray()
        while max(found.st_size, len(data)) <= LARGEST:
            some = os.read(fd, _CHUNK)
            if not some:
                return bytes(data)
            data += some
        raise Refused(file, 1, f"is larger than {LARGEST >> 20} MiB")
    finally:
        os.close(fd)


def _refuse_irregular(file: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is no regular file", str(file))


def _refuse_unfinished(file: Path, fd: int) -> None:
    """Half of a file may be right, too: no policies at all, where it is only just begun.

    A lease says that nobody has it open for writing, and has who wants to wait until ``fd`` is
    closed (fcntl(2)).
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)  # tells that somebody waits; harmless
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise OSError(errno.EBUSY, "is being written", str(file)) from error
        # else it is on a file system that cannot say so, or somebody else's


def _read(file: Path, data: bytes) -> Iterator[Manifest]:
    valid = PolicyEngine(history=1)
    try:
        for number, (value, lines) in enumerate(documents(data)):
            for obj, place in _flat(value):
                line = nearest(lines, place)
                if isinstance(obj, str):  # the engine would take it for JSON
                    raise Refused(file, line, f"{obj[:80]!r}: must be a mapping")
                try:
                    valid.apply(obj)
                except InvalidObject as error:
                    where = _line(data, number, (*place, *steps(error.path)))
                    raise Refused(file, where, str(error)) from error
                except (TypeError, ValueError) as error:
                    raise Refused(file, line, str(error)) from error
                yield Manifest(obj, file, line)
    except Wrong as error:
        raise Refused(file, error.line, str(error)) from error


def _line(data: bytes, number: int, place: Place) -> int:
    """Of a value of a document."""
    found = next(islice(documents(data, lambda one: one == number), number, None))
    return nearest(found.lines, place)


def _flat(document: Any) -> Iterator[tuple[Any, Place]]:
    """An object, or the items of a list, as ``kubectl get -o yaml`` writes them; nothing of an
    empty document.
    """
    kind = document.get("kind") if isinstance(document, dict) else None
    if not isinstance(kind, str) or not kind.endswith("List"):
        if document is not None:
            yield document, ()
        return
    items = document.get("items") or []
    if not isinstance(items, list):
        yield items, ("items",)  # refused, as it is no object
        return
    implied = {} if kind == "List" else {"kind": kind.removesuffix("List")}
    for position, item in enumerate(items):
        whole = {**implied, **item} if isinstance(item, dict) else item
        yield whole, ("items", position)


def line_in(manifest: Manifest, path: str) -> int:
    """The line of a field of an object, as its file is now; the object's, if that has changed."""
    return next(lines_in([(manifest, path)]))


def lines_in(wanted: Sequence[tuple[Manifest, str]]) -> Iterator[int]:
    """As :func:`line_in`, of many: each file is read once."""
    paths: dict[Path, dict[int, list[tuple[Manifest, str]]]] = {}
    for one in wanted:
        paths.setdefault(one[0].file, {}).setdefault(one[0].line, []).append(one)
    found: dict[tuple[Key, str], int] = {}
    for file, asked in paths.items():
        with suppress(OSError, Refused, Wrong):
            for value, lines in documents(content(file), lambda _: True):
                for obj, place in _flat(value):
                    for manifest, path in asked.get(nearest(lines, place), ()):
                        if obj == manifest.obj:
                            found[manifest.key, path] = nearest(lines, (*place, *steps(path)))
    for manifest, path in wanted:
        yield found.get((manifest.key, path), manifest.line)
