"""What nftables rules are made of: the kernel's expressions (``linux/netfilter/nf_tables.h``).

Rules are written with :mod:`cnidaria.plan.expr`, which reads like nft's language and makes these.

``slot`` is a register, counted in 4-byte words: 0 to 15. A value of 5 to 16 bytes takes slots
``slot`` to ``slot + 3``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from cnidaria.kernel.objects import text

MetaKey = Literal[
    "length", "protocol", "priority", "mark", "iif", "oif", "iifname", "oifname", "iiftype",
    "oiftype", "skuid", "skgid", "nftrace", "rtclassid", "secmark", "nfproto", "l4proto",
    "bri_iifname", "bri_oifname", "pkttype", "cpu", "iifgroup", "oifgroup", "cgroup",
]  # fmt: skip
"""In the kernel's order (``enum nft_meta_keys``)."""

CtKey = Literal[
    "state", "direction", "status", "mark", "secmark", "expiration", "helper", "l3protocol",
    "src", "dst", "protocol", "proto_src", "proto_dst", "labels", "pkts", "bytes", "avgpkt",
    "zone", "eventmask", "src_ip", "dst_ip", "src_ip6", "dst_ip6", "id",
]  # fmt: skip
"""In the kernel's order (``enum nft_ct_keys``)."""

VerdictCode = Literal["accept", "drop", "continue", "return", "jump", "goto"]


class Expr(
    msgspec.Struct,
    frozen=True,
    tag=str.lower,
    tag_field="expr",
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """One expression of a rule."""


class Unknown(Expr, frozen=True):
    """One of somebody else that the kernel has; nobody declares it.

    Attributes:
        name: the kernel's, as ``quota``; ``data``: its attributes.
    """

    name: str
    data: bytes


class Meta(Expr, frozen=True):
    """Load a property of the packet."""

    key: MetaKey
    slot: int = 0


class MetaSet(Expr, frozen=True):
    """Set a property of the packet from a slot."""

    key: MetaKey
    slot: int = 0


class Payload(Expr, frozen=True):
    """Load bytes of a header: ``length`` bytes from ``offset`` of ``base``."""

    base: Literal["link", "network", "transport", "inner"]
    offset: int
    length: int
    slot: int = 0


class Ct(Expr, frozen=True):
    """Load a property of the packet's connection."""

    key: CtKey
    slot: int = 0
    direction: Literal["original", "reply"] | None = None


class CtSet(Expr, frozen=True):
    """Set a property of the packet's connection from a slot."""

    key: CtKey
    slot: int = 0


class Fib(Expr, frozen=True):
    """Ask the routes. ``present``: load 1 or 0, whether there is a result."""

    flags: tuple[Literal["saddr", "daddr", "mark", "iif", "oif"], ...]
    result: Literal["oif", "oifname", "type"]
    present: bool = False
    slot: int = 0


class Bitwise(Expr, frozen=True):
    """``slot & mask ^ xor`` into the same slot."""

    mask: bytes
    xor: bytes
    slot: int = 0


class Byteorder(Expr, frozen=True):
    """Turn ``length`` bytes of a slot from host into network order."""

    length: int = 4
    slot: int = 0


class Cmp(Expr, frozen=True):
    """Go on only if the slot compares so with ``data`` (network byte order, but for host-order
    properties as marks).
    """

    op: Literal["eq", "neq", "lt", "lte", "gt", "gte"]
    data: bytes
    slot: int = 0


class Range(Expr, frozen=True):
    """Go on only if the slot is (``eq``) or is not (``neq``) within first to last."""

    op: Literal["eq", "neq"]
    first: bytes
    last: bytes
    slot: int = 0


class Lookup(Expr, frozen=True):
    """Go on only if the key at ``slot`` is in the set (``invert``: is not).

    Attributes:
        to: of a map: the slot for the data, or ``"verdict"``.
    """

    set: str
    slot: int = 0
    invert: bool = False
    to: int | Literal["verdict"] | None = None


class Immediate(Expr, frozen=True):
    """Load a constant."""

    data: bytes
    slot: int = 0


class Verdict(Expr, frozen=True):
    """Decide. ``jump`` and ``goto`` name a chain of the same table."""

    code: VerdictCode
    chain: str | None = None

    def __post_init__(self) -> None:
        if (self.chain is not None) != (self.code in ("jump", "goto")):
            raise text.refuse("Verdict.chain", self.chain, "a chain for jump and goto only")

    def __str__(self) -> str:
        return f"{self.code} {self.chain}" if self.chain else self.code


class Counter(Expr, frozen=True):
    """Count packets and bytes. The counts themselves are nobody's declaration."""


class Masquerade(Expr, frozen=True):
    """Source NAT to the address of the outgoing interface."""

    fully_random: bool = False


class Nat(Expr, frozen=True):
    """NAT to the address (and port) in slots."""

    type: Literal["snat", "dnat"]
    family: Literal["ip", "ip6"]
    address: int | None = None
    port: int | None = None


class Reject(Expr, frozen=True):
    """Drop, and tell the sender."""

    type: Literal["icmp", "tcp-reset", "icmpx"] = "icmpx"
    code: int = 1


class Log(Expr, frozen=True):
    """Write a line to the kernel's log, or tell who listens (NFLOG).

    Attributes:
        group: of listeners; ``None``: the kernel's log.
        snaplen: how many bytes of the packet they get; 0: all.
    """

    prefix: str = ""
    group: int | None = None
    snaplen: int = 0


class Limit(Expr, frozen=True):
    """Go on only as often as this: a token bucket.

    Attributes:
        rate: packets in ``seconds``.
        burst: how many may come at once.
    """

    rate: int
    seconds: int = 1
    burst: int = 5


class Notrack(Expr, frozen=True):
    """Keep connection tracking off this packet."""


AnyExpr = (
    Meta | MetaSet | Payload | Ct | CtSet | Fib | Bitwise | Byteorder | Cmp | Range | Lookup
    | Immediate | Verdict | Counter | Limit | Masquerade | Nat | Reject | Log | Notrack
)  # fmt: skip
