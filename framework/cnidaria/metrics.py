"""Metrics: declared once, sampled when somebody asks, written as Prometheus reads them.

The text is the exposition format 0.0.4
(https://prometheus.io/docs/instrumenting/exposition_formats/); names follow
https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PARTS: Final = ("_bucket", "_sum", "_count")
"""What the numbers of a histogram are called, behind its name."""


class Metric(msgspec.Struct, frozen=True):
    """What is measured.

    Attributes:
        name: ``cnidaria_MODE_...``, in base units (seconds, bytes), of a counter with ``_total``.
        help: one line for people.
        labels: what its samples are told apart by. Their values must be few: no pod, no address.

    Raises:
        ValueError: naming the field, its value and what is allowed.
    """

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _is_word(self.name) or not self.name.startswith("cnidaria_"):
            raise ValueError(f"name = {self.name!r}: must be cnidaria_ and a-z, 0-9, _")
        if self.name.endswith("_total") is not (self.type == "counter"):
            raise ValueError(f"name = {self.name!r}: counters, and no others, end in _total")
        if self.type != "histogram" and self.name.endswith(PARTS):
            raise ValueError(f"name = {self.name!r}: only parts of a histogram end so")
        for label in self.labels:
            reserved = label == "le" or label.startswith("__")
            if not _is_word(label) or reserved or self.labels.count(label) > 1:
                raise ValueError(f"labels: {label!r}: must be a-z, 0-9, _, not le, and once")
        if not self.help:
            raise ValueError(f"help of {self.name}: is missing")

    def sample(self, value: float, *labels: str) -> Sample:
        """One number; ``labels``: a value for each of the metric's."""
        return Sample(self, value, tuple(zip(self.labels, labels, strict=True)))


class Sample(msgspec.Struct, frozen=True):
    """One number of a metric, made by :meth:`Metric.sample` or a :class:`Histogram`.

    Attributes:
        labels: names and values.
        part: of :data:`PARTS`, where the metric is a histogram.
    """

    metric: Metric
    value: float
    labels: tuple[tuple[str, str], ...] = ()
    part: str = ""

    @property
    def name(self) -> str:
        """The metric's, with the part of a histogram."""
        return self.metric.name + self.part


class Histogram:
    """How many observations there were up to each bound, and their sum. Thread-safe.

    Args:
        bounds: in rising order; the last one, infinity, is not among them.
        labels: a value for each of the metric's labels.
    """

    def __init__(
        self, metric: Metric, bounds: Sequence[float], labels: tuple[str, ...] = ()
    ) -> None:
        self._metric = metric
        self._bounds = tuple(bounds)
        self._labels = tuple(zip(metric.labels, labels, strict=True))
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        """Count one observation, in the metric's unit."""
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._sum += value

    def samples(self) -> Iterator[Sample]:
        """Its numbers now."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        metric, labels, below = self._metric, self._labels, 0
        for bound, count in zip((*self._bounds, math.inf), counts, strict=True):
            below += count
            yield Sample(metric, below, (*labels, ("le", number(bound))), "_bucket")
        yield Sample(metric, total, labels, "_sum")
        yield Sample(metric, below, labels, "_count")


class Page:
    """Samples of several sources, together."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}
        self._samples: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}

    def add(self, samples: Iterable[Sample]) -> None:
        """Take all of them or none.

        Raises:
            ValueError: a sample that is there already, or another metric of its name.
        """
        new: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        metrics = dict(self._metrics)
        for one in samples:
            name, labels = one.metric.name, tuple((key, _clean(text)) for key, text in one.labels)
            for taken in _names(one.metric):
                if metrics.setdefault(taken, one.metric) != one.metric:
                    raise ValueError(f"{taken}: two metrics have this name")
            there = new.setdefault(name, {})
            if (one.name, labels) in there or (one.name, labels) in self._samples.get(name, {}):
                raise ValueError(f"{one.name}{_braces(labels)}: there are two of it")
            there[one.name, labels] = one.value
        self._metrics = metrics
        for name, more in new.items():
            self._samples.setdefault(name, {}).update(more)

    def text(self) -> str:
        """The text format, by name."""
        lines: list[str] = []
        for name, samples in sorted(self._samples.items()):
            metric = self._metrics[name]
            lines.append(f"# HELP {name} {_escape(metric.help)}")
            lines.append(f"# TYPE {name} {metric.type}")
            lines += [
                f"{sample}{_braces(labels)} {number(value)}"
                for (sample, labels), value in samples.items()
            ]
        return "".join(f"{line}\n" for line in lines)

    def to_json(self) -> list[dict[str, Any]]:
        """The same for programs; what is no number or infinite is ``None``."""
        return [
            {
                "name": name,
                "type": self._metrics[name].type,
                "help": self._metrics[name].help,
                "samples": [
                    {
                        "name": sample,
                        "labels": dict(labels),
                        "value": value if math.isfinite(value) else None,
                    }
                    for (sample, labels), value in samples.items()
                ],
            }
            for name, samples in sorted(self._samples.items())
        ]


def number(value: float) -> str:
    """A number as Go's ``ParseFloat`` reads it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1 << 53 else repr(float(value))


def _is_word(text: str) -> bool:
    return text.isascii() and text.isidentifier() and text == text.lower()


def _names(metric: Metric) -> Iterator[str]:
    yield metric.name
    if metric.type == "histogram":
        yield from (metric.name + part for part in PARTS)


def _clean(text: str) -> str:
    """What is no Unicode (half of a surrogate pair) cannot be written."""
    return text.encode(errors="replace").decode()


def _escape(text: str) -> str:
    return _clean(text).replace("\\", r"\\").replace("\n", r"\n")


def _braces(labels: Iterable[tuple[str, str]]) -> str:
    inside = ",".join(f'{key}="{_quoted(value)}"' for key, value in labels)
    return f"{{{inside}}}" if inside else ""


def _quoted(value: str) -> str:
    return _escape(value).replace('"', r"\"")
