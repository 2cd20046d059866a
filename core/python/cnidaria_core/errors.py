"""Exceptions of the core. All are `CoreError`; each is also the built-in exception that fits."""

__all__ = [
    "AddressOutOfRange",
    "AddressReserved",
    "AddressTaken",
    "CoreError",
    "InvalidAddress",
    "InvalidBuffer",
    "InvalidPool",
    "InvalidPrefix",
    "MalformedBytes",
    "PoolError",
    "PoolExhausted",
]


class CoreError(Exception):
    """The core cannot do what it was asked for."""


class InvalidPrefix(CoreError, ValueError):
    """The text is no prefix, or has bits set behind its length."""


class InvalidBuffer(CoreError, ValueError):
    """A buffer's items, shape, byte order or alignment are not what is needed; the text says."""


class MalformedBytes(CoreError, ValueError):
    """The bytes are none that `to_bytes` of the same class made."""


class PoolError(CoreError):
    """A pool cannot be made, or an address cannot be had."""


class InvalidPool(PoolError, ValueError):
    """The ranges or the exclusions of a pool contradict themselves; the text names them."""


class PoolExhausted(PoolError, LookupError):
    """No address is free."""

    def __init__(self, taken: int, cooling: int, reserved: int, capacity: int) -> None:
        """Keep the numbers of addresses by what they are.

        Args:
            taken: those that have an owner.
            cooling: those released less than the cool-down ago.
            reserved: those reserved that have no owner.
            capacity: all of the pool, without the excluded ones.
        """
        super().__init__(taken, cooling, reserved, capacity)
        self.taken = taken
        self.cooling = cooling
        self.reserved = reserved
        self.capacity = capacity

    def __str__(self) -> str:
        """Say it with all numbers."""
        return (
            f"no address is free: {self.taken} of {self.capacity} are taken, "
            f"{self.cooling} cool down, {self.reserved} are reserved"
        )


class _AddressError(CoreError, ValueError):
    """Something is wrong with one address."""

    problem: str

    def __init__(self, address: str) -> None:
        """Keep the address, as canonical text where it is one."""
        super().__init__(address)
        self.address = address

    def __str__(self) -> str:
        """Name the address and what is wrong with it."""
        return f"{self.address} {self.problem}"


class InvalidAddress(_AddressError):
    """The text is no IPv4 or IPv6 address."""

    problem = "is not an IP address"


class AddressOutOfRange(_AddressError, PoolError):
    """The address is in no range of the pool."""

    problem = "is in no range of the pool"


class AddressReserved(_AddressError, PoolError):
    """The address is reserved, or excluded from the pool."""

    problem = "is reserved"


class AddressTaken(_AddressError, PoolError):
    """The address has an owner."""

    def __init__(self, address: str, owner: str) -> None:
        """Keep the address and whose it is."""
        super().__init__(address)
        self.args = (address, owner)
        self.owner = owner
        self.problem = f"is taken by {owner}"
