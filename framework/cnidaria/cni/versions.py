"""Versions of the CNI specification: which are spoken, and which verb needs which."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from cnidaria.cni.errors import CURRENT_VERSION, CniError, Code

SUPPORTED: Final = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Every released version, oldest first."""

CURRENT: Final = CURRENT_VERSION
OLDEST: Final = SUPPORTED[0]
"""What a configuration without a ``cniVersion`` is taken for, as libcni does."""

VERBS: Final = ("ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION")

_TOKENS: Final = re.compile(rb'"((?:[^"\\]|\\.)*+)(?:(")|\\?\Z)|[{\[]+|[}\]]+|,+', re.DOTALL)
"""Of JSON, whole or cut: a string, brackets that open or close, commas."""
_DEEPER: Final = {b"{": 1, b"[": 1, b"}": -1, b"]": -1, b",": 0}

_SINCE: Final = {"CHECK": "0.4.0", "STATUS": "1.1.0", "GC": "1.1.0"}
_FAMILIES: Final = (
    frozenset({"0.1.0", "0.2.0"}),
    frozenset({"0.3.0", "0.3.1", "0.4.0"}),
    frozenset({"1.0.0", "1.1.0"}),
)


def parse(version: str) -> tuple[int, int, int]:
    """Major, minor and micro number; missing parts are 0, an empty version is 0.1.0 (as libcni).

    Raises:
        ValueError: not one to three numbers with dots between.
    """
    if not version:
        return (0, 1, 0)
    parts = version.split(".")
    if len(parts) > 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"version {version!r}: must be one to three numbers such as {CURRENT!r}")
    numbers = [int(part) for part in parts] + [0, 0]
    return (numbers[0], numbers[1], numbers[2])


def same_family(a: str, b: str) -> bool:
    """Whether results of the versions ``a`` and ``b`` have the same shape (spec, section 5)."""
    return any(a in family and b in family for family in _FAMILIES)


def gate(verb: str, version: str) -> None:
    """Let ``verb`` through if the configuration's ``version`` is spoken and knows it.

    Raises:
        CniError: code 1, naming both.
    """
    if version not in SUPPORTED:
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            f'cniVersion = "{version}" is not supported',
            f"supported: {', '.join(SUPPORTED)}",
        )
    since = _SINCE.get(verb)
    if since is not None and parse(version) < parse(since):
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            f'cniVersion = "{version}" does not know {verb}',
            f"{verb} needs a cniVersion of {since} or newer",
        )


def version_reply(stdin: bytes = b"") -> bytes:
    """The answer to VERSION: what is spoken, in the version asked with if that is one of them.

    Whatever ``stdin`` is, there is an answer: probing must work for every runtime.
    """
    return msgspec.json.encode({"cniVersion": asked(stdin), "supportedVersions": SUPPORTED})


def asked(stdin: bytes) -> str:
    """The version to answer in: the one that the configuration names if it is spoken, else 1.1.0.

    It is looked for without parsing the rest, since also what is no whole JSON gets an answer.
    Letter case does not matter and the last one counts, as in Go's decoder. The executable has the
    same rule (``core/exec/src/cni.rs``).
    """
    depth, found = 0, b""
    key: bytes | None = None
    for token in _TOKENS.finditer(stdin):
        first = token[0][:1]
        if first != b'"':
            depth, key = max(depth + _DEEPER[first] * len(token[0]), 0), None
        elif token[2] is None:
            break
        elif key is None:
            key = token[1]
        else:
            if depth == 1 and key.lower() == b"cniversion":
                found = token[1]
            key = None
    version = found.decode(errors="replace")
    return version if version in SUPPORTED else CURRENT
