"""A cluster of namespaces in which every packet is real: two nodes, pods, and hosts outside.

All places of :mod:`support.policy_worlds` and :mod:`support.policy_examples` are there, whichever
of them a cluster calls pods.  A question is asked by sending the first packet of a connection and
looking whether it comes out of the network stack of the destination.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from struct import pack, unpack_from

from cnidaria.kernel.netns import NetNS
from support.namespaces import new_namespace, run

NODES = {"n1": ("192.168.0.1", "fd01::1"), "n2": ("192.168.0.2", "fd01::2")}
OUTSIDE = ("203.0.113.5", "203.0.113.130", "198.51.100.7", "2001:db8::9")
PODS = 7
NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132, "ICMP": 1, "ICMPv6": 58}
HOPS = 8
"""More than there are links between any two hosts."""
PATIENCE = 2.0
"""Seconds for packets that must arrive."""

Question = tuple[str, str, str, int | None]
"""Source, destination, protocol, destination port."""


@dataclass
class Host:
    """One network stack of the lab. Raw sockets send with the stack's header, and receive what
    came past all filters.
    """

    namespace: NetNS
    receivers: dict[tuple[int, int], socket.socket] = field(default_factory=dict)
    senders: dict[tuple[str, int], socket.socket] = field(default_factory=dict)

    def listen(self, version: int, protocol: int) -> None:
        """Receive from now on."""
        if (version, protocol) not in self.receivers:
            made = self._socket(version, protocol)
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            self.receivers[version, protocol] = made

    def sender(self, address: str, protocol: int) -> socket.socket:
        """Sends from this address, and receives nothing that matters."""
        found = self.senders.get((address, protocol))
        if found is None:
            version = ip_address(address).version
            found = self.senders[address, protocol] = self._socket(version, protocol)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
            found.bind((address, 0) if version == 4 else (address, 0, 0, 0))
        return found

    def _socket(self, version: int, protocol: int) -> socket.socket:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        return self.namespace.socket(family, socket.SOCK_RAW, protocol)

    def close(self) -> None:
        for one in (*self.receivers.values(), *self.senders.values()):
            one.close()


class Lab:
    """The hosts, and what is asked of them.

    Attributes:
        nodes: where tables belong, by name.
    """

    def __init__(self, hosts: dict[str, Host], nodes: dict[str, NetNS]) -> None:
        self._hosts = hosts
        self.nodes = nodes
        self._tag = 0
        self._denied: set[int] = set()
        *_, node = nodes.values()
        self._round = node.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._round.bind(("127.0.0.1", 0))
        self._round.settimeout(10 * PATIENCE)

    def close(self) -> None:
        self._round.close()

    def ask(
        self, questions: Sequence[Question], expected: Sequence[bool], patience: float = PATIENCE
    ) -> list[bool]:
        """Which of the connections begin; those that are expected to are given time to.

        Args:
            patience: seconds; less where the same is asked again.

        Raises:
            AssertionError: a packet came out that was taken for dropped before.
        """
        first = self._tag
        wanted = {first + n for n, allowed in enumerate(expected) if allowed}
        self._tag += len(questions)
        arrived: set[int] = set()
        deadline = time.monotonic() + patience
        with one_processor():
            for n, question in enumerate(questions):
                self._send(question, first + n, n)
            self.pass_by()
            arrived.update(self._drain(0))
            while not wanted <= arrived and (left := deadline - time.monotonic()) > 0:
                arrived.update(self._drain(min(left, 0.05)))
        late = arrived & self._denied
        assert not late, f"{len(late)} packets came out late"
        asked = range(first, self._tag)
        self._denied |= {*asked} - arrived
        return [tag in arrived for tag in asked]

    def answer(self, questions: Sequence[Question]) -> list[bool]:
        """Which of the first answers to what was just asked arrive, in the same order.

        The hosts themselves answer an ICMP echo; of TCP's answers they know better.
        """
        first = self._tag
        self._tag += len(questions)
        arrived: set[int] = set()
        with one_processor():
            for n, (src, dst, protocol, port) in enumerate(questions):
                self._listen(src, ip_address(src).version)
                data = first_packet(protocol, (dst, src), (port or 0, 1024 + n), first + n, True)
                place = (src, 0) if ip_address(src).version == 4 else (src, 0, 0, 0)
                self._hosts[dst].sender(dst, NUMBERS[protocol]).sendto(data, place)
            self.pass_by()
            arrived.update(self._drain(0))
        return [tag in arrived for tag in range(first, self._tag)]

    def pass_by(self) -> None:
        """Return when all that was sent before has arrived, or was dropped.

        A processor has one queue for what all virtual links carry, loopback too: what goes round
        behind the other packets comes out behind them.
        """
        place = self._round.getsockname()
        for _ in range(HOPS):
            self._round.sendto(b"", place)
            self._round.recv(1)

    def _send(self, question: Question, tag: int, number: int) -> None:
        src, dst, protocol, port = question
        version = ip_address(src).version
        name = "ICMPv6" if protocol == "ICMP" and version == 6 else protocol
        self._listen(dst, version)
        data = first_packet(name, (src, dst), (1024 + number, port or 0), tag)
        place = (dst, 0) if version == 4 else (dst, 0, 0, 0)
        with suppress(PermissionError):  # the sender's own node drops it
            self._hosts[src].sender(src, NUMBERS[name]).sendto(data, place)

    def _listen(self, address: str, version: int) -> None:
        for name, number in NUMBERS.items():
            if name != ("ICMP" if version == 6 else "ICMPv6"):
                self._hosts[address].listen(version, number)

    def _drain(self, seconds: float) -> Iterator[int]:
        """Tags of what has arrived, or does within so long."""
        poll = select.poll()
        places = {}
        for host in {id(one): one for one in self._hosts.values()}.values():
            for (version, protocol), one in host.receivers.items():
                places[one.fileno()] = one, version, protocol
                poll.register(one, select.POLLIN)
        while ready := poll.poll(seconds * 1000):
            seconds = 0
            for fd, _ in ready:
                one, version, protocol = places[fd]
                yield from received(one, version, protocol)

    def warm_up(self) -> None:
        """Links come up and neighbours are found after a while, the first time."""
        ends = [*NODES.values(), ("203.0.113.5", "2001:db8::9")]
        asked: list[Question] = [
            (one[family], other[family], "UDP", 9)
            for one in ends
            for other in ends
            for family in (0, 1)
            if one != other
        ]
        self.come_up(asked)

    def come_up(self, asked: Sequence[Question]) -> None:
        """Wait until all of this is possible, which nothing may forbid."""
        deadline = time.monotonic() + 10 * PATIENCE
        while not all(self.ask(asked, [True] * len(asked), patience=0.2)):
            self._denied.clear()
            assert time.monotonic() < deadline, "the lab does not come up"
        self._denied.clear()

    def place(self, address: str) -> NetNS:
        """The namespace of who has an address."""
        return self._hosts[address].namespace

    def alias(self, address: str, of: str) -> None:
        """What is sent to an address comes out where another one is."""
        self._hosts[address] = self._hosts[of]

    def namespace(self, address: str) -> NetNS:
        """Where an address is."""
        return self._hosts[address].namespace

    def forget_connections(self) -> None:
        """Nobody remembers a connection: each question is a new one."""
        for node in self.nodes.values():
            flush_conntrack(node)


@contextmanager
def one_processor() -> Iterator[None]:
    """This thread stays on one processor, and so does what it sends."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def received(one: socket.socket, version: int, protocol: int) -> Iterator[int]:
    """Tags of the first packets that a socket got; answers have none."""
    while True:
        try:
            data = one.recv(2048)
        except BlockingIOError:
            return
        body = data[(data[0] & 15) * 4 :] if version == 4 else data
        tag = tag_of(protocol, body)
        if tag is not None:
            yield tag


