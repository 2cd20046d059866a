"""Repair: what is ours and somebody removed from outside is put back within a second.

A thread listens to the kernel.  Where something changed in the place of a declared object it looks
whether that object still is as declared, and makes it so again.  What comes and goes by our own
hand is not declared at that moment: an attachment counts from its commit to the begin of its end.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from cnidaria.kernel.errors import KernelError
from cnidaria.kernel.events import Events
from cnidaria.kernel.netns import NetNS
from cnidaria.plan.attachment import Attachment
from cnidaria.plan.engine import Engine
from cnidaria.plan.mend import Changes
from cnidaria.plan.objects import Object
from cnidaria.plan.reconcile import Reconciler
from cnidaria.plan.touched import Agenda, Touched

log = logging.getLogger(__name__)

FRESH: Final = 0.5
"""Seconds for which changes of an attachment are taken for the echo of its ADD; after them it is
looked at once.
"""
BATCH: Final = 16
"""Objects that are compared one by one; of more the kernel's whole tables are read."""
MANY: Final = 512
"""From here on that is cheaper."""


class Repairer:
    """Repairs the host's side of one namespace; a context manager.

    Args:
        engine: whose attachments.
        reconciler: of the node's own state.
        host: must be open as long as this is.
        clock: of the engine: ``CLOCK_BOOTTIME``, seconds.

    Attributes:
        counts: how many objects of each kind were put back; ``refused``: could not be.
    """

    def __init__(
        self, engine: Engine, reconciler: Reconciler, host: NetNS, clock: Callable[[], float]
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._engine = engine
        self._reconciler = reconciler
        self._host = host
        self._clock = clock
        self._refusals: frozenset[str] = frozenset()
        self._wake = -1
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look at everything, and listen from now on.

        Raises:
            OSError: the namespace cannot be listened to.
        """
        events = Events(self._host)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, args=(events,), name="repair")
        self._thread.start()

    def stop(self) -> None:
        """Listen no more; what is under way is finished."""
        if self._thread is not None:
            os.eventfd_write(self._wake, 1)
            self._thread.join()
            os.close(self._wake)
            self._thread = None

    def __enter__(self) -> Repairer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _run(self, events: Events) -> None:
        poll = select.poll()
        poll.register(events.fileno(), select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        agenda = Agenda(time.monotonic())
        with events:
            while True:
                ready = poll.poll(max(0.0, agenda.due() - time.monotonic()) * 1000)
                if any(fd == self._wake for fd, _ in ready):
                    return
                if ready:
                    agenda.happened(events.read(), time.monotonic())
                if touched := agenda.take(time.monotonic()):
                    again, later = self._safely(touched)
                    agenda.retry(again, time.monotonic())
                    agenda.later(later, time.monotonic() + FRESH)

    def _safely(self, touched: Touched) -> tuple[Touched, Touched]:
        try:
            return self.look(touched)
        except Exception:  # whatever is wrong with one object, the others need their repair
            log.exception("repair failed")
            return touched, Touched()

    # -- one look --------------------------------------------------------------------------

    def look(self, touched: Touched) -> tuple[Touched, Touched]:
        """Put right what is wrong there.

        Returns:
            What has to be looked at again, as it could not be put right; and what is too fresh
            to tell, to be looked at once it is :data:`FRESH` no more.
        """
        again, later = Touched(), Touched()
        refusals: set[str] = set()
        for changes in self._changes(touched, again, later, refusals):
            for obj in changes.applied:
                log.warning("put back %s", obj)
                self.counts[obj.kind] += 1
            for error in changes.errors:
                refusals.add(str(error))
                if error.object is not None:
                    again.keys.add(error.object.key)
                    again.lost.update(error.object.parents())  # they may be the cause
        for text in refusals - self._refusals:
            log.error("cannot be put back: %s", text)
            self.counts["refused"] += 1
        self._refusals = frozenset(refusals)
        return again, later

    def _changes(
        self, touched: Touched, again: Touched, later: Touched, refusals: set[str]
    ) -> list[Changes]:
        done: list[Changes] = []
        try:
            desired = [obj for obj in self._reconciler.desired if touched.hits(obj)]
            if wrong := self._wrong(desired):
                done.append(self._reconciler.put_back(wrong))
            done += self._attachments(touched, again, later)
        except KernelError as error:
            refusals.add(str(error))
            again.update(touched)
        return done

    def _attachments(self, touched: Touched, again: Touched, later: Touched) -> list[Changes]:
        """All are compared at once, and only those with something wrong are worked on."""
        suspects: list[tuple[Attachment, list[Object]]] = []
        for attachment in self._engine.store.all():
            if attachment.state == "attached" and attachment.host_cookie == self._host.cookie:
                here = [
                    obj for obj in attachment.objects if obj.where == "host" and touched.hits(obj)
                ]
                if self._clock() - attachment.created < FRESH:
                    changed, here = here, [obj for obj in here if touched.hits(obj, fresh=True)]
                    later.keys |= {obj.key for obj in changed} - {obj.key for obj in here}
                suspects += [(attachment, here)] if here else []
        wrong = {obj.key for obj in self._wrong([obj for _, here in suspects for obj in here])}
        done: list[Changes] = []
        for attachment, here in suspects:
            bad = [obj for obj in here if obj.key in wrong]
            changes = self._engine.put_back(attachment.key, self._host, bad) if bad else Changes()
            if changes is None:  # somebody works on it
                again.keys |= {obj.key for obj in bad}
            else:
                done.append(changes)
        return done

    def _wrong(self, objects: Sequence[Object]) -> list[Object]:
        """Those that are not as declared; each once, in order."""
        size = BATCH if len(objects) < MANY else len(objects)
        found: dict[Object, None] = {}
        for start in range(0, len(objects), size):
            for difference in self._reconciler.differences(objects[start : start + size]):
                found[difference.object] = None
        return list(found)
