"""Group commit: what comes while an action is running is gathered for the next one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _Part(Generic[T, R]):
    def __init__(self, items: Sequence[T]) -> None:
        self.items = items
        self.outcome: R | None = None
        self.error: BaseException | None = None
        self.done = False


class Coalescer(Generic[T, R]):
    """Runs ``action`` on the items of many callers at once.

    A kernel that makes every deletion wait for a grace period charges a hundred at once as much
    as one.  Nobody waits on purpose: the first caller starts, the others gather meanwhile.

    Args:
        action: gets the items of all who wait, in the order of their coming; what it returns or
            raises goes to each of them.
    """

    def __init__(self, action: Callable[[list[T]], R]) -> None:
        self._action = action
        self._running = threading.Lock()
        self._gathering = threading.Lock()
        self._waiting: list[_Part[T, R]] = []

    def __call__(self, items: Sequence[T]) -> R:
        """Do ``items``, together with whatever else is waiting.

        Raises:
            BaseException: what the action raised.
        """
        part: _Part[T, R] = _Part(items)
        with self._gathering:
            self._waiting.append(part)
        with self._running:
            if not part.done:
                self._run()
        if part.error is not None:
            raise part.error
        return part.outcome  # type: ignore[return-value]  # set by whoever ran it

    def _run(self) -> None:
        with self._gathering:
            parts, self._waiting = self._waiting, []
        try:
            outcome = self._action([item for part in parts for item in part.items])
        except BaseException as error:  # noqa: BLE001  every waiter must hear of it
            for part in parts:
                part.error, part.done = error, True
        else:
            for part in parts:
                part.outcome, part.done = outcome, True
