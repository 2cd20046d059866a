"""What the demo starts: nodes with an agent each, and pods with a network namespace each."""

from __future__ import annotations

import json
import subprocess
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from lab import Machine, inside, sh
from portmap import Portmap

from cnidaria.kernel.netns import NetNS
from cnidaria.testing.runtime import Attachment, Runtime

ROOT = Path("/run/demo")
STORE = ROOT / "cluster.db"
POLICIES = ROOT / "policies"
"""Where network policies are written, for all nodes."""
NAMESPACE = "demo"
"""Kubernetes' namespace of the pods."""
NETWORK = "pods"
CNIDARIA = Path(sysconfig.get_path("scripts"), "cnidaria")
PORT = 8080
"""Where every pod listens."""


def conflist(mode: str, node: str, portmap: Portmap) -> dict[str, Any]:
    """The whole configuration of a node, for its runtime and for its agent."""
    chain: list[dict[str, Any]] = [
        {
            "type": f"cnidaria-{mode}",
            "cluster": {"store": f"sqlite:{STORE}", "node": node},
            "ipam": {"clusterPools": [{"prefix": "10.244.0.0/16"}, {"prefix": "fd00:244::/48"}]},
        },
        {"type": "cnidaria-policy", "policies": [str(POLICIES)], "node": node},
    ]
    if portmap.usable:
        chain.append({"type": "portmap", "capabilities": {"portMappings": True}})
    return {"cniVersion": portmap.cni_version, "name": NETWORK, "plugins": chain}


def wait_until(what: str, done: Callable[[], bool], seconds: float = 15) -> None:
    """Look again and again.

    Raises:
        RuntimeError: not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)


class Node:
    """One machine with its own executables, conflists, state directory and agent."""

    def __init__(
        self,
        machine: Machine,
        config: Mapping[str, Any],
        plugins: Sequence[str],
        observe: Callable[[str, str, float], object],
    ) -> None:
        self.machine = machine
        self.name = machine.name
        self.directory = ROOT / self.name
        self.bin_dir = self.directory / "bin"
        self.conf_dir = self.directory / "net.d"
        self.state_dir = self.directory / "state"
        self.log = ROOT / f"{self.name}.log"
        self.conflist = self.conf_dir / "10-pods.conflist"
        self.netns = NetNS.open(f"/run/netns/{self.name}")
        self.agent: subprocess.Popen[bytes] | None = None
        self.config = config
        self.bin_dir.mkdir(parents=True)
        self.conf_dir.mkdir()
        self.runtime = Runtime(config, [self.bin_dir, *plugins], observe=observe)
        # STATUS is of CNI 1.1, which older plugins in the chain do not know.
        alone = {**config, "cniVersion": "1.1.0", "plugins": config["plugins"][:1]}
        self.ours = Runtime(alone, [self.bin_dir])

    def settled(self) -> bool:
        """Whether none of its addresses is still being tried."""
        return not sh("ip", "-n", self.name, "address", "show", "tentative").strip()

    def cnidaria(self, *argv: str) -> str:
        """What the command ``cnidaria`` says on this node. Raises :class:`RuntimeError`."""
        return sh(str(CNIDARIA), *argv, netns=self.name)

    def policy(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """What ``cnidaria policy`` says on this node, and its exit code."""
        paths = (f"--state-dir={self.state_dir}", f"--conf-dir={self.conf_dir}")
        command = inside(self.name, CNIDARIA, "policy", *argv, *paths)
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    def install(self) -> None:
        """Write the executables and the conflist."""
        self.conflist.write_text(json.dumps(self.config, indent=2))
        self.cnidaria("install", f"--bin-dir={self.bin_dir}", f"--state-dir={self.state_dir}")

    def journal(self) -> list[dict[str, Any]]:
        """The attachments that its journal holds."""
        said = self.cnidaria("pods", "--json", f"--state-dir={self.state_dir}")
        found: list[dict[str, Any]] = json.loads(said)
        return found

    def start_agent(self) -> None:
        """Start it; it ends with the demo, whatever happens to the demo."""
        paths = (f"--state-dir={self.state_dir}", f"--conf-dir={self.conf_dir}")
        with self.log.open("ab") as log:
            self.agent = subprocess.Popen(
                inside(self.name, "setpriv", "--pdeathsig", "KILL", CNIDARIA, "agent", *paths),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # a terminal's Ctrl-C is for the demo, not for its agents
            )

    def wait_for_agent(self) -> None:
        """Wait until it listens, and ask for STATUS.

        Raises:
            RuntimeError: it does not listen.
            CniError: it is not ready, and why.
        """
        socket = self.state_dir / "agent.sock"
        wait_until(f"{self.name}'s agent", lambda: socket.exists() or not self.runs())
        if not self.runs():
            raise RuntimeError(f"{self.name}'s agent ended: {self.said()[-1]}")
        self.netns.run(self.ours.status)

    def runs(self) -> bool:
        return self.agent is not None and self.agent.poll() is None

    def said(self, lines: int = 1) -> list[str]:
        """The last lines of the agent's log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text.splitlines()[-lines:] or ["nothing"]

    def kill_agent(self) -> None:
        """As a crash, or the kernel's out-of-memory killer, would end it."""
        assert self.agent
        self.agent.kill()
        self.agent.wait()

    def terminate(self) -> None:
        """Ask the agent to finish what it does, and end."""
        if self.agent and self.agent.poll() is None:
            self.agent.terminate()

    def wait_for_end(self, seconds: float = 10) -> int:
        """Wait for the agent, which was asked to end; its exit code."""
        if self.agent is None:
            return 0
        try:
            return self.agent.wait(seconds)
        except subprocess.TimeoutExpired:
            self.agent.kill()
            return self.agent.wait()

    def uninstall(self) -> None:
        """Take everything away again, the conflist as the administrator does."""
        paths = (f"--state-dir={self.state_dir}", f"--conf-dir={self.conf_dir}")
        self.cnidaria("uninstall", f"--bin-dir={self.bin_dir}", *paths)
        self.conflist.unlink()


