"""One network's policies on this node: what the engine says, and a kernel that does it."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, get_args

from cnidaria_core import HistoryLost

from cnidaria import NftTable, StoreError
from cnidaria.kinds import (
    Batch,
    KernelError,
    NetNS,
    Ruleset,
    WholeTable,
    addresses,
    difference,
)
from cnidaria_policy import names
from cnidaria_policy.config import PolicyConfig
from cnidaria_policy.cut import cut_denied, forget_addresses
from cnidaria_policy.guard import Guard
from cnidaria_policy.kept import Kept
from cnidaria_policy.links import Family, Link
from cnidaria_policy.lost import links_there, lost_pods, without_labels
from cnidaria_policy.metrics import Counts
from cnidaria_policy.numbering import aligned
from cnidaria_policy.program import Program
from cnidaria_policy.remains import Tables, remove_remains
from cnidaria_policy.sources import PATIENCE, Sources
from cnidaria_policy.world import World

if TYPE_CHECKING:
    from cnidaria_policy.objects import PolicyPod

log = logging.getLogger(__name__)

NOT_YET: Final = errno.EAGAIN


def mark(network: str) -> str:
    """The comment of a network's table."""
    return f"made by cnidaria-policy for {network}"


def tables_of(network: str) -> Tables:
    """The table of a network's policies, and those of its pods' links."""
    policies = WholeTable(NftTable(names.table(network)), mark(network))
    links: dict[Family, WholeTable] = {
        family: WholeTable(NftTable(names.links_table(network), family), mark(network))
        for family in get_args(Family)
    }
    ours = [policies, *links.values()]
    for one in ours:
        one.beside = [other for other in ours if other is not one]
    return policies, links


