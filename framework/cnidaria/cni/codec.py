"""JSON as Go's ``encoding/json`` takes it: keys in any letter case, the last of equal keys wins."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from cnidaria.cni.errors import CniError, Code

MAX_BYTES: Final = 1 << 20
"""Longest configuration or result that is read, bytes."""

MAX_DEPTH: Final = 64
"""Deepest nesting of objects and lists."""


def decode(data: bytes, what: str, max_bytes: int = MAX_BYTES) -> Any:
    """Decode JSON.

    Args:
        what: names the input in errors.
        max_bytes: longest input that is looked at.

    Raises:
        CniError: code 6; too long, not UTF-8, not JSON, or nested deeper than :data:`MAX_DEPTH`.
    """
    if len(data) > max_bytes:
        raise _undecodable(what, f"is {len(data)} bytes long; at most {max_bytes} are read")
    try:
        value = msgspec.json.decode(data)
        if _needs_order(value):
            value = _decode_ordered(data)
    except UnicodeDecodeError:
        raise _undecodable(what, "is not UTF-8") from None
    except RecursionError:
        raise _undecodable(what, f"is nested deeper than {MAX_DEPTH} levels") from None
    except msgspec.MsgspecError as error:
        raise _undecodable(what, f"is not valid JSON: {error}") from None
    return value


def decode_object(data: bytes, what: str, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Decode JSON that must be an object. Raises as :func:`decode`."""
    value = decode(data, what, max_bytes)
    if not isinstance(value, dict):
        raise _undecodable(what, f"is {kind(value)}; must be a JSON object")
    return value


@lru_cache(maxsize=1024)
def fold(key: str) -> str:
    """The form in which keys are compared: two keys are the same to Go if these are equal."""
    return key.lower().replace("\u017f", "s")


def folded(raw: Mapping[str, Any]) -> dict[str, Any]:
    """``raw`` with folded keys; of keys that differ in letter case only, the last one wins.

    A ``null`` never wins over a value: Go leaves alone what it has read before.
    """
    found: dict[str, Any] = {}
    for key, value in raw.items():
        name = fold(key)
        found[name] = found.get(name) if value is None else value
    return found


def kind(value: object) -> str:
    """What JSON calls ``value``, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list() | tuple():
            return "a list"
        case _:
            return "an object"


def show(value: object, limit: int = 80) -> str:
    """``value`` as JSON for an error message, cut to ``limit`` characters."""
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        text = ascii(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _undecodable(what: str, problem: str) -> CniError:
    return CniError(Code.DECODING_FAILURE, f"{what} {problem}")


def _needs_order(value: Any) -> bool:
    """Whether an object has keys that differ in letter case only.

    A decoded dict holds a repeated key at its first place; which of two spellings came last is
    then lost.

    Raises:
        RecursionError: nested deeper than :data:`MAX_DEPTH`.
    """
    level: list[Any] = [value]
    clash = False
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                clash = clash or len({fold(key) for key in node}) < len(node)
                below += [item for item in node.values() if isinstance(item, (dict, list))]
            elif isinstance(node, list):
                below += [item for item in node if isinstance(item, (dict, list))]
        if not below:
            return clash
        level = below
    raise RecursionError


def _decode_ordered(data: bytes) -> Any:
    """Decode with every object's keys in the order of their last occurrence."""
    import json

    def last_order(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, item in pairs:
            result.pop(key, None)
            result[key] = item
        return result

    return json.loads(data, object_pairs_hook=last_order)
