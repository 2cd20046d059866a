"""What events say may have changed, and when to look at it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from cnidaria.kernel.events import Event
from cnidaria.plan.objects import Object

QUIET: Final = 0.05
"""Seconds without an event after which changes are looked at together."""
LATEST: Final = 0.4
"""Seconds after the first event at which they are looked at anyway."""
RETRY: Final = (1.0, 30.0)
"""Seconds until what the kernel refused is tried again: at first, and at most."""
EVERYTHING: Final = 60.0
"""Seconds between two looks at everything: of some changes no event tells."""


@dataclass
class Touched:
    """Places where something may not be as declared any more.

    Attributes:
        everything: whatever is declared.
        keys: objects (:attr:`Object.key`).
        lost: links and tables that lost something.
        changed: links and tables with any other change, as we make many ourselves.
    """

    everything: bool = False
    keys: set[tuple[Any, ...]] = field(default_factory=set)
    lost: set[tuple[Any, ...]] = field(default_factory=set)
    changed: set[tuple[Any, ...]] = field(default_factory=set)

    def __bool__(self) -> bool:
        return self.everything or bool(self.keys or self.lost or self.changed)

    def add(self, event: Event) -> None:
        """Take note of what has happened, if it can be of interest."""
        match event.key:
            case ():
                self.everything = True
            case ("link" | "nft_table", *_):
                (self.lost if event.removed else self.changed).add(event.key)
            case ("address", dev, _):
                # With an address go routes and neighbours of its link, without a word.
                (self.lost if event.removed else self.changed).add(("link", dev))
                self.keys.add(event.key)
            case key if event.removed or not event.ours:
                self.keys.add(key)

    def update(self, other: Touched) -> None:
        """All of ``other`` too."""
        self.everything |= other.everything
        self.keys |= other.keys
        self.lost |= other.lost
        self.changed |= other.changed

    def hits(self, obj: Object, *, fresh: bool = False) -> bool:
        """Whether ``obj`` must be looked at.

        Args:
            fresh: it was made a moment ago: of changes that are no loss it is itself the cause.
        """
        if self.everything or obj.key in self.keys:
            return True
        places = self.lost if fresh else self.lost | self.changed
        if not places:
            return False
        return obj.key in places or any(parent in places for parent in obj.parents())


class Agenda:
    """When to look at what: soon after things have calmed down, and again where it failed."""

    def __init__(self, now: float) -> None:
        self._pending = Touched(everything=True)
        self._first = self._last = now
        self._again, self._again_at = Touched(), now
        self._later, self._later_at = Touched(), now
        self._delay = RETRY[0]
        self._everything_at = now + EVERYTHING

    def happened(self, events: Iterable[Event], now: float) -> None:
        """Events have come."""
        idle = not self._pending
        for event in events:
            self._pending.add(event)
        if self._pending:
            self._last = now
            self._first = now if idle else self._first

    def due(self) -> float:
        """When there is something to look at, if nothing happens before."""
        times = [self._everything_at]
        if self._pending:
            times.append(min(self._last + QUIET, self._first + LATEST))
        if self._again:
            times.append(self._again_at)
        if self._later:
            times.append(self._later_at)
        return min(times)

    def take(self, now: float) -> Touched:
        """What is to be looked at now; nothing before it is due."""
        if now < self.due():
            return Touched()
        touched, self._pending = self._pending, Touched()
        if now >= self._again_at:
            touched.update(self._again)
            self._again = Touched()
        if now >= self._later_at:
            touched.update(self._later)
            self._later = Touched()
        if now >= self._everything_at:
            touched.everything = True
            self._everything_at = now + EVERYTHING
        return touched

    def retry(self, failed: Touched, now: float) -> None:
        """What could not be put right is tried again, less and less often."""
        self._again.update(failed)
        if failed:
            self._again_at = now + self._delay
            self._delay = min(2 * self._delay, RETRY[1])
        elif not self._again:
            self._delay = RETRY[0]

    def later(self, touched: Touched, at: float) -> None:
        """What is to be looked at once more; all of it when the first is due."""
        if touched and not self._later:
            self._later_at = at
        self._later.update(touched)
