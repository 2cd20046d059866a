"""Checks JSON against msgspec types, with errors that name key, value and what is allowed.

msgspec's own messages lack the value, and for a union they lack the way to the mistake.  What
passes here is handed to ``msgspec.convert``, which has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import inspect as types

from cnidaria.cni.codec import fold, show

PROBLEM: Final = "cnidaria-problem"
"""Key of ``msgspec.Meta(extra=...)`` that holds a function from value to problem."""

FORM: Final = "cnidaria-form"
"""Key of ``msgspec.Meta(extra=...)`` that says what is allowed, to follow "must be"."""

_MANY: Final = 6
"""So many keys of an object are worth listing in an error."""

_Numbers: TypeAlias = types.IntType | types.FloatType


class Bad(ValueError):
    """What is wrong with a configuration, in one sentence, and ``details`` that may help."""

    def __init__(self, text: str, details: str = "") -> None:
        super().__init__(text)
        self.details = details

    @classmethod
    def value(cls, path: str, value: object, problem: str) -> Bad:
        """``problem`` with the ``value`` at ``path``."""
        return cls(f"{path} = {show(value)}: {problem}" if path else f"{show(value)}: {problem}")


def encoded_names(config_type: type[msgspec.Struct]) -> list[str]:
    """The JSON keys of a struct."""
    return [field.encode_name for field in _struct_info(config_type).fields]


def check_struct(
    config_type: type[msgspec.Struct], raw: Mapping[str, Any], also: Iterable[str] = ()
) -> dict[str, Any]:
    """``raw`` with every key spelled as declared, ready for ``msgspec.convert``.

    Args:
        also: further names that a misspelled key may have meant.

    Raises:
        Bad: the first thing that is wrong.
    """
    return _object(_struct_info(config_type), raw, "", tuple(also))


@cache
def _struct_info(config_type: type[msgspec.Struct]) -> types.StructType:
    info = types.type_info(config_type)
    if not isinstance(info, types.StructType):
        raise TypeError(f"{config_type!r} is not a msgspec.Struct")
    return info


def _check(info: types.Type, value: Any, path: str) -> Any:
    """``value`` as ``msgspec.convert`` takes it for ``info``."""
    if isinstance(info, types.UnionType):
        info = _member(info, value, path)
    if not _accepts(info, value):
        raise Bad.value(path, value, f"must be {_expected(info)}")
    inside = _INSIDE.get(type(info))
    return value if inside is None else inside(info, value, path)


def _dict(info: types.DictType, value: Mapping[str, Any], path: str) -> dict[str, Any]:
    _sized(value, info.min_length, info.max_length, "keys", path)
    return {key: _check(info.value_type, item, f"{path}.{key}") for key, item in value.items()}


def _list(info: types.ListType, value: list[Any], path: str) -> list[Any]:
    _sized(value, info.min_length, info.max_length, "items", path)
    return [_check(info.item_type, item, f"{path}[{i}]") for i, item in enumerate(value)]


def _tuple(info: types.TupleType, value: list[Any], path: str) -> list[Any]:
    pairs = zip(info.item_types, value, strict=True)
    return [_check(kind, item, f"{path}[{i}]") for i, (kind, item) in enumerate(pairs)]


def _number(info: _Numbers, value: float, path: str) -> float:
    if not _in_range(info, value):
        raise Bad.value(path, value, f"must be {_range(info)}")
    return value


def _string(info: types.StrType, value: str, path: str) -> str:
    _sized(value, info.min_length, info.max_length, "characters", path)
    if info.pattern is not None and not re.search(info.pattern, value):
        raise Bad.value(path, value, f"must match {info.pattern}")
    return value


def _object(
    info: types.StructType, raw: Mapping[str, Any], path: str, also: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Check an object's keys. ``null`` counts as absent, as in Go, where it is not a value."""
    fields = {fold(field.encode_name): field for field in info.fields}
    prefix = f"{path}." if path else ""
    found: dict[str, Any] = {}
    for key, value in raw.items():
        field = fields.get(fold(key))
        if field is None:
            if info.tag_field is not None and fold(key) == fold(info.tag_field):
                found[info.tag_field] = value
                continue
            raise _unknown(prefix, key, value, [f.encode_name for f in info.fields], also)
        if value is None and not _accepts(field.type, None):
            continue
        found[field.encode_name] = _check(field.type, value, f"{prefix}{field.encode_name}")
    for field in info.fields:
        if field.required and field.encode_name not in found:
            doc = _description(field.type) or _expected(field.type)
            raise Bad(f'missing key "{prefix}{field.encode_name}": {doc}')
    return found


def _unknown(prefix: str, key: str, value: object, known: list[str], also: tuple[str, ...]) -> Bad:
    from difflib import get_close_matches

    names = {fold(name): name for name in (*also, *known)}
    close = get_close_matches(fold(key), names, n=1)
    hint = f'; did you mean "{prefix}{names[close[0]]}"?' if close else ""
    keys = ", ".join(known) or "none"
    return Bad(
        f'unknown key "{prefix}{key}"{hint}', f"{prefix}{key} = {show(value)}; known keys: {keys}"
    )


def _member(info: types.UnionType, value: Any, path: str) -> types.Type:
    """The member of a union that ``value`` is meant to be."""
    fitting = [member for member in info.types if _accepts(member, value)]
    tagged = [member for member in fitting if isinstance(member, types.StructType)]
    if len(tagged) > 1:
        wanted = {fold(key): item for key, item in value.items()}
        name = str(tagged[0].tag_field)
        chosen = [member for member in tagged if member.tag == wanted.get(fold(name))]
        if not chosen:
            tags = _one_of([member.tag for member in tagged])
            raise Bad.value(f"{path}.{name}", wanted.get(fold(name)), f"must be {tags}")
        return chosen[0]
    if not fitting:
        raise Bad.value(path, value, f"must be {_expected(info)}")
    return fitting[0]


