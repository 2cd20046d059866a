"""Network namespaces without a name: they end with their descriptor."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cnidaria.kernel.enter import CLONE_NEWNET, SELF
from cnidaria.kernel.netns import NetNS


def unshare() -> int:
    """Give the calling thread a network namespace of its own; 0 or an errno."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    return ctypes.get_errno() if libc.unshare(CLONE_NEWNET) else 0


def may_unshare() -> bool:
    """Whether this process may make network namespaces."""
    with open(os.devnull, "w") as quiet:
        command = ["unshare", "--net", "true"]
        return subprocess.run(command, stderr=quiet, check=False).returncode == 0


@contextmanager
def new_namespace() -> Iterator[NetNS]:
    """A fresh network namespace with its loopback up, made by a thread that ends at once."""
    made: list[int] = []

    def make() -> None:
        if error := unshare():
            raise OSError(error, os.strerror(error))
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        made.append(os.open(SELF, os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    with NetNS(made[0]) as namespace:
        yield namespace


def run(namespace: NetNS, *command: str, check: bool = True) -> str:
    """What a program says that runs inside; its end is awaited for at most 10 s.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    done = namespace.run(
        subprocess.run, command, check=False, capture_output=True, text=True, timeout=10
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr.strip()}")
    return str(done.stdout)


def make_uplink(host: NetNS, address: str, name: str = "up0") -> None:
    """An interface towards nowhere, with an address (with its prefix length)."""
    run(host, "ip", "link", "add", name, "type", "veth", "peer", "name", f"far-{name}")
    run(host, "ip", "address", "add", address, "dev", name)
    for end in (name, f"far-{name}"):
        run(host, "ip", "link", "set", end, "up")
