"""Which kernel objects attachments claim: an index by namespace and identity."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from cnidaria.plan.objects import Object

if TYPE_CHECKING:
    from cnidaria.plan.attachment import Attachment

Claim = tuple[int, object]
"""Cookie of the namespace, and the object's identity in it."""


class Claims:
    """How many attachments want an object. What two share goes with the last one."""

    def __init__(self) -> None:
        self._count: Counter[Claim] = Counter()

    def add(self, attachment: Attachment) -> None:
        """``attachment`` claims its objects."""
        self._count.update(claims_of(attachment))

    def remove(self, attachment: Attachment) -> None:
        """``attachment`` claims them no more."""
        for claim in claims_of(attachment):
            self._count[claim] -= 1
            if self._count[claim] <= 0:
                del self._count[claim]

    def count(self, cookie: int, obj: Object) -> int:
        """How many attachments claim ``obj`` in the namespace with this cookie."""
        return self._count[cookie, obj.key]


def claims_of(attachment: Attachment) -> list[Claim]:
    """One for each object of the plan."""
    return [
        (attachment.host_cookie if obj.where == "host" else attachment.netns_cookie, obj.key)
        for obj in attachment.objects
    ]
