"""How many calls the agent has answered, how they ended, and how long they took."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from cnidaria.cni.errors import Code
from cnidaria.metrics import Histogram, Metric, Sample
from cnidaria.node.frame import Call, Reply

VERBS: Final = ("ADD", "DEL", "CHECK", "STATUS", "GC")
"""VERSION the executable answers itself; the agent is asked it by who wants to know if it lives."""
OTHER: Final = "other"
"""A verb that there is not, or another plugin's own error code: there may be any number of them."""
CODES: Final = frozenset(map(int, Code))
BOUNDS: Final = (0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0)

CALLS: Final = Metric(
    "cnidaria_cni_calls_total",
    "counter",
    "CNI calls that the agent answered; code 0 is success, others are those of the CNI error.",
    ("verb", "code"),
)
DURATION: Final = Metric(
    "cnidaria_cni_call_duration_seconds",
    "histogram",
    "Time from a CNI call's turn in the agent to its answer.",
    ("verb",),
)


class Calls:
    """Counts what ``answer`` answers. Thread-safe."""

    def __init__(self, answer: Callable[[Call], Reply]) -> None:
        self._answer = answer
        self._counts: Counter[tuple[str, str]] = Counter({(verb, "0"): 0 for verb in VERBS})
        self._durations = {verb: Histogram(DURATION, BOUNDS, (verb,)) for verb in (*VERBS, OTHER)}
        self._lock = threading.Lock()

    def answer(self, call: Call) -> Reply:
        """What the wrapped one answers."""
        asked = call.env.get("CNI_COMMAND", "")
        if asked == "VERSION":
            return self._answer(call)
        verb = asked if asked in VERBS else OTHER
        begin = time.monotonic()
        reply = self._answer(call)
        self._durations[verb].observe(time.monotonic() - begin)
        with self._lock:
            self._counts[verb, code_of(reply)] += 1
        return reply

    def samples(self) -> Iterator[Sample]:
        """The numbers now."""
        with self._lock:
            counts = dict(self._counts)
        for (verb, code), count in counts.items():
            yield CALLS.sample(count, verb, code)
        for one in self._durations.values():
            yield from one.samples()


def code_of(reply: Reply) -> str:
    """The error's code, ``0`` of a success."""
    if reply.exit == 0:
        return "0"
    try:
        code = int(json.loads(reply.stdout)["code"])
    except (ValueError, TypeError, KeyError):
        return OTHER
    return str(code) if code in CODES else OTHER
