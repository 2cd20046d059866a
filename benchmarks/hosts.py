"""Hosts and pods made of network namespaces without a name: they end with this process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading

from cnidaria.kernel.enter import CLONE_NEWNET, SELF
from cnidaria.kernel.netns import NetNS

UPLINK = """
ip link set lo up
ip link add eth0 type veth peer name eth0 netns {lan}
ip link set eth0 up
ip address add 192.0.2.2/24 dev eth0
ip address add 2001:db8::2/64 dev eth0 nodad
"""
LAN = """
ip link set lo up
ip link set eth0 up
ip address add 192.0.2.1/24 dev eth0
ip address add 2001:db8::1/64 dev eth0 nodad
"""
ROUTES = """
ip route add default via 192.0.2.1
ip -6 route add default via 2001:db8::1
"""


def new_namespace() -> NetNS:
    """A fresh network namespace, made by a thread that ends at once."""
    made: list[NetNS | OSError] = []

    def make() -> None:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET):
            error = ctypes.get_errno()
            made.append(OSError(error, f"{os.strerror(error)}: run by scripts/in-namespaces"))
        else:
            made.append(NetNS(os.open(SELF, os.O_RDONLY | os.O_CLOEXEC)))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def path_of(namespace: NetNS) -> str:
    """A path that other processes can open it by."""
    return f"/proc/{os.getpid()}/fd/{namespace.fd}"


class Host:
    """A machine with an uplink ``eth0``, a default route of each family, and pods."""

    def __init__(self) -> None:
        self._held = contextlib.ExitStack()
        self.netns = self.pod()
        lan = self.pod()
        for namespace, script in ((self.netns, UPLINK), (lan, LAN), (self.netns, ROUTES)):
            self.sh(script.format(lan=path_of(lan)), namespace)

    def pod(self) -> NetNS:
        """An empty namespace, which lives as long as the host."""
        return self._held.enter_context(new_namespace())

    def sh(self, script: str, namespace: NetNS | None = None) -> str:
        """Run a shell script in the host or in another namespace; what it prints."""
        done = (namespace or self.netns).run(
            subprocess.run, ["sh", "-ec", script], check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{script.strip()}\n{done.stderr.strip()}")
        return str(done.stdout)

    def close(self) -> None:
        """Let everything go."""
        self._held.close()
