"""Which kernel objects attachments claim: an index by namespace and identity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

from cnidaria.plan.objects import Object

if TYPE_CHECKING:
    from cnidaria.plan.attachment import Attachment

Claim = tuple[int, object]
"""Cookie of the namespace, and the object's identity in it."""


class Claims:
    """Who wants which object. What two attachments share goes with the last one."""

    def __init__(self) -> None:
        self._count: Counter[Claim] = Counter()
        self._objects: dict[int, dict[object, Object]] = {}

    def add(self, attachment: Attachment) -> None:
        """``attachment`` claims its objects."""
        for cookie, obj in claims_of(attachment):
            self._count[cookie, obj.key] += 1
            self._objects.setdefault(cookie, {})[obj.key] = obj

    def remove(self, attachment: Attachment) -> None:
        """``attachment`` claims them no more."""
        for cookie, obj in claims_of(attachment):
            self._count[cookie, obj.key] -= 1
            if self._count[cookie, obj.key] <= 0:
                del self._count[cookie, obj.key]
                del self._objects[cookie][obj.key]
                if not self._objects[cookie]:
                    del self._objects[cookie]

    def count(self, cookie: int, obj: Object) -> int:
        """How many attachments claim ``obj`` in the namespace with this cookie."""
        return self._count[cookie, obj.key]

    def clash(self, attachment: Attachment) -> Object | None:
        """The first object that others want otherwise than ``attachment`` does."""
        for cookie, obj in claims_of(attachment):
            if self._objects.get(cookie, {}).get(obj.key, obj) != obj:
                return obj
        return None

    def objects(self, cookie: int) -> Collection[Object]:
        """All that is claimed in the namespace with this cookie."""
        return self._objects.get(cookie, {}).values()


def claims_of(attachment: Attachment) -> list[tuple[int, Object]]:
    """The objects of the plan, each with the cookie of its namespace."""
    return [
        (attachment.host_cookie if obj.where == "host" else attachment.netns_cookie, obj)
        for obj in attachment.objects
    ]
