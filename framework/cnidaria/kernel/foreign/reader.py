"""One rule: which verdicts packets may come to, and what is not known about that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import NamedTuple

from cnidaria.kernel.foreign.tables import (
    Effect,
    Element,
    Match,
    Maybe,
    Never,
    Queue,
    Rule,
    Set,
    Step,
)
from cnidaria.kernel.foreign.traffic import Traffic
from cnidaria.kernel.foreign.values import (
    Value,
    compare,
    exact,
    first,
    joined,
    masked,
    swapped,
    unknown,
    within,
)
from cnidaria.kernel.foreign.xt import STATELESS, matches
from cnidaria.kernel.objects import nftexpr as ex
from cnidaria.kernel.objects.nftexpr import Verdict

Conditions = frozenset[str]
"""What is not known of packets; two of the same text are the same."""


class Outcome(NamedTuple):
    """A verdict, and under which conditions a rule comes to it; none: always."""

    verdict: Verdict | Queue | Effect
    conditions: Conditions


class Found(NamedTuple):
    """What a lookup may find; ``condition`` is empty where it surely does."""

    data: Verdict | bytes | None
    condition: str


class Reader:
    """Reads rules of one table for one traffic.

    Args:
        sets: of the table.
    """

    def __init__(self, sets: Mapping[str, Set], traffic: Traffic) -> None:
        self._sets = sets
        self._traffic = traffic
        self._unique = count()
        self._registers: dict[int, Value] = {}

    def outcomes(self, rule: Rule) -> Iterator[Outcome]:
        """The verdicts that a rule may come to."""
        self._registers = {}
        asked: set[str] = set()
        for step in rule.steps:
            match step:
                case Verdict() | Queue():
                    yield Outcome(step, frozenset(asked))
                    return
                case Effect():
                    yield Outcome(step, frozenset(asked))
                    if step.does == "redirect":
                        return
                case ex.Lookup(to="verdict"):
                    found = self._look_up(step)
                    yield from _verdicts(found, asked)
                    if found and not found[-1].condition:
                        return
                    asked.add(self._new("nothing found"))
                case _:
                    held = self._step(step)
                    if held is False:
                        return
                    if held is not True:
                        asked.add(held)

    def _new(self, what: str) -> str:
        """A condition like no other one."""
        return f"{what} #{next(self._unique)}"

    def _ask(self, value: Value, what: str) -> str:
        """A condition: what has no label may be another thing each time."""
        return f"{value.label} {what}" if value.label else self._new(what)

    def _step(self, step: Step) -> bool | str:
        """Whether packets go on: all, none, or those that fulfil a condition."""
        match step:
            case Never():
                return False
            case Maybe():
                self._registers.clear()
                return self._new(step.what)
            case Match():
                return self._match(step)
            case ex.Cmp() | ex.Range():
                return self._compare(step)
            case ex.Lookup():
                return self._find(step)
        return self._store(step)

    def _match(self, step: Match) -> bool | str:
        held = matches(step, self._traffic)
        if held is not None:
            return held
        what = f"{step.name} {step.data.hex()}"
        return what if step.name in STATELESS else self._new(what)

    def _compare(self, step: ex.Cmp | ex.Range) -> bool | str:
        if isinstance(step, ex.Cmp):
            value = self._load(step.slot, len(step.data))
            held = compare(step.op, value, step.data)
            return self._ask(value, f"{step.op} {step.data.hex()}") if held is None else held
        value = self._load(step.slot, len(step.first))
        held = within(value, step.first, step.last)
        if held is None:
            return self._ask(value, f"{step.op} {step.first.hex()}-{step.last.hex()}")
        return held == (step.op == "eq")

    def _store(self, step: Step) -> bool:
        """Whether there is what is to be loaded."""
        traffic = self._traffic
        value: Value | None = None
        match step:
            case ex.Meta():
                value = traffic.meta(step.key)
            case ex.Ct():
                value = traffic.ct(step.key, step.direction)
            case ex.Fib():
                value = traffic.fib(step.flags, step.result, step.present)
            case ex.Payload():
                value = traffic.payload(step.base, step.offset, step.length)
            case ex.Immediate():
                value = exact(step.data)
            case ex.Bitwise():
                value = masked(self._load(step.slot, len(step.mask)), step.mask, step.xor)
            case ex.Byteorder():
                value = swapped(self._load(step.slot, step.length))
            case _:
                return True  # sets something
        if value is not None:
            self._registers[step.slot] = value
        return value is not None

    def _load(self, slot: int, length: int) -> Value:
        """What is in registers from a slot on: each value is followed by zeros up to the next."""
        fields: list[tuple[int, Value]] = []
        at = 0
        while at < length:
            value = self._registers.get(slot + at // 4)
            if value is None:
                break
            padding = -value.length % 4
            fields += [(at, value), (at + value.length, exact(bytes(padding)))]
            at += value.length + padding
        if len(fields) == 2:
            value = fields[0][1]
            if length <= value.length:
                return first(value, length)
        labels = [value.label for _, value in fields[::2]]
        label = " . ".join(labels) if at >= length and all(labels) else ""
        return joined(fields, 0, length, label)

    # -- sets ----------------------------------------------------------------------------------

    def _find(self, step: ex.Lookup) -> bool | str:
        """Whether packets go on that are looked up in a set, or in a map with data."""
        found = self._look_up(step)
        sure = bool(found) and not found[-1].condition
        if step.invert:
            return not found or (not sure and self._new(f"not in {step.set}"))
        if found and isinstance(step.to, int):
            data = found[0].data
            known = exact(data) if isinstance(data, bytes) else unknown(4, "")
            self._registers[step.to] = known if len(found) == 1 else unknown(known.length, "")
        return sure or (bool(found) and " or ".join(one.condition for one in found))

    def _look_up(self, step: ex.Lookup) -> list[Found]:
        """What may be found; what surely is, or is if nothing else, is the last one."""
        there = self._sets.get(step.set)
        if there is None:
            return [Found(None, self._new(step.set))]
        key = self._key(step.slot, there)
        found: list[Found] = []
        for element in there.elements:
            held = _holds(element, there, key) if element.low else False
            if held:
                return [Found(element.data, "")]
            if held is None:
                found.append(Found(element.data, self._belongs(key, step.set, element)))
        for element in there.elements:
            if not element.low:
                found.append(Found(element.data, self._new("nothing else") if found else ""))
        return found

    def _key(self, slot: int, there: Set) -> list[Value]:
        key = []
        for size in there.fields:
            key.append(self._load(slot, size))
            slot += -(-size // 4)
        return key

    def _belongs(self, key: Sequence[Value], name: str, element: Element) -> str:
        labels = [part.label for part in key if part.raw is None]
        what = f"in {name} {element.low.hex()}"
        return f"{' . '.join(labels)} {what}" if all(labels) else self._new(what)


def _verdicts(found: Sequence[Found], asked: set[str]) -> Iterator[Outcome]:
    for data, condition in found:
        if isinstance(data, Verdict):
            yield Outcome(data, frozenset(asked | {condition}) if condition else frozenset(asked))


def _holds(element: Element, there: Set, key: Sequence[Value]) -> bool | None:
    """Whether a key is that of an element."""
    at, sure = 0, True
    for size, value in zip(there.fields, key, strict=True):
        held = within(value, element.low[at : at + size], element.high[at : at + size])
        if held is False:
            return False
        sure = sure and held is True
        at += -(-size // 4) * 4
    return True if sure else None