def _accepts(info: types.Type, value: Any) -> bool:
    """Whether ``value`` is of the kind that ``info`` takes; what is inside is not looked at."""
    if isinstance(info, types.Metadata):
        return _accepts(info.type, value)
    if isinstance(info, types.UnionType):
        return any(_accepts(member, value) for member in info.types)
    if isinstance(info, (types.LiteralType, types.EnumType)):
        return any(type(value) is type(one) and value == one for one in _choices(info))
    if isinstance(info, types.TupleType):
        return isinstance(value, list) and len(value) == len(info.item_types)
    python = _PYTHON.get(type(info))
    # A boolean is an int to Python, but not in JSON.
    return python is None or (
        isinstance(value, python) and isinstance(value, bool) == (python is bool)
    )


def _expected(info: types.Type) -> str:
    """What ``info`` takes, to follow "must be"."""
    words = _WORDS.get(type(info), "something else")
    return words if isinstance(words, str) else words(info)


def _any_of(info: types.UnionType) -> str:
    parts = [part for part in info.types if not isinstance(part, types.NoneType)]
    words = ["true", "false"] if types.BoolType() in parts else []
    words += [_expected(part) for part in parts if not isinstance(part, types.BoolType)]
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _keys(info: types.StructType) -> str:
    keys = [f'"{field.encode_name}"' for field in info.fields]
    if not 0 < len(keys) <= _MANY:
        return "an object"
    return f"an object with the key{'s' if keys[1:] else ''} {', '.join(keys)}"


def _with_problem(info: types.Metadata, value: Any, path: str) -> Any:
    checked = _check(info.type, value, path)
    problem = (info.extra or {}).get(PROBLEM)
    text = problem(value) if problem is not None and value is not None else ""
    if text:
        raise Bad.value(path, value, text)
    return checked


def _choices(info: types.LiteralType | types.EnumType) -> list[Any]:
    if isinstance(info, types.LiteralType):
        return list(info.values)
    return [member.value for member in info.cls]


def _one_of(choices: list[Any]) -> str:
    shown = [show(choice) for choice in choices]
    return f"one of {', '.join(shown)}" if shown[1:] else shown[0]


def _in_range(info: _Numbers, value: float) -> bool:
    return not (
        (info.ge is not None and value < info.ge)
        or (info.gt is not None and value <= info.gt)
        or (info.le is not None and value > info.le)
        or (info.lt is not None and value >= info.lt)
        or (info.multiple_of is not None and value % info.multiple_of)
    )


def _range(info: _Numbers) -> str:
    """The limits of a number in words, ``""`` if there are none."""
    if info.ge is not None and info.le is not None:
        limits = [f"between {info.ge} and {info.le}"]
    else:
        words = {
            "at least": info.ge,
            "more than": info.gt,
            "at most": info.le,
            "less than": info.lt,
        }
        limits = [f"{word} {limit}" for word, limit in words.items() if limit is not None]
    if info.multiple_of is not None:
        limits.append(f"a multiple of {info.multiple_of}")
    return " and ".join(limits)


def _sized(value: Any, low: int | None, high: int | None, noun: str, path: str) -> None:
    if low is not None and len(value) < low:
        raise Bad.value(path, value, f"must have at least {low} {noun}, has {len(value)}")
    if high is not None and len(value) > high:
        raise Bad.value(path, value, f"must have at most {high} {noun}, has {len(value)}")


def _description(info: types.Type) -> str:
    """What the author says a value is (``msgspec.Meta(description=...)``)."""
    if isinstance(info, types.UnionType):
        return next(filter(None, map(_description, info.types)), "")
    if not isinstance(info, types.Metadata):
        return ""
    return str((info.extra_json_schema or {}).get("description", "")) or _description(info.type)


_INSIDE: Final[Mapping[type[types.Type], Callable[[Any, Any, str], Any]]] = {
    types.Metadata: _with_problem,
    types.StructType: _object,
    types.DictType: _dict,
    types.ListType: _list,
    types.VarTupleType: _list,
    types.SetType: _list,
    types.FrozenSetType: _list,
    types.TupleType: _tuple,
    types.IntType: _number,
    types.FloatType: _number,
    types.StrType: _string,
}

_PYTHON: Final[Mapping[type[types.Type], type | tuple[type, ...]]] = {
    types.NoneType: type(None),
    types.BoolType: bool,
    types.IntType: int,
    types.FloatType: (int, float),
    types.StrType: str,
    types.StructType: Mapping,
    types.DictType: Mapping,
    types.ListType: list,
    types.VarTupleType: list,
    types.SetType: list,
    types.FrozenSetType: list,
}

_WORDS: Final[Mapping[type[types.Type], str | Callable[[Any], str]]] = {
    types.Metadata: lambda info: str((info.extra or {}).get(FORM, "")) or _expected(info.type),
    types.UnionType: _any_of,
    types.LiteralType: lambda info: _one_of(_choices(info)),
    types.EnumType: lambda info: _one_of(_choices(info)),
    types.StructType: _keys,
    types.NoneType: "null",
    types.BoolType: "true or false",
    types.IntType: lambda info: f"an integer {_range(info)}".rstrip(),
    types.FloatType: lambda info: f"a number {_range(info)}".rstrip(),
    types.StrType: "a string",
    types.DictType: "an object",
    types.TupleType: lambda info: f"a list of {len(info.item_types)} items",
    types.ListType: "a list",
    types.VarTupleType: "a list",
    types.SetType: "a list",
    types.FrozenSetType: "a list",
}
