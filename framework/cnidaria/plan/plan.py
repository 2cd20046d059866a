"""What a mode returns: the objects that must be there, and what the runtime is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cnidaria.cni.result import Result
from cnidaria.plan.objects import Object


class Plan:
    """Declared objects in the order of application, and the CNI result.

    Args:
        objects: each has an identity of its own in its namespace.
        result: what ADD answers; ``None``: what the objects amount to
            (:func:`~cnidaria.plan.outcome.outcome`), added to the previous plugin's result.

    Raises:
        ValueError: two objects have the same identity.
    """

    def __init__(self, objects: Iterable[Object] = (), result: Result | None = None) -> None:
        self.objects = tuple(objects)
        self.result = result
        seen: dict[object, Object] = {}
        for obj in self.objects:
            first = seen.setdefault((obj.where, obj.key), obj)
            if first is not obj:
                raise ValueError(f"plan: {obj!r}: is declared twice; the first is {first!r}")

    def __iter__(self) -> Iterator[Object]:
        return iter(self.objects)

    def __len__(self) -> int:
        return len(self.objects)

    def __repr__(self) -> str:
        return f"Plan({list(self.objects)!r}, result={self.result!r})"
