"""Firewalls of others in a namespace, as their own programs make them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cnidaria.kernel.netns import NetNS
from support.namespaces import run
from support.needs import RUNTIMES
from support.node import wait_for

FIREWALLD = RUNTIMES / "firewalld"
"""Where the packages are unpacked: one that is installed would guard this machine."""
SYSTEM_PYTHON = "/usr/bin/python3"
BUS = """<busconfig><type>system</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow own="*"/><allow send_destination="*"/>
<allow receive_sender="*"/></policy></busconfig>"""


def has_firewalld() -> bool:
    """Whether it is there, with what it imports."""
    imports = [SYSTEM_PYTHON, "-c", "import dbus, gi, nftables"]
    return (
        FIREWALLD.exists()
        and subprocess.run(imports, stderr=subprocess.DEVNULL, check=False).returncode == 0
    )


def others(host: NetNS) -> str:
    """All rules that are not ours: of nftables, and of iptables-legacy without its counters."""
    texts = []
    for line in run(host, "nft", "list", "tables").splitlines():
        _, family, name = line.split()
        if not name.startswith("cnidaria"):
            texts.append(run(host, "nft", "-s", "-a", "list", "table", family, name))
    for program in ("iptables-legacy-save", "ip6tables-legacy-save"):
        lines = run(host, program).splitlines() if shutil.which(program) else []
        texts += [line.partition(" [")[0] for line in lines if not line.startswith("#")]
    return "\n".join(texts)


class Firewalld:
    """The daemon, and its command."""

    def __init__(self, host: NetNS, bus: str) -> None:
        self._host = host
        self.env = {
            **os.environ,
            "DBUS_SYSTEM_BUS_ADDRESS": bus,
            "PYTHONPATH": str(FIREWALLD / "usr/lib/python3/dist-packages"),
        }

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``firewall-cmd``."""
        argv = [SYSTEM_PYTHON, str(FIREWALLD / "usr/bin/firewall-cmd"), *words]
        done: subprocess.CompletedProcess[str] = self._host.run(
            subprocess.run, argv, env=self.env, capture_output=True, text=True, check=False
        )
        return done

    def set(self, *words: str) -> None:
        """A command that must succeed."""
        done = self.command(*words)
        assert not done.returncode, done.stderr


@contextmanager
def started(host: NetNS, argv: Sequence[str], env: dict[str, str] | None = None) -> Iterator[None]:
    """A program that runs in the namespace as long as this does."""
    process = host.run(
        subprocess.Popen, argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def firewalld(host: NetNS) -> Iterator[Firewalld]:
    """firewalld with a message bus of its own, as Debian configures it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="firewalld-")))
        (folder / "bus.conf").write_text(BUS.format(folder / "bus"))
        bus = ["dbus-daemon", f"--config-file={folder / 'bus.conf'}", "--nofork", "--nopidfile"]
        stack.enter_context(started(host, bus))
        wait_for("the message bus", (folder / "bus").exists)
        shutil.copytree(FIREWALLD / "etc/firewalld", folder / "etc")
        made = Firewalld(host, f"unix:path={folder / 'bus'}")
        daemon = [SYSTEM_PYTHON, str(FIREWALLD / "usr/sbin/firewalld"), "--nofork", "--nopid"]
        daemon += ["--system-config", str(folder / "etc")]
        daemon += ["--default-config", str(FIREWALLD / "usr/lib/firewalld")]
        daemon += ["--log-target", "file", "--log-file", str(folder / "log")]
        stack.enter_context(started(host, daemon, made.env))
        wait_for("firewalld", lambda: not made.command("--state").returncode, 30)
        yield made
