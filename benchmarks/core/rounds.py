"""Contestants that take turns, and what they are found to do."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

Pass = Callable[[], float]
"""One pass over the whole work; returns the seconds it took, by the contestant's own clock."""

Spread = dict[str, float]
"""min, median and max of one figure."""


def alternate(
    contestants: Mapping[str, Pass], rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Each makes one pass per round; who begins changes from round to round."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(warm_up + rounds):
        shift = number % len(names) if names else 0
        for name in (*names[shift:], *names[:shift]):
            found = contestants[name]()
            if number >= warm_up:
                seconds[name].append(found)
    return seconds


def warm(contestants: Mapping[str, Pass]) -> dict[str, Pass]:
    """Each makes two passes and tells of the second: of the first one others had the caches."""

    def second(one: Pass) -> float:
        one()
        return one()

    return {name: partial(second, one) for name, one in contestants.items()}


def spread(values: list[float], digits: int = 3) -> Spread:
    """Min, median, max."""
    found = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {key: round(value, digits) for key, value in found.items()}


def rates(seconds: Mapping[str, list[float]], work: int, unit: float = 1e6) -> dict[str, Spread]:
    """Work per second, in millions."""
    return {name: spread([work / one / unit for one in values]) for name, values in seconds.items()}


def costs(seconds: Mapping[str, list[float]], work: int, unit: float = 1e9) -> dict[str, Spread]:
    """Time per piece of work, in nanoseconds."""
    return {
        name: spread([one / work * unit for one in values], 1) for name, values in seconds.items()
    }


def ratios(
    seconds: Mapping[str, list[float]], ours: str, per: Mapping[str, int] | None = None
) -> dict[str, Spread]:
    """How many times as fast as each other contestant, round by round.

    ``per``: how much work a pass of each is, where it is not the same for all.
    """
    work = per or dict.fromkeys(seconds, 1)
    mine = [one / work[ours] for one in seconds[ours]]
    return {
        name: spread([one / work[name] / own for one, own in zip(values, mine, strict=True)])
        for name, values in seconds.items()
        if name != ours
    }


def show(title: str, unit: str, found: Mapping[str, Spread], goal: str = "") -> None:
    """A table for people."""
    print(f"\n{title} ({unit})" + (f"; goal: {goal}" if goal else ""))
    width = max(map(len, found), default=0)
    print(f"{'':{width}}  {'min':>10}  {'median':>10}  {'max':>10}")
    for name, one in found.items():
        print(f"{name:{width}}  " + "  ".join(f"{one[key]:10.2f}" for key in one))


def left_out(found: dict[str, Any], name: str, why: str) -> None:
    """Say and record that a contestant does not take part."""
    print(f"left out: {name}: {why}")
    found.setdefault("left_out", {})[name] = why
