"""YAML as Kubernetes' own tools read it (sigs.k8s.io/yaml), but strictly.

What comes out is what JSON has: no dates, no infinity, no keys but texts; ``yes``, ``0o17`` and
``8e1`` are what they are there, and ``1:20`` is a text.  What those tools would take for something
else than it looks like, as a key that is twice there, or one that is a number, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from math import isfinite
from typing import Any, Final, NamedTuple

import yaml

DEEPEST: Final = 100
"""Levels of lists and mappings within one another."""
MOST: Final = 5_000_000
"""Values in a document, with aliases written out."""

Path = tuple[str | int, ...]
"""Where a value is: keys and positions, from the document on."""

_CORE: Final = "tag:yaml.org,2002:"
_WORDS: Final[Mapping[str, Any]] = {
    word: value
    for value, words in (
        (None, " ~ null Null NULL"),
        (True, "y Y yes Yes YES true True TRUE on On ON"),
        (False, "n N no No NO false False FALSE off Off OFF"),
        (float("inf"), ".inf .Inf .INF +.inf +.Inf +.INF"),
        (float("-inf"), "-.inf -.Inf -.INF"),
        (float("nan"), ".nan .NaN .NAN"),
    )
    for word in words.split(" ")
}
_NUMERIC: Final = frozenset("+-.0123456789")
_INTEGER: Final = re.compile(
    r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))", re.ASCII
)
_BASES: Final = (16, 2, 8, 10)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "null": (type(None),), "bool": (bool,), "int": (int,), "float": (int, float),
}  # fmt: skip
_OPEN: Final = object()
_MERGE: Final = object()
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


class Wrong(Exception):
    """What cannot be used; the text names the field and what is allowed.

    Attributes:
        line: from 1 on.
    """

    def __init__(self, line: int, why: str, path: Path = ()) -> None:
        super().__init__(f"{written(path)}: {why}" if path else why)
        self.line = line


class Document(NamedTuple):
    """One of a file's documents.

    Attributes:
        value: of JSON's types; what an alias stands for is there once.
        lines: where values begin, from 1 on: those of the first two levels, or all.
    """

    value: Any
    lines: Mapping[Path, int]


def documents(data: bytes, whole: Callable[[int], bool] = lambda _: False) -> Iterator[Document]:
    """All documents of a file, empty ones as ``None``.

    Args:
        whole: of which documents, by their position, all lines are wanted.

    Raises:
        Wrong: the first thing that is wrong.
    """
    numbers = count()
    with _told(data):
        for event in (events := yaml.parse(data, yaml.CSafeLoader)):
            if isinstance(event, yaml.DocumentStartEvent):
                yield _Builder(whole(next(numbers))).build(events)


@contextmanager
def _told(data: bytes) -> Iterator[None]:
    """The reader's own errors as ours."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Wrong(mark.line + 1 if mark else 1, f"is not YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = data.count(b"\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character)
        raise Wrong(line, f"is not YAML: character {code:#04x}: {error.reason}") from error


class _Frame:
    """A list or a mapping that is being read."""

    __slots__ = ("anchor", "before", "inside", "is_key", "key", "merged")

    def __init__(self, inside: Any, anchor: str | None, before: int) -> None:
        self.inside = inside
        self.anchor = anchor
        self.before = before
        self.key: Any = None
        self.is_key = type(inside) is dict
        self.merged: list[dict[str, Any]] | None = None


