import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias, TypedDict, final, type_check_only

from typing_extensions import Buffer

_Address: TypeAlias = str | int | bytes | IPv4Address | IPv6Address
_Prefix: TypeAlias = str | tuple[_Address, int] | IPv4Network | IPv6Network
_Change: TypeAlias = tuple[str, str | None, str | None]
_Pool: TypeAlias = AddressPool | AddressPoolSnapshot | JournaledPool

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
    none, the least recently released one whose cool-down is over. Times are seconds of any clock
    that does not go back, as CLOCK_BOOTTIME (to a pool, one that does stands still); negative and
    infinite ones are a `ValueError`. Calls from several threads are safe.

    An address may be text, a number (of the pool's family), 4 or 16 bytes in network order, or an
    object of module `ipaddress`; it comes back as text in canonical form. What is no address
    raises `InvalidAddress`, or `TypeError` if it is of another type.

    Its length is the number of leases. Two pools are equal if they hold the same and go on in the
    same way; either may be a `JournaledPool`, or a snapshot.
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
        address: _Address | None = None,
        now: float = 0.0,
        *,
        reserved: bool = False,
    ) -> str:
        """Take the next free address, or this very one, also while it cools down.

        With `reserved`, `address` may be a reserved one; it is reserved again once released.

        Raises `PoolExhausted`, `AddressTaken`, `AddressOutOfRange`, `AddressReserved`.
        """

    def release(self, address: _Address, now: float = 0.0, *, used: bool = True) -> str | None:
        """Give an address back; return its owner, `None` if it had none.

        With `used` false it need not cool down: it is as if it had never been handed out.
        """

    def release_owner(self, owner: str, now: float = 0.0, *, used: bool = True) -> list[str]:
        """Give back all addresses of an owner; return them in the order they were taken.

        `used` is as in `release`.
        """

    def reserve(self, address: _Address) -> bool:
        """Keep a free address from being handed out; return whether it was not reserved before.

        Raises `AddressTaken`, `AddressOutOfRange`.
        """

    def unreserve(self, address: _Address) -> bool:
        """End a reservation; return whether there was one. An owner keeps the address."""

    def owner_of(self, address: _Address) -> str | None:
        """Return whose the address is."""

    def addresses_of(self, owner: str) -> list[str]:
        """Return the addresses of an owner in the order they were taken."""

    def leases(self) -> list[tuple[str, str]]:
        """Return all (address, owner) in the order of the pool."""

    def restore(self, address: _Address, owner: str) -> None:
        """Take an address that was handed out before a restart, reserved or not.

        Restored in the order they were handed out, the round robin goes on where it was.

        Raises `AddressTaken`, `AddressOutOfRange`, and `AddressReserved` if it is excluded.
        """

    def restore_cooling(self, address: _Address, released_at: float) -> None:
        """Mark a free address as released then; one that is taken or reserved stays so.

        Raises `AddressOutOfRange`, and `AddressReserved` if it is excluded.
        """

    def stats(self) -> PoolStats:
        """Return the numbers of addresses by what they are."""

    @property
    def capacity(self) -> int:
        """Addresses of the pool, without the excluded ones."""

    def covers(self, address: _Address) -> bool:
        """Return whether the address is one of the pool's, taken or not."""

    def snapshot(self) -> AddressPoolSnapshot:
        """Return the pool as it is now, for good.

        It takes microseconds, and shares memory with the pool until the pool changes.
        """

    def diff(self, later: _Pool) -> list[_Change]:
        """Return what changed hands up to `later`: see `AddressPoolSnapshot.diff`."""

    def to_bytes(self) -> bytes:
        """Return the pool as bytes (versioned msgpack); equal pools have equal ones."""

    @staticmethod
    def from_bytes(data: bytes) -> AddressPool:
        """Make the pool that `to_bytes` was called on; it goes on in the same way.

        Raises `MalformedBytes`.
        """

    def __len__(self) -> int:
        """Return how many addresses are taken."""

    def __iter__(self) -> Iterator[str]:
        """Iterate over the addresses that are taken now, in the order of the pool."""

    def __contains__(self, address: _Address, /) -> bool:
        """Return whether the address is taken."""

