"""Which nodes live, told without trusting their clocks.

Each node counts up a number in the store.  What matters is only that the number changes, seen by
this process's own monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping

Beat = tuple[str, int]
"""Incarnation and heartbeat counter."""


class Liveness:
    """Remembers when each node's heartbeat was last seen to change."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Beat, float]] = {}

    def observe(self, beats: Mapping[str, Beat], now: float) -> None:
        """Take note of what the store says at ``now`` (seconds, monotonic)."""
        self._seen = {
            name: seen if (seen := self._seen.get(name)) and seen[0] == beat else (beat, now)
            for name, beat in beats.items()
        }

    def renew(self, now: float) -> None:
        """Give every node its full time again: nothing was to be seen for a while."""
        self._seen = {name: (beat, now) for name, (beat, _) in self._seen.items()}

    def alive(self, name: str, expiry: float, now: float) -> bool:
        """Whether the node's heartbeat changed within the last ``expiry`` seconds."""
        seen = self._seen.get(name)
        return seen is None or now - seen[1] < expiry

    def beat(self, name: str) -> Beat | None:
        """The heartbeat as last seen."""
        seen = self._seen.get(name)
        return seen[0] if seen else None
