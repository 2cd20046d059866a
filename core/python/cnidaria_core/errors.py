"""Exceptions of the core. All are `CoreError`; each is also the built-in exception that fits."""

__all__ = [
    "AddressOfOtherNode",
    "AddressOutOfRange",
    "AddressReserved",
    "AddressTaken",
    "BlockConflict",
    "BlocksExhausted",
    "CoreError",
    "HistoryLost",
    "InvalidAddress",
    "InvalidBuffer",
    "InvalidObject",
    "InvalidPool",
    "InvalidPrefix",
    "InvalidValue",
    "JournalError",
    "MalformedBytes",
    "NoCommonFamily",
    "PolicyError",
    "PoolError",
    "PoolExhausted",
    "UnknownPod",
]


class CoreError(Exception):
    """The core cannot do what it was asked for."""


class InvalidPrefix(CoreError, ValueError):
    """The text is no prefix, or has bits set behind its length."""


class InvalidValue(CoreError, ValueError):
    """The number is no value of a route; the text says what is."""


class InvalidBuffer(CoreError, ValueError):
    """A buffer's items, shape, byte order or alignment are not what is needed; the text says."""


class MalformedBytes(CoreError, ValueError):
    """The bytes are none that `to_bytes` of the same class made."""


class JournalError(CoreError, OSError):
    """A journal cannot be read or written; `errno`, `strerror` and `filename` say more.

    `errno` is EWOULDBLOCK if another process has the journal open.
    """


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


class PolicyError(CoreError):
    """An object is refused, or a question about policies has no answer."""


class InvalidObject(PolicyError, ValueError):
    """The API server would refuse the object, for one field of it."""

    def __init__(self, key: tuple[str, str, str], path: str, value: str, allowed: str) -> None:
        """Keep what is wrong with it.

        Args:
            key: kind, namespace and name of the object; empty what it does not have.
            path: the field, as `spec.ingress[0].ports[1].endPort`; empty for the object itself.
            value: the field's value as JSON, abridged, or `missing`.
            allowed: what is allowed there.
        """
        super().__init__(key, path, value, allowed)
        self.kind, self.namespace, self.name = key
        self.path = path
        self.value = value
        self.allowed = allowed

    def __str__(self) -> str:
        """Name object, field, value and what is allowed."""
        key = f"{self.namespace}/{self.name}" if self.namespace else self.name
        whose = " ".join(part for part in (self.kind, key) if part)
        return ": ".join(part for part in (whose, self.path, self.value, self.allowed) if part)


class UnknownPod(PolicyError, KeyError):
    """No pod of this `namespace/name` is known, or it has no address."""

    def __init__(self, pod: str) -> None:
        """Keep the pod's `namespace/name`."""
        super().__init__(pod)
        self.pod = pod

    def __str__(self) -> str:
        """Name the pod."""
        return f"no pod {self.pod} with an address is known"


class NoCommonFamily(PolicyError, ValueError):
    """One side has IPv4 addresses alone and the other IPv6: no connection is possible."""

    def __init__(self, src: str, dst: str) -> None:
        """Keep both sides, pods or addresses."""
        super().__init__(src, dst)
        self.src = src
        self.dst = dst

    def __str__(self) -> str:
        """Name both sides."""
        return f"{self.src} and {self.dst} have no address family in common"


class HistoryLost(PolicyError, LookupError):
    """The history does not reach back to the version: take `tables()` instead."""

    def __init__(self, since: int, oldest: int, version: int) -> None:
        """Keep the version that was asked for, the oldest that can be, and the present one."""
        super().__init__(since, oldest, version)
        self.since = since
        self.oldest = oldest
        self.version = version

    def __str__(self) -> str:
        """Say what the history has, and what to do."""
        return (
            f"version {self.since} is not in the history, which has {self.oldest} to "
            f"{self.version}: take tables() instead"
        )


class AddressOfOtherNode(_AddressError, PoolError):
    """The address is in a block of another node, and the pool does not let it be borrowed."""

    def __init__(self, address: str, node: str) -> None:
        """Keep the address and whose block it is in."""
        super().__init__(address)
        self.args = (address, node)
        self.node = node
        self.problem = f"is in a block of node {node}"


class BlocksExhausted(PoolError, LookupError):
    """No block is free, and no address to borrow."""

    def __init__(self, claimed: int, blocks: int) -> None:
        """Keep how many blocks are claimed, or have addresses in use, and how many there are."""
        super().__init__(claimed, blocks)
        self.claimed = claimed
        self.blocks = blocks

    def __str__(self) -> str:
        """Say it with both numbers."""
        return f"no block is free: {self.claimed} of {self.blocks} are claimed"


class BlockConflict(PoolError):
    """A block was changed since the pool saw it."""

    def __init__(self, prefix: str, expected: int, found: int) -> None:
        """Keep the block and both revisions; 0 is for a block that is not there."""
        super().__init__(prefix, expected, found)
        self.prefix = prefix
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        """Name block and revisions."""
        return f"{self.prefix} has revision {self.found}, not {self.expected}"