@final
class AddressPoolSnapshot:
    """An `AddressPool` as it was at one moment: it never changes. Made by `AddressPool.snapshot`.

    Methods are as the pool's. It equals what holds the same and goes on in the same way: a snapshot
    or a pool.
    """

    def owner_of(self, address: _Address) -> str | None:
        """Return whose the address was."""

    def addresses_of(self, owner: str) -> list[str]:
        """Return the addresses of an owner in the order they were taken."""

    def leases(self) -> list[tuple[str, str]]:
        """Return all (address, owner) in the order of the pool."""

    def stats(self) -> PoolStats:
        """Return the numbers of addresses by what they were."""

    @property
    def capacity(self) -> int:
        """Addresses of the pool, without the excluded ones."""

    def covers(self, address: _Address) -> bool:
        """Return whether the address is one of the pool's, taken or not."""

    def diff(self, later: _Pool) -> list[_Change]:
        """Return (address, owner before, owner after) where they differ, by address.

        `None` is for no owner. Between snapshots of one pool it costs what changed, not what is.
        """

    def to_bytes(self) -> bytes:
        """Return what `AddressPool.from_bytes` makes a pool of."""

    def __len__(self) -> int:
        """Return how many addresses were taken."""

    def __iter__(self) -> Iterator[str]:
        """Iterate over the addresses that were taken, in the order of the pool."""

    def __contains__(self, address: _Address, /) -> bool:
        """Return whether the address was taken."""

