"""Node state: what a namespace must hold whatever attachments there are. Diff, apply, prune."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Final

from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.netns import NetNS
from cnidaria.plan.claims import Claims
from cnidaria.plan.mend import Changes, mend
from cnidaria.plan.objects import NftElements, NftSet, Object
from cnidaria.plan.sides import KernelFor

log = logging.getLogger(__name__)

ROUNDS: Final = 3
"""A link that is replaced takes along what hangs on it: look again, this often at most."""

Scope = Callable[[Object], bool]
Frozen = Callable[[], AbstractContextManager[Claims]]


def everything(obj: Object) -> bool:  # noqa: ARG001  one of many scopes
    """All objects that bear our mark."""
    return True


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

    @property
    def desired(self) -> tuple[Object, ...]:
        """What the last :meth:`sync` was told."""
        return self._desired

    def sync(self, desired: Iterable[Object], scope: Scope = everything) -> Changes:
        """Make it so: add what lacks, replace what differs, remove what is ours and not desired.

        Args:
            desired: in the order of application.
            scope: what of ours may be pruned.

        Raises:
            KernelError: the kernel cannot be read. What it refuses to change is in the result.
        """
        with self._lock, self._kernel_for(self._namespace) as kernel:
            self._desired = tuple(desired)
            changes = Changes()
            have = {obj.key: obj for obj in kernel.owned()}
            self._prune(kernel, have.values(), scope, changes)
            wrong = [obj for obj in self._desired if have.get(obj.key) != obj]
            self._repair(kernel, wrong, changes)
            self._prune_elements(kernel, changes)
            return changes

    def put_back(self, objects: Sequence[Object]) -> Changes:
        """Those of ``objects`` that are desired and not there, or not as they should be.

        Raises:
            KernelError: the kernel cannot be read.
        """
        with self._lock, self._kernel_for(self._namespace) as kernel:
            wanted = {obj.key for obj in self._desired}
            changes = Changes()
            self._repair(kernel, [obj for obj in objects if obj.key in wanted], changes)
            return changes

    def _repair(self, kernel: Kernel, candidates: Sequence[Object], changes: Changes) -> None:
        for _ in range(ROUNDS):
            wrong = kernel.differences(candidates) if candidates else []
            if not wrong:
                return
            if not mend(kernel.apply, wrong, changes):
                return
            candidates = self._desired

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

    def _prune_elements(self, kernel: Kernel, changes: Changes) -> None:
        """Elements of our sets that nobody declares: they bear no mark but their set's."""
        sets = [obj for obj in self._desired if isinstance(obj, NftSet) and obj.content is None]
        if not sets:
            return
        with self._frozen() as claims:
            declared = [*self._desired, *claims.objects(self._namespace.cookie)]
            for one in sets:
                if extra := strays(kernel, one, declared):
                    changes.errors += kernel.withdraw([extra])
                    changes.withdrawn.append(extra)


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
