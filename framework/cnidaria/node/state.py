"""The state of one node, opened: lock, journal, engine, pools, networks. Built in one place."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from cnidaria.ipam import Pools
from cnidaria.ipam.plugin import IpamPlugin
from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.netns import NetNS
from cnidaria.node.addresses import Addresses
from cnidaria.node.membership import Membership
from cnidaria.node.networks import Networks
from cnidaria.node.service import Service
from cnidaria.node.settings import Settings
from cnidaria.node.verbs import Clash, Tends, Verbs, nobody, unknown
from cnidaria.plan.engine import Engine
from cnidaria.plan.journal import Journal
from cnidaria.plan.statelock import StateLock
from cnidaria.plan.store import Store
from cnidaria.plugins import Registry

log = logging.getLogger(__name__)

LOCK_WAIT = 5.0
"""Seconds that an agent waits for a one-shot run to end."""


def boottime() -> float:
    """Seconds since boot, sleep included: nobody can set this clock back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class State:
    """What every process that answers CNI calls works on."""

    store: Store
    kernel_for: Callable[[NetNS], Kernel]
    engine: Engine
    pools: Pools
    addresses: Addresses
    membership: Membership
    networks: Networks
    lock: StateLock

    def service(self, tends: Tends = nobody, clash: Clash = unknown) -> Service:
        """What answers calls; the arguments: see :class:`~cnidaria.node.verbs.Verbs`."""
        verbs = Verbs(self.engine, self.networks, self.addresses, tends, clash)
        return Service(verbs, IpamPlugin(self.engine, self.pools))

    def recover(self, host: NetNS) -> None:
        """Finish or undo what a process that died left.

        Raises:
            CniError: the journal cannot be written.
        """
        found = self.engine.recover(host)
        for what, names in (("undone", found.undone), ("finished", found.finished)):
            if names:
                log.warning("%s after an interruption: %s", what, ", ".join(names))
        for attachment in found.adopted:
            self.pools.restore(attachment)
        for name, error in found.failed.items():
            log.error("%s cannot be withdrawn yet: %s", name, error)

    def write_anew(self, host: NetNS) -> None:
        """The state directory was removed under us: write it as we know it.

        What others attached meanwhile, as nothing kept them from it, the kernel tells.

        Raises:
            StateError: somebody else works on it by now, or it cannot be written.
        """
        log.error("%s was removed; writing it anew", self.lock.path.parent)
        self.lock.acquire(LOCK_WAIT)
        self.store.compact()
        for attachment in self.engine.adopt(host):
            self.pools.restore(attachment)


@contextmanager
def open_state(settings: Settings, registry: Registry, timeout: float) -> Iterator[State]:
    """The state below ``settings.state_dir``, and its lock for as long as the block lasts.

    Args:
        timeout: seconds to wait for the lock.

    Raises:
        StateError: somebody else has the lock (``EAGAIN``), or the journal cannot be read.
    """
    lock = StateLock(settings.state_dir)
    lock.acquire(timeout)
    with lock:
        yield from _opened(settings, registry, lock)


def _opened(settings: Settings, registry: Registry, lock: StateLock) -> Iterator[State]:
    store = Store(Journal(settings.state_dir), boottime)
    pools = Pools.of(store, boottime)
    membership = Membership(registry.stores)
    addresses = Addresses(store, pools, membership)
    kernel_for = partial(Kernel, declared=store.declared, state_dir=settings.state_dir)
    engine = Engine(
        store,
        kernel_for,
        boottime,
        releasing=addresses.releasing,
        released=addresses.released,
    )
    networks = Networks(store, registry, addresses, membership, kernel_for)
    try:
        yield State(store, kernel_for, engine, pools, addresses, membership, networks, lock)
    finally:
        membership.close()
        store.close()