@final
class JournaledPool:
    """An `AddressPool` that survives its process, by a write-ahead journal in a file.

    A change is written before the call that makes it returns, with one system call, or together
    with those of other threads; with `sync` it is on the disk then, too (fdatasync). A change
    that cannot be written is not made. What a crash leaves incomplete at the end of the file was
    not answered yet, and is dropped. The GIL is released while something is written.

    Methods are as `AddressPool`'s; those that change something raise `JournalError` if it cannot
    be written, and `ValueError` once the journal is closed. Calls from several threads are safe;
    what one reads may be about to be written for another.

    It equals what holds the same and goes on in the same way: a journaled pool, whatever its file,
    an `AddressPool` or a snapshot. A closed one equals nothing but itself.
    """

    def __new__(
        cls,
        path: str | os.PathLike[str],
        ranges: Sequence[tuple[str, str]],
        exclude: Sequence[str] = ...,
        cooldown: float = 0.0,
        *,
        sync: bool = False,
    ) -> JournaledPool:
        """Open the journal, or make it with a pool as `AddressPool` makes it.

        The file is locked as long as it is open (flock).

        Raises `InvalidPool` also if the journal's pool has other ranges, exclusions or cool-down;
        `MalformedBytes` if the file is no journal; `JournalError` if it cannot be had, with errno
        EWOULDBLOCK if another process has it open.
        """

    def allocate(
        self,
        owner: str,
        address: _Address | None = None,
        now: float = 0.0,
        *,
        reserved: bool = False,
    ) -> str:
        """See `AddressPool.allocate`."""

    def release(self, address: _Address, now: float = 0.0, *, used: bool = True) -> str | None:
        """See `AddressPool.release`."""

    def release_owner(self, owner: str, now: float = 0.0, *, used: bool = True) -> list[str]:
        """See `AddressPool.release_owner`. All are given back, or none."""

    def reserve(self, address: _Address) -> bool:
        """See `AddressPool.reserve`."""

    def unreserve(self, address: _Address) -> bool:
        """See `AddressPool.unreserve`."""

    def owner_of(self, address: _Address) -> str | None:
        """Return whose the address is."""

    def addresses_of(self, owner: str) -> list[str]:
        """Return the addresses of an owner in the order they were taken."""

    def leases(self) -> list[tuple[str, str]]:
        """Return all (address, owner) in the order of the pool."""

    def stats(self) -> PoolStats:
        """Return the numbers of addresses by what they are."""

    @property
    def capacity(self) -> int:
        """Addresses of the pool, without the excluded ones."""

    def covers(self, address: _Address) -> bool:
        """Return whether the address is one of the pool's, taken or not."""

    def snapshot(self) -> AddressPoolSnapshot:
        """Return the pool as it is now, for good."""

    def diff(self, later: _Pool) -> list[_Change]:
        """Return what changed hands up to `later`: see `AddressPoolSnapshot.diff`."""

    def to_bytes(self) -> bytes:
        """Return the pool as bytes, of which `AddressPool.from_bytes` makes one without a journal.

        A journaled pool itself is made of its file.
        """

    def compact(self) -> None:
        """Begin the journal anew, with the pool as it is.

        It happens by itself when the journal has more than 64 KiB and four times the bytes it
        began with.
        """

    @property
    def journal_length(self) -> int:
        """The length of the journal in bytes."""

    @property
    def path(self) -> Path:
        """The journal's file."""

    def close(self) -> None:
        """Close the file, when calls that are under way have returned. May be called again."""

    def __enter__(self) -> Self:
        """Return the pool, which leaving the context closes."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    def __len__(self) -> int:
        """Return how many addresses are taken."""

    def __iter__(self) -> Iterator[str]:
        """Iterate over the addresses that are taken now, in the order of the pool."""

    def __contains__(self, address: _Address, /) -> bool:
        """Return whether the address is taken."""

@type_check_only
class BlockStats(TypedDict):
    """How a pool of blocks is used.

    `blocks`: all, excluded ones too. `claimed`: those that nodes have. `orphaned`: those with
    addresses in use whose nodes have left. `leased`: addresses in use. `borrowed`: those of them
    in use by other nodes than their blocks'.
    """

    blocks: int
    claimed: int
    orphaned: int
    leased: int
    borrowed: int

@final
class BlockPool:
    """Blocks of a prefix for nodes, as a store that compares and swaps keeps them.

    A block is one record of the store (etcd, the Kubernetes API, SQLite). The pool is a view of it,
    which `observe` keeps up to date. Operations change nothing, neither here nor there: they return
    a `BlockChange` of one block, which the store is to make if it still has `expected` as the
    block's revision. So of two who claim a block, or take the same address, one learns that the
    other one was first, observes, and asks again. A pool can be a store itself: `commit`.

    A node takes addresses of its own blocks, then of a new one, which it claims by the same change,
    then of one whose node has left; at last it borrows an address of another node's block.

    Prefixes may be text, tuples (address, length) or networks of `ipaddress`; addresses are as with
    `AddressPool`. A node is any text but the empty one. Its length is the number of blocks that
    somebody has. Calls from several threads are safe.
    """

    def __new__(
        cls,
        cidr: _Prefix,
        block_len: int,
        exclude: Sequence[str] = ...,
        *,
        borrow: bool = True,
        spread: bool = True,
    ) -> BlockPool:
        """Make a pool of the blocks of length `block_len` in `cidr`.

        Args:
            exclude: addresses, `first-last` intervals or prefixes that are not handed out.
            borrow: whether a node may have addresses of others' blocks.
            spread: whether nodes look for free blocks from different places on, so that those
                that claim at the same time seldom want the same one; if not, each from the lowest.

        Raises `InvalidPool` if such blocks would not be in `cidr`, or be more than 2**127.
        """

    def claim(self, node: str, *, avoid: Sequence[str] = ...) -> BlockChange:
        """Return the change that gives a free block to `node`, besides those it has.

        `avoid` is as `exclude`, of any family: a block that has any of these addresses is not
        taken.

        Raises `BlocksExhausted`.
        """

    def allocate(
        self,
        node: str,
        owner: str,
        address: _Address | None = None,
        *,
        most: int | None = None,
    ) -> BlockChange:
        """Return the change that gives an address, or this very one, to `owner` on `node`.

        With `most`, a node with so many blocks gets no further one.

        Raises `BlocksExhausted`; for this very address `AddressTaken`, `AddressOutOfRange`,
        `AddressReserved` if it is excluded, `AddressOfOtherNode` if it cannot be borrowed.
        """

    def release(self, address: _Address) -> BlockChange | None:
        """Return the change that gives an address back; `None` if nobody has it."""

    def release_owner(self, owner: str) -> list[BlockChange]:
        """Return the changes that give all addresses of an owner back."""

    def return_empty(self, node: str, keep: int = 0) -> list[BlockChange]:
        """Return the changes that give blocks back in which nothing is in use, but for `keep`."""

    def leave(self, node: str) -> list[BlockChange]:
        """Return the changes that give back all that a node has, blocks and addresses.

        A block in which other nodes have addresses stays until these are given back, or until a
        node takes it over.
        """

    def commit(self, change: BlockChange) -> int:
        """Make a change in this pool, as a store does; return the block's new revision.

        Raises `BlockConflict` if the block is not of the revision that the change expects.
        """

    def observe(self, prefix: _Prefix, record: bytes | None = None, revision: int = 0) -> bool:
        """Learn what the store has for a block: a record and its revision, or nothing.

        Returns whether it is news; a revision older than what is known is none.

        Raises `InvalidPrefix` if it is no block of the pool, `MalformedBytes`.
        """

    def blocks_of(self, node: str) -> list[str]:
        """Return the blocks of a node, the lowest first."""

    def node_of(self, prefix: _Prefix) -> str | None:
        """Return whose a block is."""

    def holder_of(self, address: _Address) -> tuple[str, str] | None:
        """Return (node, owner) of an address."""

    def addresses_of(self, owner: str) -> list[str]:
        """Return the addresses of an owner, the lowest first."""

    def blocks(self) -> list[tuple[str, str | None, int]]:
        """Return (prefix, node, addresses in use) of all blocks that somebody has, in order."""

    def routes(self) -> list[tuple[str, str]]:
        """Return (prefix, node): all blocks, and borrowed addresses right behind their blocks."""

    def stats(self) -> BlockStats:
        """Return the numbers of blocks and addresses by what they are."""

    @property
    def cidr(self) -> str: ...
    @property
    def block_len(self) -> int: ...
    def snapshot(self) -> BlockPoolSnapshot:
        """Return the pool as it is now, for good; it takes no time.

        The two share everything. The first change of the pool makes a copy of what blocks there
        are, if the snapshot is still kept.
        """

    def diff(self, later: BlockPool | BlockPoolSnapshot) -> list[_Change]:
        """Return the routes that are others in `later`: see `BlockPoolSnapshot.diff`."""

    def to_bytes(self) -> bytes:
        """Return the pool as bytes (versioned msgpack); equal pools have equal ones."""

    @staticmethod
    def from_bytes(data: bytes) -> BlockPool:
        """Make the pool that `to_bytes` was called on. Raises `MalformedBytes`."""

    def __len__(self) -> int:
        """Return how many blocks somebody has."""

    def __iter__(self) -> Iterator[str]:
        """Iterate over the blocks that somebody has now, in order."""

    def __contains__(self, prefix: _Prefix, /) -> bool:
        """Return whether the prefix is a block that somebody has."""

@final
class BlockChange:
    """What is to become of one block, if its store still has the revision that is expected."""

    @property
    def prefix(self) -> str:
        """The block; the store's key."""

    @property
    def expected(self) -> int:
        """The revision that the store has to have of it. 0: it must not be there."""

    @property
    def record(self) -> bytes | None:
        """What the store is to keep (versioned msgpack); `None`: nothing any more."""

    @property
    def address(self) -> str | None:
        """The address that was allocated, or is given back."""

    @property
    def node(self) -> str | None:
        """Whose the block is then."""

    def __eq__(self, other: object, /) -> bool: ...

