"""The demo's machines: network namespaces on one LAN, or on LANs of their own behind a router.

Everything is made inside the private namespaces that the demo runs in, so nothing of the machine
itself is touched, and nothing can be left behind on it.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

SWITCH = "switch"
UPLINK = "eth0"
MAX_NODES = 8


def inside(netns: str, *argv: str | os.PathLike[str]) -> list[str]:
    """The command that runs ``argv`` in a named network namespace."""
    return ["nsenter", f"--net=/run/netns/{netns}", *(os.fspath(one) for one in argv)]


def sh(*argv: str, netns: str | None = None, timeout: float = 30) -> str:
    """Run a command, in a named network namespace if given; its output.

    Raises:
        RuntimeError: it failed; the text has the command and what it said.
    """
    command = inside(netns, *argv) if netns else list(argv)
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


@dataclass(frozen=True)
class Machine:
    """One node: a network namespace with an uplink.

    Attributes:
        number: from 1.
        lan: which LAN its uplink is on, from 0. Addresses are from the documentation ranges
            (RFC 5737, RFC 3849).
    """

    number: int
    lan: int

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def address4(self) -> str:
        return f"198.51.100.{self.lan * 32 + self.number + 1}"

    @property
    def address6(self) -> str:
        return f"2001:db8:0:{self.lan + 1:x}::{self.number + 1:x}"


class Lab:
    """``count`` machines on one switch; ``routed``: each on a LAN of its own, a router between.

    The switch lives in a namespace too. As a router it is the default gateway of every machine,
    and knows nothing but their LANs.
    """

    def __init__(self, count: int, *, routed: bool) -> None:
        self.routed = routed
        self.machines = [Machine(n, lan=n - 1 if routed else 0) for n in range(1, count + 1)]

    def build(self) -> None:
        """Make the namespaces, links, addresses and routes."""
        sh("ip", "netns", "add", SWITCH)
        sh("ip", "-n", SWITCH, "link", "set", "lo", "up")
        if self.routed:
            for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
                sh("sysctl", "-qw", f"{key}=1", netns=SWITCH)
        else:
            sh("ip", "-n", SWITCH, "link", "add", "lan", "type", "bridge")
            sh("ip", "-n", SWITCH, "link", "set", "lan", "up")
        for machine in self.machines:
            self._plug_in(machine)

    def router_knows(self, prefix: str) -> bool:
        """Whether the switch, or router, has a route to a prefix of pods."""
        routes = sh("ip", "-n", SWITCH, "route") + sh("ip", "-n", SWITCH, "-6", "route")
        return prefix in routes

    def _plug_in(self, machine: Machine) -> None:
        port = f"port{machine.number}"
        sh("ip", "netns", "add", machine.name)
        sh("ip", "-n", machine.name, "link", "set", "lo", "up")
        sh(
            *("ip", "-n", SWITCH, "link", "add", port, "type", "veth"),
            *("peer", "name", UPLINK, "netns", machine.name),
        )
        self._configure(machine.name, UPLINK, f"{machine.address4}/27", f"{machine.address6}/64")
        if not self.routed:
            sh("ip", "-n", SWITCH, "link", "set", port, "master", "lan", "up")
            for family in ("-4", "-6"):
                sh("ip", "-n", machine.name, family, "route", "add", "default", "dev", UPLINK)
            return
        gateways = (f"198.51.100.{machine.lan * 32 + 1}", f"2001:db8:0:{machine.lan + 1:x}::1")
        self._configure(SWITCH, port, f"{gateways[0]}/27", f"{gateways[1]}/64")
        for gateway in gateways:
            sh("ip", "-n", machine.name, "route", "add", "default", "via", gateway)

    @staticmethod
    def _configure(netns: str, device: str, *addresses: str) -> None:
        # Nobody else has these addresses: nothing waits for their detection.
        sh("sysctl", "-qw", f"net.ipv6.conf.{device}.dad_transmits=0", netns=netns)
        sh("ip", "-n", netns, "link", "set", device, "up")
        for address in addresses:
            sh("ip", "-n", netns, "address", "add", address, "dev", device, "nodad")
