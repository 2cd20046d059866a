"""A matrix as a picture (SVG): each group of pods while there are few, namespaces of many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import Final

from cnidaria_policy.matrix import APART, ELSEWHERE, Matrix, group_name, said

TITLED: Final = 50
"""Rows up to which each cell says in its title what it stands for."""
EACH: Final = 100
"""Groups up to which each has a row; more are drawn by namespaces."""
MOST: Final = 240
"""Namespaces that are drawn."""
COLOURS: Final = {
    "everything": "#3a9d5d",
    "nothing": "#c8ccd0",
    "in part": "#e0a526",
    "not the same for all pods": "#5b8ec9",
}
PART, SEVERAL = "in part", "not the same for all pods"

Texts = Sequence[Sequence[str]]


def svg(found: Matrix) -> str:
    """The picture, with a legend. A megabyte at most, names of usual lengths given."""
    texts = [[*map(said, row)] for row in found.cells]
    names, note = [one.name for one in found.groups], ""
    if len(names) > EACH:
        note = f"{len(names)} groups of pods, drawn by namespace"
        names, texts = by_namespace(found, texts)
        if len(names) > MOST:
            note += f"; {len(names) - MOST} of {len(names)} rows are left out"
            names, texts = names[:MOST], [row[:MOST] for row in texts[:MOST]]
        note += "; cnidaria policy matrix --json has each"
    return "\n".join([*_drawing(names, texts, note), "</svg>", ""])


def by_namespace(found: Matrix, texts: Texts) -> tuple[list[str], list[list[str]]]:
    """Names of rows and what is in them: namespaces that reach and are reached alike are one."""
    members: dict[str, set[int]] = {}
    for number, group in enumerate(found.groups):
        for pod in group.pods or (ELSEWHERE,):
            members.setdefault(pod.rpartition("/")[0] or ELSEWHERE, set()).add(number)
    last = members.pop(ELSEWHERE)
    parts = [*sorted(members.items()), (ELSEWHERE, last)]
    rows = [[_together(texts, one, other) for _, other in parts] for _, one in parts]
    alike: dict[object, list[int]] = {}
    for number, column in enumerate(zip(*rows, strict=True)):
        is_last = number == len(parts) - 1
        alike.setdefault((is_last, tuple(rows[number]), column), []).append(number)
    kept = list(alike.values())
    names = [group_name([parts[number][0] for number in some]) for some in kept]
    return names, [[rows[one[0]][other[0]] for other in kept] for one in kept]


def _together(texts: Texts, ones: set[int], others: set[int]) -> str:
    first = ""
    for one in ones:
        row = texts[one]
        for other in others:
            text = row[other]
            if text != (first or text):
                return SEVERAL
            first = text
    return first


def _drawing(names: Sequence[str], texts: Texts, note: str) -> Iterator[str]:
    side, font = (22, 11) if len(names) <= EACH else (10, 8)
    left = 12 + round(max(map(len, names)) * font * 0.62)
    wide = left + max(side * len(names), 330) + 12
    high = left + side * len(names) + 20 * (len(COLOURS) + 1) + 20
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" '
        f'font-family="sans-serif" font-size="{font}">'
    )
    yield f'<rect width="{wide}" height="{high}" fill="white"/>'
    for number, name in enumerate(names):
        at = left + side * number + side / 2 + font / 3
        yield f'<text x="{left - 6}" y="{at:g}" text-anchor="end">{escape(name)}</text>'
        turned = f'transform="translate({at:g} {left - 6}) rotate(-90)"'
        yield f"<text {turned}>{escape(name)}</text>"
    yield f'<g transform="translate({left} {left}) scale({side})">'
    for what, colour in COLOURS.items():
        yield f'<path fill="{colour}" d="{"".join(_runs(texts, what))}"/>'
    ends = range(len(names) + 1)
    grid = "".join(f"M0 {one}H{len(names)}M{one} 0V{len(names)}" for one in ends)
    yield f'<path stroke="white" stroke-width=".08" d="{grid}"/>'
    if len(names) <= TITLED:
        yield from _titles(names, texts)
    yield "</g>"
    seen = {_kind(text) for row in texts for text in row}
    legend = [(what, colour) for what, colour in COLOURS.items() if what in seen]
    for number, (what, colour) in enumerate([*legend, (escape(note), "none")]):
        y = left + side * len(names) + 20 + 20 * number
        yield f'<rect x="{left}" y="{y}" width="14" height="14" fill="{colour}"/>'
        yield f'<text x="{left + 20}" y="{y + 11}" font-size="11">{what}</text>'


def _kind(text: str) -> str:
    return "nothing" if text == APART else text if text in COLOURS else PART


def _runs(texts: Texts, what: str) -> Iterator[str]:
    """All cells of a colour: one rectangle for those beside one another."""
    for line, row in enumerate(texts):
        column = 0
        for kind, some in groupby(map(_kind, row)):
            width = len(list(some))
            if kind == what:
                yield f"M{column} {line}h{width}v1h-{width}z"
            column += width


def _titles(names: Sequence[str], texts: Texts) -> Iterator[str]:
    for line, (name, row) in enumerate(zip(names, texts, strict=True)):
        for column, (other, text) in enumerate(zip(names, row, strict=True)):
            title = escape(f"{name} to {other}: {text}")
            place = f'x="{column}" y="{line}" width="1" height="1"'
            yield f'<rect {place} fill="none" pointer-events="all"><title>{title}</title></rect>'
