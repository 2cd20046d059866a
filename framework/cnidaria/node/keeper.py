"""Keeping the node's own state: what the networks of the conflists want there, and repair.

One task of the agent.  Whatever changes (a conflist, a cluster's nodes, the uplink) wakes it; it
opens all networks anew and has the difference applied.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from cnidaria.api import NotReady
from cnidaria.cluster import ClusterConfig, StoreError
from cnidaria.cni.config import NetConf
from cnidaria.cni.errors import CniError, Code
from cnidaria.ipam.ranges import Range
from cnidaria.kernel.handle import KernelError
from cnidaria.kernel.netns import NetNS
from cnidaria.node import confdir, report
from cnidaria.node.networks import Opened
from cnidaria.node.services import Services
from cnidaria.node.settings import Settings
from cnidaria.node.state import State, boottime
from cnidaria.plan.attachment import NetworkId
from cnidaria.plan.journal import StateError
from cnidaria.plan.reconcile import Reconciler, Scope, everything, nothing
from cnidaria.plan.repair import Repairer

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at the conflists and the uplink."""
COMPARE_EVERY = 60.0
"""Seconds between two comparisons of all node state with the kernel, beside repair by events."""


class Keeper:
    """Keeps one host namespace as its networks want it.

    Attributes:
        problems: why a network, or a file of the directory, is not in force.
        repairer: puts back what others remove, while it is entered.
        opened: the networks that are in force, as they were at the last look.
        syncs, sync_errors: how often the node's state was reconciled, and what could not be.
    """

    def __init__(self, settings: Settings, state: State, host: NetNS) -> None:
        self.problems: dict[str, str] = {}
        self.opened: list[Opened] = []
        self.syncs = 0
        self.sync_errors = 0
        self._settings = settings
        self._state = state
        self._host = host
        self._reconciler = Reconciler(state.kernel_for, host, state.store.frozen)
        self.repairer = Repairer(state.engine, self._reconciler, host, boottime)
        self._wake = asyncio.Event()
        entered = state.membership.is_entered
        self._services = Services(host, self.wake, lambda one: entered(one.cluster))
        self._configured: dict[NetworkId, NetConf] = {}
        self._followed: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._compare_at = 0.0
        self._looking = threading.Lock()
        self._stopped = False
        self._unsure = False  # what some network needs cannot be known now: nothing is taken away
        self._told: dict[str, Any] = {}
        self._clashes: dict[NetworkId, str] = {}
        self._notes: dict[str, str] = {}

    @property
    def configured(self) -> Collection[NetworkId]:
        """The networks of the conflists."""
        return self._configured.keys()

    @property
    def objects(self) -> int:
        """How many objects the node itself must have."""
        return len(self._reconciler.desired)

    def all_problems(self) -> dict[str, str]:
        """Everything that is wrong."""
        return {**self._notes, **self.problems, **self._services.problems}

    def note(self, what: str, why: str) -> None:
        """Tell what is wrong elsewhere in the agent; ``""``: nothing any more."""
        self._notes.pop(what, None)
        if why:
            self._notes[what] = why
        self.wake()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def tends(self, network: NetworkId, host: NetNS) -> bool:
        """See to what a network without pods has on the node; whether that is this node."""
        if host.cookie != self._host.cookie:
            return False
        if network not in self._configured:
            self._compare_at = 0.0  # it may have come and gone between two looks
            self._look()
        return True

    def clash(self, network: NetworkId, host: NetNS) -> str:
        """What of a network's addresses another one of the conflists has before it, or ``""``."""
        return self._clashes.get(network, "") if host.cookie == self._host.cookie else ""

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        try:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), LOOK_EVERY)
                self._wake.clear()
                try:
                    await self.refresh()
                except Exception:  # pods come and go whatever is wrong here
                    log.exception("the node's state could not be looked after")
        finally:
            self._services.stop()
            for task in self._followed.values():
                task.cancel()

    async def refresh(self) -> None:
        """Open all networks anew and make the node's state so."""
        before = self.problems
        opened = await asyncio.to_thread(self._look)
        for what, why in self.problems.items():
            if before.get(what) != why:
                log.warning("%s: %s", what, why)
        self.opened = opened
        self._follow(opened)
        self._services.follow(opened)
        self._report(opened)

    def _report(self, opened: Iterable[Opened]) -> None:
        """Tell ``cnidaria status`` what there is."""
        told = {
            "networks": described(opened),
            "problems": self.all_problems(),
            "repairs": dict(self.repairer.counts),
        }
        if told != self._told:
            try:
                report.write(self._settings, told)
            except OSError as error:
                log.warning("%s: %s", self._settings.state_dir, error.strerror)
            self._told = told

    def stop(self) -> None:
        """Change nothing any more; a look under way is waited for."""
        with self._looking:
            self._stopped = True

    def _look(self) -> list[Opened]:
        with self._looking:
            return [] if self._stopped else self._look_once()

    def _look_once(self) -> list[Opened]:
        self._unsure = False
        self.problems = {f"plugin {name}": why for name, why in self._state.networks.broken.items()}
        self._configured = self._read()
        confs = {**self._attached(), **self._configured}
        confs |= {one.id: one.conf for one in self._state.networks.used(self._host)}
        opened = [one for conf in confs.values() if (one := self._open(conf))]
        self._compare(opened)
        self._publish(opened)
        self._sync(opened, nothing if self._unsure else everything)
        return opened

    def _read(self) -> dict[NetworkId, NetConf]:
        """The networks of the conflists; the first file in order wins, as in libcni."""
        types = self._state.networks.types
        entries, errors = confdir.read(self._settings.conf_dir, types)
        for file, error in errors.items():
            self._problem(file.name, str(error))
        found: dict[NetworkId, NetConf] = {}
        for entry in entries:
            found.setdefault((entry.conf.name, entry.conf.type), entry.conf)
        return found

    def _attached(self) -> dict[NetworkId, NetConf]:
        """The networks of pods that live here, in whatever file they may stand."""
        found: dict[NetworkId, NetConf] = {}
        for network, pod in self._state.store.networks_of_pods(self._host.cookie).items():
            try:
                found[network] = NetConf.parse(pod.config, "DEL")
            except CniError:
                self._unsure = True
        return found

    def _open(self, conf: NetConf) -> Opened | None:
        try:
            return self._state.networks.reopen(conf, self._host)
        except (CniError, NotReady) as error:
            self._problem(f"network {conf.name} ({conf.type})", str(error))
            pods = self._state.store.has_pods(self._host.cookie, (conf.name, conf.type))
            self._unsure |= pods or not is_final(error)
            return None

    def _compare(self, opened: Iterable[Opened]) -> None:
        """Say which networks of the conflists give the same addresses; the first one has them."""
        known = {one.id: one for one in opened}
        ranges: dict[NetworkId, list[Range]] = {}
        clashes: dict[NetworkId, str] = {}
        for network in (one for one in self._configured if one in known):
            with suppress(CniError):  # opening it has said so
                own = self._state.addresses.ranges(known[network].conf, known[network].cluster)
                if why := clash(own, {name: had for (name, _), had in ranges.items()}, network[0]):
                    clashes[network] = why
                    self._problem(f"network {network[0]} ({network[1]})", why)
                ranges[network] = own
        self._clashes = clashes

    def _publish(self, opened: Iterable[Opened]) -> None:
        """A network is entered once, whatever number of plugins it chains."""
        networks: dict[tuple[str, str, str], list[Opened]] = {}
        for one in opened:
            if one.conflict:
                self._problem(f"network {one.net.name}", one.conflict)
            elif one.cluster is not None:
                place = one.cluster.store, one.cluster.node_name, one.net.name
                networks.setdefault(place, []).append(one)
        for (_, _, name), parts in networks.items():
            prefixes = dict.fromkeys(prefix for one in parts for prefix in one.net.prefixes)
            first = max(parts, key=lambda one: len(one.net.prefixes))
            assert first.cluster is not None
            try:
                self._state.membership.publish(first.cluster, first.net.node, name, tuple(prefixes))
            except StoreError as error:
                self._problem(f"network {name}", str(error))

    def _sync(self, opened: Sequence[Opened], scope: Scope) -> None:
        """Apply what changed; now and then, or after a failure, compare everything."""
        wanted = {obj.key: obj for one in opened for obj in one.objects}
        desired = tuple(wanted.values())
        now = time.monotonic()
        due = now >= self._compare_at
        if desired == self._reconciler.desired and not due:
            return
        self.syncs += 1
        try:
            changes = self._reconciler.sync(desired, scope, whole=due)
        except KernelError as error:
            self.sync_errors += 1
            self._problem("kernel", str(error))
            return
        self.sync_errors += len(changes.errors)
        for obj in changes.withdrawn:
            log.info("withdrew %s", obj)
        for failure in changes.errors:
            self._problem("kernel", str(failure))
        self._compare_at = now + (0 if changes.errors else COMPARE_EVERY)
        if not changes.errors:
            try:
                self._state.networks.settled(opened, self._host)
            except StateError as error:
                self._problem("journal", str(error))

    def _problem(self, what: str, why: str) -> None:
        self.problems[what] = why

    def _follow(self, opened: Iterable[Opened]) -> None:
        """Follow the cluster stores of all networks, and no others."""
        clusters = {
            (one.cluster.store, one.cluster.node_name): one.cluster for one in opened if one.cluster
        }
        for handle in self._followed.keys() - clusters.keys():
            self._followed.pop(handle).cancel()
        for handle in clusters.keys() - self._followed.keys():
            self._followed[handle] = asyncio.create_task(self._watch(clusters[handle]))

    async def _watch(self, cluster: ClusterConfig) -> None:
        store = self._state.membership.store(cluster)
        async for view in store.watch():
            self._state.membership.seen(cluster, view)
            self.wake()