@final
class BlockPoolSnapshot:
    """A `BlockPool` as it was at one moment: it never changes. Made by `BlockPool.snapshot`.

    It equals what holds the same blocks by the same rules: a snapshot or a pool.
    """

    def routes(self) -> list[tuple[str, str]]:
        """See `BlockPool.routes`."""

    def diff(self, later: BlockPool | BlockPoolSnapshot) -> list[_Change]:
        """Return (prefix, node before, node after) of routes that differ, in their order.

        `None` is for no route. Blocks that did not change are only passed over.
        """

    def to_bytes(self) -> bytes:
        """Return what `BlockPool.from_bytes` makes a pool of."""

    def __len__(self) -> int:
        """Return how many blocks somebody had."""

    def __iter__(self) -> Iterator[str]:
        """Iterate over the blocks that somebody had, in order."""

    def __contains__(self, prefix: _Prefix, /) -> bool:
        """Return whether the prefix is a block that somebody had."""

    def __eq__(self, other: object, /) -> bool: ...

@final
class PolicyReason:
    """What decided: a rule of a policy, a policy that isolates without a rule that allows, or none.

    `id` stays the same as long as the policy exists, and is not used again for long after that.
    Id 0 is the default, 1 a pod and its own node, 2 a pod and itself; all three allow, and have no
    policy.
    """

    @property
    def id(self) -> int: ...
    @property
    def allow(self) -> bool:
        """Whether traffic is allowed by this reason."""
    @property
    def tier(self) -> Literal["Admin", "NetworkPolicy", "Baseline", "Default"]: ...
    @property
    def kind(self) -> str | None:
        """The kind of the policy as it was applied, as `NetworkPolicy`; `None` without a policy."""
    @property
    def namespace(self) -> str | None:
        """The namespace of the policy; `None` for policies of the whole cluster."""
    @property
    def name(self) -> str | None: ...
    @property
    def uid(self) -> str | None:
        """`metadata.uid` of the policy, if it had one."""
    @property
    def direction(self) -> Literal["ingress", "egress"] | None: ...
    @property
    def rule(self) -> int | None:
        """Position of the rule in its list, from 0; `None` if no rule allows what is isolated."""
    @property
    def rule_name(self) -> str | None:
        """The rule's own name, where its kind has names."""
    @property
    def audit(self) -> bool:
        """Whether the policy is only audited (annotation `cnidaria.io/audit: "true"`)."""
    def __str__(self) -> str:
        """Name it in a line, as `NetworkPolicy shop/allow-web ingress rule 0`."""
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class PolicyDecision:
    """Allow or deny, for the ids of two reasons.

    `audit` is what would have decided if audited policies were enforced too, where it is something
    else than what did decide; its reason may allow or deny.
    """

    @property
    def allow(self) -> bool: ...
    @property
    def reason(self) -> int: ...
    @property
    def audit(self) -> int | None: ...
    @property
    def audit_allow(self) -> bool:
        """What would have been decided if audited policies were enforced; `allow` without any."""
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class PolicyFilter:
    """The decision for each protocol and destination port, towards one kind of peer.

    Filters never change: another content is another id.
    """

    @property
    def ports(self) -> tuple[tuple[int, int, int, PolicyDecision], ...]:
        """(IP protocol, first port, last port, decision): ascending, disjoint, never the default.

        Protocols are 6 (TCP), 17 (UDP) and 132 (SCTP); ports go from 0 to 65535.
        """
    @property
    def default(self) -> PolicyDecision:
        """Whatever is not in `ports`, all other protocols (as ICMP) among it."""
    def decide(self, protocol: int, port: int) -> PolicyDecision:
        """Return the decision for an IP protocol number and a destination port."""
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...

