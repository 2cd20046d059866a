"""Flows through a copy of a table: three scratch namespaces in a row, and real packets."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from struct import pack, unpack_from
from typing import Final, NamedTuple

from cnidaria import Address, Neighbour, NftTable, Route, Sysctl, Veth
from cnidaria.kinds import Kernel, NetNS, Ruleset, WholeTable, difference

IN, OUT = "in", "out"
ROUTER_MAC: Final = "02:00:00:00:00:02"
SINK_MAC: Final = "02:00:00:00:00:04"
NEXT_MAC: Final = "02:00:00:00:00:03"
SOURCE_MAC: Final = "02:00:00:00:00:01"
ETHERTYPES: Final = {4: 0x0800, 6: 0x86DD}
EVERYTHING: Final = 3
"""``ETH_P_ALL``."""
MAGIC: Final = b"cnidaria"
QUIET: Final = 0.05
"""Seconds without a packet after which none is on its way any more."""
NAMES: Final = {6: "TCP", 17: "UDP", 132: "SCTP", 1: "ICMP", 58: "ICMPv6"}


class Flow(NamedTuple):
    """A connection that may begin; ports are those of the destination."""

    src: str
    dst: str
    protocol: int
    port: int

    def __str__(self) -> str:
        return f"{NAMES[self.protocol]} {self.port}" if self.port else NAMES[self.protocol]


def probe(rules: Ruleset, flows: Sequence[Flow]) -> list[bool]:
    """Which flows a forwarding host with this table lets begin.

    Raises:
        OSError: namespaces cannot be made here.
        KernelError: the kernel refuses.
    """
    with scratch(rules) as (source, sink):
        for number, flow in enumerate(flows):
            source.send(frame(flow, number))
        arrived = set(received(sink))
    return [number in arrived for number in range(len(flows))]


@contextmanager
def scratch(rules: Ruleset) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A host that forwards everything from one link to another, with the table in between."""
    with ExitStack() as stack:
        left, router, right = (stack.enter_context(NetNS.new()) for _ in range(3))
        kernel = Kernel(router)
        kernel.apply([Veth(IN, peer="eth0", mac=ROUTER_MAC, peer_mac=SOURCE_MAC)], pod=left)
        kernel.apply([Veth(OUT, peer="eth0", mac=NEXT_MAC, peer_mac=SINK_MAC)], pod=right)
        kernel.apply(FORWARDING)
        table = next(iter(rules.chains.values())).table
        copy = WholeTable(NftTable(table), "a copy")
        copy.change(router, difference(Ruleset(), rules), rules.sets)
        yield stack.enter_context(ethernet(left)), stack.enter_context(ethernet(right))


FORWARDING: Final = (
    *(Sysctl(f"net.ipv4.conf.{name}.rp_filter", "0") for name in ("all", IN)),
    Sysctl("net.ipv4.ip_forward", "1"),
    Sysctl("net.ipv6.conf.all.forwarding", "1"),
    Address(OUT, "169.254.1.2/32"),  # without any address no gateway is one
    Neighbour(OUT, "169.254.1.1", SINK_MAC),
    Neighbour(OUT, "fe80::1", SINK_MAC),
    Route("0.0.0.0/0", via="169.254.1.1", dev=OUT, onlink=True),
    Route("::/0", via="fe80::1", dev=OUT, onlink=True),
)


def ethernet(namespace: NetNS) -> socket.socket:
    """A socket for whole frames on the namespace's link."""
    made = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERYTHING))
    made.bind(("eth0", EVERYTHING))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    made.setblocking(False)
    return made


def received(sink: socket.socket) -> Iterator[int]:
    """The numbers of the flows that came through; ends when nothing comes any more."""
    while select.select([sink], [], [], QUIET)[0]:
        data = sink.recv(2048)
        at = data.rfind(MAGIC)
        if at >= 0:
            yield unpack_from(">I", data, at + len(MAGIC))[0]


# -- packets ---------------------------------------------------------------------------------------


def frame(flow: Flow, number: int) -> bytes:
    """The first packet of a flow, on its way to the router."""
    version = ip_address(flow.src).version
    body = transport(flow, 1024 + number % 60000, MAGIC + pack(">I", number))
    head = ethernet_header(ROUTER_MAC, SOURCE_MAC, ETHERTYPES[version])
    return head + (ipv4 if version == 4 else ipv6)(flow, len(body)) + body


def ethernet_header(to: str, of: str, ethertype: int) -> bytes:
    """Of an Ethernet frame."""
    ends = (bytes.fromhex(one.replace(":", "")) for one in (to, of))
    return b"".join(ends) + pack(">H", ethertype)


def ipv4(flow: Flow, length: int) -> bytes:
    """RFC 791, section 3.1."""
    ends = ip_address(flow.src).packed + ip_address(flow.dst).packed
    head = pack(">BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, flow.protocol, 0) + ends
    return head[:10] + checksum(head) + head[12:]


def ipv6(flow: Flow, length: int) -> bytes:
    """RFC 8200, section 3."""
    ends = ip_address(flow.src).packed + ip_address(flow.dst).packed
    return pack(">IHBB", 6 << 28, length, flow.protocol, 64) + ends


def transport(flow: Flow, sport: int, mark: bytes) -> bytes:
    """A packet that begins a connection: a SYN, an INIT, a request."""
    ends = ip_address(flow.src).packed + ip_address(flow.dst).packed
    match NAMES[flow.protocol]:
        case "TCP":
            body = pack(">HHIIBBHHH", sport, flow.port, 1, 0, 5 << 4, 2, 1024, 0, 0) + mark
            at, over = 16, ends
        case "UDP":
            body = pack(">HHHH", sport, flow.port, 8 + len(mark), 0) + mark
            at, over = 6, ends
        case "SCTP":  # the checksum is another one (RFC 9260), and nobody looks at it on the way
            chunk = pack(">BBHIIHHI", 1, 0, 20 + 4 + len(mark), 1, 4096, 1, 1, 1)
            return pack(">HHII", sport, flow.port, 0, 0) + chunk + pack(">HH", 1, 1) + mark
        case name:
            kind = 8 if name == "ICMP" else 128
            body = pack(">BBHHH", kind, 0, 0, sport, 0) + mark
            at, over = 2, b"" if name == "ICMP" else ends
    head = over + pack(">II", len(body), flow.protocol) if over else b""
    return body[:at] + checksum(head + body) + body[at + 2 :]


def checksum(data: bytes) -> bytes:
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(unpack_from(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return pack(">H", ~total & 0xFFFF)
