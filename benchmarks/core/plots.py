"""Bars as SVG: min to max as a line, the median as the bar, marks for goals and limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from pathlib import Path

from rounds import Spread

_WIDTH, _LABEL, _ROW, _TOP = 760, 210, 24, 46


def bars(
    path: Path,
    title: str,
    unit: str,
    found: Mapping[str, Spread],
    marks: Mapping[str, float] | None = None,
    *,
    logarithmic: bool = False,
) -> None:
    """Write one chart; ``marks`` are vertical lines with a name. Ours is what begins "cnidaria"."""
    marks = marks or {}
    height = _TOP + _ROW * len(found) + 34
    top = max([one["max"] for one in found.values()] + list(marks.values()), default=1.0) * 1.08
    low = min([one["min"] for one in found.values()] + list(marks.values()), default=1.0) / 2

    def at(value: float) -> float:
        whole = _WIDTH - _LABEL - 70
        if logarithmic:
            return _LABEL + whole * math.log(max(value, low) / low) / math.log(top / low)
        return _LABEL + whole * value / top

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="20" font-size="15">{escape(title)}</text>',
        f'<text x="12" y="36" fill="#555">{escape(unit)}: median, line from min to max'
        f"{', logarithmic' if logarithmic else ''}</text>",
    ]
    for number, (name, one) in enumerate(found.items()):
        parts += _bar(name, one, _TOP + _ROW * number, at)
    for name, value in marks.items():
        parts += _mark(f"{name} {_text(value)}", at(value), height)
    path.write_text("\n".join([*parts, "</svg>"]) + "\n")


def _bar(name: str, one: Spread, y: int, at: object) -> list[str]:
    assert callable(at)
    colour = "#00897b" if name.startswith("cnidaria") else "#90a4ae"
    middle = y + _ROW / 2
    low, high, median = at(one["min"]), at(one["max"]), at(one["median"])
    return [
        f'<text x="{_LABEL - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{_LABEL}" y="{y + 4}" width="{max(median - _LABEL, 1):.1f}"'
        f' height="{_ROW - 8}" fill="{colour}"/>',
        f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#222"/>',
        f'<text x="{high + 6:.1f}" y="{middle + 4}">{_text(one["median"])}</text>',
    ]


def _mark(text: str, x: float, height: int) -> list[str]:
    return [
        f'<path d="M{x:.1f} {_TOP}V{height - 26}" stroke="#c62828" stroke-dasharray="4 3"/>',
        f'<text x="{x:.1f}" y="{height - 12}" text-anchor="middle" fill="#c62828">'
        f"{escape(text)}</text>",
    ]


def _text(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
