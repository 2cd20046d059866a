"""The tables of iptables-legacy, read from the kernel.

``linux/netfilter_ipv4/ip_tables.h``, ``linux/netfilter_ipv6/ip6_tables.h``.
"""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from struct import pack_into, unpack_from
from typing import Final, NamedTuple

from cnidaria.kernel.foreign.tables import Chain, Hook, Match, Never, Rule, Step, Table
from cnidaria.kernel.foreign.xt import target
from cnidaria.kernel.netns import NetNS
from cnidaria.kernel.objects import nftexpr as ex

HOOKS: Final = ("prerouting", "input", "forward", "output", "postrouting")
PRIORITIES: Final = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
"""Of the tables whose rules may drop."""

GET_INFO, GET_ENTRIES = 64, 65
INFO: Final = 84
"""Bytes of ``struct ipt_getinfo``: name, hooks, entries and underflows by hook, count, size."""
VALID, ENTRIES, UNDERFLOWS = 32, 36, 56
HEAD: Final = 40
"""Where the entries begin in ``struct ipt_get_entries``."""
XT_HEAD: Final = 32
"""Of ``struct xt_entry_match`` and ``xt_entry_target``: size, name, revision."""
RETURN: Final = -5
INVERTED: Final = {"iif": 1, "oif": 2, "src": 8, "dst": 16, "frag": 32, "protocol": 64}


class Version(NamedTuple):
    """How an address family's entries are laid out.

    Attributes:
        size: bytes of an address; ``at``: where it is in an IP header.
        links: where the interfaces' names are in an entry.
        flags: where protocol and flags are; ``to_goto``: one of these.
        target: where an entry says how far its target is.
        head: of an entry, before its matches.
    """

    family: str
    names: str
    protocol_family: socket.AddressFamily
    level: int
    size: int
    at: tuple[int, int]
    links: int
    to_goto: int
    flags: int
    target: int
    head: int


VERSIONS: Final = (
    Version("ip", "/proc/thread-self/net/ip_tables_names", socket.AF_INET, socket.IPPROTO_IP,
            4, (12, 16), 16, 2, 82, 88, 112),
    Version("ip6", "/proc/thread-self/net/ip6_tables_names", socket.AF_INET6, socket.IPPROTO_IPV6,
            16, (8, 24), 64, 4, 131, 140, 168),
)  # fmt: skip


class Blob(NamedTuple):
    """A table as the kernel gives it: all rules in a row, and where chains begin and end."""

    version: Version
    table: str
    valid: int
    entries: tuple[int, ...]
    underflows: tuple[int, ...]
    data: bytes


def tables(namespace: NetNS) -> list[Table]:
    """The tables of a namespace that may drop; those that are there: to ask for others makes them.

    Raises:
        OSError: the kernel refuses.
    """
    return [parse(blob) for blob in namespace.run(lambda: list(_blobs()))]


def _blobs() -> Iterator[Blob]:
    """Those of the calling thread's namespace."""
    for version in VERSIONS:
        try:
            there = Path(version.names).read_text().split()
        except OSError:
            continue  # no such module
        for table in PRIORITIES:
            if table in there:
                yield _read(version, table)


