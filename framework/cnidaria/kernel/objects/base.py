"""What all declared objects have in common, and how they travel as plain data."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec.structs import force_setattr

Where = Literal["host", "pod"]
"""The caller's network namespace, or the pod's."""

End = tuple[str, str]
"""Which of the two namespaces, and the name of a link in it."""

_T = TypeVar("_T")
_Kind = TypeVar("_Kind", bound="type[Object]")


def _tag(class_name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", class_name).lower()


class Object(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag=_tag,
    tag_field="kind",
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """One thing that must be in the kernel. Immutable, compared by value.

    Attributes:
        where: the namespace it lives in.
    """

    where: Where = "host"

    #: Fields where ``None`` means "whatever the kernel chose".
    LOOSE: ClassVar[frozenset[str]] = frozenset()

    #: Of a kind that is not built in: its :class:`cnidaria.kernel.driver.Driver`.
    DRIVER: ClassVar[Any] = None

    @property
    def kind(self) -> str:
        """Its name in the wire form, as ``route`` or ``nft_set``."""
        return str(self.__struct_config__.tag)

    @property
    def key(self) -> tuple[Any, ...]:
        """Its identity in its namespace: two objects of the same key cannot both be there."""
        raise NotImplementedError(f"{type(self).__name__}.key")

    def __hash__(self) -> int:
        """Of its place: what it has there may be of any kind."""
        return hash((self.where, self.key))

    def ends(self) -> tuple[End, ...]:
        """All ends of the link that it makes; none if it makes no link."""
        return ()

    def names(self) -> tuple[str, ...]:
        """Names of the links that it makes in its own namespace."""
        return tuple(name for where, name in self.ends() if where == self.where)

    def on(self) -> tuple[str, ...]:
        """Names of the links, in its own namespace, that it goes away with."""
        return ()

    def parents(self) -> tuple[tuple[Any, ...], ...]:
        """Keys of the objects of its namespace that it goes away with."""
        return tuple(("link", name) for name in self.on())

    def _canonical(self, field: str, check: Callable[[str, _T], _T]) -> None:
        """Check a field that is set, and put it into its one spelling."""
        value = getattr(self, field)
        if value is not None:
            self._set(field, check(f"{type(self).__name__}.{field}", value))

    def _set(self, field: str, value: object) -> None:
        """Only while being made: an object never changes afterwards."""
        force_setattr(self, field, value)


_KINDS: dict[str, type[Object]] = {}


def register(kind: _Kind) -> _Kind:
    """Make a kind known to :func:`from_wire`; usable as a decorator.

    Raises:
        ValueError: it is no kind of object, or another has its name.
    """
    if not issubclass(kind, Object):
        raise ValueError(f"{kind!r}: must be a subclass of Object")
    name = str(kind.__struct_config__.tag)
    if _KINDS.setdefault(name, kind) is not kind:
        raise ValueError(f"two kinds of objects are named {name!r}: {_KINDS[name]!r} and {kind!r}")
    return kind


def kinds_with_drivers() -> list[type[Object]]:
    """The registered kinds that are not built in: those that bring a driver."""
    return [kind for kind in _KINDS.values() if kind.DRIVER is not None]


def to_wire(obj: Object) -> dict[str, Any]:
    """As plain data (dict, list, str, int, bytes) for the journal; ``kind`` says what it is."""
    wire: dict[str, Any] = msgspec.to_builtins(obj, builtin_types=(bytes,))
    return wire


def from_wire(wire: dict[str, Any]) -> Object:
    """The object that :func:`to_wire` made this of.

    Raises:
        ValueError: unknown kind, or not what that kind takes.
    """
    kind = _KINDS.get(wire.get("kind", ""))
    if kind is None:
        raise ValueError(f"kind = {wire.get('kind')!r}: must be one of {', '.join(sorted(_KINDS))}")
    try:
        return msgspec.convert(wire, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{wire.get('kind')}: {error}") from error
