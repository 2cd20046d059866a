"""Does it work: real pings and real TCP connections between pods."""

from __future__ import annotations

import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import product

from fleet import PORT, Pod
from lab import inside

from cnidaria.kernel.netns import NetNS

Pair = tuple[Pod, Pod, int]
"""Source, target, address family."""

FAMILIES = (4, 6)
SECONDS = 2
CONNECTIONS_AT_ONCE = 32
SOURCES_AT_ONCE = 4

# Pings every address at the same time and says which ones answered.
PING = """
for address; do
    { ping -n -q -c 1 -W SECONDS OPTIONS "$address" >/dev/null 2>&1 && echo "$address"; } &
done
wait
"""


def pairs(sources: Iterable[Pod], targets: Iterable[Pod]) -> list[Pair]:
    """Every source with every target but itself, in both families."""
    both = product(sources, targets, FAMILIES)
    return [(source, target, family) for source, target, family in both if source is not target]


def answering(netns: str, addresses: Sequence[str], options: str = "") -> set[str]:
    """Which of the addresses answer a ping from a network namespace."""
    script = PING.replace("SECONDS", str(SECONDS)).replace("OPTIONS", options)
    done = subprocess.run(
        inside(netns, "sh", "-c", script, "ping", *addresses),
        stdout=subprocess.PIPE,
        text=True,
        timeout=SECONDS + 30,
        check=False,
    )
    return set(done.stdout.split())


def ping(asked: Sequence[Pair], progress: Callable[[int], object] = id) -> set[Pair]:
    """The pairs of which the target answers; ``progress`` is told how many sources are done."""
    answered: set[Pair] = set()
    sources = {source.name: source for source, _, _ in asked}

    def from_one(name: str) -> set[Pair]:
        targets = {to.addresses[f]: (src, to, f) for src, to, f in asked if src.name == name}
        return {targets[address] for address in answering(name, list(targets))}

    with ThreadPoolExecutor(SOURCES_AT_ONCE) as pool:
        for done, found in enumerate(pool.map(from_one, sources), 1):
            answered |= found
            progress(done)
    return answered


class Greeters(threading.Thread):
    """A TCP server in every pod: says who it is and whom it sees, then repeats what it is told."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._open: dict[str, list[socket.socket]] = {}

    def add(self, pod: Pod) -> None:
        """Listen in a pod, for both families."""
        listener = pod.netns.run(
            socket.create_server, ("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True
        )
        listener.setblocking(False)
        self._keep(pod.name, listener, listening=True)

    def remove(self, pod: Pod) -> None:
        """Close all sockets in a pod, so that nothing holds its namespace."""
        with self._lock:
            for one in self._open.pop(pod.name, []):
                if one.fileno() >= 0:
                    self._selector.unregister(one)
                    one.close()

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select(0.1):
                with self._lock:
                    if isinstance(key.fileobj, socket.socket) and key.fileobj.fileno() >= 0:
                        self._serve(key.fileobj, *key.data)

    def _keep(self, pod: str, one: socket.socket, *, listening: bool) -> None:
        self._open.setdefault(pod, []).append(one)
        self._selector.register(one, selectors.EVENT_READ, (pod, listening))

    def _serve(self, one: socket.socket, pod: str, listening: bool) -> None:
        try:
            if listening:
                connection, peer = one.accept()
                connection.setblocking(False)
                connection.send(f"{pod} {peer[0].removeprefix('::ffff:')}\n".encode())
                self._keep(pod, connection, listening=False)
            elif data := one.recv(1000):
                one.send(data)
            else:
                self._selector.unregister(one)
                one.close()
        except OSError:
            self._selector.unregister(one)
            one.close()


def greeting(netns: NetNS, address: str, port: int) -> str:
    """What a server says first to somebody in a namespace; ``""`` if it cannot be reached."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(SECONDS)
        try:
            one.connect((address, port))
            return one.recv(1000).decode().strip()
        except OSError:
            return ""


def connect(asked: Sequence[Pair]) -> set[Pair]:
    """The pairs whose TCP connection reaches the right pod, which sees the right source."""

    def works(pair: Pair) -> bool:
        source, target, family = pair
        said = greeting(source.netns, target.addresses[family], PORT)
        return said == f"{target.name} {source.addresses[family]}"

    with ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as pool:
        return {pair for pair, fine in zip(asked, pool.map(works, asked), strict=True) if fine}


def admitted(asked: Sequence[Pair], seconds: float) -> set[Pair]:
    """The pairs whose TCP connection begins within so many seconds, all tried at once."""
    found: set[Pair] = set()
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for pair in asked:
            source, target, family = pair
            kind = socket.AF_INET if family == 4 else socket.AF_INET6
            one = stack.enter_context(source.netns.socket(kind, socket.SOCK_STREAM))
            one.setblocking(False)
            one.connect_ex((target.addresses[family], PORT))
            selector.register(one, selectors.EVENT_WRITE, pair)
        deadline = time.monotonic() + seconds
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                one = key.fileobj  # type: ignore[assignment]  # of those registered
                selector.unregister(one)
                if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    found.add(key.data)
    return found


class Conversation:
    """A TCP connection between two pods that stays open."""

    def __init__(self, source: Pod, target: Pod) -> None:
        self._socket = source.netns.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self._socket.settimeout(SECONDS)
        self._socket.connect((target.addresses[6], PORT))
        self._socket.recv(1000)

    def goes_on(self) -> bool:
        """Whether the other end still repeats what it is told."""
        try:
            self._socket.sendall(b"still there?")
            return self._socket.recv(1000) == b"still there?"
        except OSError:
            return False

    def close(self) -> None:
        self._socket.close()
