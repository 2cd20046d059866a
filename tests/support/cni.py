"""One node as a runtime sees it: the installed executables, a state directory, maybe an agent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.netns import NetNS
from cnidaria.node import report
from cnidaria.node.install import install
from cnidaria.node.settings import Settings
from cnidaria.plan.attachment import Attachment
from cnidaria.plugins import entry_points
from support.attachments import boottime, links, path_of
from support.namespaces import new_namespace, run
from support.node import PLUGIN_DIR, wait_for

FLAT = "cnidaria-flat"
CNIDARIA = str(Path(sys.executable).with_name("cnidaria"))
SECONDS = 60
"""A call that takes longer is a failure."""

NETWORK: dict[str, Any] = {
    "cniVersion": "1.1.0",
    "name": "pods",
    "type": FLAT,
    "ipam": {"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]]},
}


def network(**changes: Any) -> dict[str, Any]:
    """:data:`NETWORK` with changes; ``None`` leaves a key out."""
    return {key: value for key, value in {**NETWORK, **changes}.items() if value is not None}


@dataclass(frozen=True)
class Answer:
    """What an executable printed, and its exit code."""

    exit: int
    stdout: bytes
    stderr: str

    def result(self) -> Any:
        """The JSON of a success; ``None`` where nothing was printed."""
        assert self.exit == 0, f"{self.stdout!r} {self.stderr}"
        return json.loads(self.stdout) if self.stdout else None

    def error(self, code: int) -> str:
        """The text of a failure, which must have this code and be as the specification has it."""
        assert self.exit != 0, self.stdout
        found = json.loads(self.stdout)
        assert (
            {"cniVersion", "code", "msg"}
            <= found.keys()
            <= {"cniVersion", "code", "msg", "details"}
        )
        assert found["code"] == code, found
        return f"{found['msg']}; {found.get('details', '')}"


class CniNode:
    """A context manager. Everything it makes ends with it, also its pods."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        # Not pytest's directory: the path of a socket has to be short.
        self.dir = Path(tempfile.mkdtemp(prefix="cni-"))
        self._stack.callback(shutil.rmtree, self.dir)
        self.bin, state = self.dir / "bin", self.dir / "state"
        self.settings = Settings(state, state / "agent.sock", self.dir / "net.d")
        self.settings.conf_dir.mkdir()
        install(self.bin, entry_points(), self.settings)
        self.host = self._stack.enter_context(new_namespace())
        self.pods: dict[str, NetNS] = {}
        self.path = f"{self.bin}:{PLUGIN_DIR}"

    def __enter__(self) -> CniNode:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pod in self.pods.values():
            pod.close()
        self._stack.close()

    # -- the machine -----------------------------------------------------------------------

    def ip(self, command: str) -> str:
        """What ``ip`` says on the node."""
        return run(self.host, "ip", *command.split())

    def pod_ip(self, pod: str, command: str) -> str:
        """What ``ip`` says in a pod."""
        return run(self.pods[pod], "ip", *command.split())

    def pod(self, name: str) -> str:
        """Make a pod's namespace, held open by this process; its path."""
        with new_namespace() as namespace:
            self.pods[name] = NetNS.from_fd(namespace.fd)
        return self.netns(name)

    def netns(self, name: str) -> str:
        """Path of a pod's namespace."""
        return path_of(self.pods[name])

    def end(self, name: str) -> None:
        """The pod dies without a DEL."""
        self.pods.pop(name).close()

    def conflist(self, *plugins: Mapping[str, Any], file: str = "10-pods") -> None:
        """Make this the node's network, as an operator does."""
        whole = {"cniVersion": "1.1.0", "name": "pods", "plugins": plugins}
        path = self.settings.conf_dir / f"{file}.conflist"
        spare = path.with_suffix(".new")
        spare.write_text(json.dumps(whole))
        spare.replace(path)

    # -- the runtime's part ----------------------------------------------------------------

    def environ(self, verb: str, pod: str, changes: Mapping[str, str | None]) -> dict[str, str]:
        given: dict[str, str | None] = {"CNI_COMMAND": verb, "CNI_PATH": self.path}
        if pod:
            netns = self.netns(pod) if pod in self.pods else f"/run/netns/{pod}"
            given |= {"CNI_CONTAINERID": pod, "CNI_NETNS": netns, "CNI_IFNAME": "eth0"}
        inherited = {"PATH": os.environ["PATH"]}
        given = {**inherited, **given, **changes}
        return {key: value for key, value in given.items() if value is not None}

    def call(
        self,
        verb: str,
        pod: str = "",
        conf: Mapping[str, Any] | bytes = NETWORK,
        *,
        program: str = "",
        host: NetNS | None = None,
        under: Sequence[str] = (),
        **env: str | None,
    ) -> Answer:
        """Execute a plugin.

        Args:
            pod: container id; a pod of :meth:`pod`, or one whose namespace is not there.
            conf: the configuration, or the bytes on stdin.
            program: the executable; default: the configuration's type.
            host: where the runtime runs; default: on this node.
            under: a command that executes it.
            env: changes to the environment; ``None`` leaves a variable out.
        """
        data = conf if isinstance(conf, bytes) else json.dumps(conf).encode()
        if not program:
            program = FLAT if isinstance(conf, bytes) else conf.get("type", FLAT)
        ours = self.bin / program
        done = (host or self.host).run(
            subprocess.run,
            [*under, str(ours if ours.exists() else Path(PLUGIN_DIR, program))],
            input=data,
            env=self.environ(verb, pod, env),
            capture_output=True,
            check=False,
            timeout=SECONDS,
        )
        return Answer(done.returncode, done.stdout, done.stderr.decode(errors="replace"))

    def add(self, pod: str, conf: Mapping[str, Any] = NETWORK, **more: Any) -> Any:
        """ADD that must succeed, of a pod that is made where there is none; the result."""
        if pod not in self.pods:
            self.pod(pod)
        return self.call("ADD", pod, conf, **more).result()

    def delete(self, pod: str, conf: Mapping[str, Any] = NETWORK, **more: Any) -> None:
        """DEL that must succeed."""
        assert self.call("DEL", pod, conf, **more).result() is None

    def cnidaria(self, *words: str, exit: int = 0) -> str:  # noqa: A002
        """What the command line prints; where it is to fail, on stderr too."""
        where = self.settings
        paths = {"STATE_DIR": where.state_dir, "SOCKET": where.socket, "CONF_DIR": where.conf_dir}
        done = self.host.run(
            subprocess.run,
            [CNIDARIA, *words],
            env={"PATH": os.environ["PATH"]} | {f"CNIDARIA_{k}": str(v) for k, v in paths.items()},
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert done.returncode == exit, done.stdout + done.stderr
        return done.stdout + done.stderr if exit else done.stdout

    # -- what is there ---------------------------------------------------------------------

    def attachments(self) -> list[Attachment]:
        """What the journal holds."""
        return report.attachments(self.settings, boottime())

    def owned(self, host: NetNS | None = None) -> list[str]:
        """What is ours on the node, or in another caller's namespace."""
        return sorted(map(str, Kernel(host or self.host).owned()))

    def state(self) -> dict[str, Any]:
        """Everything that a call may change: kernel and journal."""
        pods = {name: links(pod) for name, pod in self.pods.items()}
        return {
            "host links": links(self.host),
            "host objects": self.owned(),
            "pod links": pods,
            "journal": [(one.id, one.state, one.leases) for one in self.attachments()],
        }

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """What is in the block must change nothing."""
        before = self.state()
        yield
        assert self.state() == before

    def assert_consistent(self) -> None:
        """Kernel and journal tell the same, and no address is held twice."""
        kernel = Kernel(self.host)
        attached = self.attachments()
        leases = [(lease.pool, lease.address) for one in attached for lease in one.leases]
        assert len(leases) == len(set(leases))
        assert {one.state for one in attached} <= {"attached"}
        wanted = [obj for one in attached for obj in one.objects]
        expected = {name for obj in wanted if obj.where == "host" for name in obj.names()}
        assert {link for link in links(self.host) if link.startswith("cnd")} == expected
        for one in attached:
            for where in ("host", "pod"):
                here = [obj for obj in one.objects if obj.where == where]
                with NetNS.open(one.netns_path) as pod:
                    side = kernel if where == "host" else Kernel(pod)
                    assert not side.differences(here, host=self.host, pod=pod)

    # -- the agent -------------------------------------------------------------------------

    @contextmanager
    def agent(self, *command: str, wait: bool = True) -> Iterator[Agent]:
        """A running agent; it ends with the block."""
        agent = Agent(self, command or (CNIDARIA, "agent"))
        try:
            if wait:
                agent.wait_until_it_answers()
            yield agent
        finally:
            agent.stop(signal.SIGKILL)
            agent.close()


class Agent:
    """A process ``cnidaria agent`` on a node, and what it has logged."""

    def __init__(self, node: CniNode, command: Sequence[str]) -> None:
        where = node.settings
        options = ["--state-dir", str(where.state_dir), "--conf-dir", str(where.conf_dir)]
        self._settings = where
        self._log = tempfile.TemporaryFile(mode="w+")
        self.process: subprocess.Popen[bytes] = node.host.run(
            subprocess.Popen,
            [*command, *options],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    @property
    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def answers(self) -> bool:
        return report.agent_answers(self._settings)

    def wait_until_it_answers(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.log
            return self.answers()

        wait_for("the agent", ready, 30)

    def close(self) -> None:
        """Let go of what it has logged."""
        self._log.close()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit code, once it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(SECONDS)
