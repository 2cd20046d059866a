"""The two pictures: who reaches whom, and how long ADD and DEL took."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from math import ceil, log2

from fleet import Pod
from screen import Screen

BAR = 20


def matrix(screen: Screen, pods: Sequence[Pod], works: Callable[[Pod, Pod], bool]) -> None:
    """A line for each pod, a column for each pod it talks to; grouped by node."""
    nodes = [list(group) for _, group in groupby(pods, key=lambda pod: pod.node.name)]
    bar = screen.paint("dim", screen.line)
    margin = max(len(pod.name) for pod in pods)

    def line(cell: Callable[[Pod], str]) -> str:
        return f" {bar}".join("".join(cell(pod) for pod in group) for group in nodes)

    def title(group: Sequence[Pod]) -> str:
        return screen.paint("dim", f" {group[0].node.name}"[: 3 * len(group)].ljust(3 * len(group)))

    def mark(source: Pod, target: Pod) -> str:
        if source is target:
            return f"  {screen.paint('dim', screen.dot)}"
        style, sign = ("green", screen.good) if works(source, target) else ("red", screen.bad)
        return f"  {screen.paint(style, sign)}"

    screen.say(f"  {'':{margin}} {f' {bar}'.join(map(title, nodes))}")
    screen.say(f"  {'':{margin}} {line(lambda pod: f'{pod.number:3}')}")
    for group in nodes:
        for source in group:
            cells = line(lambda target, source=source: mark(source, target))  # type: ignore[misc]
            screen.say(f"  {source.name:{margin}} {cells}  {screen.paint('dim', source.node.name)}")


def histogram(screen: Screen, timings: Mapping[str, Sequence[float]]) -> None:
    """Seconds by verb, in buckets of powers of two, side by side, with p50 and p90."""
    buckets = {verb: [_bucket(one) for one in taken] for verb, taken in timings.items()}
    every = [bucket for ones in buckets.values() for bucket in ones]
    most = max(ones.count(bucket) for ones in buckets.values() for bucket in ones)
    scale = min(1, BAR / most)
    screen.say("  " + screen.paint("dim", f"{'':8}  {_columns(list(timings))}"))
    for bucket in range(min(every), max(every) + 1):
        bars = []
        for ones in buckets.values():
            count = ones.count(bucket)
            bars.append(f"{screen.bar * ceil(count * scale)} {count}" if count else "")
        screen.say(f"  {f'<{2**bucket:4} ms':8}  {_columns(bars)}")
    for name, share in (("p50", 0.5), ("p90", 0.9)):
        figures = [f"{quantile(taken, share) * 1000:.1f} ms" for taken in timings.values()]
        screen.say(f"  {name:>8}  {screen.paint('bold', _columns(figures))}")


def quantile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def _bucket(seconds: float) -> int:
    return max(0, ceil(log2(seconds * 1000)))


def _columns(texts: Sequence[str]) -> str:
    return "  ".join(text.ljust(BAR + 4) for text in texts).rstrip()
