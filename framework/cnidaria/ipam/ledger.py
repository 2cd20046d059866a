"""Who holds which address of one network, whatever its configuration is and was."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final

from cnidaria_core import AddressPool, PoolExhausted

from cnidaria.ipam.config import PoolSpec
from cnidaria.ipam.leases import Owner

MAX_POOLS: Final = 16
"""So many pools of a network are kept; with ``ipRanges`` every pod may bring one of its own."""


class Ledger:
    """The held and the resting addresses of one network, and pools made of them as needed.

    The configuration of a network may change while addresses are held, and pods may bring ranges
    of their own, so pools may overlap: all of them know about every address in their ranges.
    Not thread-safe.
    """

    def __init__(self) -> None:
        self._held: dict[str, Owner] = {}
        # Released at, rests until; oldest first. A dict is slow at its front once much was deleted.
        self._resting: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._pools: dict[PoolSpec, AddressPool] = {}  # the one used last is last

    def pool(self, spec: PoolSpec) -> AddressPool:
        """The pool of ``spec``. Only for reading: changes go through the ledger."""
        pool = self._pools.pop(spec, None)
        if pool is None:
            pool = self._make(spec)
        self._pools[spec] = pool
        if len(self._pools) > MAX_POOLS:
            del self._pools[next(iter(self._pools))]
        return pool

    def _make(self, spec: PoolSpec) -> AddressPool:
        pool = AddressPool(spec.ranges, spec.exclude, spec.cooldown)
        for address, _ in spec.reservations:
            if pool.covers(address):
                pool.reserve(address)
        for address, (released_at, _) in self._resting.items():
            if pool.covers(address):
                pool.restore_cooling(address, released_at)
        for address, owner in self._held.items():
            if pool.covers(address):
                pool.restore(address, owner.key)
        return pool

    def take(
        self,
        spec: PoolSpec,
        owner: Owner,
        now: float,
        address: str | None = None,
        *,
        reserved: bool = False,
    ) -> str:
        """Take the next free address, or this very one.

        When nothing else is free, an address that still rests is taken, the one released longest
        ago.

        Raises what :meth:`cnidaria_core.AddressPool.allocate` raises.
        """
        pool = self.pool(spec)
        try:
            found = pool.allocate(owner.key, address, now, reserved=reserved)
        except PoolExhausted:
            rested = now + spec.cooldown + 1
            found = pool.allocate(owner.key, None, rested)
        for other in self._pools.values():
            if other is not pool and other.covers(found):
                other.allocate(owner.key, found, now, reserved=True)
        self._held[found] = owner
        self._resting.pop(found, None)
        return found

    def hold(self, address: str, owner: Owner) -> bool:
        """Enter an address that was taken before a restart; whether nobody else holds it."""
        holder = self._held.setdefault(address, owner)
        if holder is owner:
            self._pools.clear()
        return holder.key == owner.key

    def rest(self, address: str, released_at: float, until: float) -> None:
        """Enter an address that was released before a restart."""
        if address not in self._held:
            self._resting[address] = released_at, until
            self._pools.clear()

    def give_back(self, address: str, owner: Owner, now: float, cooldown: float) -> bool:
        """Release an address at ``now``; whether ``owner`` held it.

        Args:
            cooldown: 0 if nobody has used it, so that it need not rest.
        """
        holder = self._held.get(address)
        if holder is None or holder.key != owner.key:
            return False
        del self._held[address]
        for pool in self._pools.values():
            pool.release(address, now, used=bool(cooldown))
        self._expire(now)
        if cooldown:
            self._resting[address] = now, now + cooldown
        return True

    def _expire(self, now: float) -> None:
        while self._resting:
            address, (_, until) = next(iter(self._resting.items()))
            if until > now:
                return
            del self._resting[address]

    def holder(self, address: str) -> Owner | None:
        """Who holds an address (canonical)."""
        return self._held.get(address)

    def groups(self, spec: PoolSpec, most: int) -> list[tuple[str, int]]:
        """The groups (:attr:`Owner.group`) that hold most addresses of a pool, and how many."""
        held = self.pool(spec).leases()
        owners = (self._held.get(address) for address, _ in held)
        return Counter(owner.group for owner in owners if owner).most_common(most)
