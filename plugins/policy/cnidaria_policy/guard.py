"""One table of :mod:`cnidaria_policy.links` in the kernel: there while there are such links."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cnidaria.kinds import (
    Batch,
    NetNS,
    Ruleset,
    Session,
    WholeTable,
    difference,
    find_link,
)
from cnidaria_policy.links import Content, Family, Link

if TYPE_CHECKING:
    from cnidaria_policy.objects import PolicyPod


def guarded_by(session: Session, pod: PolicyPod) -> Family | None:
    """The family of the table that guards a pod's link; ``None`` where its own mode does.

    Modes of cnidaria that route their pods let no false source in.
    """
    link = find_link(session, pod.host_ifname) if pod.host_ifname else None
    if link is None:
        return None
    if link.slave_kind == "bridge":
        return "bridge"
    return None if link.ours else "inet"


class Guard:
    """For one thread."""

    def __init__(self, table: WholeTable) -> None:
        self.table = table
        self._content = Content(table.table)
        self._is_sure = False
        self._is_there = False

    @property
    def rules(self) -> Ruleset:
        """What is to be there."""
        return self._content.rules if self._content.links else Ruleset()

    def follow(self, namespace: NetNS, links: Mapping[str, Link]) -> bool:
        """Guard these links, and no others; whether there was anything to do.

        Raises:
            KernelError: the kernel refuses; then nothing has changed.
        """
        batch = self._content.follow(links)
        if not self._is_sure or bool(links) != self._is_there:
            batch = self._compare(namespace)
        if not len(batch):
            return False
        self._is_sure = False
        if links:
            self.table.change(namespace, batch, self.rules.sets)
        else:
            self.table.delete(namespace)
        self._is_sure, self._is_there = True, bool(links)
        return True

    def doubt(self) -> None:
        """Look at the kernel before the next change."""
        self._is_sure = False

    def wrong(self, namespace: NetNS) -> Batch:
        """What would have to be done: nothing, if all is well.

        Raises:
            KernelError: the kernel does not answer.
        """
        if self._is_sure and self.table.is_untouched(namespace):
            return Batch()
        return self._compare(namespace)

    def _compare(self, namespace: NetNS) -> Batch:
        have = self.table.read(namespace)
        batch = difference(have or Ruleset(), self.rules)
        self._is_sure, self._is_there = not len(batch), have is not None
        return batch

    def unlike(self, namespace: NetNS, ifname: str) -> list[str]:
        """What the kernel does not have, or has otherwise, of what concerns the link.

        Raises:
            KernelError: the kernel does not answer.
        """
        return self.table.unlike(namespace, self._content.of(ifname))
