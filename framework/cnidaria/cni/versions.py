"""Versions of the CNI specification: which are spoken, and which verb needs which."""

from __future__ import annotations

from typing import Final

import msgspec

from cnidaria.cni.errors import CURRENT_VERSION, CniError, Code

SUPPORTED: Final = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Every released version, oldest first."""

CURRENT: Final = CURRENT_VERSION
OLDEST: Final = SUPPORTED[0]
"""What a configuration without a ``cniVersion`` is taken for, as libcni does."""

VERBS: Final = ("ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION")

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
    """The version to answer in: that of the configuration if it has one that is spoken."""
    try:
        raw = msgspec.json.decode(stdin)
    except (ValueError, RecursionError):
        return CURRENT
    version = raw.get("cniVersion") if isinstance(raw, dict) else None
    return version if isinstance(version, str) and version in SUPPORTED else CURRENT
