"""Firewalls of others that drop what a node forwards: of nftables, and of iptables-legacy."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Iterator
from pathlib import Path
from struct import pack_into, unpack_from
from typing import Final, NamedTuple

from cnidaria.kernel import codec
from cnidaria.kernel import nftuapi as nf
from cnidaria.kernel.codec import Attrs, string, text
from cnidaria.kernel.netns import NetNS
from cnidaria.kernel.nftmessages import dump
from cnidaria.kernel.session import Session

FORWARD: Final = nf.HOOKS["inet"]["forward"]
ROUTED: Final = frozenset({"inet", "ip", "ip6"})
HARMLESS: Final = frozenset({"counter", "log"})
"""Expressions that let every packet go on to the next one."""


class Dropping(NamedTuple):
    """A chain that ends by dropping: what none of its rules accepts is not forwarded.

    Attributes:
        by: ``nftables`` or ``iptables-legacy``.
        family: of its table: ``inet``, ``ip``, ``ip6``.
    """

    by: str
    family: str
    table: str
    chain: str

    def __str__(self) -> str:
        return f"{self.by}: chain {self.chain} of table {self.family} {self.table}"


def dropping(namespace: NetNS) -> list[Dropping]:
    """The chains of others that drop what they do not accept, of what the node forwards.

    Raises:
        KernelError: the kernel does not answer.
    """
    with Session(namespace) as session:
        chains = [
            (family, string(attrs[nf.NFTA_CHAIN_TABLE]), string(attrs[nf.NFTA_CHAIN_NAME]))
            for family, attrs in dump(session, nf.NFT_MSG_GETCHAIN, "")
            if family in ROUTED and _hooknum(attrs) == FORWARD
            if _policy(attrs) == nf.NF_POLICIES["drop"] or _ends_so(session, family, attrs)
        ]
    found = [Dropping("nftables", *one) for one in chains]
    return [*found, *namespace.run(lambda: list(_legacy()))]


def _hooknum(attrs: Attrs) -> int | None:
    hook = codec.attributes(attrs.get(nf.NFTA_CHAIN_HOOK, b""))
    number = hook.get(nf.NFTA_HOOK_HOOKNUM)
    return None if number is None else int.from_bytes(number, "big")


def _policy(attrs: Attrs) -> int:
    return int.from_bytes(attrs.get(nf.NFTA_CHAIN_POLICY, b"\1"), "big")


def _ends_so(session: Session, family: str, chain: Attrs) -> bool:
    """Whether a rule of a chain refuses everything that comes to it, as firewalld's last one."""
    names = (
        text(nf.NFTA_RULE_TABLE, string(chain[nf.NFTA_CHAIN_TABLE])),
        text(nf.NFTA_RULE_CHAIN, string(chain[nf.NFTA_CHAIN_NAME])),
    )
    for _, rule in dump(session, nf.NFT_MSG_GETRULE, family, *names):
        exprs = codec.attribute_list(rule.get(nf.NFTA_RULE_EXPRESSIONS, b""))
        told = [codec.attributes(raw) for _, raw in exprs]
        rest = [one for one in told if string(one[nf.NFTA_EXPR_NAME]) not in HARMLESS]
        if len(rest) == 1 and _refuses(rest[0]):
            return True
    return False


def _refuses(expr: Attrs) -> bool:
    name = string(expr[nf.NFTA_EXPR_NAME])
    if name != "immediate":
        return name == "reject"
    data = codec.attributes(expr[nf.NFTA_EXPR_DATA])
    value = codec.attributes(data.get(nf.NFTA_IMMEDIATE_DATA, b""))
    verdict = codec.attributes(value.get(nf.NFTA_DATA_VERDICT, b""))
    return verdict.get(nf.NFTA_VERDICT_CODE) == bytes(4)  # NF_DROP


# -- iptables-legacy (linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h) ---------

GET_INFO, GET_ENTRIES = 64, 65
INFO: Final = 84
"""Bytes of ``struct ipt_getinfo``: name, hooks, entries and underflows by hook, count, size."""
UNDERFLOWS: Final = 56
ENTRIES: Final = 40
"""Where the entries begin in ``struct ipt_get_entries``."""
STANDARD: Final = 32
"""Where the verdict of a standard target is."""


class _Legacy(NamedTuple):
    """Where a family's tables are told, and where an entry says how far its target is."""

    family: str
    names: str
    protocol_family: socket.AddressFamily
    level: int
    target_at: int


LEGACY: Final = (
    _Legacy("ip", "/proc/thread-self/net/ip_tables_names", socket.AF_INET, socket.IPPROTO_IP, 88),
    _Legacy(
        "ip6", "/proc/thread-self/net/ip6_tables_names", socket.AF_INET6, socket.IPPROTO_IPV6, 140
    ),
)


def _legacy() -> Iterator[Dropping]:
    """By the table of the calling thread's namespace, if it has one: to ask would make one."""
    for one in LEGACY:
        try:
            there = "filter" in Path(one.names).read_text().split()
        except OSError:
            continue  # no such module
        if there and _legacy_policy(one) == -1:  # NF_DROP, as a standard target has it
            yield Dropping("iptables-legacy", one.family, "filter", "FORWARD")


def _legacy_policy(one: _Legacy) -> int:
    """The verdict of what no rule of FORWARD decides."""
    with socket.socket(one.protocol_family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        info = _told(sock, one.level, GET_INFO, bytearray(INFO))
        underflow = unpack_from("=5I", info, UNDERFLOWS)[FORWARD]
        size = unpack_from("=I", info, INFO - 4)[0]
        entries = bytearray(ENTRIES + size)
        pack_into("=I", entries, 32, size)
        told = _told(sock, one.level, GET_ENTRIES, entries)
        at = ENTRIES + underflow
        target = unpack_from("=H", told, at + one.target_at)[0]
        return int(unpack_from("=i", told, at + target + STANDARD)[0])


def _told(sock: socket.socket, level: int, option: int, data: bytearray) -> bytearray:
    """What the kernel writes over a question; Python's own ``getsockopt`` cannot ask one."""
    data[:6] = b"filter"
    room = (ctypes.c_char * len(data)).from_buffer(data)
    length = ctypes.c_uint(len(data))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getsockopt(sock.fileno(), level, option, room, ctypes.byref(length)):
        raise OSError(ctypes.get_errno(), "iptables-legacy cannot be read")
    return data
