"""Pods that are born, and agents that die: at no moment does anything pass that must not."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from cnidaria.kernel.netns import NetNS
from cnidaria_policy.config import PolicyConfig
from cnidaria_policy.enforcer import Enforcer
from cnidaria_policy.objects import PolicyPod
from support.cni import CniNode
from support.namespaces import run
from support.needs import needs
from support.node import PLUGIN_DIR, wait_for
from support.policy_examples import network_policy
from support.policy_lab import Question
from support.policy_node import FLAT, TABLE, Cluster, bridge, fill, namespace, pod

PATIENCE = 20.0
"""Seconds for what must happen."""
STORM = 0.02
"""Seconds in which each address is sent to, mostly several times."""
DENY = network_policy("{podSelector: {}, policyTypes: [Ingress, Egress]}", "deny", "x")
ONE = network_policy(
    "{podSelector: {matchLabels: {app: db}}, ingress: ["
    "{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80}]}]}",
    "web-to-db",
    "x",
)
FLOOD = """
import socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    while True:
        for number in range(1, 1 + int(sys.argv[2])):
            address = f"10.1.{number >> 8}.{number & 255}"
            try:
                if address != sys.argv[1]:
                    one.sendto(b"in", (address, 9))
            except OSError:
                pass
        time.sleep(0.004)
"""


# -- birth -----------------------------------------------------------------------------------------


class Newborn:
    """A process in a namespace that waits for its network: its sockets are made already."""

    def __init__(self, namespace: NetNS) -> None:
        self._udp = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._tcp = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        for one in (self._udp, self._tcp):
            one.setblocking(False)

    def live(self, target: str) -> None:
        """Listen and talk, at once."""
        self._udp.bind(("", 9))
        self._udp.sendto(b"out", (target, 9))
        with suppress(BlockingIOError):
            self._tcp.connect((target, 80))

    def heard(self) -> bytes:
        """What it was sent from elsewhere."""
        with suppress(BlockingIOError):
            return self._udp.recv(9)
        return b""

    def close(self) -> None:
        self._udp.close()
        self._tcp.close()


def test_not_one_packet_passes_before_the_policy_is_in_force(effort: int) -> None:
    """Default deny, both ways, for pods that are born into a storm of packets."""
    count = 1000 * min(effort, 10)
    with ExitStack() as stack:
        node = stack.enter_context(CniNode())
        plugin = {"type": "cnidaria-flat", "ipam": {"ranges": [[{"subnet": "10.1.0.0/16"}]]}}
        cluster = Cluster(node, plugin)
        stack.callback(cluster.close)
        cluster.write("deny.yaml", DENY)
        cluster.publish()
        stack.enter_context(node.agent())
        (target,) = cluster.add("z/target")
        place = node.pods["z-target"]
        udp = stack.enter_context(place.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("", 9))
        udp.settimeout(PATIENCE)
        tcp = stack.enter_context(place.socket(socket.AF_INET, socket.SOCK_STREAM))
        tcp.bind(("", 80))
        tcp.listen()
        tcp.settimeout(PATIENCE)
        stack.enter_context(flood(place, target, count + 9))
        with ThreadPoolExecutor(4) as pool:
            assert not any(pool.map(lambda n: born(cluster, f"x/p{n}", target), range(count)))
        assert born(cluster, "y/free", target) == b"in"  # nobody forbids it anything
        (free,) = cluster.addresses("y/free")
        assert udp.recvfrom(9)[1][0] == free  # and nothing came before
        connection, (peer, _) = tcp.accept()
        connection.close()
        assert peer == free
        udp.setblocking(False)
        with pytest.raises(BlockingIOError):
            udp.recv(9)


def born(cluster: Cluster, name: str, target: str) -> bytes:
    """ADD; the pod's process runs from the moment that it returns, and ends soon. What it heard."""
    container = name.replace("/", "-")
    namespace = cluster.node.pods[container] = NetNS.new()
    with closing(Newborn(namespace)) as process:
        cluster.add(name)
        process.live(target)
        if name.startswith("x/"):
            time.sleep(STORM)
        else:
            wait_for("the storm", lambda: process.heard() != b"")
            return b"in"
        heard = process.heard()
    cluster.node.end(container)
    return heard


