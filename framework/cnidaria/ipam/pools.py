"""The pools of all networks of a node: addresses taken and given back.

Addresses are unique within a network, by its name. What is taken here is in memory; it becomes
durable by the attachment that holds it, in whose record the leases are.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cnidaria_core import AddressPool, AddressReserved, AddressTaken, PoolExhausted

from cnidaria.cni.address import parse_ip
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.records import Dns
from cnidaria.ipam.config import IpamConfig, PoolSpec
from cnidaria.ipam.leases import LeaseSet, Owner
from cnidaria.ipam.ledger import Ledger
from cnidaria.ipam.ranges import RangeSet
from cnidaria.ipam.requested import Requested
from cnidaria.ipam.resolv import read_resolv_conf
from cnidaria.plan.lease import Lease

if TYPE_CHECKING:
    from cnidaria.plan.store import Attachment, Store

log = logging.getLogger(__name__)

Own = Callable[[str], str]
"""What an address (canonical) is to the node itself, ``""`` if nothing. May raise."""


def nobodys(_address: str) -> str:
    """The node itself has no address."""
    return ""


MOST: Final = 3
"""So many of those who hold most addresses are named when a pool is exhausted."""


OWN_MOST: Final = 256
"""So many addresses of the node itself are passed over."""


@dataclass(frozen=True)
class Usage:
    """How a pool is used, in addresses.

    Attributes:
        name: its ranges.
        reserved: for pods that are not there.
        free: the others, those that rest among them.
        is_block: whether it was claimed of a cluster's pool.
    """

    name: str
    taken: int
    reserved: int
    free: int
    is_block: bool


class Pools:
    """Thread-safe. All or nothing: a call that raises has taken no address.

    Args:
        clock: seconds since boot, sleep included (``CLOCK_BOOTTIME``).
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ledgers: dict[str, Ledger] = {}
        self._own: dict[str, Mapping[str, str]] = {}

    @classmethod
    def of(cls, store: Store, clock: Callable[[], float]) -> Pools:
        """Pools in which everything is taken that the attachments of ``store`` hold."""
        pools = cls(clock)
        for entry in store.cooling():
            ledger = pools._ledger(entry.lease.pool)
            ledger.rest(entry.lease.address, entry.released_at, entry.until)
        for attachment in store.all():
            pools.restore(attachment)
        return pools

    def restore(self, attachment: Attachment) -> None:
        """Hold the addresses of an attachment that was made before a restart."""
        owner = Owner(attachment.container, attachment.ifname, attachment.pod)
        with self._lock:
            for lease in attachment.leases:
                if not self._ledger(lease.pool).hold(lease.address, owner):
                    log.error("%s: %s is held twice", attachment.id, lease.address)

    def lease(
        self,
        network: str,
        config: IpamConfig,
        owner: Owner,
        wishes: Sequence[Requested] = (),
        own: Own = nobodys,
    ) -> LeaseSet:
        """One address of each range set: the one asked for, the reserved one, or the next one.

        Next is an address that was not used yet, or the one released longest ago, and while there
        are others none that was released less than ``cooldown`` seconds ago. What the node itself
        has nobody gets.

        Raises:
            CniError: 101 if nothing is free, with numbers and who holds most; 102 if an address
                asked for cannot be had, with who has it; 103 if ``owner`` has an address of
                these already; 5 if ``resolvConf`` cannot be read.
        """
        dns = read_resolv_conf(config.resolv_conf) if config.resolv_conf else Dns()
        # The node has few addresses in its pods' ranges, so they are found by running into them.
        found = _those(own, self._own.get(network, ()))
        while True:
            self._own[network] = found
            taken = self._lease(network, config.without(found), owner, wishes)
            try:
                more = _those(own, [lease.address for lease in taken])
            except BaseException:
                self.release(owner, taken, used=False)
                raise
            if not more:
                return LeaseSet(tuple(taken), config.routes, dns)
            self.release(owner, taken, used=False)
            found = {**found, **more}
            if len(found) > OWN_MOST:
                address, what = next(iter(more.items()))
                raise CniError(
                    Code.POOL_EXHAUSTED,
                    f"network {network!r}: {len(found)} addresses were tried and are the node's "
                    f"own; {address} is {what}",
                    "the node has an address or a local route where its pods should be",
                )

    def _lease(
        self, network: str, config: IpamConfig, owner: Owner, wishes: Sequence[Requested]
    ) -> list[Lease]:
        chosen = _by_set(network, config, wishes)
        taken: list[Lease] = []
        with self._lock:
            now = self._clock()
            try:
                for (ranges, spec), wish in zip(config.pools, chosen, strict=True):
                    one = _Taking(network, config, self._ledger(network), ranges, spec)
                    taken.append(one.lease(owner, wish, now))
            except CniError:
                self._give_back(owner, taken, used=False)
                raise
        return taken

    def release(self, owner: Owner, leases: Iterable[Lease], *, used: bool = True) -> None:
        """Give addresses back; what ``owner`` does not hold is left alone.

        Args:
            used: whether the addresses were in use, and so have to rest.
        """
        with self._lock:
            self._give_back(owner, leases, used)

    def forget(self, attachment: Attachment) -> None:
        """Give back what an attachment held that the store has forgotten."""
        self.release(Owner(attachment.container, attachment.ifname), attachment.leases)

    def check_free(self, network: str, config: IpamConfig) -> None:
        """See whether every range set has an address to give, if only one that rests.

        Raises:
            CniError: code 50, with the numbers.
        """
        with self._lock:
            for ranges, spec in config.pools:
                taking = _Taking(network, config, self._ledger(network), ranges, spec)
                stats = taking.pool().stats()
                if stats["taken"] + stats["reserved"] >= stats["capacity"]:
                    raise CniError(
                        Code.NOT_AVAILABLE,
                        f"network {network!r}: no address is free in {ranges}: "
                        f"{stats['taken']} of {stats['capacity']} are taken, "
                        f"{stats['reserved']} are reserved",
                    )

    def usage(self, network: str, config: IpamConfig) -> list[Usage]:
        """How the pools of a network are used now."""
        found: list[Usage] = []
        with self._lock:
            for ranges, spec in config.pools:
                stats = self._ledger(network).pool(spec).stats()
                taken, reserved = stats["taken"], stats["reserved"]
                free = stats["capacity"] - taken - reserved
                is_block = ranges.ranges[0].path.startswith("ipam.clusterPools")
                found.append(Usage(str(ranges), taken, reserved, free, is_block))
        return found

    def holder(self, network: str, address: str) -> Owner | None:
        """Who holds an address (canonical) in a network."""
        with self._lock:
            return self._ledger(network).holder(address)

    def _ledger(self, network: str) -> Ledger:
        ledger = self._ledgers.get(network)
        if ledger is None:
            ledger = self._ledgers[network] = Ledger()
        return ledger

    def _give_back(self, owner: Owner, leases: Iterable[Lease], used: bool) -> None:
        now = self._clock()
        for lease in leases:
            cooldown = lease.cooldown if used else 0.0
            self._ledger(lease.pool).give_back(lease.address, owner, now, cooldown)


