"""One attachment at a time: ADD, DEL and CHECK, each as a transaction."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from msgspec.structs import replace

from cnidaria.cni.errors import CniError, Code
from cnidaria.kernel import nsids
from cnidaria.kernel.errors import Difference, KernelError
from cnidaria.kernel.netns import NetNS
from cnidaria.plan.attachment import Attachment, Key
from cnidaria.plan.exclusive import Exclusive
from cnidaria.plan.failure import as_cni_error, combine
from cnidaria.plan.journal import StateError
from cnidaria.plan.namespaces import Places, Sides, search
from cnidaria.plan.objects import Object
from cnidaria.plan.sides import Hands, KernelFor
from cnidaria.plan.store import Store

ENDING: Final = 0.5
"""Seconds that a namespace may take to end once nothing holds it any more."""

Event = Callable[[Attachment], None]


def nothing(attachment: Attachment) -> None:
    """Do nothing."""


class Transactions:
    """Thread-safe: one thing at a time for an attachment, different ones at once.

    Args:
        store: what is attached.
        kernel_for: gives a kernel for a namespace.
        clock: seconds since boot, sleep included (``CLOCK_BOOTTIME``).
        releasing: called when nothing of an attachment is left in the kernel and before it is
            forgotten; may raise :class:`CniError`: then it is not forgotten, and the next DEL
            tries again. For what must not be lost, such as another IPAM plugin's DEL.
        released: called after it was forgotten. For what is only in memory; must not raise.
    """

    def __init__(
        self,
        store: Store,
        kernel_for: KernelFor,
        clock: Callable[[], float],
        *,
        releasing: Event = nothing,
        released: Event = nothing,
    ) -> None:
        self.store = store
        self._hands = Hands(kernel_for)
        self._clock = clock
        self._releasing = releasing
        self._released = released
        self._exclusive = Exclusive()
        self._gone_since: dict[str, float] = {}

    def exclusive(self, key: Key) -> AbstractContextManager[None]:
        """Keep everybody else off the attachment of this key (re-entrant).

        ADD holds it from before it takes leases; a DEL that comes meanwhile waits.
        """
        return self._exclusive(key)

    # -- ADD -------------------------------------------------------------------------------

    def attach(self, attachment: Attachment, host: NetNS, pod: NetNS | None) -> Attachment:
        """Apply the attachment's plan: all of it, or nothing.

        A repeated request (same ``request_id``) gets what the first one made. On failure the
        attachment's leases were given back: ``releasing`` and ``released`` were called with it,
        unless something could not be removed; then it stays held until a DEL succeeds.

        Args:
            attachment: namespaces, state and time are filled in here.

        Raises:
            CniError: the first cause, with whatever else failed in the details; code 103 if it
                is attached already, 104 if the pod has such an interface, 107 if nothing can be
                recorded, 109 if another attachment has in use what it needs.
        """
        attachment = replace(
            attachment,
            host_cookie=host.cookie,
            netns_cookie=pod.cookie if pod else 0,
            nsid=nsids.number(host, pod) if pod else nsids.NONE,
            created=self._clock(),
        )
        with self.exclusive(attachment.key):
            if again := self.repeated(attachment.key, attachment.request_id):
                return again
            try:
                self.refuse_second(attachment.key, host, pod)
            except CniError:
                self._released(attachment)  # these leases, not those of the one that is there
                raise
            try:
                self._make_way(attachment, host, pod)
                self._begin(attachment)
            except CniError as error:
                raise combine(error, self._give_back(attachment)) from error
            try:
                self._hands.apply(attachment.objects, Sides(host, pod))
                return self.store.commit(attachment.id)
            except (KernelError, CniError) as error:
                others = self._withdraw(attachment, Sides(host, pod))
                raise combine(as_cni_error(error, attachment), others) from error
            except BaseException:
                self._withdraw(attachment, Sides(host, pod))
                raise

    def _begin(self, attachment: Attachment) -> None:
        """Declare it, unless that would take something away from another attachment."""
        with self.store.frozen() as claims:
            obj = claims.clash(attachment)
            if obj is None:
                self.store.begin(attachment)
                return
            has = (one.id for one in self.store.all() if obj.key in {o.key for o in one.objects})
            raise CniError(
                Code.CLASH,
                f"{obj} ({obj.where}): attachment {next(has, 'unknown')} has it in use",
                "networks of one node and interfaces of one pod must not overlap",
            )

    def refuse_second(self, key: Key, host: NetNS, pod: NetNS | None) -> None:
        """ADD of what is attached already changes nothing.

        What is left of a container that died without a DEL does not count.

        Raises:
            CniError: code 103.
        """
        old = self.store.get(*key)
        if old is not None and old.state == "attached" and self._lives_on(old, host, pod):
            raise CniError(
                Code.ALREADY_ATTACHED,
                f"container {old.container!r} is attached to network {old.network!r} "
                f"by {old.ifname!r} already",
                "DEL it first; nothing was changed",
            )

    def _lives_on(self, old: Attachment, host: NetNS, pod: NetNS | None) -> bool:
        """Whether its container does; the kernel takes its time to end a namespace."""
        deadline = time.monotonic() + ENDING
        while not self._is_gone(old, host, pod):
            with Places(old, host, None) as sides:
                if sides.pod is not None or time.monotonic() > deadline:
                    return True
            time.sleep(ENDING / 20)
        return False

    def repeated(self, key: Key, request_id: bytes) -> Attachment | None:
        """What this very request made before its caller lost the agent."""
        old = self.store.get(*key) if request_id else None
        same = old is not None and old.state == "attached" and old.request_id == request_id
        return old if same else None

    def _make_way(self, attachment: Attachment, host: NetNS, pod: NetNS | None) -> None:
        """What an ADD or DEL left that could not be undone then has to go now."""
        old = self.store.get(*attachment.key)
        if old is not None and not old.is_beginning_of(attachment):
            self.detach(old.key, host, pod)

    def _give_back(self, attachment: Attachment) -> list[Exception]:
        """Leases of an attachment that never was."""
        errors: list[Exception] = []
        try:
            self._releasing(attachment)
        except CniError as error:
            errors.append(error)
        self._released(attachment)
        return errors

    # -- DEL -------------------------------------------------------------------------------

    def detach(self, key: Key, host: NetNS, pod: NetNS | None = None) -> Attachment | None:
        """Withdraw an attachment; what is not there is no error.

        Where the state cannot be written the kernel is cleaned nevertheless.

        Returns:
            What was detached; ``None`` if there was nothing.

        Raises:
            CniError: something could not be removed or recorded. Its leases stay held, and the
                next call goes on.
        """
        with self.exclusive(key):
            attachment = self.store.get(*key)
            if attachment is None:
                return None
            with Places(attachment, host, pod) as sides:
                errors = self._withdraw(attachment, sides)
            if errors:
                raise combine(as_cni_error(errors[0], attachment), errors[1:])
            return attachment

    def _withdraw(self, attachment: Attachment, sides: Sides) -> list[Exception]:
        """Withdraw and forget. On errors it stays in the store, as detaching."""
        errors: list[Exception] = []
        try:
            self.store.detaching(attachment.id)
        except StateError as error:
            errors.append(error)
        errors += self._hands.withdraw(self._own(attachment), sides)
        if not any(isinstance(error, KernelError) for error in errors):
            try:
                self._releasing(attachment)
                self.store.forget(attachment.id)
            except CniError as error:
                errors.append(error)
            else:
                self._gone_since.pop(attachment.id, None)
                self._released(attachment)
                return []
        return errors

    def _own(self, attachment: Attachment) -> list[Object]:
        """The objects that no other attachment shares."""
        cookies = {"host": attachment.host_cookie, "pod": attachment.netns_cookie}
        with self.store.frozen() as claims:
            return [obj for obj in attachment.objects if claims.count(cookies[obj.where], obj) <= 1]

    # -- questions -------------------------------------------------------------------------

    def check(self, attachment: Attachment, host: NetNS, pod: NetNS | None) -> Difference | None:
        """The first object that is not as the plan says.

        Raises:
            CniError: the kernel does not answer (106).
        """
        with self.exclusive(attachment.key), Places(attachment, host, pod) as sides:
            try:
                found = self._hands.differences(attachment.objects, sides)
            except KernelError as error:
                raise as_cni_error(error, attachment) from error
            return found[0] if found else None

    def _is_gone(self, attachment: Attachment, host: NetNS, pod: NetNS | None = None) -> bool:
        """Whether the container's namespace is no more.

        A path that cannot be seen from here proves nothing.

        Args:
            pod: a namespace that is known to live.
        """
        if not attachment.netns_cookie and not attachment.adopted:
            return False
        with self._exclusive.try_(attachment.key) as idle:
            if not idle:
                return False
            with Places(attachment, host, None) as sides:
                if sides.pod is not None:
                    return False
                gone = self._kernel_tells(attachment, sides.host, pod) if sides.host else None
            if gone is not None or attachment.adopted:
                return bool(gone)
            found = search(attachment.netns_cookie)
            if found:
                found.close()
            return found is None

    def _kernel_tells(self, attachment: Attachment, host: NetNS, pod: NetNS | None) -> bool | None:
        """The same as far as the host's namespace tells; ``None`` if it does not.

        A namespace's number is taken back when it ends, and may be another one's soon. Where it has
        none, a veth with one end in it lives as long.
        """
        if attachment.nsid == nsids.NONE:
            if self._hands.spans(attachment.objects, host):
                return False
            return True if attachment.adopted else None
        try:
            if attachment.nsid not in nsids.living(host):
                return True
        except KernelError:
            return False
        another = pod if pod and pod.cookie != attachment.netns_cookie else None
        if another and nsids.number(host, another) == attachment.nsid:
            return True
        return any(
            other.nsid == attachment.nsid
            and other.host_cookie == attachment.host_cookie
            and other.netns_cookie != attachment.netns_cookie
            and other.created >= attachment.created
            for other in self.store.all()
        )
