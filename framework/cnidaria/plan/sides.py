"""Doing things to both namespaces of a plan: apply, withdraw, compare."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from weakref import WeakValueDictionary

from cnidaria.cni.errors import CniError, Code
from cnidaria.kernel.errors import Difference, KernelError
from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.netns import NetNS
from cnidaria.plan.adopt import unknown
from cnidaria.plan.attachment import Attachment, Key
from cnidaria.plan.coalesce import Coalescer
from cnidaria.plan.cover import covered
from cnidaria.plan.namespaces import Sides
from cnidaria.plan.objects import AnyLink, Link, Object

log = logging.getLogger(__name__)

KernelFor = Callable[[NetNS], AbstractContextManager[Kernel]]
"""Gives a kernel to talk to for as long as the block lasts."""


def runs(objects: Iterable[Object]) -> Iterator[tuple[str, list[Object]]]:
    """Runs of consecutive objects in the same namespace: each is one batch."""
    for where, run in groupby(objects, key=lambda obj: obj.where):
        yield where, list(run)


_HostLink = tuple[NetNS, Link]
_Deleter = Coalescer[_HostLink, list[KernelError]]


class Hands:
    """What the engine does to the kernel. Thread-safe, without memory of its own."""

    def __init__(self, kernel_for: KernelFor) -> None:
        self._kernel_for = kernel_for
        # Of the namespaces in which something is being deleted: each lives as long as its callers.
        self._deleters: WeakValueDictionary[int, _Deleter] = WeakValueDictionary()
        self._lock = threading.Lock()

    def apply(self, objects: Sequence[Object], sides: Sides) -> None:
        """Make ``objects`` so, in order.

        Raises:
            KernelError: the first that the kernel refuses; those before it are there.
            CniError: a namespace is needed and gone (code 8).
        """
        for where, run in runs(objects):
            namespace = sides.of(where)
            if namespace is None:
                raise CniError(Code.INVALID_NETNS, f"the {where}'s network namespace is gone")
            with self._kernel_for(namespace) as kernel:
                kernel.apply(run, host=sides.host, pod=sides.pod)

    def withdraw(self, objects: Sequence[Object], sides: Sides) -> list[KernelError]:
        """Remove ``objects`` in reverse order, and go on after errors.

        What goes with a link of the plan is left to it. The links themselves come last: those of
        the host together with the links of everybody else who is withdrawing right now.
        """
        by_itself = covered(objects)
        links = [obj for obj in objects if isinstance(obj, Link)]
        left = (obj for n, obj in enumerate(objects) if n not in by_itself)
        rest = [obj for obj in left if not isinstance(obj, Link)]
        errors: list[KernelError] = []
        for where, run in reversed(list(runs(rest))):
            errors += self._withdraw(run, sides.of(where))
        errors += self._withdraw([obj for obj in links if obj.where == "pod"], sides.pod)
        here = [obj for obj in links if obj.where == "host"]
        if sides.host and here:
            errors += self._delete(sides.host, here)
        return errors

    def differences(self, objects: Sequence[Object], sides: Sides) -> list[Difference]:
        """What is not as declared, in the order of the plan.

        Raises:
            KernelError: the kernel does not answer.
        """
        found: list[Difference] = []
        for where in ("host", "pod"):
            namespace = sides.of(where)
            here = [obj for obj in objects if obj.where == where]
            if namespace is None:
                found += [Difference(obj) for obj in here]
            elif here:
                with self._kernel_for(namespace) as kernel:
                    found += kernel.differences(here, host=sides.host, pod=sides.pod)
        position = {id(obj): n for n, obj in enumerate(objects)}
        return sorted(found, key=lambda one: position.get(id(one.object), 0))

    def unknown(
        self, known: Callable[[], Iterable[Key]], host: NetNS, now: float
    ) -> list[Attachment]:
        """What is attached in the namespace and not among ``known``; see :mod:`.adopt`.

        Raises:
            KernelError: the kernel does not answer.
        """
        with self._kernel_for(host) as kernel:
            return list(unknown(kernel, known, now))

    def spans(self, objects: Sequence[Object], host: NetNS) -> bool:
        """Whether a link of the plan that has an end on both sides is there, and ours.

        Such a link goes with either namespace: where it is, both are. Of an adopted one this end
        is all that is known.
        """
        names = [
            name
            for obj in objects
            if len({where for where, _ in obj.ends()}) > 1 or isinstance(obj, AnyLink)
            for name in obj.names()
            if obj.where == "host"
        ]
        if not names:
            return False
        with self._kernel_for(host) as kernel:
            links = [kernel.link(name) for name in names]
        return any(link is not None and link.ours for link in links)

    def _withdraw(self, objects: list[Object], namespace: NetNS | None) -> list[KernelError]:
        if namespace is None:
            return []
        try:
            with self._kernel_for(namespace) as kernel:
                return kernel.withdraw(objects)
        except KernelError as error:
            return [error]
        except Exception as error:  # a faulty kind of somebody's must not keep the rest there
            if len(objects) > 1:
                return [e for obj in reversed(objects) for e in self._withdraw([obj], namespace)]
            log.exception("removing %s", objects[0])
            reason = f"{type(error).__name__}: {error}"
            return [KernelError(errno.EIO, f"cannot remove {objects[0]}", reason)]

    def _delete(self, host: NetNS, links: list[Link]) -> list[KernelError]:
        """Delete links of the host together with what others delete there at this moment."""
        with self._lock:
            deleter = self._deleters.get(host.cookie)
            if deleter is None:
                deleter = self._deleters[host.cookie] = Coalescer(self._delete_all)
        names = {link.name for link in links}
        errors = deleter([(host, link) for link in links])
        return [error for error in errors if error.name in names or not error.name]

    def _delete_all(self, links: list[_HostLink]) -> list[KernelError]:
        host = links[0][0]  # whoever gave it waits for us: it is open
        try:
            with self._kernel_for(host) as kernel:
                return kernel.delete_links([link for _, link in links])
        except KernelError as error:
            return [error]
