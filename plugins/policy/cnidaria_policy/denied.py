"""Denied and audited connections as they happen: the pods by name, and the policy that did it."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from struct import unpack_from
from typing import Any, Final

from cnidaria import NftChain, NftTable
from cnidaria.kinds import Listener, NetNS, Told, WholeTable
from cnidaria_policy import names
from cnidaria_policy.enforcer import mark
from cnidaria_policy.program import LOG_GROUP

PROTOCOLS: Final = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}
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
        KernelError: somebody else listens already.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    table = names.table(network)
    comments = Comments(namespace, network)
    with Listener(namespace, LOG_GROUP) as listener:
        while deadline is None or time.monotonic() < deadline:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if select.select([listener], [], [], left)[0]:
                for told in listener.read():
                    event = event_of(told, table, comments, name_of)
                    if event is not None:
                        yield event


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
