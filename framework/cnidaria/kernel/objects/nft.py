"""nftables: tables, chains with their rules, sets, maps, and elements."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

import msgspec

from cnidaria.kernel.objects import text
from cnidaria.kernel.objects.base import Object, register
from cnidaria.kernel.objects.nftexpr import AnyExpr, Verdict
from cnidaria.kernel.objects.nfttypes import canonical, data_type

TABLES = "cnidaria"
"""Our tables' names begin with this; no other table is ever touched."""

VERDICT = "verdict"

Family = Literal["inet", "ip", "ip6", "bridge", "netdev", "arp"]
Hook = Literal["prerouting", "input", "forward", "output", "postrouting", "ingress", "egress"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./\\-]{0,254}")
_VERDICTS = ("accept", "drop", "continue", "return", "jump", "goto")
_COMMENT_LIMIT = 128


def _name(where: str, value: str) -> str:
    if not _NAME.fullmatch(value):
        raise text.refuse(where, value, "a letter, then letters, digits and '_./-'")
    return value


def _table(where: str, value: str) -> str:
    if not value.startswith(TABLES):
        raise text.refuse(where, value, f"a name that begins with {TABLES!r}")
    return _name(where, value)


def _check_comment(where: str, value: str) -> None:
    if len(value.encode()) > _COMMENT_LIMIT:
        raise text.refuse(where, value, f"a comment of up to {_COMMENT_LIMIT} bytes")


def as_verdict(where: str, value: str) -> Verdict:
    """A verdict of its text, as ``accept`` or ``jump chain``.

    Raises:
        ValueError: it is none.
    """
    code, _, chain = value.partition(" ")
    try:
        return msgspec.convert({"expr": "verdict", "code": code, "chain": chain or None}, Verdict)
    except msgspec.ValidationError:
        raise text.refuse(where, value, f"one of {', '.join(_VERDICTS)}") from None


@register
class NftTable(Object, frozen=True):
    """A table of ours. Everything in it goes with it."""

    name: str
    family: Family = "inet"

    def __post_init__(self) -> None:
        self._canonical("name", _table)

    @property
    def key(self) -> tuple[Any, ...]:
        """Family and name."""
        return ("nft_table", self.family, self.name)

    def __str__(self) -> str:
        return f"nft table {self.family} {self.name}"


