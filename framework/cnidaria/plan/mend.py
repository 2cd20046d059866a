"""Putting back what is not as declared; an object that is refused does not keep others back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cnidaria.kernel.errors import Difference, KernelError
from cnidaria.plan.objects import Object

Apply = Callable[[Sequence[Object]], None]
"""Makes objects so; raises :class:`KernelError` for the first that is refused."""


@dataclass
class Changes:
    """What was done, in order, and what the kernel refused."""

    applied: list[Object] = field(default_factory=list)
    withdrawn: list[Object] = field(default_factory=list)
    errors: list[KernelError] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.applied or self.withdrawn or self.errors)


def mend(apply: Apply, wrong: Sequence[Difference], changes: Changes) -> bool:
    """Make right what differs, in order; whether all of it could be done."""
    left = list(dict.fromkeys(one.object for one in wrong))
    errors = len(changes.errors)
    while left:
        try:
            apply(left)
            changes.applied += left
            break
        except KernelError as error:
            at = left.index(error.object) if error.object in left else 0
            changes.errors.append(error)
            changes.applied += left[:at]
            left = left[at + 1 :]
    return len(changes.errors) == errors
