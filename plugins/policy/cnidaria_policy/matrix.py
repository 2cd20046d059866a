"""Who can reach whom: pods grouped by what policies see of them, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from ipaddress import ip_address
from typing import Any, Final

from cnidaria_policy.policies import Policies
from cnidaria_policy.reach import Ports, Reach

ELSEWHERE: Final = "elsewhere"
"""Whoever is no pod and in no block that a policy names."""

Classes = tuple[int | None, int]


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
    cells: tuple[tuple[dict[int, Ports] | None, ...], ...]

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


def said(cell: dict[int, Ports] | None) -> str:
    """A cell in words."""
    if cell is None:
        return "no common address family"
    texts = {family: str(ports) for family, ports in cell.items()}
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"IPv{family}: {text}" for family, text in texts.items())


def matrix(policies: Policies) -> Matrix:
    """All pods against all pods, and everybody else."""
    reach = Reach(policies.tables())
    found = (*groups(policies, reach), elsewhere())
    cells = tuple(tuple(cell(reach, one, other) for other in found) for one in found)
    return Matrix(found, cells)


def cell(reach: Reach, one: Group, other: Group) -> dict[int, Ports] | None:
    """What one group may reach at another, by address family."""
    ours, theirs = dict(one.classes), dict(other.classes)
    both = sorted(ours.keys() & theirs.keys())
    return {family: reach.between(ours[family], theirs[family]) for family in both} or None


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


# -- a picture -------------------------------------------------------------------------------------

SIDE: Final = 22
FONT: Final = 11
COLOURS: Final = {"everything": "#3a9d5d", "nothing": "#c8ccd0"}
PARTLY: Final = "#e0a526"


def svg(found: Matrix) -> str:
    """The same as a picture; each cell says in its title what it stands for."""
    names = [one.name for one in found.groups]
    left = 12 + round(max(map(len, names)) * FONT * 0.62)
    size = left + SIDE * len(names) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" '
        f'font-family="sans-serif" font-size="{FONT}">',
        f'<rect width="{size}" height="{size}" fill="white"/>',
    ]
    for number, name in enumerate(names):
        at = left + SIDE * number + SIDE / 2
        text = escape(name)
        parts.append(f'<text x="{left - 6}" y="{at + 4}" text-anchor="end">{text}</text>')
        turned = f'transform="translate({at + 4} {left - 6}) rotate(-90)"'
        parts.append(f"<text {turned}>{text}</text>")
    for line, (name, row) in enumerate(zip(names, found.cells, strict=True)):
        for column, (other, one) in enumerate(zip(names, row, strict=True)):
            what = said(one)
            place = f'x="{left + SIDE * column + 1}" y="{left + SIDE * line + 1}"'
            parts.append(
                f'<rect {place} width="{SIDE - 2}" height="{SIDE - 2}" '
                f'fill="{COLOURS.get(what, PARTLY)}"><title>{escape(name)} to {escape(other)}: '
                f"{escape(what)}</title></rect>"
            )
    return "\n".join([*parts, "</svg>", ""])
