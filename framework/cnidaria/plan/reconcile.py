"""Node state: what a namespace must hold whatever attachments there are. Diff, apply, prune."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final

from cnidaria.kernel.errors import Difference, KernelError
from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.netns import NetNS
from cnidaria.plan.claims import Claims
from cnidaria.plan.mend import Changes, mend
from cnidaria.plan.objects import Address, Fdb, Neighbour, NftElements, NftSet, Object, Route, Rule
from cnidaria.plan.sides import KernelFor

LISTED: Final = (Address, Route, Rule, Neighbour, Fdb)
"""Kinds of which :meth:`Kernel.owned` lists every one, so that what it lacks is missing."""

Scope = Callable[[Object], bool]
Frozen = Callable[[], AbstractContextManager[Claims]]


def everything(obj: Object) -> bool:  # noqa: ARG001  one of many scopes
    """All objects that bear our mark."""
    return True


def nothing(obj: Object) -> bool:  # noqa: ARG001
    """None of them."""
    return False


class Reconciler:
    """Keeps the host's side of one namespace as desired. Thread-safe; one sync at a time.

    Args:
        kernel_for: gives a kernel for the namespace.
        namespace: where.
        frozen: holds off changes of attachments and says what they claim
            (:meth:`~cnidaria.plan.store.Store.frozen`): that is never pruned.
    """

    def __init__(self, kernel_for: KernelFor, namespace: NetNS, frozen: Frozen) -> None:
        self._kernel_for = kernel_for
        self._namespace = namespace
        self._frozen = frozen
        self._lock = threading.RLock()
        self._desired: tuple[Object, ...] = ()
        self._by_key: dict[object, Object] = {}
        self._clean = False

    @property
    def desired(self) -> tuple[Object, ...]:
        """What the last :meth:`sync` was told."""
        return self._desired

    def differences(self, objects: Iterable[Object]) -> list[Difference]:
        """What of ``objects`` is not as declared. Raises :class:`KernelError`."""
        with self._kernel_for(self._namespace) as kernel:
            return kernel.differences(objects)

    def sync(
        self, desired: Iterable[Object], scope: Scope = everything, *, whole: bool = False
    ) -> Changes:
        """Make it so: add what lacks, replace what differs, remove what is ours and not desired.

        After a sync without errors only what has changed since is looked at, so that a node more
        in a cluster of thousands costs little; the same ``desired`` again compares everything.

        Args:
            desired: in the order of application.
            scope: what of ours may be pruned.
            whole: compare everything although something has changed.

        Raises:
            KernelError: the kernel cannot be read. What it refuses to change is in the result.
        """
        with self._lock, self._kernel_for(self._namespace) as kernel:
            before, old, clean = self._desired, self._by_key, self._clean
            self._desired = tuple(desired)
            self._by_key = {obj.key: obj for obj in self._desired}
            self._clean = False
            have: Mapping[object, Object] = old
            gone = [obj for key, obj in old.items() if key not in self._by_key]
            more = [obj for obj in self._desired if old.get(obj.key) != obj]
            links = any(obj.ends() for obj in (*gone, *more))  # others come and go with them
            changes = Changes()
            whole = whole or not clean or links or self._desired == before
            if whole:
                have = {obj.key: obj for obj in kernel.owned()}
                gone = list(have.values())
                more = [obj for obj in self._desired if have.get(obj.key) != obj]
            self._prune(kernel, gone, scope, changes)
            _mend(kernel, _wrong(kernel, more, have), self._desired, changes)
            if whole:
                self._prune_elements(kernel, scope, changes)
            self._clean = not changes.errors
            return changes

    def put_back(self, objects: Iterable[Object]) -> Changes:
        """Those of ``objects`` that are desired and not there, or not as they should be.

        Raises:
            KernelError: the kernel cannot be read.
        """
        with self._lock, self._kernel_for(self._namespace) as kernel:
            changes = Changes()
            candidates = [obj for obj in objects if self._by_key.get(obj.key) == obj]
            _mend(kernel, kernel.differences(candidates), self._desired, changes)
            return changes

    def _prune(
        self, kernel: Kernel, have: Iterable[Object], scope: Scope, changes: Changes
    ) -> None:
        wanted = {obj.key for obj in self._desired}
        with self._frozen() as claims:
            extra = [
                obj
                for obj in have
                if obj.key not in wanted
                and scope(obj)
                and not claims.count(self._namespace.cookie, obj)
            ]
            changes.errors += kernel.withdraw(extra)
        changes.withdrawn += extra

    def _prune_elements(self, kernel: Kernel, scope: Scope, changes: Changes) -> None:
        """Elements of our sets that nobody declares: they bear no mark but their set's."""
        sets = [obj for obj in self._desired if isinstance(obj, NftSet) and obj.content is None]
        if not sets:
            return
        with self._frozen() as claims:
            declared = [*self._desired, *claims.objects(self._namespace.cookie)]
            for one in sets:
                extra = strays(kernel, one, declared)
                if extra and scope(extra):
                    changes.errors += kernel.withdraw([extra])
                    changes.withdrawn.append(extra)


def bring_about(kernel: Kernel, objects: Sequence[Object]) -> Changes:
    """Make ``objects`` so, and take nothing away but what is in their way.

    Raises:
        KernelError: the kernel cannot be read. What it refuses to change is in the result.
    """
    changes = Changes()
    _mend(kernel, kernel.differences(objects), objects, changes)
    return changes


def _mend(
    kernel: Kernel, wrong: Sequence[Difference], desired: Sequence[Object], changes: Changes
) -> None:
    """A link of ours that is there and cannot be changed is made anew, with all on it."""
    now = Changes()
    mend(kernel.apply, wrong, now)
    stuck = [error.object for error in now.errors if _is_stuck(error) and error.object]
    changes.applied += now.applied
    if not stuck:
        changes.errors += now.errors
        return
    changes.errors += kernel.withdraw(stuck)
    mend(kernel.apply, kernel.differences(desired), changes)


def _is_stuck(error: KernelError) -> bool:
    """Whether a link is in the way of another one of the same name."""
    return error.errno == errno.EEXIST and error.object is not None and bool(error.object.ends())


def _wrong(
    kernel: Kernel, objects: Sequence[Object], have: Mapping[object, Object]
) -> list[Difference]:
    """In order; the kernel is asked only about what is not known to be missing."""
    known = {id(obj) for obj in objects if isinstance(obj, LISTED) and obj.key not in have}
    found: dict[int, Difference] = {}
    for one in kernel.differences([obj for obj in objects if id(obj) not in known]):
        found.setdefault(id(one.object), one)
    return [
        Difference(obj) if id(obj) in known else found[id(obj)]
        for obj in objects
        if id(obj) in known or id(obj) in found
    ]


def strays(kernel: Kernel, one: NftSet, declared: Iterable[Object]) -> NftElements | None:
    """What is in the set and not among ``declared``."""
    place = one.family, one.table, one.name
    known = [
        element
        for obj in declared
        if isinstance(obj, NftElements) and (obj.family, obj.table, obj.set) == place
        for element in obj.elements
    ]
    keys = {element.key for element in known}
    for difference in kernel.differences([one.holding(*known)]):
        extra = [element for element in difference.found or () if element.key not in keys]
        if difference.field == "content" and extra:
            return one.elements(*extra)
    return None