@dataclass(eq=False)
class Pod:
    """A network namespace, as a runtime's sandbox has one.

    Attributes:
        host_port: a port of the node that leads to this pod; 0: none.
        addresses: by family, once attached.
    """

    number: int
    node: Node
    host_port: int = 0
    addresses: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = f"pod{self.number}"
        sh("ip", "netns", "add", self.name)
        sh("ip", "-n", self.name, "link", "set", "lo", "up")
        self.netns = NetNS.open(f"/run/netns/{self.name}")
        mapping = {"hostPort": self.host_port, "containerPort": PORT, "protocol": "tcp"}
        self.attachment = Attachment(
            container_id=self.name,
            netns=f"/run/netns/{self.name}",
            args={"K8S_POD_NAMESPACE": NAMESPACE, "K8S_POD_NAME": self.name},
            capabilities={"portMappings": [mapping] if self.host_port else []},
        )

    def add(self) -> None:
        """ADD by the node's runtime. Raises :class:`CniError`."""
        result = self.node.netns.run(self.node.runtime.add, self.attachment)
        for ip in result.get("ips", ()):
            address = ip_interface(ip["address"]).ip
            self.addresses[address.version] = str(address)

    def check(self) -> None:
        """CHECK by the node's runtime. Raises :class:`CniError`."""
        self.node.netns.run(self.node.runtime.check, self.attachment)

    def delete(self) -> None:
        """DEL by the node's runtime. Raises :class:`CniError`."""
        self.node.netns.run(self.node.runtime.delete, self.attachment)

    def mtu(self) -> int:
        """Of its interface, bytes."""
        [link] = json.loads(sh("ip", "-j", "-n", self.name, "link", "show", "eth0"))
        return int(link["mtu"])

    def links(self) -> list[str]:
        """The interfaces that it has, but for loopback."""
        lines = sh("ip", "-br", "-n", self.name, "link").splitlines()
        return [line.split("@")[0].split()[0] for line in lines if not line.startswith("lo ")]

    def remove(self) -> None:
        """The namespace ends."""
        self.netns.close()
        sh("ip", "netns", "delete", self.name)
