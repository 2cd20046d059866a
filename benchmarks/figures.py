"""Times as percentiles, tables for people, JSON for machines."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PERCENTILES = (50, 90, 99)


def percentile(values: Sequence[float], wanted: int) -> float:
    """Nearest rank: a value that was really measured."""
    ordered = sorted(values)
    return ordered[max(0, -(-wanted * len(ordered) // 100) - 1)]


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Percentiles in milliseconds, and how many values there were."""
    found = {f"p{wanted}_ms": percentile(seconds, wanted) * 1e3 for wanted in PERCENTILES}
    return {**{key: round(value, 3) for key, value in found.items()}, "count": len(seconds)}


def ratio(one: Mapping[str, float], other: Mapping[str, float], key: str = "p50_ms") -> float:
    """How many times as long the one takes."""
    return round(one[key] / other[key], 4)


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print columns: the first to the left, the others to the right."""
    lines = [list(head), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    print(f"\n{title}")
    for line in lines:
        first, *rest = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join([first, *rest]).rstrip())


def _text(cell: Any) -> str:
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


def save(directory: Path, name: str, found: Mapping[str, Any]) -> None:
    """Write what was found, and on what machine, to ``directory``."""
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}.json"
    whole = {"benchmark": name, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    machine = {
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }
    path.write_text(json.dumps({**whole, "machine": machine, **found}, indent=2) + "\n")
    print(f"\n{path}")
