"""Kubernetes objects in files: YAML or JSON, with the line of whatever is wrong.

YAML is read as Kubernetes' own tools read it, but strictly: no key twice, no kinds that mean
nothing here.  A file with an error is refused as a whole.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from cnidaria_core import InvalidObject, PolicyEngine

NAMESPACED: Final = ("Pod", "NetworkPolicy")
SUFFIXES: Final = (".yaml", ".yml", ".json")
LARGEST: Final = 64 << 20
"""Bytes of a file that are read."""
DEEPEST: Final = 100
"""Levels of lists and mappings within one another."""
MOST: Final = 5_000_000
"""Values in a document."""
_CHUNK: Final = 1 << 20
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")

Json = Mapping[str, Any]
Key = tuple[str, str, str]
"""Kind, namespace (``""`` of what has none), name."""


def shown(file: Path) -> str:
    """Its name for people: what cannot be printed is escaped."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(file)
    )


class Refused(Exception):
    """A file that cannot be used; the text names file, line, field and what is allowed."""

    def __init__(self, file: Path, line: int, why: str) -> None:
        super().__init__(f"{shown(file)}:{line}: {why}")
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


class _Loader(yaml.CSafeLoader):
    """JSON's types: a date is a text."""

    yaml_implicit_resolvers = {
        first: [(tag, regexp) for tag, regexp in some if tag != "tag:yaml.org,2002:timestamp"]
        for first, some in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


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
    for node, document in _documents(file, data):
        if document is None:
            continue
        for obj, place in _flat(document, node):
            line = place.start_mark.line + 1
            try:
                valid.apply(obj)
            except InvalidObject as error:
                raise Refused(file, line_of(place, error.path), str(error)) from error
            except (TypeError, ValueError) as error:
                raise Refused(file, line, str(error)) from error
            yield Manifest(obj, file, line)


def _documents(file: Path, data: bytes) -> Iterator[tuple[yaml.Node, Any]]:
    try:
        _refuse_depth(file, data)
        loader = _Loader(data)
        try:
            while loader.check_node():
                node = loader.get_node()
                assert node is not None  # there is one, says check_node
                _check(file, node, {})
                yield node, loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Refused(file, mark.line + 1 if mark else 1, str(error.problem)) from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise Refused(file, 1, f"is not YAML: {error}") from error


def _refuse_depth(file: Path, data: bytes) -> None:
    """libyaml's composer calls itself for each level, until the stack ends."""
    depth = 0
    for event in yaml.parse(data, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                mark = event.start_mark
                raise Refused(file, mark.line + 1 if mark else 1, "is nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check(file: Path, node: yaml.Node, known: dict[int, int]) -> int:
    """How many nodes there are with every alias written out.

    Args:
        known: by ``id``, of what was looked at already.

    Raises:
        Refused: too many, or a key is there twice, of which YAML's readers take the last.
    """
    if id(node) in known:
        return known[id(node)]
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        inner = node.value
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                line = key.start_mark.line + 1
                raise Refused(file, line, f"the key {key.value!r} is there twice")
            seen.add(str(key.value))
            inner.append(value)
    size = 1 + sum(_check(file, one, known) for one in inner)
    if size > MOST:
        line = node.start_mark.line + 1
        raise Refused(file, line, f"has more than {MOST} values, with aliases written out")
    known[id(node)] = size
    return size


def _flat(document: Any, node: yaml.Node) -> Iterator[tuple[Any, yaml.Node]]:
    """An object, or the items of a list, as ``kubectl get -o yaml`` writes them."""
    kind = document.get("kind") if isinstance(document, dict) else None
    if not isinstance(kind, str) or not kind.endswith("List"):
        yield document, node
        return
    items = document.get("items") or []
    if not isinstance(items, list):
        yield items, _child(node, "items") or node  # refused, as it is no object
        return
    places = _child(node, "items")
    implied = {} if kind == "List" else {"kind": kind.removesuffix("List")}
    for position, item in enumerate(items):
        whole = {**implied, **item} if isinstance(item, dict) else item
        yield whole, (places and _child(places, position)) or node


def line_of(node: yaml.Node, path: str) -> int:
    """The line of a field as ``spec.ingress[0].ports``, or of the nearest there is above it."""
    for name, index in _STEP.findall(path):
        inner = _child(node, int(index) if index else name)
        if inner is None:
            break
        node = inner
    return int(node.start_mark.line) + 1


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
        with suppress(OSError, Refused):
            for node, document in _documents(file, content(file)):
                for obj, place in _flat(document, node):
                    for manifest, path in asked.get(place.start_mark.line + 1, ()):
                        if obj == manifest.obj:
                            found[manifest.key, path] = line_of(place, path)
    for manifest, path in wanted:
        yield found.get((manifest.key, path), manifest.line)


def _child(node: yaml.Node, step: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == step:
                return value  # type: ignore[no-any-return]
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step]  # type: ignore[no-any-return]
    return None