class NftRule(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One rule; made by :func:`cnidaria.plan.expr.rule`."""

    exprs: tuple[AnyExpr, ...]
    comment: str = ""

    def __post_init__(self) -> None:
        _check_comment("NftRule.comment", self.comment)


class _InTable(Object, frozen=True):
    table: str
    name: str

    @property
    def key(self) -> tuple[Any, ...]:
        """Family, table and name."""
        return (self.kind, getattr(self, "family"), self.table, self.name)  # noqa: B009

    def parents(self) -> tuple[tuple[Any, ...], ...]:
        """Its table."""
        return (("nft_table", getattr(self, "family"), self.table),)  # noqa: B009

    def __post_init__(self) -> None:
        self._canonical("table", _table)
        self._canonical("name", _name)


T = TypeVar("T", bound=_InTable)


@register
class NftChain(_InTable, frozen=True):
    """A chain and all its rules, in order: replaced as a whole in one transaction.

    Attributes:
        hook: where packets enter it; ``None``: only by jumps. Then ``type``, ``priority``,
            ``policy`` and ``device`` mean nothing.
        priority: lower is first; nft's names: raw -300, mangle -150, dstnat -100, filter 0,
            security 50, srcnat 100.
        device: of the hooks ``ingress`` and ``egress``.
    """

    family: Family = "inet"
    type: Literal["filter", "nat", "route"] = "filter"
    hook: Hook | None = None
    priority: int = 0
    policy: Literal["accept", "drop"] = "accept"
    device: str | None = None
    rules: tuple[NftRule, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._canonical("device", text.ifname)
        if (self.device is not None) != (self.hook in ("ingress", "egress")):
            raise text.refuse("NftChain.device", self.device, "set for ingress and egress only")
        if self.hook is None:
            for field, default in (("type", "filter"), ("priority", 0), ("policy", "accept")):
                self._set(field, default)

    def __str__(self) -> str:
        return f"nft chain {self.family} {self.table} {self.name}"


@register
class NftSet(_InTable, frozen=True):
    """A set, or a map where ``data`` is not empty.

    Attributes:
        type: of the keys; several are concatenated.
        data: of the values of a map: type names, or ``("verdict",)``.
        interval: keys may be ranges and prefixes.
        content: all its elements: what else is in it is removed, in the same transaction.
            ``None``: its elements are declared by themselves, see :meth:`elements`.
    """

    type: tuple[str, ...]
    data: tuple[str, ...] = ()
    interval: bool = False
    content: tuple[NftElement, ...] | None = None
    family: Family = "inet"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_types(self.type, self.data, type(self).__name__)
        if self.content is not None:
            self._set("content", self.elements(*self.content).elements)

    def holding(self, *elements: NftElement | tuple[str, ...] | str) -> NftSet:
        """The same set with exactly these elements."""
        return msgspec.structs.replace(self, content=tuple(map(_element, elements)))

    def elements(self, *elements: NftElement | tuple[str, ...] | str) -> NftElements:
        """Some elements of this set: texts, tuples of texts (concatenations), or with data."""
        return NftElements(
            self.table,
            self.name,
            tuple(map(_element, elements)),
            type=self.type,
            data=self.data,
            interval=self.interval,
            family=self.family,
            where=self.where,
        )

    def __str__(self) -> str:
        return f"nft {'map' if self.data else 'set'} {self.family} {self.table} {self.name}"


def found_as(kind: type[T], table: str, name: str, **fields: Any) -> T:
    """A chain or set of the kernel, also by a name that may not be declared."""
    made = kind(table, "unnamed", **fields)
    made._set("name", name)
    return made


class NftElement(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A key and, in a map, its value: one text for each type; and a comment for people."""

    key: tuple[str, ...]
    data: tuple[str, ...] = ()
    comment: str = ""

    def __str__(self) -> str:
        key = " . ".join(self.key)
        return f"{key} : {' . '.join(self.data)}" if self.data else key


@register
class NftElements(Object, frozen=True):
    """Some elements of a set or map; others' elements in it are left alone.

    Attributes:
        type, data, interval, family: of the set, as :class:`NftSet` declares them.
    """

    table: str
    set: str
    elements: tuple[NftElement, ...]
    type: tuple[str, ...]
    data: tuple[str, ...] = ()
    interval: bool = False
    family: Family = "inet"

    def __post_init__(self) -> None:
        self._canonical("table", _table)
        self._canonical("set", _name)
        _check_types(self.type, self.data, type(self).__name__)
        made = {self._checked(element): None for element in self.elements}
        self._set("elements", tuple(sorted(made, key=lambda element: element.key)))

    def _checked(self, element: NftElement) -> NftElement:
        where = f"element {element} of {self.set}"
        key = _values(where, self.type, element.key)
        for name, value in zip(self.type, key, strict=True):
            low, high = data_type(where, name).bounds(value)
            if low != high and not self.interval:
                raise text.refuse(where, value, "a single value: the set is without intervals")
        _check_comment(where, element.comment)
        return NftElement(key, _values(where, self.data, element.data), element.comment)

    @property
    def key(self) -> tuple[Any, ...]:
        """Family, table, set, and the keys."""
        keys = tuple(element.key for element in self.elements)
        return ("nft_elements", self.family, self.table, self.set, keys)

    def parents(self) -> tuple[tuple[Any, ...], ...]:
        """Their table and their set."""
        return (
            ("nft_table", self.family, self.table),
            ("nft_set", self.family, self.table, self.set),
        )

    def __str__(self) -> str:
        some = ", ".join(map(str, self.elements[:3])) + (", …" if len(self.elements) > 3 else "")
        return f"elements {{ {some} }} of nft set {self.family} {self.table} {self.set}"


def _check_types(key: Iterable[str], data: tuple[str, ...], where: str) -> None:
    key = tuple(key)
    for name in key:
        data_type(f"{where}.type", name)
    if not key or sum(-(-data_type(where, name).length // 4) for name in key) > 16:
        raise text.refuse(f"{where}.type", key, "one or more types of at most 64 bytes")
    if data != (VERDICT,):
        for name in data:
            data_type(f"{where}.data", name)


def _values(where: str, types: tuple[str, ...], values: tuple[str, ...]) -> tuple[str, ...]:
    if len(types) != len(values):
        raise text.refuse(where, values, f"of {len(types)} values: {' . '.join(types)}")
    if types == (VERDICT,):
        return (str(as_verdict(where, values[0])),)
    return tuple(canonical(where, *pair) for pair in zip(types, values, strict=True))


def _element(given: NftElement | tuple[str, ...] | str) -> NftElement:
    if isinstance(given, NftElement):
        return given
    return NftElement((given,) if isinstance(given, str) else tuple(given))
