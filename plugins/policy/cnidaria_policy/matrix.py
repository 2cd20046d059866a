"""Who can reach whom: pods grouped by what policies see of them, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from cnidaria_policy.policies import Policies
from cnidaria_policy.reach import Decided, Ports, Reach

ELSEWHERE: Final = "elsewhere"
"""Whoever is no pod and in no block that a policy names."""

APART: Final = "no common address family"

Classes = tuple[int | None, int]
Cell = dict[int, Ports] | None


@dataclass(frozen=True)
class Group:
    """Pods that no policy tells apart.

    Attributes:
        classes: by address family.
    """

    name: str
    pods: tuple[str, ...]
    classes: tuple[tuple[int, Classes], ...]


@dataclass(frozen=True)
class Matrix:
    """What each group may reach at each, rows are sources.

    Attributes:
        cells: by family where the families differ; ``None`` where they share none.
    """

    groups: tuple[Group, ...]
    cells: tuple[tuple[Cell, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        names = [one.name for one in self.groups]
        return {
            "groups": {one.name: list(one.pods) for one in self.groups},
            "reach": {
                name: {other: said(cell) for other, cell in zip(names, row, strict=True)}
                for name, row in zip(names, self.cells, strict=True)
            },
        }


def said(cell: Cell) -> str:
    """A cell in words."""
    if cell is None:
        return APART
    texts = {family: str(ports) for family, ports in cell.items()}
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"IPv{family}: {text}" for family, text in texts.items())


def matrix(policies: Policies) -> Matrix:
    """All pods against all pods, and everybody else."""
    reach = Reach(policies.tables())
    found = (*groups(policies, reach), elsewhere())
    known: dict[tuple[tuple[int, Decided], ...], Cell] = {}
    cells = tuple(tuple(cell(reach, one, other, known) for other in found) for one in found)
    return Matrix(found, cells)


def cell(
    reach: Reach,
    one: Group,
    other: Group,
    known: dict[tuple[tuple[int, Decided], ...], Cell],
) -> Cell:
    """What one group may reach at another, by address family.

    Args:
        known: cells by what decides in them: there are many more cells than different ones.
    """
    theirs = dict(other.classes)
    decided = tuple(
        (family, reach.decided(ours, theirs[family]))
        for family, ours in one.classes
        if family in theirs
    )
    if decided not in known:
        known[decided] = {family: reach.ports(by) for family, by in decided} or None
    return known[decided]


def elsewhere() -> Group:
    """Everybody else."""
    return Group(ELSEWHERE, (), ((4, (None, 0)), (6, (None, 0))))


def groups(policies: Policies, reach: Reach) -> Iterator[Group]:
    """All pods."""
    found: dict[tuple[tuple[int, Classes], ...], list[str]] = {}
    for pod, addresses in sorted(policies.pods.items()):
        classes = {ip_address(one).version: reach.classes(one) for one in addresses}
        found.setdefault(tuple(sorted(classes.items())), []).append(pod)
    for classes_, pods in found.items():
        yield Group(group_name(pods), tuple(pods), classes_)


def group_name(pods: Sequence[str]) -> str:
    """A pod's name, or the first of several and how many there are."""
    return pods[0] if len(pods) == 1 else f"{pods[0]} and {len(pods) - 1} more"


def lines(found: Matrix) -> Iterator[str]:
    """For people: one letter in a cell, and what it stands for below."""
    numbers = {one.name: str(n) for n, one in enumerate(found.groups, 1)}
    legend: dict[str, str] = {"everything": "+", "nothing": "."}
    letters = iter("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    width = max(len(one.name) for one in found.groups)
    wide = max(map(len, numbers.values()))
    head = " ".join(number.rjust(wide) for number in numbers.values())
    yield f"{' ' * wide} {'from, to:'.ljust(width)} {head}"
    for one, row in zip(found.groups, found.cells, strict=True):
        marks = []
        for text in map(said, row):
            if text not in legend:
                legend[text] = next(letters, "*")
            marks.append(legend[text].rjust(wide))
        yield f"{numbers[one.name].rjust(wide)} {one.name.ljust(width)} {' '.join(marks)}"
    yield ""
    yield from (f"{mark}  {text}" for text, mark in legend.items())
