from collections.abc import Sequence
from typing import TypedDict, final, type_check_only

@type_check_only
class PoolStats(TypedDict):
    """How a pool is used, in addresses.

    `capacity`: all, without the excluded ones. `taken`: those that have an owner. `reserved`: those
    reserved that have no owner. `released`: those remembered as released, cooled down or not.
    """

    capacity: int
    taken: int
    reserved: int
    released: int

@final
class AddressPool:
    """Unique addresses from ranges of one family, IPv4 or IPv6.

    Handed out are addresses not used yet, round robin from the one handed out last; when there are
    none, the least recently released one whose cool-down is over. Addresses are text and come back
    in canonical form. Times are seconds of any clock that does not go back, as CLOCK_BOOTTIME;
    negative and infinite ones are a `ValueError`. Any call with text that is no address raises
    `InvalidAddress`. Calls from several threads are safe.
    """

    def __new__(
        cls,
        ranges: Sequence[tuple[str, str]],
        exclude: Sequence[str] = ...,
        cooldown: float = 0.0,
    ) -> AddressPool:
        """Make a pool of ranges (first, last), both included, used in this order.

        `exclude` has addresses, `first-last` intervals or prefixes that are no part of the pool;
        they may lie outside its ranges. `cooldown` is in seconds.

        Raises `InvalidPool` if ranges are missing, reversed, overlapping, or not of one family.
        """

    def allocate(
        self,
        owner: str,
        address: str | None = None,
        now: float = 0.0,
        *,
        reserved: bool = False,
    ) -> str:
        """Take the next free address, or this very one, also while it cools down.

        With `reserved`, `address` may be a reserved one; it is reserved again once released.

        Raises `PoolExhausted`, `AddressTaken`, `AddressOutOfRange`, `AddressReserved`.
        """

    def release(self, address: str, now: float = 0.0) -> str | None:
        """Give an address back; return its owner, `None` if it had none."""

    def release_owner(self, owner: str, now: float = 0.0) -> list[str]:
        """Give back all addresses of an owner; return them in the order they were taken."""

    def reserve(self, address: str) -> bool:
        """Keep a free address from being handed out; return whether it was not reserved before.

        Raises `AddressTaken`, `AddressOutOfRange`.
        """

    def unreserve(self, address: str) -> bool:
        """End a reservation; return whether there was one. An owner keeps the address."""

    def owner_of(self, address: str) -> str | None:
        """Return whose the address is."""

    def addresses_of(self, owner: str) -> list[str]:
        """Return the addresses of an owner in the order they were taken."""

    def leases(self) -> list[tuple[str, str]]:
        """Return all (address, owner) in the order of the pool."""

    def restore(self, address: str, owner: str) -> None:
        """Take an address that was handed out before a restart, reserved or not.

        Restored in the order they were handed out, the round robin goes on where it was.

        Raises `AddressTaken`, `AddressOutOfRange`, and `AddressReserved` if it is excluded.
        """

    def restore_cooling(self, address: str, released_at: float) -> None:
        """Mark a free address as released then; one that is taken or reserved stays so.

        Raises `AddressOutOfRange`, and `AddressReserved` if it is excluded.
        """

    def stats(self) -> PoolStats:
        """Return the numbers of addresses by what they are."""

    @property
    def capacity(self) -> int:
        """Addresses of the pool, without the excluded ones."""

    def __len__(self) -> int:
        """Return how many addresses are taken."""

    def __contains__(self, address: str, /) -> bool:
        """Return whether the address is one of the pool's, free or not."""