def _read(version: Version, table: str) -> Blob:
    with socket.socket(version.protocol_family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        info = bytearray(INFO)
        _ask(sock, version, GET_INFO, table, info)
        size = unpack_from("=I", info, INFO - 4)[0]
        entries = bytearray(HEAD + size)
        pack_into("=I", entries, 32, size)
        _ask(sock, version, GET_ENTRIES, table, entries)
    return Blob(
        version,
        table,
        unpack_from("=I", info, VALID)[0],
        unpack_from("=5I", info, ENTRIES),
        unpack_from("=5I", info, UNDERFLOWS),
        bytes(entries[HEAD:]),
    )


def _ask(sock: socket.socket, version: Version, option: int, table: str, data: bytearray) -> None:
    """Have the kernel write over a question; Python's own ``getsockopt`` cannot ask one."""
    data[: len(table)] = table.encode()
    room = (ctypes.c_char * len(data)).from_buffer(data)
    length = ctypes.c_uint(len(data))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getsockopt(sock.fileno(), version.level, option, room, ctypes.byref(length)):
        raise OSError(ctypes.get_errno(), "iptables-legacy cannot be read")


def parse(blob: Blob) -> Table:
    """A table of its bytes."""
    starts = _starts(blob)
    ends = dict(pairwise([*sorted(starts), len(blob.data)]))
    chains = {}
    for at, (name, hook) in starts.items():
        end = blob.underflows[HOOKS.index(hook.name)] if hook else ends[at]
        chains[name] = Chain(tuple(_rules(blob, at, end, starts)), hook)
    return Table("iptables-legacy", blob.version.family, blob.table, chains, {})


def _starts(blob: Blob) -> dict[int, tuple[str, Hook | None]]:
    """The chains by where their first rules are."""
    found: dict[int, tuple[str, Hook | None]] = {}
    for number, name in enumerate(HOOKS):
        if blob.valid & 1 << number:
            verdict = _standard(blob, blob.underflows[number])
            policy = "drop" if verdict == -1 else "accept"
            hook = Hook(name, PRIORITIES[blob.table], policy)
            found[blob.entries[number]] = name.upper(), hook
    for at in _offsets(blob, 0, len(blob.data)):
        name, data = _target(blob, at)
        if name == "ERROR":
            found[_next(blob, at)] = data[:30].split(b"\0")[0].decode(), None
    found.pop(len(blob.data), None)
    return found


def _offsets(blob: Blob, at: int, end: int) -> Iterator[int]:
    while at < end:
        yield at
        at = _next(blob, at)


def _next(blob: Blob, at: int) -> int:
    step: int = unpack_from("=H", blob.data, at + blob.version.target + 2)[0]
    return at + (step or len(blob.data))


def _target(blob: Blob, at: int) -> tuple[str, bytes]:
    """Its name and what follows."""
    place = at + unpack_from("=H", blob.data, at + blob.version.target)[0]
    name = blob.data[place + 2 : place + 31].split(b"\0")[0].decode()
    return name, blob.data[place + XT_HEAD : _next(blob, at)]


def _standard(blob: Blob, at: int) -> int:
    """The verdict of a standard target: negative, or where a chain's rules begin."""
    return int(unpack_from("=i", _target(blob, at)[1])[0])


def _rules(
    blob: Blob, start: int, end: int, chains: dict[int, tuple[str, Hook | None]]
) -> Iterator[Rule]:
    for number, at in enumerate(_offsets(blob, start, end), 1):
        name, data = _target(blob, at)
        if name == "ERROR":
            return  # the next chain's head
        steps = [*_ends(blob, at), *_matches(blob, at)]
        if name:
            steps += target(name, data)
        else:
            steps += _verdict(blob, at, chains)
        yield Rule(number, tuple(steps))


def _verdict(blob: Blob, at: int, chains: dict[int, tuple[str, Hook | None]]) -> Iterator[Step]:
    verdict = _standard(blob, at)
    if verdict >= 0:
        if verdict != _next(blob, at):  # else there is no target
            flags = blob.data[at + blob.version.flags]
            code = "goto" if flags & blob.version.to_goto else "jump"
            yield ex.Verdict(code, chains[verdict][0])  # type: ignore[arg-type]
    elif verdict == RETURN:
        yield ex.Verdict("return")
    elif verdict in (-1, -2):
        yield ex.Verdict("drop" if verdict == -1 else "accept")


def _ends(blob: Blob, at: int) -> Iterator[Step]:
    """Addresses, interfaces and protocol: ``struct ipt_ip``, ``ip6t_ip6``."""
    version, data = blob.version, blob.data
    protocol = unpack_from("=H", data, at + version.links + 64)[0]
    flags, inverted = unpack_from("=BB", data, at + version.flags)
    size = version.size

    def bytes_at(place: int, length: int) -> bytes:
        return data[at + place : at + place + length]

    for number, which in enumerate(("src", "dst")):
        load = ex.Payload("network", version.at[number], size)
        wanted, mask = bytes_at(number * size, size), bytes_at((2 + number) * size, size)
        yield from _compared(load, wanted, mask, inverted & INVERTED[which])
    for number, which in enumerate(("iif", "oif")):
        load_ = ex.Meta("iifname" if number == 0 else "oifname")
        place = version.links + 16 * number
        wanted, mask = bytes_at(place, 16), bytes_at(place + 32, 16)
        yield from _compared(load_, wanted, mask, inverted & INVERTED[which])
    if protocol:
        load_ = ex.Meta("l4proto")
        yield from _compared(load_, bytes([protocol]), b"\xff", inverted & INVERTED["protocol"])
    if size == 4 and flags & 1 and not inverted & INVERTED["frag"]:
        yield Never()  # second and later fragments only


def _compared(load: ex.Expr, wanted: bytes, mask: bytes, inverted: int) -> Iterator[Step]:
    if any(mask):
        yield load
        yield ex.Bitwise(mask, bytes(len(mask)))
        yield ex.Cmp(
            "neq" if inverted else "eq", bytes(a & b for a, b in zip(wanted, mask, strict=True))
        )


def _matches(blob: Blob, at: int) -> Iterator[Match]:
    place = at + blob.version.head
    end = at + unpack_from("=H", blob.data, at + blob.version.target)[0]
    while place < end:
        size = unpack_from("=H", blob.data, place)[0]
        name = blob.data[place + 2 : place + 31].split(b"\0")[0].decode()
        yield Match(name, blob.data[place + 31], blob.data[place + XT_HEAD : place + size])
        place += size or end