class _Builder:
    """Makes a document's value out of the events of its reading.

    Args:
        is_whole: all lines are wanted.
    """

    def __init__(self, is_whole: bool) -> None:
        self._levels = DEEPEST if is_whole else 2
        self._lines: dict[Path, int] = {}
        self._frames: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._size = 0

    def build(self, events: Iterator[yaml.Event]) -> Document:
        """Up to the end of the document."""
        value: Any = None
        for event in events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                value = self._scalar(event)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._open(event, {} if kind is yaml.MappingStartEvent else [])
                continue
            elif kind is yaml.AliasEvent:
                value = self._alias(event)
            elif kind is yaml.DocumentEndEvent:
                break
            else:
                value = self._close()
            if self._frames:
                self._put(event, value)
        return Document(value, self._lines)

    def _begin(self, event: Any, is_alias: bool = False) -> None:
        self._size += 1
        if self._size > MOST:
            raise self._wrong(event, f"has more than {MOST} values, with aliases written out")
        if event.anchor in self._anchors and not is_alias:
            raise self._wrong(event, f"the anchor {event.anchor!r} is there twice")
        frames = self._frames
        if len(frames) <= self._levels and not (frames and frames[-1].is_key):
            self._lines[self._path()] = event.start_mark.line + 1

    def _open(self, event: Any, empty: Any) -> None:
        self._begin(event)
        if len(self._frames) >= DEEPEST:
            line = event.start_mark.line + 1
            raise Wrong(line, f"is nested too deeply: more than {DEEPEST} levels")
        tag = f"{_CORE}{'map' if type(empty) is dict else 'seq'}"
        if event.tag not in (None, "!", tag):
            raise self._wrong(event, unusable(event.tag))
        if self._frames and self._frames[-1].is_key:
            raise self._wrong(event, "a list or a mapping is no key: must be a text")
        if event.anchor is not None:
            self._anchors[event.anchor] = _OPEN, 0
        self._frames.append(_Frame(empty, event.anchor, self._size))

    def _close(self) -> Any:
        frame = self._frames.pop()
        value = frame.inside
        if frame.merged is not None:
            merged: dict[str, Any] = {}
            for one in reversed(frame.merged):
                merged.update(one)
            value = {**merged, **value}
        if frame.anchor is not None:
            self._anchors[frame.anchor] = value, 1 + self._size - frame.before
        return value

    def _alias(self, event: Any) -> Any:
        self._begin(event, is_alias=True)
        value, size = self._anchors.get(event.anchor, (None, 0))
        if value is _OPEN:
            raise self._wrong(event, f"the anchor {event.anchor!r} contains itself")
        if not size:
            raise self._wrong(event, f"the anchor {event.anchor!r} is not there before")
        self._size += size - 1
        if self._size > MOST:
            raise self._wrong(event, f"has more than {MOST} values, with aliases written out")
        return value

    def _scalar(self, event: Any) -> Any:
        self._begin(event)
        value = self._meant(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, 1
        return value

    def _meant(self, event: Any) -> Any:
        text, tag = event.value, event.tag
        if tag is None:
            if not event.implicit[0]:
                return text
            if text == "<<" and self._frames and self._frames[-1].is_key:
                return _MERGE
            value = resolved(text)
        elif tag in ("!", f"{_CORE}str"):
            return text
        else:
            value = self._tagged(event, text, tag)
        if type(value) is float and not isfinite(value):
            raise self._wrong(event, f"{text}: must be a number that JSON has")
        return value

    def _tagged(self, event: Any, text: str, tag: str) -> Any:
        types = _TYPES.get(tag.removeprefix(_CORE)) if tag.startswith(_CORE) else None
        if types is None:
            raise self._wrong(event, unusable(tag))
        value = resolved(text)
        if type(value) not in types:
            raise self._wrong(event, f"{text!r} is no {_short(tag)}")
        return value

    def _put(self, event: Any, value: Any) -> None:
        """Into the list or mapping that is being read."""
        frame = self._frames[-1]
        inside = frame.inside
        if type(inside) is list:
            inside.append(value)
        elif frame.is_key:
            is_merge = value is _MERGE
            if type(value) is not str and not is_merge:
                shown = getattr(event, "value", value)
                raise self._wrong(event, f"the key {shown!r} is no text: write it in quotes")
            if value in inside or (is_merge and frame.merged is not None):
                shown = "<<" if is_merge else value
                raise self._wrong(event, f"the key {shown!r} is there twice")
            frame.key = value
            frame.is_key = False
        else:
            if frame.key is _MERGE:
                frame.merged = self._merged(event, value)
            else:
                inside[frame.key] = value
            frame.is_key = True

    def _merged(self, event: Any, value: Any) -> list[dict[str, Any]]:
        several = value if type(value) is list else [value]
        if not all(type(one) is dict for one in several):
            raise self._wrong(event, "<< must be a mapping, or a list of mappings")
        return several

    def _path(self) -> Path:
        """Of the value that comes next."""
        return tuple(
            len(one.inside) if type(one.inside) is list else "<<" if one.key is _MERGE else one.key
            for one in self._frames
            if not one.is_key
        )

    def _wrong(self, event: Any, why: str) -> Wrong:
        return Wrong(event.start_mark.line + 1, why, self._path())


def resolved(text: str) -> Any:
    """What a text without quotes means (goyaml.v2 ``resolve``); whole numbers as ``int``."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC:
        return text
    plain = text.replace("_", "")
    if found := _INTEGER.fullmatch(plain):
        sign, *parts = found.groups()
        (digits, base) = next((one, base) for one, base in zip(parts, _BASES, strict=True) if one)
        if len(digits) <= 64:
            number = int(digits, base)
            if number < 1 << (63 if sign else 64) or (sign == "-" and number == 1 << 63):
                return -number if sign == "-" else number
    if _FLOAT.fullmatch(plain) and isfinite(value := float(plain)):
        # As JSON is written there: without a fraction where there is none.
        return int(value) if value.is_integer() and abs(value) < 1e21 else value
    return text


def unusable(tag: str) -> str:
    """Why a tag is refused."""
    return f"the tag {_short(tag)}: JSON has no such thing; use none, or !!str"


def _short(tag: str) -> str:
    return f"!!{tag.removeprefix(_CORE)}" if tag.startswith(_CORE) else tag


def written(path: Path) -> str:
    """As ``spec.ingress[0].ports``."""
    steps = (f"[{one}]" if isinstance(one, int) else f".{one}" for one in path)
    return "".join(steps).removeprefix(".")


def steps(text: str) -> Path:
    """Back from :func:`written`."""
    return tuple(int(index) if index else name for name, index in _STEP.findall(text))


def nearest(lines: Mapping[Path, int], path: Path) -> int:
    """The line of a value, or of the nearest there is above it."""
    above = (path[:end] for end in range(len(path), -1, -1))
    return next((lines[one] for one in above if one in lines), 1)