class Enforcer:
    """Keeps the tables of one network in one namespace as the policies are. Thread-safe.

    Nothing is in force before :meth:`open`. What several threads want meanwhile goes to the kernel
    in one transaction.

    Args:
        kept: what files of policies said to an enforcer that is no more.

    Attributes:
        problems: of the sources; what they said before stays in force.
        counts: what was done so far.
        is_followed: whether somebody follows the sources, and ends what they do not allow any more.
    """

    def __init__(self, network: str, config: PolicyConfig, kept: Kept | None = None) -> None:
        self.network = network
        self.config = config
        self.problems: list[str] = []
        self.table, links = tables_of(network)
        self.guards = {family: Guard(one) for family, one in links.items()}
        self.world = World(config.node_name)
        self.program = Program(self.table.table.name, self.world.name_of)
        self.sources = Sources(network, config, kept)
        self.counts = Counts(network)
        self.is_followed = False
        self._lock = threading.RLock()
        self._looking = threading.Lock()
        self._version = 0
        self._is_sure = False
        self._has_news = True
        self._stale: set[str] = set()
        self._guarded: dict[str, tuple[Family, PolicyPod]] = {}
        self._lost: dict[str, PolicyPod] = {}

    @property
    def is_sure(self) -> bool:
        """Whether the kernel took all that it was told, and nobody has said that it lacks some."""
        return self._is_sure

    def open(
        self,
        namespace: NetNS,
        pods: Iterable[PolicyPod],
        guarded: Mapping[str, Family | None] | None = None,
    ) -> None:
        """Read the sources and make the kernel so.

        Args:
            guarded: by pods' ids, where their links are guarded.

        Raises:
            KernelError: EAGAIN: it is not known what the policies are; others: the kernel refuses.
        """
        with self._lock:
            self._look(namespace)
            if not self.sources.is_whole:
                why = "; ".join(self.problems)
                raise KernelError(NOT_YET, f"the policies of network {self.network}", why)
            have = self._read(namespace)
            self._refuse_lost(have)
            pods = list(pods)
            self.world.attach(pods)
            for pod in pods:
                self._guard(pod, (guarded or {}).get(pod.id))
            self._keep_lost(namespace, have, pods)
            self._compile(have)
            self._make_sure(namespace, have)
            self._follow_links(namespace)

    def _refuse_lost(self, have: Ruleset) -> None:
        """A cluster store that was lost, and made anew without policies, opens nothing."""
        shared = self.sources.shared
        if shared is None or not shared.is_empty:
            return
        others = [one for one in have.chains if one.startswith(names.store_chain(""))]
        if others and names.store_chain(shared.origin) not in others:
            why = (
                f"cluster store {shared.url}: was made anew, and nothing was applied since; what "
                f"is in force stays so until something is, or table {self.table.table.name} is "
                "deleted"
            )
            raise KernelError(NOT_YET, f"the policies of network {self.network}", why)

    def _keep_lost(self, namespace: NetNS, have: Ruleset, declared: list[PolicyPod]) -> None:
        """What is in the kernel for pods whose attachments are lost stays, until others come."""
        told, shared = self.world.objects, self.sources.shared
        links = {family: guard.table for family, guard in self.guards.items()}
        there = links_there(namespace, links)
        for one, family in lost_pods(self.network, have, there, declared, told, shared=shared):
            log.error("%s are known to the kernel alone", one)
            self._lost[one.id] = one
            self.world.attach([one])
            self._guard(one, family)
        self.problems += without_labels(self._lost.values(), told)

    def _give_way(self, pod: PolicyPod) -> None:
        """Lost ones are gone when another one has their address."""
        for one in list(self._lost.values()):
            if not set(one.addresses).isdisjoint(pod.addresses):
                del self._lost[one.id]
                self.world.detach(one)
                self._guard(one, None)
                self._stale.update(one.addresses)

    def refresh(self, namespace: NetNS) -> bool:
        """Read the sources again, and have the kernel do what they say; whether it had to change.

        Raises:
            KernelError: the kernel refuses.
        """
        self._look(namespace)
        return self.sync(namespace)

    def _look(self, namespace: NetNS, patience: float = -1) -> bool:
        """Take in what the sources say, whoever asks: their news may forbid what has begun.

        A large file takes its time, for which pods still can go.

        Args:
            patience: seconds to wait for somebody who looks; below 0: as long as that takes.

        Returns:
            Whether that was enough.
        """
        if not self._looking.acquire(timeout=patience):
            return False
        try:
            found = self.sources.look()
            with self._lock:
                unlabelled = without_labels(list(self._lost.values()), found)
                self.problems = [*self.sources.problems, *unlabelled]
                self._has_news |= self.world.replace(found)
                self._has_news |= self.world.see(addresses(namespace))
        finally:
            self._looking.release()
        return True

    def attach(self, namespace: NetNS, pod: PolicyPod, guarded: Family | None = None) -> None:
        """The pod's policies are in force when this returns, and were read back.

        Args:
            guarded: where its link is guarded; ``None``: not by us.

        Raises:
            KernelError: EAGAIN: it is not known what policies see of the pod; others: the kernel
                refuses, or does not have what it took.
        """
        self._find(namespace, pod)
        with self._lock:
            self._give_way(pod)
            if not self._stale.isdisjoint(pod.addresses):
                self._forget(namespace)
            self.world.attach([pod])
            self._guard(pod, guarded)
        self.sync(namespace)
        for wrong in self.unlike(namespace, pod):
            raise KernelError(errno.EIO, f"the policies of {pod}", f"the kernel lacks {wrong}")
        if self.sources.shared:
            try:
                self.sources.shared.enter(self.world.local(pod.namespace, pod.name) or pod)
            except StoreError as error:
                raise KernelError(NOT_YET, f"telling other nodes of {pod}", str(error)) from error

    def _find(self, namespace: NetNS, pod: PolicyPod) -> None:
        """Know the pod as its source has it, also where that has not told of it yet."""
        if pod.is_kubernetes and (why := self.sources.why_unknown(pod.namespace, pod.name)):
            raise KernelError(NOT_YET, f"the policies of {pod}", why)
        if not self._look(namespace, PATIENCE) and not self.sources.are_files:
            raise KernelError(NOT_YET, f"the policies of {pod}", "the sources are being read")

    def detach(self, namespace: NetNS, pod: PolicyPod) -> None:
        """The pod is gone, also where the kernel refuses what else has changed.

        Raises:
            KernelError: the kernel refuses even that.
        """
        with self._lock:
            self.world.detach(pod)
            self._guard(pod, None)
            self._stale.update(pod.addresses)
            if self.sources.shared:
                self.sources.shared.leave(pod, self.world.local(pod.namespace, pod.name))
            try:
                self.sync(namespace)
            except KernelError as error:
                log.warning("%s; taking out %s alone", error, pod)
                self._remove(namespace, pod)

    def _remove(self, namespace: NetNS, pod: PolicyPod) -> None:
        links = {family: guard.table for family, guard in self.guards.items()}
        remove_remains(namespace, (self.table, links), pod, self.world.pods())
        self._doubt()

    def _doubt(self) -> None:
        """Look at the kernel before the next change."""
        self._is_sure = False
        for guard in self.guards.values():
            guard.doubt()

    def reconcile(self) -> None:
        """Have the other nodes know this one's pods, and no others. Its name must be its own."""
        if self.sources.shared:
            self.sources.shared.reconcile(self.world.named())

    # -- connections -----------------------------------------------------------------------

    def cut(self, namespace: NetNS) -> int:
        """End connections that the sources' news do not allow any more; how many.

        The kernel follows first: else what is ended could begin again, and of pods that policies
        have just come to select nobody would know.

        Raises:
            KernelError: the kernel does not answer, or refuses.
        """
        with self._lock:
            if not self._has_news:
                return 0
            self.sync(namespace)
            self._has_news, subjects = False, self.program.subjects
        try:
            return cut_denied(namespace, self.world.engine, subjects)
        except KernelError:
            self._has_news = True
            raise

    def settle(self, namespace: NetNS) -> None:
        """What :meth:`cut` does, where no agent does it; the next call of a runtime tries again."""
        if self.is_followed:
            return
        try:
            self.cut(namespace)
        except KernelError as error:
            log.warning("network %s: what is not allowed any more goes on: %s", self.network, error)

    def tidy(self, namespace: NetNS) -> None:
        """Forget connections of pods that are gone, before others get their addresses.

        Raises:
            KernelError: the kernel does not answer.
        """
        with self._lock:
            self._forget(namespace)

    def _forget(self, namespace: NetNS) -> None:
        if self._stale:
            forget_addresses(namespace, self._stale)
            self._stale.clear()

    # -- the kernel ------------------------------------------------------------------------

    def sync(self, namespace: NetNS) -> bool:
        """Have the kernel follow the engine; whether there was anything to do.

        Raises:
            KernelError: the kernel refuses; what was in force stays so.
        """
        with self._lock:
            has_changed = self._sync_policies(namespace)
            return self._follow_links(namespace) or has_changed

    def _sync_policies(self, namespace: NetNS) -> bool:
        batch = self._follow(namespace)
        if not self._is_sure:
            self._make_sure(namespace, self._read(namespace))
            return True
        if not len(batch):
            return False
        try:
            self._change(namespace, batch)
        except KernelError as error:
            log.warning("%s; looking what is there", error)
            self._is_sure = False
            self._make_sure(namespace, self._read(namespace))
        return True

    def _follow(self, namespace: NetNS) -> Batch:
        """What is different in the engine since the last time."""
        engine, node = self.world.engine, self.world.node
        try:
            changes = engine.changes_since(self._version, node)
        except HistoryLost:
            self._compile(self._read(namespace))
            self._is_sure = False
            return Batch()
        self._version = changes.version
        return self.program.update(changes)

    def _read(self, namespace: NetNS) -> Ruleset:
        return self.table.read(namespace) or Ruleset()

    def _compile(self, have: Ruleset) -> None:
        """All anew, called as it is in the kernel already."""
        tables = self.world.engine.tables(self.world.node)
        numbering = aligned(tables, have)
        name, store = self.table.table.name, self.sources.store
        self.program = Program(name, self.world.name_of, numbering, store)
        self.program.update(tables)
        self._version = tables.version

    def _make_sure(self, namespace: NetNS, have: Ruleset) -> None:
        """Compare with what is there, and make it so."""
        batch = difference(have, self.program.rules)
        if len(batch):
            self._change(namespace, batch)
        self._is_sure = True

    def _change(self, namespace: NetNS, batch: Batch) -> None:
        with self.counts.transaction():
            self.table.change(namespace, batch, self.program.rules.sets)

    def repair(self, namespace: NetNS) -> None:
        """Put back what others changed.

        Raises:
            KernelError: the kernel refuses.
        """
        with self._lock:
            self._doubt()
            self.sync(namespace)

    def wrong(self, namespace: NetNS) -> int:
        """How much would have to be done to make the kernel so: nothing, if all is well.

        Raises:
            KernelError: the kernel does not answer.
        """
        with self._lock:
            of_links = sum(len(one.wrong(namespace)) for one in self.guards.values())
            if self._is_sure and self.table.is_untouched(namespace):
                return of_links
            batch = difference(self._read(namespace), self.program.rules)
            self._is_sure = not len(batch)
            return len(batch) + of_links

    def unlike(self, namespace: NetNS, pod: PolicyPod) -> list[str]:
        """What the kernel does not have, or has otherwise, of what concerns the pod.

        Raises:
            KernelError: the kernel does not answer.
        """
        with self._lock:
            wrong = self.table.unlike(namespace, self.program.of(pod.addresses))
            if family := self._guarded.get(pod.id):
                wrong += self.guards[family[0]].unlike(namespace, pod.host_ifname)
            return wrong

    # -- links -----------------------------------------------------------------------------

    def _guard(self, pod: PolicyPod, family: Family | None) -> None:
        """The pod's link is to be guarded there."""
        self._guarded.pop(pod.id, None)
        if family:
            self._guarded[pod.id] = family, pod

    def _follow_links(self, namespace: NetNS) -> bool:
        """Have the kernel guard the links; whether there was anything to do."""
        links = guarded_links(self._guarded.values(), self.program)
        changed = [one.follow(namespace, links[family]) for family, one in self.guards.items()]
        return any(changed)


def guarded_links(
    pods: Iterable[tuple[Family, PolicyPod]], program: Program
) -> dict[Family, dict[str, Link]]:
    """The links by family and name. Of two of one name the last one has it."""
    found: dict[Family, dict[str, Link]] = {family: {} for family in get_args(Family)}
    for family, pod in pods:
        link, name = pod.host_ifname, f"{pod.namespace}/{pod.name}"
        found[family][link] = Link(link, name, pod.addresses, program.closed(pod.addresses))
    return found
