"""Which objects of a plan go by themselves when a link of it goes."""

from __future__ import annotations

from collections.abc import Iterable

from cnidaria.plan.objects import Object

End = tuple[str, str]
"""Which of the two namespaces, and the name of a link in it."""


def covered(objects: Iterable[Object]) -> frozenset[int]:
    """Positions of the objects that the kernel removes together with a link of the same plan."""
    objects = list(objects)
    ends = {end for obj in objects for end in obj.ends()}
    return frozenset(
        position
        for position, obj in enumerate(objects)
        if not obj.ends() and any((obj.where, name) in ends for name in obj.on())
    )