_Part: TypeAlias = Literal["endpoints", "blocks", "subjects", "rows", "filters", "reasons"]

@final
class PolicyTables:
    """The policies in force, compiled: what a kernel needs to decide as the engine does.

    A packet from S to D, protocol and port P, is decided twice, and passes if both allow:

    * egress: `subjects[S]` is the subject class of the sending pod, D has a peer class; the
      filter is `rows[subject, "egress", peer]`, else `rows[subject, "egress", None]`.
    * ingress: `subjects[D]`, the peer class of S, and `rows[subject, "ingress", ...]` likewise.

    An address that is not in `subjects` is not restricted, and neither is a direction that has no
    rows. The peer class of an address is that in `endpoints`, else that of the block it lies in,
    else 0. Classes and filters are ids below 2**32; one that is not used any more is not given to
    something else before the history of `PolicyEngine.changes_since` has forgotten it.

    Before that come replies, which pass, and two kinds of traffic that NetworkPolicies have no say
    in, so that only rows of their own count for them, and all passes where there are none:

    * between a pod and the addresses of its own node: "local", from the pod to the node;
    * of a pod with itself, by a service that leads back to it: "hairpin-egress" and
      "hairpin-ingress".

    All dictionaries are made anew at each access.
    """

    @property
    def version(self) -> int: ...
    @property
    def node(self) -> str | None:
        """The node whose pods alone are subjects; `None`: all."""
    @property
    def endpoints(self) -> dict[str, int]:
        """Address -> peer class, of pods and nodes that differ from the block they lie in."""
    @property
    def blocks(self) -> dict[tuple[str, str], int]:
        """(first, last address) -> peer class, disjoint, ascending, IPv4 before IPv6; never 0."""
    @property
    def subjects(self) -> dict[str, int]:
        """Address -> subject class, of pods that a policy selects."""
    @property
    def rows(self) -> dict[tuple[int, str, int | None], int]:
        """(subject class, way, peer class or `None` for any other) -> filter.

        The way is `ingress`, `egress`, `local`, `hairpin-ingress` or `hairpin-egress`.
        """
    @property
    def filters(self) -> dict[int, PolicyFilter]: ...
    @property
    def reasons(self) -> dict[int, PolicyReason]:
        """The reasons that the filters name."""
    def diff(self, later: PolicyTables) -> PolicyChanges:
        """Return what is different in `later`; ids mean the same if both are of one engine."""

    def __len__(self) -> int:
        """Return how many elements all parts have."""

    def __iter__(self) -> Iterator[tuple[_Part, Any, Any]]:
        """Iterate over (part, key, value): the parts as they are listed here, each in order."""

    def __eq__(self, other: object, /) -> bool: ...