def is_final(error: CniError | NotReady) -> bool:
    """Whether a network cannot be before its configuration is another one."""
    return isinstance(error, CniError) and error.code == Code.INVALID_CONFIG


def clash(own: Iterable[Range], others: Mapping[str, Iterable[Range]], name: str) -> str:
    """The first range of a network that another one hands out of, too, or ``""``.

    Args:
        others: of other networks, by name; those of this ``name`` share its pools.
    """
    for mine in own:
        for other, theirs in others.items():
            for one in theirs:
                if other != name and mine.overlaps(one):
                    return (
                        f"its addresses {mine} ({mine.path}) overlap with {one} of the network "
                        f"{other}; networks of one node must not overlap"
                    )
    return ""


def described(opened: Iterable[Opened]) -> dict[str, dict[str, Any]]:
    """The networks for people, by name; of the plugins that one chains the first gives pods their
    addresses.
    """
    networks: dict[str, dict[str, Any]] = {}
    for one in opened:
        parts = {
            "types": [],
            "prefixes": one.net.prefixes,
            "uplink": one.net.node.uplink,
            "node": one.net.node.name,
            "peers": [asdict(peer) for peer in one.net.peers],
        }
        networks.setdefault(one.net.name, parts)["types"].append(one.conf.type)
    return networks
