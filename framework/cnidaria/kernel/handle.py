"""The kernel of one namespace: apply declared objects, withdraw and compare them, list ours."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain
from pathlib import Path

from cnidaria.kernel import linkinfo, routes
from cnidaria.kernel.drivers import DRIVERS, driver_of
from cnidaria.kernel.entries import Addresses
from cnidaria.kernel.errors import Difference, KernelError
from cnidaria.kernel.linkinfo import LinkInfo
from cnidaria.kernel.links import delete_links
from cnidaria.kernel.netlink import Hook
from cnidaria.kernel.netns import NetNS
from cnidaria.kernel.objects import Link, Object, kinds_with_drivers
from cnidaria.kernel.session import Session

__all__ = ["Difference", "Kernel", "KernelError", "LinkInfo"]

OUTSIDE = {4: "192.88.99.1", 6: "100::1"}
"""Nobody's addresses (RFC 7526, RFC 6666): where they are routed to, everything else is."""

_MANY = 16
"""From here on everything of a kind is read at once, not one by one."""


class Kernel:
    """Talks to the kernel of one namespace. Thread-safe; costs nothing to make.

    What an object's ``where`` says is not asked: all objects are of this namespace. ``host`` and
    ``pod`` are needed only where an object reaches into the other one: a veth with its peer, a
    macvlan with its master.

    Args:
        namespace: stays the caller's.
        hook: called with what is about to be sent or written, before every single step.
        declared: of a namespace's cookie: what attachments declare there, for drivers of kinds
            that are made of all objects of a kind together.
        state_dir: where drivers may keep, in a directory of their own, what the kernel cannot tell
            them; ``None``: nowhere.
    """

    def __init__(
        self,
        namespace: NetNS,
        hook: Hook | None = None,
        *,
        declared: Callable[[int], Collection[Object]] | None = None,
        state_dir: Path | None = None,
    ) -> None:
        self.namespace = namespace
        self._hook = hook
        self._declared = declared
        self._state_dir = state_dir

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing to do: sockets belong to the namespace."""

    # -- declared objects ------------------------------------------------------------------

    def apply(
        self, objects: Iterable[Object], *, host: NetNS | None = None, pod: NetNS | None = None
    ) -> None:
        """Make the objects so, in order. What is exactly so already is right; what is ours and
        differs is replaced where the kernel can do that.

        Raises:
            KernelError: the first that is refused; EEXIST: something else is in its place. Others
                of the same batch, also later ones, may be there.
        """
        with self._session(host, pod) as session:
            for obj in objects:
                driver_of(obj).apply(session, obj)
            session.flush()

    def withdraw(self, objects: Iterable[Object]) -> list[KernelError]:
        """Remove the objects in reverse order, and go on after errors.

        What is not there, or not ours, is left. What goes with a link or nftables table of the
        same list is left to its deletion; all links are deleted together, at the end.
        """
        objects = list(objects)
        links = [obj for obj in objects if isinstance(obj, Link)]
        going = {obj.key for obj in objects}
        with self._session() as session:
            session.errors = []
            for obj in reversed(objects):
                if not isinstance(obj, Link) and going.isdisjoint(obj.parents()):
                    session.collect(driver_of(obj).withdraw, session, obj)
            session.flush()
            errors = _again(session, session.errors)
            if links:
                errors += _of_objects(delete_links(session, links[::-1]), objects)
            return errors

    def differences(
        self, objects: Iterable[Object], *, host: NetNS | None = None, pod: NetNS | None = None
    ) -> list[Difference]:
        """What is not as declared, in order.

        Raises:
            KernelError: the kernel does not answer.
        """
        objects = list(objects)
        with self._session(host, pod, many=len(objects) > _MANY) as session:
            return [
                difference
                for obj in objects
                for difference in driver_of(obj).differences(session, obj)
            ]

    def owned(self, *kinds: type[Object]) -> list[Object]:
        """Everything here that bears our mark; links of all kinds are listed as ``AnyLink``.

        Args:
            kinds: only of these kinds.

        Raises:
            KernelError: the kernel does not answer.
        """
        with self._session() as session:
            known = {**DRIVERS, **{kind: kind.DRIVER for kind in kinds_with_drivers()}}
            drivers = [driver for kind, driver in known.items() if not kinds or kind in kinds]
            return list(chain.from_iterable(driver.owned(session) for driver in drivers))

    # -- links -----------------------------------------------------------------------------

    def links(self) -> list[LinkInfo]:
        """All links here.

        Raises:
            KernelError: the kernel does not answer.
        """
        with self._session() as session:
            return list(linkinfo.all_links(session))

    def link(self, name: str) -> LinkInfo | None:
        """One link; ``None`` if there is none of this name.

        Raises:
            KernelError: the kernel does not answer.
        """
        with self._session() as session:
            return linkinfo.find_link(session, name)

    def delete_links(self, links: Sequence[Link]) -> list[KernelError]:
        """Delete those of the links that are there and ours, all in one grace period.

        A pod's link is found by its alias, too, as somebody may have renamed it.

        Returns:
            An error for each that could not be deleted, with its ``name``.
        """
        with self._session() as session:
            return delete_links(session, links)

    # -- what else there is ----------------------------------------------------------------

    def default_route_link(self, family: int) -> LinkInfo | None:
        """The link that packets to the outside leave by.

        Args:
            family: 4 or 6.

        Raises:
            KernelError: the kernel does not answer.
        """
        with self._session() as session:
            index = routes.outgoing(session, OUTSIDE[family])
            return linkinfo.find_link(session, session.name(index)) if index else None

    def own(self, address: str) -> str:
        """What an address is to this namespace: ``local``, ``broadcast``, ``anycast``, or ``""``.

        Raises:
            KernelError: the kernel does not answer.
        """
        with self._session() as session:
            return routes.own(session, address)

    def addresses(self, dev: str) -> list[str]:
        """Addresses of a link with prefix length, in the kernel's order; IPv4's first.

        Raises:
            KernelError: the kernel does not answer.
        """
        with self._session() as session:
            return Addresses().listed(session, dev)

    def _session(
        self, host: NetNS | None = None, pod: NetNS | None = None, *, many: bool = False
    ) -> Session:
        return Session(
            self.namespace,
            self._hook,
            host=host,
            pod=pod,
            many=many,
            declared=self._declared,
            state_dir=self._state_dir,
        )


def _of_objects(errors: Iterable[KernelError], objects: Iterable[Object]) -> list[KernelError]:
    """Errors about links by name, as errors about the objects that declare them."""
    declared = {name: obj for obj in objects for name in obj.names()}
    return [
        KernelError(
            error.errno,
            f"cannot remove {declared[error.name]} ({declared[error.name].where})",
            error.reason,
            object=declared[error.name],
            name=error.name,
        )
        for error in errors
    ]


def _again(session: Session, errors: list[KernelError]) -> list[KernelError]:
    """Chains and sets that were in use may be so no more: try as long as that helps."""
    while True:
        busy = [error.object for error in errors if error.errno == errno.EBUSY and error.object]
        rest = [error for error in errors if error.object not in busy]
        session.errors = found = list[KernelError]()
        for obj in busy:
            session.collect(driver_of(obj).withdraw, session, obj)
        session.flush()
        if len(found) == len(busy):
            return rest + found
        errors = rest + found