@final
class PolicyChanges:
    """What is different between two versions: new values by key, `None` where there is none now.

    The parts are those of `PolicyTables`; updating its dictionaries with these (and deleting what
    is `None`) gives those of version `version`. Nothing is in it that is as it was.
    """

    @property
    def since(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def node(self) -> str | None: ...
    @property
    def endpoints(self) -> dict[str, int | None]: ...
    @property
    def blocks(self) -> dict[tuple[str, str], int | None]: ...
    @property
    def subjects(self) -> dict[str, int | None]: ...
    @property
    def rows(self) -> dict[tuple[int, str, int | None], int | None]: ...
    @property
    def filters(self) -> dict[int, PolicyFilter | None]: ...
    @property
    def reasons(self) -> dict[int, PolicyReason | None]: ...
    def __len__(self) -> int:
        """Return how many elements differ."""

    def __iter__(self) -> Iterator[tuple[_Part, Any, Any]]:
        """Iterate over (part, key, value or `None`): the parts as listed here, each in order."""

    def __eq__(self, other: object, /) -> bool: ...

@final
class Verdict:
    """Whether a connection may be made, and what decided it on each side."""

    @property
    def allowed(self) -> bool:
        """Whether both sides allow it."""
    @property
    def egress(self) -> PolicyReason:
        """What decided for the sending side."""
    @property
    def ingress(self) -> PolicyReason:
        """What decided for the receiving side."""
    @property
    def egress_audit(self) -> PolicyReason | None:
        """What would have decided with audited policies enforced, where that is something else."""
    @property
    def ingress_audit(self) -> PolicyReason | None:
        """What would have decided with audited policies enforced, where that is something else."""
    def __bool__(self) -> bool:
        """Return `allowed`."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class PolicyEngine:
    """Kubernetes network policies, compiled; who may talk to whom, and why.

    Fed with Kubernetes' own objects, one by one as they change: Namespace, Pod, Node, NetworkPolicy
    (networking.k8s.io/v1), ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2 and v1beta1),
    AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1). An object is a mapping as the API
    has it in JSON, or that JSON as `bytes` or `str`. What each field means is in
    docs/policy-semantics.md, with sources.

    Calls from several threads are safe.
    """

    def __new__(cls, *, history: int = 16384) -> PolicyEngine:
        """Make an engine without objects.

        `history`: how many changed elements `changes_since` reaches back over, at most.
        """

    def apply(self, obj: Mapping[str, Any] | bytes | str, *, strict: bool = True) -> bool:
        """Take an object, new or changed; return whether it is different from what was there.

        Not `strict`, fields of a policy that are unknown here are overlooked, for objects that an
        API server (perhaps a newer one) has accepted; a peer that has nothing left fails closed.

        Raises `InvalidObject` if the API server would refuse it; nothing has changed then.
        """

    def delete(self, kind: str, name: str, namespace: str | None = None) -> bool:
        """Remove an object; return whether it was there."""

    def load(
        self, objects: Iterable[Mapping[str, Any] | bytes | str], *, strict: bool = True
    ) -> int:
        """Take many objects at once, in any order; return how many are new or different.

        All or none: raises `InvalidObject` as `apply`, and nothing has changed then.
        """

    @property
    def version(self) -> int:
        """Counts the calls that changed something."""

    def verdict(
        self, src: str, dst: str, protocol: str | int | None = None, port: int | None = None
    ) -> Verdict:
        """Say whether a connection from `src` to `dst` may be made.

        `src` and `dst`: a pod as `namespace/name`, or an address, of a pod or any other. Of a pod
        with several addresses counts the first one that is of a family the other side has.
        `protocol`: TCP (the default), UDP, SCTP, ICMP, ICMPv6, or an IP protocol number. `port`:
        the destination port, for TCP, UDP and SCTP only.

        Raises `UnknownPod`, `InvalidAddress`, `NoCommonFamily` if one side has IPv4 addresses alone
        and the other IPv6 (there is no such connection), and `ValueError` for a protocol or port
        that is none.
        """

    def verdicts(
        self,
        src: Buffer,
        dst: Buffer,
        protocols: Buffer,
        ports: Buffer,
        *,
        out: Buffer | None = None,
    ) -> memoryview:
        """Decide many connections between addresses; the GIL is released meanwhile.

        All arguments have the buffer protocol, are C-contiguous and of the same length n:

        * `src`, `dst`: u32 of shape (n,), IPv4 as numbers in host order; or u8 of shape (n, 4) or
          (n, 16), addresses in network order;
        * `protocols`: u8 of shape (n,), IP protocol numbers;
        * `ports`: u16 of shape (n,) in host order, which count for TCP, UDP and SCTP;
        * `out`: u8 of shape (n,), writable; a new memoryview without it. It is returned.

        What is said is 1 where both sides allow, 0 where one denies, or where one address is IPv4
        and the other IPv6: there is no such connection. All is said of one version.

        Raises `InvalidBuffer`, `TypeError` for what has no buffer.
        """

    def reachable(
        self, protocol: str | int | None = None, port: int | None = None
    ) -> tuple[list[list[str]], memoryview]:
        """Return who reaches whom: identities, and a matrix of them.

        An identity is a list of pods (`namespace/name`, sorted) that no policy tells apart; they
        come in the order of their first pods. The matrix is u8 of shape (n, n) (without any pod
        (0,)): row by source, column by destination, 1 where each pod of the one reaches each other
        pod of the other, in every family that both have addresses of. It says nothing of a pod and
        itself, which always reaches itself but for policies of the whole cluster. Pods that have
        ended, have no address, or have their node's network are left out.
        `protocol` and `port` are as in `verdict`.
        """

    def diff(
        self, later: PolicyEngine | PolicyEngineSnapshot
    ) -> list[tuple[str, str | None, str, Literal["added", "removed", "changed"]]]:
        """Return (kind, namespace, name, what became of it) of objects that differ, in order."""

    def to_bytes(self) -> bytes:
        """Return the objects as bytes (versioned msgpack)."""

    @staticmethod
    def from_bytes(data: bytes, *, history: int = 16384) -> PolicyEngine:
        """Make an engine with the objects that `to_bytes` was called on; ids begin anew.

        Raises `MalformedBytes`.
        """

    def tables(self, node: str | None = None) -> PolicyTables:
        """Return the compiled tables; with `node`, those for the pods on this node."""

    def changes_since(self, version: int, node: str | None = None) -> PolicyChanges:
        """Return what is different from the tables of that version, for the same `node`.

        Raises `HistoryLost` if the version is too old (or not of this engine): take `tables()`.
        """

    def reason(self, reason: int) -> PolicyReason:
        """Return the reason of this id; `KeyError` if there is none."""

    def snapshot(self) -> PolicyEngineSnapshot:
        """Return the engine as it is now, for good, with its version and ids; it takes no time.

        The two share everything. The first change of the engine makes a copy for that, if the
        snapshot is still kept.
        """

    def __len__(self) -> int:
        """Return how many objects there are."""

    def __iter__(self) -> Iterator[tuple[str, str | None, str]]:
        """Iterate over (kind, namespace, name) of all objects, by kind, namespace and name."""

    def __eq__(self, other: object, /) -> bool:
        """Return whether both have the same objects; versions and ids do not count.

        The other one may be a snapshot.
        """

@final
class PolicyEngineSnapshot:
    """A `PolicyEngine` as it was at one moment: it never changes. Made by `PolicyEngine.snapshot`.

    Methods are as the engine's.
    """

    @property
    def version(self) -> int:
        """The version that the engine had."""

    def verdict(
        self, src: str, dst: str, protocol: str | int | None = None, port: int | None = None
    ) -> Verdict:
        """See `PolicyEngine.verdict`."""

    def verdicts(
        self,
        src: Buffer,
        dst: Buffer,
        protocols: Buffer,
        ports: Buffer,
        *,
        out: Buffer | None = None,
    ) -> memoryview:
        """See `PolicyEngine.verdicts`."""

    def reachable(
        self, protocol: str | int | None = None, port: int | None = None
    ) -> tuple[list[list[str]], memoryview]:
        """See `PolicyEngine.reachable`."""

    def diff(
        self, later: PolicyEngine | PolicyEngineSnapshot
    ) -> list[tuple[str, str | None, str, Literal["added", "removed", "changed"]]]:
        """Return (kind, namespace, name, what became of it) of objects that differ, in order."""

    def to_bytes(self) -> bytes:
        """Return what `PolicyEngine.from_bytes` makes an engine of."""

    def tables(self, node: str | None = None) -> PolicyTables:
        """See `PolicyEngine.tables`."""

    def changes_since(self, version: int, node: str | None = None) -> PolicyChanges:
        """Return what is different from the tables of an earlier version of the engine.

        Raises `HistoryLost` as `PolicyEngine.changes_since`.
        """

    def reason(self, reason: int) -> PolicyReason:
        """Return the reason of this id; `KeyError` if there is none."""

    def __len__(self) -> int:
        """Return how many objects there were."""

    def __iter__(self) -> Iterator[tuple[str, str | None, str]]:
        """Iterate over (kind, namespace, name) of all objects, by kind, namespace and name."""

    def __eq__(self, other: object, /) -> bool:
        """Return whether both have the same objects, as `PolicyEngine` does."""

_Routes: TypeAlias = Iterable[tuple[_Prefix, int]]
_RouteChange: TypeAlias = tuple[str, int | None, int | None]
_Order: TypeAlias = Literal["host", "network"]

@type_check_only
class RouteTableMemory(TypedDict):
    """What a table takes, in bytes.

    `lookup_v4`, `lookup_v6`: what lookups read. `total_v4`, `total_v6`: everything of the family,
    with what updates need and what is kept free for them.
    """

    lookup_v4: int
    lookup_v6: int
    total_v4: int
    total_v6: int

@final
class RouteTable:
    """Routes by prefix, IPv4 and IPv6, of which lookups find the longest that matches.

    A value is a number from 0 to `NO_VALUE` - 1. Prefixes may be text, tuples (address, length) or
    networks of `ipaddress`; they come back as text, IPv4 before IPv6, by address, a prefix right
    before what it covers. An address may be text, a number with its `family` (4 or 6), 4 or 16
    bytes in network order, or an object of `ipaddress`. Wrong ones raise `InvalidPrefix`,
    `InvalidValue`, `InvalidAddress`, `ValueError` if an address is not of the family, or
    `TypeError`.

    Every change makes a version of the table and shares with the one before what did not change.
    Reading takes the newest version and never waits, whatever other threads do; bulk calls keep to
    one version, and release the GIL.

    Its length is the number of routes; iterating goes through the prefixes that are there now. Two
    tables are equal if they have the same routes; either may be a snapshot.
    """

    NO_VALUE: Final = 4294967295
    """What `lookup_many` has for an address that no prefix covers; no value of a route."""

    def __new__(cls, routes: _Routes | None = None) -> RouteTable:
        """Make a table of (prefix, value) pairs: see `load`."""

    def insert(self, prefix: _Prefix, value: int) -> int | None:
        """Add a route or give it another value; return the value before, `None` if it is new."""

    def remove(self, prefix: _Prefix) -> int | None:
        """Remove a route; return its value, `None` if it was not there."""

    def load(self, routes: _Routes) -> None:
        """Add many (prefix, value) pairs, or give them other values; the last of a prefix counts.

        It is done for all of them at once, or for none if one is wrong. Many at once take much less
        time than one by one.
        """

    def load_buffers(
        self, addresses: Buffer, lengths: Buffer, values: Buffer, *, order: _Order = "host"
    ) -> None:
        """Add the routes of three buffers of n rows, as `load` does.

        `addresses` of one family and `order` are as in `lookup_many`; `lengths` are u8, `values`
        are u32 in host order, both of shape (n,).

        Raises `InvalidBuffer`, or `InvalidPrefix` or `InvalidValue` for the first wrong row.
        """

    def get(self, prefix: _Prefix) -> int | None:
        """Return the value of this very prefix."""

    def lookup(self, address: _Address, family: int | None = None) -> tuple[str, int] | None:
        """Return the longest prefix that covers the address, and its value."""

    def lookup_value(self, address: _Address, family: int | None = None) -> int | None:
        """Return the value of the longest prefix that covers the address.

        This is quicker than `lookup`, which has to make a text.
        """

    def lookup_many(
        self, addresses: Buffer, *, order: _Order = "host", out: Buffer | None = None
    ) -> Buffer:
        """Return the values of n addresses of one family, `NO_VALUE` where no prefix covers one.

        In `"host"` order, IPv4 addresses are u32 of shape (n,), IPv6 addresses u64 of shape (n, 2),
        the upper half first. In `"network"` order they are bytes of shape (n, 4) or (n, 16), or for
        IPv4 big-endian u32 of shape (n,), format `>I`. All are C-contiguous and aligned.

        `out` is a writable buffer of u32 in host order of shape (n,), which is returned; without,
        it is a new memoryview.

        Raises `InvalidBuffer`.
        """

    def matches(self, address: _Address, family: int | None = None) -> list[tuple[str, int]]:
        """Return all (prefix, value) whose prefixes cover the address, the longest first."""

    def covered_by(self, prefix: _Prefix) -> list[tuple[str, int]]:
        """Return all (prefix, value) that the prefix covers, itself too, in their order."""

    def items(self) -> Iterator[tuple[str, int]]:
        """Iterate over all (prefix, value) that are there now, in their order."""

    def memory(self) -> RouteTableMemory:
        """Return what the table takes, in bytes."""

    def snapshot(self) -> RouteTableSnapshot:
        """Return the table as it is now, for good; it takes no time.

        As long as it is kept, what the table does not have any more stays in memory.
        """

    def diff(self, later: RouteTable | RouteTableSnapshot) -> list[_RouteChange]:
        """Return what changed up to `later`: see `RouteTableSnapshot.diff`."""

    def to_bytes(self) -> bytes:
        """Return the table as bytes (versioned msgpack); equal tables have equal ones."""

    @staticmethod
    def from_bytes(data: bytes) -> RouteTable:
        """Make a table that is equal to the one that `to_bytes` was called on.

        Raises `MalformedBytes`.
        """

    def __len__(self) -> int:
        """Return how many routes there are."""

    def __iter__(self) -> Iterator[str]:
        """Iterate over the prefixes that are there now, in their order."""

    def __contains__(self, prefix: _Prefix, /) -> bool:
        """Return whether there is a route of this very prefix."""

    def __eq__(self, other: object, /) -> bool:
        """Return whether both have the same routes."""

@final
class RouteTableSnapshot:
    """A `RouteTable` as it was at one moment: it never changes. Made by `RouteTable.snapshot`.

    Methods are as the table's.
    """

    def get(self, prefix: _Prefix) -> int | None:
        """Return the value of this very prefix."""

    def lookup(self, address: _Address, family: int | None = None) -> tuple[str, int] | None:
        """See `RouteTable.lookup`."""

    def lookup_value(self, address: _Address, family: int | None = None) -> int | None:
        """See `RouteTable.lookup_value`."""

    def lookup_many(
        self, addresses: Buffer, *, order: _Order = "host", out: Buffer | None = None
    ) -> Buffer:
        """See `RouteTable.lookup_many`."""

    def matches(self, address: _Address, family: int | None = None) -> list[tuple[str, int]]:
        """See `RouteTable.matches`."""

    def covered_by(self, prefix: _Prefix) -> list[tuple[str, int]]:
        """See `RouteTable.covered_by`."""

    def items(self) -> Iterator[tuple[str, int]]:
        """Iterate over all (prefix, value), in their order."""

    def diff(self, later: RouteTable | RouteTableSnapshot) -> list[_RouteChange]:
        """Return (prefix, value before, value after) where they differ, in the order of prefixes.

        `None` is for no route. Between snapshots of one table it costs what changed, not what there
        is, unless the table has outgrown its storage in between.
        """

    def to_bytes(self) -> bytes:
        """Return what `RouteTable.from_bytes` makes a table of."""

    def __len__(self) -> int:
        """Return how many routes there were."""

    def __iter__(self) -> Iterator[str]:
        """Iterate over the prefixes that were there, in their order."""

    def __contains__(self, prefix: _Prefix, /) -> bool:
        """Return whether there was a route of this very prefix."""

    def __eq__(self, other: object, /) -> bool:
        """Return whether both have the same routes."""
