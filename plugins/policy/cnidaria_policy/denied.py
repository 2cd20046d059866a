"""Denied and audited connections as they happen: the pods by name, and the policy that did it."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path
from struct import unpack_from
from typing import Any, Final

from cnidaria import CniError, NftChain, NftTable
from cnidaria.kinds import KernelError, Listener, NetNS, Told, WholeTable
from cnidaria_policy import names
from cnidaria_policy.enforcer import mark
from cnidaria_policy.manifests import Refused, printable
from cnidaria_policy.program import LOG_GROUP

PROTOCOLS: Final = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}
SOONEST: Final = 0.2
"""Seconds until names are read again."""
LOGS: Final = Path("/proc/thread-self/net/netfilter/nfnetlink_log")
SOCKETS: Final = Path("/proc/thread-self/net/netlink")
NETFILTER: Final = 12
"""The family of netfilter's sockets (``NETLINK_NETFILTER``)."""
WITH_PORTS: Final = frozenset({6, 17, 132})


@dataclass(frozen=True)
class Event:
    """A connection that was denied, or that an audited policy would treat otherwise.

    Attributes:
        src, dst: pods' names, or addresses.
        port: 0 of protocols without ports.
        what: ``denied`` or ``audit``.
        why: the policy, as the rule's comment says.
        at: seconds since the epoch.
    """

    src: str
    dst: str
    protocol: str
    port: int
    what: str
    why: str
    at: float

    def __str__(self) -> str:
        when = time.strftime("%H:%M:%S", time.localtime(self.at))
        port = f" {self.port}" if self.port else ""
        return f"{when} {self.what:6} {self.src} > {self.dst} {self.protocol}{port}  {self.why}"

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def watch(
    network: str, namespace: NetNS, name_of: Callable[[str], str], seconds: float | None = None
) -> Iterator[Event]:
    """What is denied from now on.

    Args:
        name_of: names whoever has an address.
        seconds: how long; ``None``: for ever.

    Raises:
        KernelError: somebody else listens already; the text says who.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    table = names.told(names.table(network))
    comments = Comments(namespace, network)
    with listening(namespace) as listener:
        while deadline is None or time.monotonic() < deadline:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if select.select([listener], [], [], left)[0]:
                for told in listener.read():
                    event = event_of(told, table, comments, name_of)
                    if event is not None:
                        yield event


def listening(namespace: NetNS) -> Listener:
    """The kernel tells each packet to one process alone. Raises as :func:`watch`."""
    try:
        return Listener(namespace, LOG_GROUP)
    except KernelError as error:
        who = namespace.run(holder) if LOGS.exists() else ""
        if not who:
            raise
        what = f"cannot listen to NFLOG group {LOG_GROUP}"
        text = f"{who} does, and the kernel tells one alone: end that, or look there"
        raise KernelError(error.errno, what, text) from error


def holder(logs: Path = LOGS, sockets: Path = SOCKETS) -> str:
    """Who listens to the group, by what the kernel says of the namespace; ``""``: nobody.

    Args:
        logs: groups and their listeners' ports.
        sockets: of netlink: family in the second column, port in the third, inode in the last.
    """
    rows = map(str.split, logs.read_text().splitlines())
    port = next((row[1] for row in rows if row[:1] == [str(LOG_GROUP)]), "")
    if not port:
        return ""
    rows = map(str.split, sockets.read_text().splitlines())
    inode = next((row[-1] for row in rows if row[1:3] == [str(NETFILTER), port]), "")
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # it may be gone by now
            if os.readlink(fd) == f"socket:[{inode}]":
                words = fd.parents[1].joinpath("cmdline").read_bytes().replace(b"\0", b" ")
                said = printable(words.decode(errors="replace").strip())
                return f"process {fd.parents[1].name} ({said})"
    return "another process"


class Refreshed:
    """Names of whoever has an address, as they are now: what they are made of is read again, but
    for no more than a twentieth of the time.

    Args:
        read: what names an address, anew.
        clock: seconds.
    """

    def __init__(
        self,
        read: Callable[[], Callable[[str], str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._clock = clock
        self._take()

    def __call__(self, address: str) -> str:
        """The name, or the address itself."""
        if self._clock() >= self._next:
            with suppress(CniError, Refused, OSError):  # as for a moment: what was known is said
                self._take()
        return self._name_of(address)

    def _take(self) -> None:
        begun = self._clock()
        self._next = begun + SOONEST
        self._name_of = self._read()
        ended = self._clock()
        self._next = ended + max(SOONEST, 20 * (ended - begun))


class Comments:
    """What chains do, by their names, as the kernel's table has it now."""

    def __init__(self, namespace: NetNS, network: str) -> None:
        self._namespace = namespace
        self._table = WholeTable(NftTable(names.table(network)), mark(network))
        self._known: dict[str, str] = {}

    def of(self, chain: str) -> str:
        """The comment of the rule that counts."""
        if chain not in self._known:
            found = self._table.read(self._namespace)
            self._known = comments_of(found.chains) if found else {}
        return self._known.get(chain, chain)


def comments_of(chains: Mapping[str, NftChain]) -> dict[str, str]:
    """Of each chain the first comment."""
    return {
        name: next((rule.comment for rule in chain.rules if rule.comment), name)
        for name, chain in chains.items()
    }


def event_of(
    told: Told, table: str, comments: Comments, name_of: Callable[[str], str]
) -> Event | None:
    """What a packet tells; ``None`` if it is not of this table, or cannot be read."""
    name, _, chain = told.prefix.partition(" ")
    ends = ends_of(told.packet)
    if name != table or ends is None:
        return None
    src, dst, protocol, port = ends
    what = "audit" if "-audit-" in chain else "denied"
    why = comments.of(chain)
    known = PROTOCOLS.get(protocol, f"protocol {protocol}")
    return Event(name_of(src), name_of(dst), known, port, what, why, time.time())


def ends_of(packet: bytes) -> tuple[str, str, int, int] | None:
    """Source, destination, protocol and destination port (RFC 791, RFC 8200)."""
    if not packet:
        return None
    version = packet[0] >> 4
    if version == 4 and len(packet) >= 20:
        protocol, at = packet[9], (packet[0] & 15) * 4
        src, dst = packet[12:16], packet[16:20]
    elif version == 6 and len(packet) >= 40:
        protocol, at = packet[6], 40
        src, dst = packet[8:24], packet[24:40]
    else:
        return None
    has_port = protocol in WITH_PORTS and len(packet) >= at + 4
    port = unpack_from(">H", packet, at + 2)[0] if has_port else 0
    return str(ip_address(src)), str(ip_address(dst)), protocol, port