# -- packets ---------------------------------------------------------------------------------------

MAGIC = b"lab:"


def first_packet(
    protocol: str, ends: tuple[str, str], ports: tuple[int, int], tag: int, answers: bool = False
) -> bytes:
    """The packet that begins a connection, or of UDP and SCTP ``answers`` it, a tag in it."""
    (src, dst), (sport, dport) = ends, ports
    mark = MAGIC + pack(">I", tag)
    match protocol:
        case "TCP":
            body = pack(">HHIIBBHHH", sport, dport, 1, 0, 5 << 4, 2, 1024, 0, 0) + mark
            return filled(body, 16, src, dst, 6)
        case "UDP":
            return filled(pack(">HHHH", sport, dport, 16, 0) + mark, 6, src, dst, 17)
        case "SCTP":  # INIT or INIT ACK (RFC 9260, section 3.3.2) with a parameter nobody knows
            kind, peer = (2, 1) if answers else (1, 0)
            chunk = pack(">BBHIIHHI", kind, 0, 20 + 12, 1, 4096, 1, 1, 1) + pack(">HH", 0xC0DE, 12)
            body = pack(">HHII", sport, dport, peer, 0) + chunk + mark
            return body[:8] + pack("<I", crc32c(body)) + body[12:]
        case "ICMP":
            return filled(pack(">BBHHH", 8, 0, 0, sport, 0) + mark, 2, "", "", 0)
        case "ICMPv6":
            return filled(pack(">BBHHH", 128, 0, 0, sport, 0) + mark, 2, src, dst, 58)
    raise AssertionError(protocol)


