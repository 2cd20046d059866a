"""Rule sets of other firewalls: written by hand, and drawn; and what a node's pods say to them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from cnidaria.kernel.foreign.connections import Connection, Pod, connections
from cnidaria.kernel.foreign.traffic import Link

PODS = (("10.0.1.1", "fd00:1::1", "pod1"), ("10.0.1.2", "fd00:1::2", "pod2"))
"""Of the lab's first node: addresses and interface."""
STRANGER = ("198.51.100.7", "2001:db8::9")
NODE = ("192.168.0.1", "fd01::1")
PORTS = (22, 80, 8080)


def asked(indices: dict[str, int], marked: bool) -> list[Connection]:
    """All connections of the lab's pods."""
    uplinks = [Link("eth0", indices["eth0"])]
    found: list[Connection] = []
    for place, version in enumerate((4, 6)):
        pods = [Pod(one[place], Link(one[2], indices[one[2]])) for one in PODS]
        found += connections(pods, uplinks, version, marked=marked)
    return found


def questions(connection: Connection) -> list[tuple[str, str, str, int | None]]:
    """First packets that are such a connection's."""
    first, _ = connection
    other = (NODE if "node" in first.way else STRANGER)[first.version == 6]
    ports: Sequence[int | None] = PORTS if first.protocol != "ICMP" else (None,)
    return [(first.src or other, first.dst or other, first.protocol, port) for port in ports]


# -- rule sets that are drawn ----------------------------------------------------------------------


class Drawn:
    """A rule set of nftables, drawn."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._sets: list[str] = []

    def text(self) -> str:
        """For ``nft -f``."""
        choose = self._random.choice
        tables = []
        for number in range(self._random.randint(1, 2)):
            family = choose(["inet", "inet", "ip", "ip6"])
            named = [f"c{n}" for n in range(self._random.randint(0, 3))]
            chains = []
            for place, name in enumerate(named):
                chains.append(self._chain(name, "", family, named[:place]))
            for n in range(self._random.randint(1, 2)):
                hook = choose(["prerouting", "forward", "forward", "postrouting", "output"])
                policy = choose(["accept", "accept", "drop"])
                head = f"type filter hook {hook} priority {choose([-150, 0, 10])}; policy {policy};"
                chains.append(self._chain(f"b{n}", head, family, named))
            sets = (
                "set s { type ipv4_addr; flags interval; elements = { 10.0.1.1, 203.0.113.0/24 } }"
            )
            tables.append("\n".join([f"table {family} t{number} {{", sets, *chains, "}"]))
        return "\n".join(tables)

    def _chain(self, name: str, head: str, family: str, named: list[str]) -> str:
        rules = [self._rule(family, named) for _ in range(self._random.randint(0, 4))]
        return "\n".join([f"chain {name} {{", head, *rules, "}"])

    def _rule(self, family: str, named: list[str]) -> str:
        choose = self._random.choice
        asks = [self._ask(family) for _ in range(choose([0, 1, 1, 2]))]
        jumps = [f"{verb} {one}" for verb in ("jump", "goto") for one in named]
        verdicts = ["accept", "drop", "return", "counter", *jumps, *jumps, "drop", "accept"]
        if choose(range(6)) == 0:
            pairs = ", ".join(f"{port} : {choose(verdicts[:2] + jumps)}" for port in PORTS[:2])
            return " ".join([*asks, f"tcp dport vmap {{ {pairs} }}"])
        return " ".join([*asks, choose(verdicts)])

    def _ask(self, family: str) -> str:
        choose = self._random.choice
        four = [
            "ip saddr 10.0.1.1", "ip daddr 10.0.1.2", "ip saddr 10.0.0.0/16", "ip daddr 10.0.0.0/8",
            "ip saddr != 10.0.1.0/24", "ip daddr @s", "ip saddr != @s", "ip protocol udp",
            "ip saddr 10.0.1.1-10.0.1.9", "ip saddr . tcp dport { 10.0.1.1 . 80, 10.0.1.2 . 22 }",
            "tcp dport . ip saddr { 80 . 10.0.0.0/16, 22 . 10.0.1.1-10.0.1.1 }",
            "ip saddr 10.0.1.1 ip daddr 10.0.1.2", "ip ttl < 5", "ip daddr & 0.0.0.255 == 0.0.0.2",
        ]  # fmt: skip
        six = ["ip6 saddr fd00:1::/64", "ip6 daddr fd00:1::2", "ip6 saddr != fd00::/8",
               "ip6 daddr 2000::/3", "ip6 hoplimit < 5"]  # fmt: skip
        both = [
            "iifname pod1", "oifname eth0", 'iifname "pod*"', "oifname != pod2", "meta l4proto udp",
            "meta l4proto { tcp, sctp }", "tcp dport 22", "tcp dport 80-90", "udp dport != 80",
            "ct state new", "ct state invalid", "ct state established,related", "meta mark 0",
            "meta mark & 1 == 1", "ct direction original", "tcp flags & (syn|ack) == syn",
            "th dport { 22, 80 }", "fib daddr type local", "meta length > 1400", "ct status dnat",
            "iifname . oifname { pod1 . pod2, pod1 . eth0 }", "meta pkttype broadcast",
        ]  # fmt: skip
        if family == "inet":
            both += ["meta nfproto ipv4", "meta nfproto ipv6"]
        if family == "ip6":
            both = [one for one in both if "fib" not in one]
        extra = {"inet": four + six, "ip": four, "ip6": six}[family]
        return choose(both + extra)


def drawn(count: int, seed: int = 0) -> Iterator[str]:
    """So many rule sets."""
    for number in range(count):
        yield Drawn(1000 * seed + number).text()