class _Taking:
    """One address out of one range set, and why it cannot be had."""

    def __init__(
        self,
        network: str,
        config: IpamConfig,
        ledger: Ledger,
        ranges: RangeSet,
        spec: PoolSpec,
    ) -> None:
        self._network = network
        self._config = config
        self._ledger = ledger
        self._ranges = ranges
        self._spec = spec

    def pool(self) -> AddressPool:
        """The pool. Raises :class:`CniError` code 7 if it has no address at all."""
        pool = self._ledger.pool(self._spec)
        if not pool.capacity:
            path = self._ranges.ranges[0].path
            raise CniError(
                Code.INVALID_CONFIG,
                f"{self._config.where}: {path}: of {self._ranges} nothing is left to hand out",
                f"left out: {', '.join(self._spec.exclude)}",
            )
        return pool

    def lease(self, owner: Owner, wish: Requested | None, now: float) -> Lease:
        """Take it."""
        self._refuse_second(owner)
        mine = [
            address
            for address, who in self._spec.reservations
            if who in (owner.pod, owner.container)
        ]
        address = str(wish.address) if wish else next(iter(mine), None)
        what = str(wish) if wish else f"address {address}, reserved for {owner}"
        try:
            found = self._ledger.take(self._spec, owner, now, address, reserved=address in mine)
        except PoolExhausted as error:
            raise self._exhausted(error) from None
        except AddressTaken as error:
            problem = f"is taken by {self._ledger.holder(error.address) or error.owner}"
            raise self._unavailable(f"{what} {problem}") from None
        except AddressReserved as error:
            who = dict(self._spec.reservations).get(error.address, "nobody")
            problem = self._config.withheld(parse_ip(error.address)) or f"is reserved for {who}"
            raise self._unavailable(f"{what} {problem}") from None
        return self._lease(found)

    def _lease(self, address: str) -> Lease:
        single = self._ranges.ranges[0] if len(self._ranges.ranges) == 1 else None
        found = single or self._ranges.range_for(parse_ip(address))
        assert found is not None
        length, router = found.subnet.prefixlen, found.router
        return Lease(self._network, address, length, router, self._config.cooldown)

    def _refuse_second(self, owner: Owner) -> None:
        held = self.pool().addresses_of(owner.key)
        if held:
            raise CniError(
                Code.ALREADY_ATTACHED,
                f"network {self._network!r}: {owner} holds {', '.join(held)} of "
                f"{self._ranges} already",
                "a second address is not given; DEL gives the first one back",
            )

    def _unavailable(self, problem: str) -> CniError:
        return CniError(Code.ADDRESS_UNAVAILABLE, f"network {self._network!r}: {problem}")

    def _exhausted(self, error: PoolExhausted) -> CniError:
        most = self._ledger.groups(self._spec, MOST)
        holders = ", ".join(f"{group}: {count}" for group, count in most)
        return CniError(
            Code.POOL_EXHAUSTED,
            f"network {self._network!r}: no address is free in {self._ranges}: "
            f"{error.taken} of {error.capacity} are taken, {error.reserved} are reserved",
            f"most are held by {holders}" if holders else "",
        )


def _those(own: Own, addresses: Iterable[str]) -> dict[str, str]:
    """Those that are something to the node itself, and what."""
    return {address: what for address in addresses if (what := own(address))}


def _by_set(
    network: str, config: IpamConfig, wishes: Sequence[Requested]
) -> list[Requested | None]:
    """For each range set, what was asked for of it.

    Raises:
        CniError: code 102; nobody gets the address, it is in no range, or it is the second one
            of a range set.
    """
    chosen: list[Requested | None] = [None] * len(config.pools)
    for wish in wishes:
        problem = config.withheld(wish.address)
        i = next((i for i, (one, _) in enumerate(config.pools) if wish.address in one), None)
        if not problem and i is None:
            ranges = "; ".join(str(one) for one, _ in config.pools)
            problem = f"is in no range; there are {ranges}"
        elif not problem and i is not None and chosen[i]:
            problem = f"is of the same range set as {chosen[i]}, which gives one address"
        if problem or i is None:
            raise CniError(Code.ADDRESS_UNAVAILABLE, f"network {network!r}: {wish} {problem}")
        chosen[i] = wish
    return chosen
