"""The engine: attachments as transactions, and everything that follows from their plans.

ADD is :meth:`Engine.attach`, DEL :meth:`Engine.detach`, CHECK :meth:`Engine.check`, GC
:meth:`Engine.gc`; :meth:`Engine.recover` finishes or undoes what a process that died left, and
:meth:`Engine.sweep` withdraws what belonged to containers that died without a DEL.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from cnidaria.cni.errors import CniError
from cnidaria.kernel.netns import NetNS
from cnidaria.plan.attachment import Attachment, Key
from cnidaria.plan.failure import as_cni_error, combine
from cnidaria.plan.journal import StateError
from cnidaria.plan.mend import Changes, mend
from cnidaria.plan.namespaces import Places, Sides
from cnidaria.plan.objects import Object
from cnidaria.plan.transactions import Transactions

log = logging.getLogger(__name__)

BUSY: Final = 0.2
"""Seconds for which a repair waits for somebody who works on the same attachment."""


@dataclass
class Recovery:
    """What :meth:`Engine.recover` found, by :attr:`Attachment.id`.

    Attributes:
        kept: complete.
        undone: an ADD that was cut short.
        finished: a DEL that was cut short.
        gone: attachments to a host namespace that is no more.
        adopted: were in the kernel and not in the journal.
        failed: could not be withdrawn and are still held, with the reason.
    """

    kept: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    adopted: list[Attachment] = field(default_factory=list)
    failed: dict[str, CniError] = field(default_factory=dict)


class Engine(Transactions):
    """Every attachment of a state directory, from ADD to what comes after a death."""

    def recover(self, host: NetNS) -> Recovery:
        """Finish or undo what a process that died left. Before anything else at start.

        Attachments that the journal has lost are entered again, as far as the kernel tells of them.
        What cannot be removed is reported and stays held; nothing is raised for it.

        Raises:
            KernelError: the kernel does not answer.
        """
        found = Recovery()
        for attachment in self.store.all():
            with Places(attachment, host, None) as sides:
                self._settle(attachment, sides, found)
        found.adopted = self.adopt(host)
        return found

    def adopt(self, host: NetNS) -> list[Attachment]:
        """Enter what is attached in the kernel and unknown here; see :mod:`cnidaria.plan.adopt`.

        Raises:
            KernelError: the kernel does not answer.
        """

        def known() -> list[Key]:
            return [one.key for one in self.store.all()]

        found = self._hands.unknown(known, host, self._clock())
        for attachment in found:
            log.error(
                "%s is unknown to the journal and lives on: taken over from the kernel",
                attachment.id,
            )
            try:
                self.store.adopt(attachment)
            except StateError as error:
                log.error("%s: %s", attachment.id, error)
        return found

    def _settle(self, attachment: Attachment, sides: Sides, found: Recovery) -> None:
        # A namespace may be out of sight only; where the container lives, its host does, too.
        if sides.host is None and sides.pod is None:
            outcome = found.gone
        elif attachment.state == "attached":
            found.kept.append(attachment.id)
            return
        else:
            outcome = found.undone if attachment.state == "attaching" else found.finished
        errors = self._withdraw(attachment, sides)
        if errors:
            error = combine(as_cni_error(errors[0], attachment), errors[1:])
            log.error("recovery of %s: %s", attachment.id, error)
            found.failed[attachment.id] = error
            return
        log.info("recovery of %s: was %s, is withdrawn", attachment.id, attachment.state)
        outcome.append(attachment.id)

    def put_back(self, key: Key, host: NetNS, objects: Collection[Object]) -> Changes | None:
        """Those of an attachment's ``objects`` that are not there, or not as they should be.

        Where its link is gone everything on it is, on both sides: then the whole plan is applied
        again, if the container's namespace still is where it was. If not, the link went with its
        container, which is a matter of DEL or the sweep.

        Returns:
            ``None`` if somebody else works on the attachment for longer than it should wait.

        Raises:
            KernelError: the kernel cannot be read. What it refuses to change is in the result.
        """
        changes = Changes()
        with self._exclusive.try_(key, BUSY) as idle:
            if not idle:
                return None
            attachment = self.store.get(*key)
            if attachment is None or attachment.state != "attached":
                return changes
            with Places(attachment, host, None) as sides:
                if sides.host is not None:
                    self._put_back(attachment, sides, objects, changes)
        return changes

    def _put_back(
        self, attachment: Attachment, sides: Sides, objects: Collection[Object], changes: Changes
    ) -> None:
        plan = attachment.objects
        wrong = self._hands.differences([obj for obj in plan if obj in objects], sides)
        if sides.pod is not None and any(one.object.ends() for one in wrong):
            wrong = self._hands.differences(plan, sides)
        if sides.pod is None and any(not one.field for one in wrong if one.object.ends()):
            return
        reachable = [one for one in wrong if sides.pod or not _reaches_pod(one.object)]
        mend(lambda left: self._hands.apply(left, sides), reachable, changes)

    def gc(
        self, network: str, plugin: str, valid: Collection[tuple[str, str]], host: NetNS
    ) -> list[Attachment]:
        """Withdraw the network's attachments whose (container, ifname) is not valid any more.

        Only those of ``host``: the runtime of another namespace has its own that are valid.

        Returns:
            What was withdrawn.

        Raises:
            CniError: the first failure, after all were tried.
        """
        keep = set(valid)
        stale = [
            attachment
            for attachment in self.store.find(network=network, plugin=plugin)
            if (attachment.container, attachment.ifname) not in keep
            and attachment.host_cookie in (host.cookie, 0)
        ]
        done, errors = self._detach_all(stale, host)
        if errors:
            raise combine(errors[0], errors[1:])
        return done

    def sweep(self, host: NetNS, grace: float) -> list[Attachment]:
        """Withdraw attachments whose container's namespace is gone since ``grace`` seconds.

        Returns:
            What was withdrawn; each is logged.
        """
        now = self._clock()
        gone = [one for one in self.store.all() if self._is_gone(one, host)]
        since = {one.id: min(self._gone_since.get(one.id, now), now) for one in gone}
        self._gone_since = since
        due = [one for one in gone if now - since[one.id] >= grace]
        done, errors = self._detach_all(due, host)
        for one in done:
            log.info("swept %s: its network namespace %s is gone", one.id, one.netns_path)
        for error in errors:
            log.warning("sweeping: %s", error)
        return done

    def _detach_all(
        self, attachments: Iterable[Attachment], host: NetNS
    ) -> tuple[list[Attachment], list[CniError]]:
        done: list[Attachment] = []
        errors: list[CniError] = []
        for attachment in attachments:
            try:
                if self.detach(attachment.key, host):
                    done.append(attachment)
            except CniError as error:
                errors.append(error)
        return done, errors


def _reaches_pod(obj: Object) -> bool:
    return any(where == "pod" for where, _ in obj.ends())
