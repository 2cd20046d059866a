"""What goes wrong in the kernel, told so that a person can act on it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from cnidaria.kernel.objects import Object


class KernelError(Exception):
    """The kernel refused.

    Attributes:
        errno: as in :mod:`errno`.
        what: what was tried, as ``cannot add route 10.2.0.0/24 dev eth0 (host)``.
        reason: the kernel's own words (extended ack) or those of the error number.
        object: what it was about, if it was one of the declared objects.
        name: of the link it was about, ``""`` if it was about no single link.
    """

    def __init__(
        self,
        errno: int,
        what: str,
        reason: str = "",
        *,
        object: Object | None = None,  # noqa: A002
        name: str = "",
    ) -> None:
        self.errno = errno
        self.what = what
        self.reason = reason or os.strerror(errno)
        self.object = object
        self.name = name or (object.names()[0] if object and object.names() else "")
        super().__init__(f"{what}: {self.reason}")


@dataclass(frozen=True)
class Difference:
    """What is not as declared.

    Attributes:
        field: of the object; ``""`` if the object is missing.
        expected, found: the field's values.
    """

    object: Object
    field: str = ""
    expected: Any = None
    found: Any = None

    def __str__(self) -> str:
        where = f"{self.object} ({self.object.where})"
        if not self.field:
            return f"{where}: missing"
        return f"{where}: {self.field} is {self.found!r}, must be {self.expected!r}"
