"""What one pod may reach at another: sets of ports, exact, from the compiled tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Literal

from cnidaria_core import PolicyFilter, PolicyTables

Way = Literal["egress", "ingress"]

NAMES: Final = {6: "TCP", 17: "UDP", 132: "SCTP"}
OTHERS: Final = 0
"""Stands for all protocols without ports."""
LAST: Final = 65535

Span = tuple[int, int]
Decided = tuple[int | None, int | None]
"""The filters of the sender's and the receiver's side, ``None``: not restricted."""


@dataclass(frozen=True)
class Ports:
    """A set of ports, and whether protocols without ports belong to it.

    Attributes:
        spans: by IP protocol: ascending, disjoint, not touching, first and last port.
        others: protocols without ports, as ICMP.
    """

    spans: tuple[tuple[int, tuple[Span, ...]], ...]
    others: bool

    @classmethod
    def where(
        cls, allowed: Callable[[int, int], bool], edges: Mapping[int, Iterable[int]]
    ) -> Ports:
        """Those that are allowed.

        Args:
            allowed: of a protocol and port.
            edges: by protocol, the ports at which the answer may change.
        """
        spans = tuple((one, tuple(_spans(allowed, one, edges.get(one, ())))) for one in NAMES)
        return cls(spans, allowed(OTHERS, 0))

    def __bool__(self) -> bool:
        return self.others or any(some for _, some in self.spans)

    @property
    def is_everything(self) -> bool:
        """Whether nothing is missing."""
        return self.others and all(some == ((0, LAST),) for _, some in self.spans)

    def has(self, protocol: int, port: int) -> bool:
        """Whether it belongs to the set."""
        if protocol == OTHERS:
            return self.others
        return any(first <= port <= last for first, last in dict(self.spans)[protocol])

    def edges(self) -> dict[int, list[int]]:
        """Where the answer changes."""
        return {one: [at for a, b in some for at in (a, b + 1)] for one, some in self.spans}

    def less(self, other: Ports) -> Ports:
        """What is here and not there."""
        edges = merged(self.edges(), other.edges())
        return Ports.where(lambda one, at: self.has(one, at) and not other.has(one, at), edges)

    def __str__(self) -> str:
        """As ``TCP 80, 443; UDP 53`` or ``everything``."""
        if self.is_everything:
            return "everything"
        parts = [
            NAMES[one] if some == ((0, LAST),) else f"{NAMES[one]} {', '.join(map(_span, some))}"
            for one, some in self.spans
            if some
        ]
        return "; ".join([*parts, *(["other protocols"] if self.others else [])]) or "nothing"


NOTHING: Final = Ports(tuple((one, ()) for one in NAMES), False)


def _span(span: Span) -> str:
    first, last = span
    return str(first) if first == last else f"{first}-{last}"


def _spans(allowed: Callable[[int, int], bool], protocol: int, edges: Iterable[int]) -> list[Span]:
    found: list[Span] = []
    starts = sorted({0, *(at for at in edges if at <= LAST)})
    for first, after in zip(starts, [*starts[1:], LAST + 1], strict=True):
        if not allowed(protocol, first):
            continue
        if found and found[-1][1] == first - 1:
            found[-1] = found[-1][0], after - 1
        else:
            found.append((first, after - 1))
    return found


def merged(*edges: Mapping[int, Iterable[int]]) -> dict[int, set[int]]:
    """Of several sets."""
    return {one: {at for some in edges for at in some.get(one, ())} for one in NAMES}


class Reach:
    """Answers from compiled tables. What it looks up it keeps."""

    def __init__(self, tables: PolicyTables) -> None:
        self._endpoints = tables.endpoints
        self._subjects = tables.subjects
        self._rows = tables.rows
        self._filters = tables.filters
        self._blocks = [
            (ip_address(first), ip_address(last), one)
            for (first, last), one in tables.blocks.items()
        ]
        self._known: dict[Decided, Ports] = {}

    def classes(self, address: str) -> tuple[int | None, int]:
        """Subject class, ``None`` if no policy selects it, and peer class."""
        peer = self._endpoints.get(address)
        return self._subjects.get(address), self._block(address) if peer is None else peer

    def _block(self, address: str) -> int:
        one = ip_address(address)
        for first, last, number in self._blocks:
            if first.version == one.version and int(first) <= int(one) <= int(last):
                return number
        return 0

    def between(self, source: tuple[int | None, int], target: tuple[int | None, int]) -> Ports:
        """What the first may reach at the second, both by their classes."""
        return self.ports(self.decided(source, target))

    def decided(self, source: tuple[int | None, int], target: tuple[int | None, int]) -> Decided:
        """What decides about that: the filters of both sides."""
        return (
            self._filter(source[0], "egress", target[1]),
            self._filter(target[0], "ingress", source[1]),
        )

    def ports(self, by: Decided) -> Ports:
        """What filters allow, all of them."""
        if by not in self._known:
            both = [self._filters[one] for one in by if one is not None]
            self._known[by] = Ports.where(
                lambda protocol, port: all(one.decide(protocol, port).allow for one in both),
                merged(*map(_edges, both)),
            )
        return self._known[by]

    def _filter(self, subject: int | None, way: Way, peer: int) -> int | None:
        """``None``: not restricted."""
        if subject is None:
            return None
        return self._rows.get((subject, way, peer), self._rows.get((subject, way, None)))


def _edges(one: PolicyFilter) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for protocol, first, last, _ in one.ports:
        found.setdefault(protocol, []).extend((first, last + 1))
    return found
