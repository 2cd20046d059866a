"""How objects of one kind are made so, removed, and read back: what each kind has to provide."""

# ruff: noqa: D102  what overrides is documented in driver.py
from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from typing import Any, Generic, NamedTuple, TypeVar

from cnidaria.kernel import uapi
from cnidaria.kernel.codec import Part
from cnidaria.kernel.errors import Difference
from cnidaria.kernel.netlink import Answer, Request
from cnidaria.kernel.objects import Object
from cnidaria.kernel.session import GONE, Session, refused, taken

O = TypeVar("O", bound=Object)  # noqa: E741


class Found(NamedTuple):
    """What the kernel has where an object should be.

    Attributes:
        object: as it would be declared.
        ours: whether it bears our mark.
    """

    object: Object
    ours: bool


def by_key(found: Iterable[Found]) -> dict[tuple[Any, ...], Found]:
    """For finding many."""
    return {one.object.key: one for one in found}


def known(decode: Callable[[Session, Part], Found | None]) -> Callable[..., Found | None]:
    """What others made may be of a kind that we cannot say: as if it were not there."""

    @wraps(decode)
    def tolerant(session: Session, part: Part) -> Found | None:
        try:
            return decode(session, part)
        except (ValueError, KeyError):
            return None

    return tolerant


class Driver(Generic[O]):
    """Makes objects of one kind so. Stateless."""

    def apply(self, session: Session, obj: O) -> None:
        """Make it so; requests may be left in the session's queue.

        Raises:
            KernelError: the kernel refuses, or something else is there (EEXIST).
        """
        raise NotImplementedError

    def withdraw(self, session: Session, obj: O) -> None:
        """Remove it if it is there and ours.

        Raises:
            KernelError: the kernel refuses.
        """
        raise NotImplementedError

    def find(self, session: Session, obj: O) -> Found | None:
        """What is there under the object's key."""
        raise NotImplementedError

    def owned(self, session: Session) -> Iterable[Object]:
        """Everything of this kind that bears our mark."""
        raise NotImplementedError

    def differences(self, session: Session, obj: O) -> Iterator[Difference]:
        """What is not as declared."""
        found = self.find(session, obj)
        if found is None:
            yield Difference(obj)
        elif not found.ours:
            yield Difference(obj, "owner", "cnidaria", "somebody else")
        else:
            yield from compare(obj, found.object)


class Entry(Driver[O]):
    """What is added, replaced and removed by one message each: addresses, routes, neighbours.

    Attributes:
        sees_ours_only: whether :meth:`find` may miss what somebody else has put there.
    """

    new: int
    delete: int
    sees_ours_only: bool = False

    def body(self, session: Session, obj: O) -> bytes:
        """All after the header of the message that adds ``obj``, and of that which removes it."""
        raise NotImplementedError

    def key_body(self, session: Session, obj: O) -> bytes:
        """Of the message that removes it; empty if it cannot be there."""
        return self.body(session, obj)

    def apply(self, session: Session, obj: O) -> None:
        flags = uapi.NLM_F_CREATE | uapi.NLM_F_EXCL
        request = Request(self.new, flags, self.body(session, obj))
        session.queue("add", obj, request, partial(self._settle, session, obj))

    def _settle(self, session: Session, obj: O, answer: Answer) -> None:
        """Something is there already: the same, an older one of ours, or somebody else's."""
        if answer.errno != errno.EEXIST:
            raise refused("add", obj, answer)
        found = self.find(session, obj)
        if found is not None and found.ours and not any(compare(obj, found.object)):
            return
        foreign = self.sees_ours_only if found is None else not found.ours
        if foreign:
            raise taken(obj, "somebody else's is there")
        request = Request(self.new, uapi.NLM_F_CREATE | uapi.NLM_F_REPLACE, self.body(session, obj))
        answer = session.step(request)
        if answer.errno:
            raise refused("add", obj, answer)

    def withdraw(self, session: Session, obj: O) -> None:
        body = self.key_body(session, obj)
        if body:
            session.queue("remove", obj, Request(self.delete, 0, body), partial(not_there, obj))


def not_there(obj: Object, answer: Answer) -> None:
    """What is not there needs no removing."""
    if answer.errno not in GONE:
        raise refused("remove", obj, answer)


def compare(expected: Object, found: Object) -> Iterator[Difference]:
    """The fields that differ; those that were left to the kernel do not count."""
    if expected == found:
        return
    for field in expected.__struct_fields__:
        want: Any = getattr(expected, field)
        have: Any = getattr(found, field)
        left_open = want is None and field in expected.LOOSE
        if field != "where" and want != have and not left_open:
            yield Difference(expected, field, want, have)
