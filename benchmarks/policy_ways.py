"""A node between a client and a server: the same policies, enforced by several means."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cnidaria_core import PolicyEngine
from hosts import new_namespace, path_of
from programs import Program

from cnidaria import NftTable
from cnidaria.kernel.netns import NetNS
from cnidaria.kinds import Ruleset, WholeTable, difference
from cnidaria_policy.program import Program as Rules

TABLE = "cnidaria-policy-bench"
QUEUE = 5
PORT = 5000
CLIENT, SERVER = "10.0.0.2", "10.0.1.2"
AT_ONCE = 1000
"""Packets that a socket's buffer takes."""
END_BY_RESET = struct.pack("ii", 1, 0)
"""``SO_LINGER``: nothing of a connection is left."""

Object = dict[str, Any]

POD = """
ip link set lo up
ip link set eth0 up
ip address add {address}/24 dev eth0
ip route add default via {gateway}
"""


def block(number: int) -> str:
    """An address outside, another one for each policy."""
    return f"100.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def objects(policies: int, pods: int) -> list[Object]:
    """Policies that all select the server; of its peers only the last one names the client."""
    made = [meta("Namespace", name) for name in ("bench", "other")]
    made.append(pod("client", "bench", CLIENT))
    made.append(pod("server", "bench", SERVER))
    for number in range(pods):
        made.append(
            pod(
                f"p{number}",
                "other",
                f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}",
            )
        )
    made += [
        policy(number, {"ipBlock": {"cidr": f"{block(number)}/32"}})
        for number in range(policies - 1)
    ]
    if policies:
        made.append(policy(policies, {"podSelector": {"matchLabels": {"app": "client"}}}))
    return made


def policy(number: int, peer: Object) -> Object:
    ports = [{"protocol": one, "port": PORT} for one in ("TCP", "UDP")]
    spec = {
        "podSelector": {"matchLabels": {"app": "server"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [peer], "ports": ports}],
    }
    made = meta("NetworkPolicy", f"q{number}", "bench")
    return {**made, "apiVersion": "networking.k8s.io/v1", "spec": spec}


def pod(name: str, namespace: str, address: str) -> Object:
    return {
        **meta("Pod", name, namespace, labels={"app": name}),
        "spec": {"nodeName": "n1" if namespace == "bench" else "n2", "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }


def meta(kind: str, name: str, namespace: str = "", **more: Any) -> Object:
    place = {"namespace": namespace} if namespace else {}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **place, **more}}


@dataclass
class Node:
    """Three namespaces in a row, and sockets at both ends."""

    node: NetNS = field(default_factory=new_namespace)
    client: NetNS = field(default_factory=new_namespace)
    server: NetNS = field(default_factory=new_namespace)
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        for name, place, address in (("c", self.client, CLIENT), ("s", self.server, SERVER)):
            gateway = address[:-1] + "1"
            sh(
                self.node,
                f"ip link add {name} type veth peer name eth0 netns {path_of(place)}\n"
                f"ip link set {name} up\nip address add {gateway}/24 dev {name}",
            )
            sh(place, POD.format(address=address, gateway=gateway))
        sh(self.node, "sysctl -qw net.ipv4.ip_forward=1")
        self.listener = self.open(self.server, socket.SOCK_STREAM)
        self.listener.bind(("", PORT))
        self.listener.listen(64)
        self.sink = self.open(self.server, socket.SOCK_DGRAM)
        self.sink.bind(("", PORT))
        self.sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.source = self.open(self.client, socket.SOCK_DGRAM)
        self.source.connect((SERVER, PORT))
        self.connect(20)
        self.packets(20)

    def open(self, place: NetNS, kind: socket.SocketKind) -> socket.socket:
        made = self.held.enter_context(place.socket(socket.AF_INET, kind))
        made.settimeout(20)
        return made

    def connect(self, count: int) -> list[float]:
        """Seconds of each of so many TCP connections, from SYN to SYN and ACK."""
        taken = []
        for _ in range(count):
            with self.client.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, END_BY_RESET)
                one.settimeout(20)
                began = time.perf_counter()
                one.connect((SERVER, PORT))
                taken.append(time.perf_counter() - began)
                self.listener.accept()[0].close()
        return taken

    def packets(self, count: int) -> float:
        """Packets a second, of one flow that both ends know."""
        self.source.send(b"?")
        _, peer = self.sink.recvfrom(1)
        self.sink.sendto(b"!", peer)
        self.source.recv(1)
        taken, arrived = 0.0, 0
        for _ in range(0, count, AT_ONCE):
            began = time.perf_counter()
            for _ in range(AT_ONCE):
                self.source.send(b"x")
            taken += time.perf_counter() - began
            arrived += sum(1 for _ in drained(self.sink))
        # A packet is in the other socket when send returns, but for a kernel thread's turn.
        return arrived / taken

    def close(self) -> None:
        self.held.close()
        for one in (self.client, self.server, self.node):
            one.close()


def drained(one: socket.socket) -> Iterator[bytes]:
    """All that has arrived."""
    one.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            yield one.recv(16)
    one.settimeout(20)


def sh(place: NetNS, script: str) -> None:
    """Run a shell script in a namespace."""
    place.run(subprocess.run, ["sh", "-ec", script], check=True)


# -- by what policies are enforced -----------------------------------------------------------------


def by_cnidaria(node: Node, policies: int, pods: int) -> dict[str, Any]:
    """Our table, whatever it holds."""
    engine = PolicyEngine()
    engine.load(objects(policies, pods))
    began = time.perf_counter()
    program = Rules(TABLE)
    program.update(engine.tables("n1"))
    table = WholeTable(NftTable(TABLE), "a benchmark's")
    table.change(node.node, difference(Ruleset(), program.rules), program.rules.sets)
    seconds = time.perf_counter() - began
    return {"entries": len(program.rules), "written_s": round(seconds, 3)}


def by_iptables(node: Node, policies: int, _pods: int) -> dict[str, Any]:
    """A rule for each policy, one after the other."""
    match = [f"-s {block(number)}" for number in range(policies - 1)] + [f"-s {CLIENT}"]
    rules = [
        f"-A server {one} -p {protocol} --dport {PORT} -j ACCEPT"
        for one in match
        for protocol in ("tcp", "udp")
    ]
    lines = [
        "*filter", ":FORWARD ACCEPT", ":server -",
        "-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        f"-A FORWARD -d {SERVER} -j server",
        *rules, "-A server -j DROP", "COMMIT", "",
    ]  # fmt: skip
    began = time.perf_counter()
    node.node.run(
        subprocess.run, ["iptables-restore"], input="\n".join(lines), text=True, check=True
    )
    return {"entries": len(lines), "written_s": round(time.perf_counter() - began, 3)}


def by_queue(node: Node, policies: int, pods: int, folder: Path) -> dict[str, Any]:
    """Each connection's first packet is judged by kube-network-policies' engine."""
    peer = node.node.run(Program, "kube-network-policies")
    node.held.callback(peer.close)
    path = folder / f"queue-{policies}"
    with path.open("w") as file:
        import json

        file.writelines(f"{json.dumps(one)}\n" for one in objects(policies, pods))
    found = peer.ask(f"load {path}")
    peer.ask(f"nfqueue {QUEUE}")
    rules: Sequence[str] = (
        "iptables -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        f"iptables -A FORWARD -d {SERVER} -j NFQUEUE --queue-num {QUEUE}",
    )
    sh(node.node, "\n".join(rules))
    return {"entries": int(found["objects"])}