def tag_of(protocol: int, body: bytes) -> int | None:
    """The tag of a first packet; answers, that repeat it, are none."""
    if protocol in (1, 58) and body[:1] not in (b"\x08", b"\x80"):
        return None
    at = body.find(MAGIC, 8)
    return unpack_from(">I", body, at + 4)[0] if at >= 0 and len(body) == at + 8 else None


def filled(body: bytes, at: int, src: str, dst: str, protocol: int) -> bytes:
    """With the checksum of RFC 1071, over addresses and protocol too where there are any."""
    head = b""
    if src:
        family = socket.AF_INET if ip_address(src).version == 4 else socket.AF_INET6
        ends = socket.inet_pton(family, src) + socket.inet_pton(family, dst)
        head = ends + pack(">II", len(body), protocol)
    data = head + body + b"\0" * (len(body) % 2)
    total = sum(unpack_from(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return body[:at] + pack(">H", ~total & 0xFFFF) + body[at + 2 :]


def crc32c(data: bytes) -> int:
    """RFC 9260, appendix A."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return ~value & 0xFFFFFFFF


def flush_conntrack(namespace: NetNS) -> None:
    """Delete every entry: by a deletion that names none."""
    with namespace.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as sock:
        sock.send(pack("=IHHIIBBH", 20, 1 << 8 | 2, 0x5, 1, 0, 0, 0, 0))
        answer = sock.recv(4096)
        assert unpack_from("=i", answer, 16)[0] == 0, "conntrack cannot be flushed"


# -- the wiring ------------------------------------------------------------------------------------


def pod_addresses(node: str, number: int) -> tuple[str, str]:
    """What pod number n on a node has, if it has both."""
    return f"10.0.{node[1]}.{number}", f"fd00:{node[1]}::{number}"


@contextmanager
def lab(most_pods: int = PODS) -> Iterator[Lab]:
    """Two nodes on a link with the hosts outside; pods behind routed links."""
    with ExitStack() as stack:

        def host() -> Host:
            made = Host(stack.enter_context(new_namespace()))
            stack.callback(made.close)
            return made

        wire, nodes = host(), {name: host() for name in NODES}
        hosts: dict[str, Host] = {}
        outside = host()
        run(wire.namespace, "ip", "link", "add", "lan", "type", "bridge", "mcast_snooping", "0")
        run(wire.namespace, "ip", "link", "set", "lan", "up")
        for name, one in nodes.items():
            uplink(wire, one, name, NODES[name])
            hosts |= dict.fromkeys(NODES[name], one)
            forwarding(one.namespace)
        uplink(wire, outside, "out", ("192.168.0.9", "fd01::9"))
        batch(outside.namespace, [f"addr add {one} dev lo" for one in OUTSIDE])
        hosts |= dict.fromkeys(OUTSIDE, outside)
        for name, one in nodes.items():
            for number in range(1, most_pods + 1):
                pod = host()
                wire_pod(one, pod, number, pod_addresses(name, number))
                hosts |= dict.fromkeys(pod_addresses(name, number), pod)
        for name, one in nodes.items():
            other = next(node for node in NODES if node != name)
            routes(one, {other: NODES[other]}, "192.168.0.9", "fd01::9")
        routes(outside, NODES)
        made = Lab(hosts, {name: one.namespace for name, one in nodes.items()})
        stack.callback(made.close)
        made.warm_up()
        yield made


def batch(namespace: NetNS, commands: Iterable[str]) -> None:
    """Many commands of ip at once."""
    namespace.run(
        subprocess.run, ["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True
    )


def uplink(wire: Host, host: Host, name: str, addresses: tuple[str, str]) -> None:
    """Plug a host into the lan."""
    inside = f"/proc/self/fd/{host.namespace.fd}"
    wire.namespace.run(
        subprocess.run,
        ["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", inside],
        check=True,
        pass_fds=[host.namespace.fd],
    )
    batch(wire.namespace, [f"link set {name} master lan up"])
    v4, v6 = addresses
    batch(
        host.namespace,
        [f"addr add {v4}/24 dev eth0", f"addr add {v6}/64 dev eth0 nodad", "link set eth0 up"],
    )


def wire_pod(node: Host, pod: Host, number: int, addresses: tuple[str, str]) -> None:
    """A pod as flat mode makes it: host routes, a link-local gateway."""
    link, mac = f"pod{number}", f"02:00:00:00:00:{number:02x}"
    node.namespace.run(
        subprocess.run,
        ["ip", "link", "add", link, "address", "02:00:00:00:01:01", "type", "veth", "peer", "name",
         "eth0", "address", mac, "netns", f"/proc/self/fd/{pod.namespace.fd}"],
        check=True,
        pass_fds=[pod.namespace.fd],
    )  # fmt: skip
    batch(node.namespace, [f"link set {link} up"])
    routed = [(address, 32 if "." in address else 128) for address in addresses]
    for address, bits in routed:
        reach = [f"route add {address}/{bits} dev {link}"]
        batch(
            node.namespace, [*reach, f"neigh add {address} lladdr {mac} dev {link} nud permanent"]
        )
    batch(
        pod.namespace,
        [
            "link set eth0 up",
            *(
                f"addr add {a}/{bits} dev eth0{' nodad' if bits == 128 else ''}"
                for a, bits in routed
            ),
            "neigh add 169.254.1.1 lladdr 02:00:00:00:01:01 dev eth0 nud permanent",
            "neigh add fe80::1 lladdr 02:00:00:00:01:01 dev eth0 nud permanent",
            "route add default via 169.254.1.1 dev eth0 onlink",
            "route add default via fe80::1 dev eth0",
        ],
    )


def routes(
    host: Host, nodes: dict[str, tuple[str, str]], v4: str | None = None, v6: str | None = None
) -> None:
    """The way to the pods of nodes, and to everything else."""
    lines = []
    for name, (one, two) in nodes.items():
        lines += [f"route add 10.0.{name[1]}.0/24 via {one}"]
        lines += [f"route add fd00:{name[1]}::/64 via {two}"]
    if v4:
        lines += [f"route add default via {v4}", f"route add default via {v6}"]
    batch(host.namespace, lines)


def forwarding(namespace: NetNS) -> None:
    """As a node's."""
    for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        namespace.run(_write, f"/proc/sys/net/{name}", "1")


def _write(path: str, value: str) -> None:
    with open(path, "w") as file:
        file.write(value)