@contextmanager
def flood(namespace: NetNS, own: str, count: int) -> Iterator[None]:
    """All addresses that pods will have are sent to, again and again."""
    process = namespace.run(subprocess.Popen, [sys.executable, "-c", FLOOD, own, str(count)])
    try:
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


# -- the agent's death -----------------------------------------------------------------------------


class Stream:
    """Connections, one after the other: of a pod that may, and of one that may not.

    Attributes:
        opened: how many of the first kind were there.
        tried: how many of the second.
        wrong: what went otherwise than it must.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.opened = self.tried = 0
        self.wrong: list[str] = []
        self._target = cluster.addresses("x/db")[0]
        self._good, self._bad = (cluster.addresses(one)[0] for one in ("x/web", "x/api"))
        self._places = cluster.hosts
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run), threading.Thread(target=self._serve)]

    def __enter__(self) -> Stream:
        self._listener = self._socket(self._target)
        self._listener.bind(("", 80))
        self._listener.listen(1000)
        self._lasting = self._socket(self._good)
        self._lasting.connect((self._target, 80))
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._lasting.close()
        for one in self._threads:
            one.join()
        self._listener.close()

    def goes_on(self) -> None:
        """Some more connections of both kinds, and nothing went wrong."""
        opened, tried = self.opened, self.tried
        wait_for(
            "connections",
            lambda: bool(self.wrong) or (self.opened > opened + 20 and self.tried > tried + 20),
            PATIENCE,
        )
        assert self.wrong == []

    def _socket(self, address: str) -> socket.socket:
        made = self._places[address].namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.settimeout(PATIENCE)
        return made

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._socket(self._bad) as denied:
                denied.setblocking(False)
                denied.connect_ex((self._target, 80))
                self.tried += 1
                try:
                    with self._socket(self._good) as one:
                        one.connect((self._target, 80))
                        echoed(one)
                    echoed(self._lasting)
                    self.opened += 1
                except OSError as error:
                    self.wrong.append(f"allowed, and cut: {error}")
                    return

    def _serve(self) -> None:
        """Says what it hears. No connection of the second kind ever gets here."""
        threads: list[threading.Thread] = []
        self._listener.settimeout(0.1)
        while not self._stop.is_set():
            with suppress(TimeoutError):
                one, (peer, _) = self._listener.accept()
                if peer != self._good:
                    self.wrong.append(f"denied, and passed: {peer}")
                threads.append(threading.Thread(target=echo, args=(one,)))
                threads[-1].start()
        for thread in threads:
            thread.join()


def echoed(one: socket.socket) -> None:
    """What is sent comes back. Raises :class:`OSError`."""
    one.send(b"x")
    if one.recv(1) != b"x":
        raise ConnectionError("closed")


def echo(one: socket.socket) -> None:
    """Send back what comes."""
    with one, suppress(OSError):
        while data := one.recv(9):
            one.send(data)


def older(node: CniNode) -> None:
    """Leave the table as another release would have written it: more in it, less in it."""
    script = f"""
        add chain inet {TABLE} old
        add rule inet {TABLE} old counter accept
        insert rule inet {TABLE} ingress counter
        flush chain inet {TABLE} torn
        add set inet {TABLE} olds {{ type ipv4_addr; }}
    """
    run(node.host, "sh", "-c", f"echo '{script}' | nft -f -")


def table_handle(node: CniNode) -> str:
    """Another one where a table was made anew."""
    listed = run(node.host, "nft", "-a", "list", "table", "inet", TABLE)
    return listed.splitlines()[0]


DEATHS: dict[str, tuple[int, Callable[[CniNode], None]]] = {
    "killed": (signal.SIGKILL, lambda _: None),
    "restarted": (signal.SIGTERM, lambda _: None),
    "replaced by another release": (signal.SIGTERM, older),
}


def test_the_agent_dies_under_a_stream_of_connections() -> None:
    """Nothing is wrongly cut or allowed while it is away or comes back, and nothing is flushed."""
    with ExitStack() as stack:
        node = stack.enter_context(CniNode())
        cluster = Cluster(node, FLAT)
        stack.callback(cluster.close)
        cluster.write("policies.yaml", DENY.replace(", Egress", ""), ONE)
        cluster.publish()
        agent = stack.enter_context(node.agent())
        fill(cluster, "x")
        handle = table_handle(node)
        with Stream(cluster) as stream:
            stream.goes_on()
            for how, (number, meanwhile) in DEATHS.items():
                agent.stop(number)
                stream.goes_on()
                meanwhile(node)
                agent = stack.enter_context(node.agent())
                wait_for(how, lambda: is_right(node), PATIENCE)
                stream.goes_on()
        assert table_handle(node) == handle


def is_right(node: CniNode) -> bool:
    """Whether nothing of another release is left, and nothing lacks."""
    listed = run(node.host, "nft", "list", "table", "inet", TABLE)
    return "chain old" not in listed and "set olds" not in listed and "with tcp reset" in listed


@pytest.mark.parametrize("agent", [True, False], ids=["agent", "one-shot"])
@pytest.mark.parametrize(
    "main", ["flat", pytest.param("bridge", marks=needs(f"{PLUGIN_DIR}/bridge"))]
)
def test_policies_outlive_the_journal(main: str, agent: bool) -> None:
    """Nobody knows what is attached any more: what is in the kernel stays in force."""
    with ExitStack() as stack:
        node = stack.enter_context(CniNode())
        cluster = Cluster(node, FLAT if main == "flat" else bridge(node))
        stack.callback(cluster.close)
        cluster.publish()
        cluster.write("policies.yaml", DENY, namespace("x", {}))
        with node.agent() if agent else nullcontext():
            cluster.add("x/web")
            cluster.add("y/web")
            assert not reaches(cluster)
        guards = run(node.host, "nft", "list", "ruleset").count('comment "x/web"')
        shutil.rmtree(node.settings.state_dir)
        with node.agent() if agent else nullcontext():
            cluster.add("z/web")
            assert not reaches(cluster)
            ruleset = run(node.host, "nft", "list", "ruleset")
            assert ruleset.count('comment "x/web"') == guards
            policy = {"cniVersion": "1.1.0", "name": "pods", **cluster.members[0].plugins[1]}
            said = node.call("STATUS", conf=policy)
            assert said.result() is None
            assert "pod x/web: its attachment is lost, and with it its labels" in said.stderr
            lost = node.cnidaria("policy", "verify", "--flows", "50")
            assert "all agree" in lost
            assert "  note     pod x/web: its attachment is lost" in lost
            cluster.write("pods.yaml", pod("x", "web", {"app": "web"}))
            cluster.write(
                "policies.yaml", network_policy("{podSelector: {}, ingress: [{}]}", "open", "x")
            )
            wait_for("what the files say", lambda: refreshed(node, policy) and reaches(cluster))
            assert "all agree" in node.cnidaria("policy", "verify", "--flows", "50")
            assert "its attachment is lost" not in node.call("STATUS", conf=policy).stderr


def refreshed(node: CniNode, policy: dict[str, Any]) -> bool:
    """Without an agent STATUS reads what the files say."""
    return node.call("STATUS", conf=policy).exit == 0


def reaches(cluster: Cluster) -> bool:
    """Whether a connection from one pod to the one of namespace x begins."""
    src, dst = (cluster.addresses(one)[0] for one in ("y/web", "x/web"))
    asked: list[Question] = [(src, dst, "TCP", 80)]
    cluster.lab.forget_connections()
    return cluster.lab.ask(asked, [False]) == [True]


def test_an_address_of_a_lost_pod_is_the_next_ones(host: NetNS, tmp_path: Path) -> None:
    """Who gets it is judged by his own name, and nobody remembers the other one's connections."""
    (tmp_path / "deny.yaml").write_text(DENY)
    config = PolicyConfig(policies=(str(tmp_path),), node="n1")
    first = Enforcer("pods", config)
    first.open(host, [])
    for number, name in enumerate(("web", "db")):
        first.attach(host, one_pod("x", name, number))
    later = Enforcer("pods", config)
    later.open(host, [])
    assert later.table.read(host) == first.table.read(host)
    later.attach(host, one_pod("y", "api", 1))
    have = later.table.read(host)
    assert have is not None
    assert have.elements["subjects4"].keys() == {("10.1.0.2",)}
    assert [one.name for one in later.world.pods()] == ["web", "api"]
    later.table.delete(host)


def one_pod(space: str, name: str, number: int) -> PolicyPod:
    return PolicyPod("pods", f"{name}/eth0", space, name, (f"10.1.0.{2 + number}",), "eth0")
