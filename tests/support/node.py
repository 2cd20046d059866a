"""A private node: a machine of its own made of namespaces, for runtimes and agents under test.

Network, mount and PID namespace; copy-on-write ``/etc``, ``/var`` and plugin directory; an empty
``/run``; an uplink ``eth0`` to a second host, ``lan``. All of it lives as long as the node's PID 1,
which ends with the test, however that ends: nothing has to be cleaned up by hand, and nothing of
the machine itself is touched. ``/sys`` is the machine's: container runtimes need its cgroups.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

LAN = "/run/netns/lan"
"""Network namespace, inside a node, of the other host on the node's LAN."""

NODE_ADDRESSES = ("192.0.2.2", "2001:db8::2")
"""The node's own addresses on the LAN."""

PLUGIN_DIRS = ("/usr/lib/cni", "/opt/cni/bin")
PLUGIN_DIR = next((path for path in PLUGIN_DIRS if Path(path, "bridge").exists()), PLUGIN_DIRS[0])
"""Where the reference plugins are, and in a node ours too."""

_INIT = Path(__file__).with_name("node-init")
_PID_FILE = 'echo $$ > "$0" && exec "$@"'


class CommandFailed(AssertionError):
    """A command inside a node ended with an exit code other than zero."""


def wait_for(what: str, condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until ``condition`` holds.

    Raises:
        TimeoutError: naming ``what``, when it does not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)


class Daemon:
    """A long-running process inside a node."""

    def __init__(self, node: Node, name: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self.name = name
        self._node = node
        pid_file = f"/run/test-{name}.pid"
        self._log = tempfile.TemporaryFile(mode="w+")
        command = node.command("sh", "-c", _PID_FILE, pid_file, *argv)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
        )
        written = node.path(pid_file)
        wait_for(f"{name} started", lambda: written.exists() and bool(written.read_text()))
        self.pid = written.read_text().strip()
        """Its process id inside the node."""
        written.unlink()

    def log(self) -> str:
        """Everything that it has written so far."""
        self._log.seek(0)
        return self._log.read()

    def running(self) -> bool:
        return self._process.poll() is None

    def wait_until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait for ``condition``; an error shows the daemon's log, also when it ends before."""

        def ready_or_dead() -> bool:
            return condition() or not self.running()

        try:
            wait_for(f"{self.name} ready", ready_or_dead, seconds)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.log()}") from error
        assert self.running(), f"{self.name} ended:\n{self.log()}"

    def stop(self, signal: str = "TERM", seconds: float = 15.0) -> None:
        """Send ``signal`` to it and wait for its end; kill it when that takes too long."""
        if self.running():
            self._node.run("kill", f"-{signal}", self.pid, check=False)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._node.run("kill", "-KILL", self.pid, check=False)
                self._process.wait(seconds)
                raise AssertionError(f"{self.name} ignored SIG{signal}:\n{self.log()}") from None
        self._log.close()


class Node:
    """One private node; a context manager."""

    def __init__(self) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="node-"))
        self.cgroup = self.dir.name
        """Name of the cgroup under which this node's runtimes put theirs."""
        self._daemons: list[Daemon] = []
        namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._unshare = subprocess.Popen(
            ["unshare", *namespaces, str(_INIT), str(self.dir), PLUGIN_DIR, sys.executable],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._unshare.stdout is not None
        if self._unshare.stdout.readline() != "ready\n":
            self._unshare.wait()
            self.dir.rmdir()
            raise RuntimeError("the node's namespaces could not be set up (see standard error)")
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        self.pid = int(children.read_text())
        """PID 1 of the node, as seen from outside."""
        self.root = Path(f"/proc/{self.pid}/root")
        """The node's file system as seen from outside."""

    def command(self, *argv: str, netns: str | None = None) -> list[str]:
        """What to execute so that ``argv`` runs in the node, or in ``netns`` of the node."""
        enter = ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--wd=/"]
        inner = ["nsenter", f"--net={netns}"] if netns else []
        return [*enter, *inner, *argv]

    def run(
        self,
        *argv: str,
        netns: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        check: bool = True,
        seconds: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the node, or in the network namespace ``netns`` of it.

        Raises:
            CommandFailed: when ``check`` is set and it fails; with all that it printed.
        """
        done = subprocess.run(
            self.command(*argv, netns=netns),
            check=False,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            env={**os.environ, **(env or {})},
        )
        if check and done.returncode != 0:
            raise CommandFailed(
                f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def start(self, name: str, *argv: str, env: Mapping[str, str] | None = None) -> Daemon:
        """Start a daemon in the node; it is stopped with the node, if not before."""
        daemon = Daemon(self, name, argv, env or {})
        self._daemons.append(daemon)
        return daemon

    def path(self, inside: str) -> Path:
        """From outside, the node's file ``inside`` (an absolute path)."""
        return self.root / inside.lstrip("/")

    def read(self, inside: str) -> str:
        return self.path(inside).read_text()

    def write(self, inside: str, text: str) -> None:
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def close(self) -> None:
        """Stop the daemons, newest first, then the node with everything in it."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._remove)
            for daemon in self._daemons:
                stack.callback(daemon.stop)

    def _remove(self) -> None:
        assert self._unshare.stdin is not None and self._unshare.stdout is not None
        self._unshare.stdin.close()
        try:
            self._unshare.wait(10)
        except subprocess.TimeoutExpired:
            self._unshare.kill()
            self._unshare.wait()
        self._unshare.stdout.close()
        self.dir.rmdir()
        for directory in _cgroups(self.cgroup):
            directory.rmdir()

    def __enter__(self) -> Node:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _cgroups(name: str) -> Iterator[Path]:
    """The cgroups of that name and all below them, innermost first, in every hierarchy."""
    for top in Path("/sys/fs/cgroup").glob(f"**/{name}"):
        below = [path for path in top.rglob("*") if path.is_dir()]
        yield from sorted(below, key=lambda path: len(path.parts), reverse=True)
        yield top
