"""What is compared: chains of the reference plugins, and ours with their agent."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from hosts import Host, path_of

from cnidaria.cni.errors import CniError
from cnidaria.testing.runtime import Attachment, Runtime

RANGES = {"v4": ["10.64.0.0/16"], "dual": ["10.64.0.0/16", "fd00:64::/64"]}
"""What each kind of stack hands addresses out of."""
ROUTES = {"v4": ["0.0.0.0/0"], "dual": ["0.0.0.0/0", "::/0"]}
REFERENCE_DIRS = ("/usr/lib/cni", "/opt/cni/bin")
READY_SECONDS = 60.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory on /run where that can be written, as it is memory; removed at the end."""
    parent = "/run" if os.access("/run", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="cnidaria-bench-", dir=parent) as directory:
        yield Path(directory)


class Contestant:
    """A chain of plugins on a host of its own, for one kind of stack."""

    def __init__(self, name: str, host: Host, runtime: Runtime) -> None:
        self.name = name
        self._host = host
        self._runtime = runtime

    def new_pods(self, count: int) -> list[Attachment]:
        """Empty pods, not attached yet."""
        return [Attachment(secrets.token_hex(32), path_of(self._host.pod())) for _ in range(count)]

    def add(self, pod: Attachment) -> float:
        """Attach; seconds. Raises :class:`CniError`."""
        return self._host.netns.run(self._timed, self._runtime.add, pod)

    def delete(self, pod: Attachment) -> float:
        """Detach; seconds. Raises :class:`CniError`."""
        return self._host.netns.run(self._timed, self._runtime.delete, pod)

    @staticmethod
    def _timed(verb: Any, pod: Attachment) -> float:
        start = time.perf_counter()
        verb(pod)
        return time.perf_counter() - start

    def wait_until_ready(self) -> None:
        """Until STATUS says so."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                self._host.netns.run(self._runtime.status)
                return
            except CniError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def reference_dir(plugins: Sequence[str]) -> Path | None:
    """Where the reference plugins are, if all of them are there."""
    for directory in map(Path, REFERENCE_DIRS):
        if all((directory / plugin).is_file() for plugin in plugins):
            return directory
    return None


def reference(
    name: str, stack: str, host: Host, directory: Path, *, bin_dir: Path, held: int = 0
) -> Contestant:
    """ptp and what follows it, such as ``ptp+firewall``, with host-local.

    Args:
        held: so many leases are there already.
    """
    main, *others = name.split("+")
    network = f"{main}-{stack}"
    ipam = {
        "type": "host-local",
        "dataDir": str(directory),
        "ranges": [[{"subnet": subnet}] for subnet in RANGES[stack]],
        "routes": [{"dst": dst} for dst in ROUTES[stack]],
    }
    chain: list[dict[str, Any]] = [{"type": main, "ipam": ipam}]
    chain += [{"type": other} for other in others]
    leases = directory / network
    leases.mkdir(parents=True, exist_ok=True)
    for address in itertools.islice(ip_network(RANGES[stack][0]).hosts(), 1, held + 1):
        (leases / str(address)).write_text(f"held-{address}\r\neth0")
        (leases / "last_reserved_ip.0").write_text(str(address))
    conflist = {"cniVersion": "1.0.0", "name": network, "plugins": chain}
    return Contestant(name, host, Runtime(conflist, [bin_dir], {"PATH": PATH}))


def our_conflist(mode: str, stack: str, store: Path) -> dict[str, Any]:
    """A network of one of our modes."""
    plugin: dict[str, Any] = {
        "type": f"cnidaria-{mode}",
        "ipam": {
            "type": "cnidaria-ipam",
            "ranges": [[{"subnet": subnet}] for subnet in RANGES[stack]],
        },
    }
    if mode == "overlay":
        # Each network needs an identifier of its own.
        plugin["vni"] = 1 + list(RANGES).index(stack)
        plugin["cluster"] = {"store": f"sqlite:{store}", "node": "benchmark"}
    return {"cniVersion": "1.1.0", "name": f"{mode}-{stack}", "plugins": [plugin]}


class Agent:
    """Our agent on a host, with executables and conflists of its own."""

    def __init__(self, host: Host, directory: Path, networks: Sequence[tuple[str, str]]) -> None:
        self._host = host
        self._directory = directory
        self._bin = directory / "bin"
        self._conflists = {
            (mode, stack): our_conflist(mode, stack, directory / "cluster.db")
            for mode, stack in networks
        }
        self._command("install", "--bin-dir", str(self._bin))
        self._log = (directory / "agent.log").open("w+")
        self._process = self._start()
        try:
            for mode, stack in networks:
                self.contestant(mode, stack).wait_until_ready()
        except BaseException as error:
            error.add_note(self._end())
            raise

    def contestant(self, mode: str, stack: str, name: str = "") -> Contestant:
        """One of the networks."""
        return self._contestant(name or mode, self._conflists[mode, stack])

    def hold(self, mode: str, stack: str, count: int) -> None:
        """Take ``count`` leases of a network, without pods."""
        conflist = self._conflists[mode, stack]
        ipam = conflist["plugins"][0]["ipam"]
        leases = {**conflist, "plugins": [{"type": "cnidaria-ipam", "ipam": ipam}]}
        holder = self._contestant("held", leases)
        path = path_of(self._host.pod())
        for number in range(count):
            holder.add(Attachment(f"held-{number}", path))

    def memory(self) -> dict[str, int]:
        """Resident and proportional set size, KiB."""
        fields = {}
        for line in Path(f"/proc/{self._process.pid}/smaps_rollup").read_text().splitlines()[1:]:
            key, text = line.split(":")
            fields[key] = int(text.split()[0])
        return {"rss_kib": fields["Rss"], "pss_kib": fields["Pss"]}

    def close(self) -> None:
        """Stop it. Raises if it had not lived on until now."""
        lived = self._process.poll() is None
        log = self._end()
        if not lived:
            raise RuntimeError(f"the agent ended by itself:\n{log}")

    def _end(self) -> str:
        """Stop it; its log."""
        with self._log as log:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            log.seek(0)
            return log.read()

    def _contestant(self, name: str, conflist: Mapping[str, Any]) -> Contestant:
        return Contestant(name, self._host, Runtime(conflist, [self._bin], {"PATH": PATH}))

    def _start(self) -> subprocess.Popen[bytes]:
        configs = self._directory / "net.d"
        configs.mkdir()
        for conflist in self._conflists.values():
            (configs / f"{conflist['name']}.conflist").write_text(json.dumps(conflist))
        arguments = ["agent", "--conf-dir", str(configs), "--log-level", "warning"]
        return self._host.netns.run(
            subprocess.Popen,
            [*self._cnidaria(arguments)],
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
        )

    def _command(self, *arguments: str) -> None:
        command = self._cnidaria(arguments)
        self._host.netns.run(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)

    def _cnidaria(self, arguments: Sequence[str]) -> list[str]:
        beside = Path(sys.executable).with_name("cnidaria")
        program = str(beside) if beside.exists() else shutil.which("cnidaria")
        if program is None:
            raise RuntimeError("no command cnidaria; `make build` makes it")
        return [program, *arguments, "--state-dir", str(self._directory / "state")]
