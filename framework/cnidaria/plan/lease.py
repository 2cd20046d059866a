"""Leases: addresses that are held, and addresses that cool down after they were."""

from __future__ import annotations

from typing import Any, Final

import msgspec

COOLDOWN: Final = 30.0
"""Seconds for which a released address is not used again, where the configuration is silent."""


class Lease(msgspec.Struct, frozen=True):
    """One address that is held.

    Attributes:
        pool: the name of the pool it is from.
        address: canonical, without prefix length.
        prefix_len: of the subnet that it is from, bits.
        gateway: of that subnet.
        cooldown: seconds after its release in which it is not used again.
    """

    pool: str
    address: str
    prefix_len: int
    gateway: str | None = None
    cooldown: float = COOLDOWN


class Cooling(msgspec.Struct, frozen=True):
    """A lease that was given back at ``released_at`` (``CLOCK_BOOTTIME``, seconds)."""

    lease: Lease
    released_at: float

    @property
    def until(self) -> float:
        """When it may be used again."""
        return self.released_at + self.lease.cooldown

    def to_record(self) -> Any:
        """For the journal."""
        return msgspec.to_builtins(self)

    @classmethod
    def from_record(cls, raw: Any) -> Cooling:
        """Raises :class:`msgspec.ValidationError` where ``raw`` is none."""
        return msgspec.convert(raw, cls)
