"""The agent: started, stopped, killed, reconfigured, and who may talk to it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cnidaria.node import report
from cnidaria.node.frame import LENGTH, Reply, body_length, frame, parse_reply
from cnidaria.node.install import install
from support.cni import CNIDARIA, NETWORK, Answer, CniNode, network
from support.left_out import is_real_root
from support.namespaces import new_namespace, run
from support.node import wait_for

SWEEPING = (
    sys.executable,
    "-c",
    "from cnidaria.node import agent; from cnidaria.cli import main\n"
    "agent.SWEEP_EVERY = agent.SWEEP_GRACE = 0.2\n"
    "import sys; sys.exit(main(['agent', *sys.argv[1:]]))",
)
"""An agent that does not wait long before it sweeps."""


@pytest.fixture
def node() -> Iterator[CniNode]:
    with CniNode() as node:
        yield node


def at_once(calls: Sequence[Callable[[], Answer]]) -> list[Answer]:
    """What all calls return, made at the same time."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return [future.result() for future in [threads.submit(call) for call in calls]]


# -- death and end ---------------------------------------------------------------------------

BURST = 30


def test_kill_in_a_burst_loses_nothing(node: CniNode) -> None:
    """Half of the burst are ADDs, half DELs; the agent dies when a few are done."""
    old, new = ([f"{name}{n}" for n in range(BURST // 2)] for name in ("old", "new"))
    for pod in (*old, *new):
        node.pod(pod)
    with node.agent() as agent:
        for pod in old:
            node.add(pod)
        calls = [lambda pod=pod: node.call("ADD", pod) for pod in new]
        calls += [lambda pod=pod: node.call("DEL", pod) for pod in old]

        def kill() -> None:
            wait_for("some calls", lambda: len(node.attachments()) != len(old), 30)
            agent.stop(signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        answers = at_once(calls)
        killer.join()
        assert agent.process.returncode == -signal.SIGKILL
    results = [answer.result() for answer in answers]
    told = {result["ips"][0]["address"] for result in results if result}
    assert len(told) == len(new), "no address twice"
    assert {one.container for one in node.attachments()} == set(new)
    node.assert_consistent()
    with node.agent():
        for pod in new:
            node.delete(pod)
        wait_for("the end", lambda: not node.state()["host objects"])


def slow_ipam(node: CniNode, seconds: float) -> dict[str, Any]:
    """A network whose addresses come from a plugin that takes its time."""
    script = node.bin / "slow-ipam"
    answer = '{"cniVersion": "1.1.0", "ips": [{"address": "10.7.0.5/24"}]}'
    script.write_text(
        f"#!/bin/sh\necho $CNI_COMMAND >>{node.dir}/asked\n"
        f"[ $CNI_COMMAND != ADD ] || {{ sleep {seconds}; echo '{answer}'; }}\n"
    )
    script.chmod(0o755)
    return network(ipam={"type": "slow-ipam"})


def asked(node: CniNode) -> list[str]:
    path = node.dir / "asked"
    return path.read_text().split() if path.exists() else []


def test_term_finishes_the_calls_under_way(node: CniNode) -> None:
    conf = slow_ipam(node, 1)
    node.pod("p1")
    with node.agent() as agent, ThreadPoolExecutor(1) as thread:
        call = thread.submit(node.call, "ADD", "p1", conf)
        wait_for("the plugin", lambda: bool(asked(node)))
        assert agent.stop() == 0, agent.log
        assert not agent.answers()
        assert call.result().result()["ips"][0]["address"] == "10.7.0.5/32"
    assert asked(node) == ["ADD"], "the agent itself finished it"
    node.assert_consistent()


def test_kill_while_another_plugin_is_asked(node: CniNode) -> None:
    """What that plugin may have lent is given back before it is asked anew."""
    conf = slow_ipam(node, 1)
    node.pod("p1")
    with node.agent() as agent, ThreadPoolExecutor(1) as thread:
        call = thread.submit(node.call, "ADD", "p1", conf)
        wait_for("the plugin", lambda: bool(asked(node)))
        agent.stop(signal.SIGKILL)
        call.result().result()
    assert asked(node) == ["ADD", "DEL", "ADD"]
    node.assert_consistent()


@pytest.mark.parametrize("agent", [True, False], ids=["agent", "one-shot"])
def test_pods_outlive_the_journal(node: CniNode, agent: bool) -> None:
    """The kernel tells whose the links are, so nobody else gets the addresses, and DEL cleans."""
    node.conflist({key: NETWORK[key] for key in ("type", "ipam")})
    given = [node.add(pod)["ips"][0]["address"] for pod in ("p1", "p2")]
    (node.settings.state_dir / "journal").unlink()
    with node.agent() if agent else contextlib.nullcontext():
        assert node.add("p3")["ips"][0]["address"] not in given
        assert node.call("CHECK", "p1").result() is None
        assert "DEL it first" in node.call("ADD", "p1").error(103)
        node.end("p2")
        for pod in ("p1", "p2", "p3"):
            node.delete(pod)
    assert node.attachments() == []
    assert node.state()["host links"] == set()
    node.add("p4")
    node.assert_consistent()


def test_state_directory_removed_under_the_agent(node: CniNode) -> None:
    """A one-shot run that did not find the agent works meanwhile; nothing is lost."""
    with node.agent() as agent:
        node.add("p1")
        shutil.rmtree(node.settings.state_dir)
        node.add("p2")
        wait_for("the agent's return", agent.answers)
        assert "was removed; writing it anew" in agent.log
        wait_for("both", lambda: {one.container for one in node.attachments()} == {"p1", "p2"})
        node.add("p3")
        for pod in ("p1", "p2", "p3"):
            assert node.call("CHECK", pod).result() is None
            node.delete(pod)
        assert node.state()["host links"] == set()
        assert agent.stop() == 0
    assert node.attachments() == []


def test_state_directory_taken_by_another(node: CniNode) -> None:
    """Two never act at once: the first one sees it, and ends."""
    with node.agent() as first:
        node.add("p1")
        first.process.send_signal(signal.SIGSTOP)
        shutil.rmtree(node.settings.state_dir)
        with node.agent() as second:
            first.process.send_signal(signal.SIGCONT)
            assert first.process.wait(30) == 1
            assert "another process" in first.log
            assert "Traceback" not in first.log
            assert node.call("CHECK", "p1").result() is None
            assert second.stop() == 0


def test_pods_outlive_the_agent(node: CniNode) -> None:
    node.conflist({key: NETWORK[key] for key in ("type", "ipam")})
    with node.agent() as agent:
        node.add("p1")
        assert agent.stop() == 0
    node.assert_consistent()
    assert node.call("CHECK", "p1").result() is None
    with node.agent():
        assert node.call("CHECK", "p1").result() is None
        node.delete("p1")


# -- one at a time ---------------------------------------------------------------------------


def test_second_agent_refuses(node: CniNode) -> None:
    with node.agent() as first, node.agent(wait=False) as second:
        assert second.process.wait(30) == 1
        assert f"another process ({first.process.pid}) works on it" in second.log
        assert "Traceback" not in second.log
        assert first.answers(), "the first one still has its socket"
        assert node.call("STATUS").result() is None


def test_call_while_somebody_has_the_lock(node: CniNode) -> None:
    """As while an agent starts: the call waits; it gives up in time, and says why."""
    node.pod("p1")
    node.settings.state_dir.mkdir()
    lock = os.open(node.settings.state_dir / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as thread:
        error = node.call("ADD", "p1", CNIDARIA_TIMEOUT="1").error(11)
        assert "lock" in error
        call = thread.submit(node.call, "ADD", "p1")
        time.sleep(1)
        assert not call.done()
        os.close(lock)
        call.result().result()
    node.assert_consistent()


def test_calls_while_the_agent_starts(node: CniNode) -> None:
    pods = [f"p{n}" for n in range(6)]
    for pod in pods:
        node.pod(pod)
    with node.agent(wait=False) as agent:
        for answer in at_once([lambda pod=pod: node.call("ADD", pod) for pod in pods]):
            answer.result()
        agent.wait_until_it_answers()
        node.assert_consistent()
        assert len(node.attachments()) == len(pods)


def test_repeated_request_gets_what_the_first_one_got(node: CniNode) -> None:
    """The agent may die after it acted and before it answered: then the caller asks again."""
    node.pod("p1")
    with node.agent():
        first = ask(node, "ADD", "p1", b"1" * 16)
        with node.unchanged():
            assert ask(node, "ADD", "p1", b"1" * 16) == first
            assert b'"code":103' in ask(node, "ADD", "p1", b"2" * 16).stdout
        assert first.exit == 0
    with node.agent(), node.unchanged():
        assert ask(node, "ADD", "p1", b"1" * 16) == first, "also after a restart"


def request_of(node: CniNode, verb: str, pod: str, request_id: bytes) -> bytes:
    """The frame that the executable sends, with a request id of our own."""
    env = {key: text for key, text in node.environ(verb, pod, {}).items() if "CNI_" in key}
    return frame(
        {
            "v": 1,
            "id": request_id,
            "argv0": "cnidaria-flat",
            "env": env,
            "stdin": json.dumps(NETWORK).encode(),
            "fds": ["host", "pod"],
        }
    )


def ask(node: CniNode, verb: str, pod: str, request_id: bytes) -> Reply:
    """What the executable does, with a request id of our own."""
    request = request_of(node, verb, pod, request_id)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(node.settings.socket))
        socket.send_fds(connection, [request], [node.host.fd, node.pods[pod].fd])
        data = connection.recv(1 << 20)
        while len(data) < LENGTH.size + body_length(data[: LENGTH.size]):
            data += connection.recv(1 << 20)
        return parse_reply(data[LENGTH.size :])


# -- the socket ------------------------------------------------------------------------------


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """Somebody who accepts connections there and never answers."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener


def test_socket_absent_stale_or_hung(node: CniNode) -> None:
    node.pod("p1")
    here = str(node.dir / "other.sock")
    elsewhere = {"CNIDARIA_SOCKET": here, "CNIDARIA_TIMEOUT": "20"}
    with listening(Path(here)), node.unchanged():
        error = node.call("ADD", "p1", **{**elsewhere, "CNIDARIA_TIMEOUT": "0.5"}).error(11)
        assert f"the agent at {here} did not answer in time" in error
    assert Path(here).is_socket(), "stale"
    node.add("p1", **elsewhere)
    Path(here).unlink()
    node.delete("p1", **elsewhere)
    with listening(Path(here)) as listener:
        listener.shutdown(socket.SHUT_RDWR)
        node.add("p1", **elsewhere)
    Path(here).unlink()
    Path(here).touch()
    node.delete("p1", **elsewhere)


def test_agent_replaces_a_stale_socket(node: CniNode) -> None:
    node.settings.state_dir.mkdir()
    with listening(node.settings.socket):
        pass
    with node.agent() as agent:
        assert node.settings.socket.stat().st_mode & 0o777 == 0o600
        assert agent.stop() == 0
    assert not node.settings.socket.exists()


def test_agent_replaces_nothing_but_sockets(node: CniNode) -> None:
    node.settings.state_dir.mkdir()
    node.settings.socket.write_text("somebody's notes")
    with node.agent(wait=False) as agent:
        assert agent.process.wait(30) == 1
        assert f"{node.settings.socket}: is no socket" in agent.log
    assert node.settings.socket.read_text() == "somebody's notes"


def test_a_caller_that_went_away_is_not_attached(node: CniNode) -> None:
    """Its call is still waiting for its turn: nobody would know of what it attaches."""
    node.pod("p1")
    with node.agent() as agent:
        agent.process.send_signal(signal.SIGSTOP)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(node.settings.socket))
            asked = request_of(node, "ADD", "p1", b"1" * 16)
            socket.send_fds(connection, [asked], [node.host.fd, node.pods["p1"].fd])
        agent.process.send_signal(signal.SIGCONT)
        wait_for("the agent to notice", lambda: "went away before its turn" in agent.log, 30)
        assert not node.attachments()
        node.add("p1")


def test_more_callers_than_descriptors(node: CniNode) -> None:
    """They wait, the agent does not turn in a circle, and all are answered in the end."""
    limit = ("prlimit", "--nofile=24:24", CNIDARIA, "agent")
    with node.agent(*limit) as agent, contextlib.ExitStack() as stack:
        for _ in range(40):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(node.settings.socket))
        wait_for("the limit", lambda: "cannot accept a call" in agent.log, 30)
        before = agent.log.count("cannot accept a call")
        time.sleep(1)
        assert agent.log.count("cannot accept a call") - before < 10
        stack.close()
        wait_for("an answer", agent.answers, 30)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"\xff\xff\xff\xff", struct.pack("<I", 5) + b"hello", frame({"v": 1})],
    ids=["nothing", "cut", "huge", "no msgpack", "no request"],
)
def test_nonsense_on_the_socket(node: CniNode, data: bytes) -> None:
    with node.agent() as agent:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(node.settings.socket))
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
        assert node.call("STATUS").result() is None
        assert "Traceback" not in agent.log


NOBODY = 65534
SOMEBODY_ELSE = f"import os, socket, sys, time; os.setgid({NOBODY}); os.setuid({NOBODY}); "


@pytest.mark.skipif(not is_real_root(), reason="needs root: there is no other user to be")
def test_other_users_are_kept_out(node: CniNode) -> None:
    """The socket's mode keeps them out; should it be changed, the agent looks at who it is."""
    connect = SOMEBODY_ELSE + (
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(b'hello'); sys.exit(0 if s.recv(1) == b'' else 3)"
    )
    path = str(node.settings.socket)
    with node.agent() as agent:
        node.dir.chmod(0o755)
        node.settings.state_dir.chmod(0o755)

        def visit() -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-c", connect, path]
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

        assert "PermissionError" in visit().stderr
        node.settings.socket.chmod(0o666)
        assert "Permission" not in visit().stderr
        wait_for("a refusal", lambda: f"of uid {NOBODY} is neither root nor uid 0" in agent.log)


@pytest.mark.skipif(not is_real_root(), reason="needs root: there is no other user to be")
def test_agent_of_another_user_is_not_trusted(node: CniNode) -> None:
    node.pod("p1")
    directory = node.dir / "theirs"
    directory.mkdir()
    node.dir.chmod(0o755)
    os.chown(directory, NOBODY, NOBODY)
    path = directory / "agent.sock"
    listen = SOMEBODY_ELSE + (
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])\ns.listen(); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", listen, str(path)])
    try:
        wait_for("the socket", path.exists)
        time.sleep(0.1)
        with node.unchanged():
            error = node.call("ADD", "p1", CNIDARIA_SOCKET=str(path)).error(11)
        assert f"the agent's socket {path} belongs to user {NOBODY}" in error
    finally:
        process.kill()
        process.wait()


# -- the conflists ---------------------------------------------------------------------------


def flat(subnet: str, **more: Any) -> dict[str, Any]:
    return {"type": "cnidaria-flat", "ipam": {"subnet": subnet}, **more}


def routes(node: CniNode) -> list[str]:
    """What the node's part of its networks shows as."""
    lines = node.ip("route show proto 67").splitlines()
    return [line.split()[1] for line in lines if line.startswith("unreachable")]


def test_two_conflists_that_overlap(node: CniNode) -> None:
    """The first file has the addresses; of the other network it is said everywhere."""
    node.conflist(flat("10.1.0.0/24"))
    more = {"cniVersion": "1.1.0", "name": "more", "plugins": [flat("10.1.0.128/25")]}
    path = node.settings.conf_dir / "20-more.conflist"
    path.write_text(json.dumps(more))
    first, second = "10.1.0.1-10.1.0.254", "10.1.0.129-10.1.0.254"
    text = f"its addresses {second} (ipam) overlap with {first} of the network pods"
    other = network(name="more", **flat("10.1.0.128/25"))
    with node.agent() as agent:
        assert text in node.call("STATUS", conf=other).error(50)
        assert node.call("STATUS", conf=network(**flat("10.1.0.0/24"))).result() is None
        problems = report.read(node.settings)["problems"]
        assert problems.keys() == {"network more (cnidaria-flat)"}
        assert text in problems["network more (cnidaria-flat)"]
        assert agent.log.count(f"keeper: network more (cnidaria-flat): {text}") == 1
        path.unlink()
        agent.process.send_signal(signal.SIGHUP)
        wait_for("the end of the problem", lambda: not report.read(node.settings)["problems"])


def test_changed_conflists_are_taken_up(node: CniNode) -> None:
    with node.agent() as agent:

        def becomes(*subnets: str, tell: bool = True) -> None:
            if tell:
                agent.process.send_signal(signal.SIGHUP)
            wait_for(f"{subnets}", lambda: routes(node) == list(subnets))

        becomes()
        node.conflist(flat("10.1.0.0/24"))
        becomes("10.1.0.0/24", tell=False)  # it looks by itself, too
        node.conflist(flat("10.2.0.0/24"))
        becomes("10.2.0.0/24")
        (node.settings.conf_dir / "20-bad.conflist").write_text("{")
        wait_for("a complaint", lambda: "20-bad.conflist" in agent.log)
        node.conflist(flat("10.3.0.0/24", masqerade=True))
        becomes()
        wait_for("a complaint", lambda: 'did you mean "masquerade"' in agent.log)
        node.conflist(flat("10.1.0.0/24"))
        becomes("10.1.0.0/24")
        node.add("p1", network(**flat("10.1.0.0/24")))
        (node.settings.conf_dir / "10-pods.conflist").unlink()
        wait_for(
            "the file's end", lambda: "10-pods" not in str(list(node.settings.conf_dir.glob("*")))
        )
        time.sleep(0.5)
        assert routes(node) == ["10.1.0.0/24"], "it has a pod"
        node.delete("p1", network(**flat("10.1.0.0/24")))
        becomes()


def test_status_until_the_nodes_part_is_there(node: CniNode) -> None:
    plugin = flat("10.1.0.0/24", uplink="up0")
    conf = network(**plugin)
    node.conflist(plugin)
    with node.agent():
        assert "uplink 'up0': there is no such interface" in node.call("STATUS", conf=conf).error(
            50
        )
        node.ip("link add up0 type veth peer name up1")
        assert "uplink 'up0': the interface is down" in node.call("STATUS", conf=conf).error(50)
        node.ip("link set up1 up")
        node.ip("link set up0 up")
        assert node.call("STATUS", conf=conf).result() is None
        assert routes(node) == ["10.1.0.0/24"]
        node.ip("link del up0")
        node.call("STATUS", conf=conf).error(50)
        overlay = network(**{**plugin, "type": "cnidaria-overlay", "uplink": None})
        assert "no address" in node.call("STATUS", conf=overlay).error(50)


# -- where it acts, and what it cleans up ----------------------------------------------------


def test_pods_that_died_without_a_del_are_swept(node: CniNode) -> None:
    with node.agent(*SWEEPING) as agent:
        for pod in ("alive", "dead"):
            node.add(pod)
        node.end("dead")
        wait_for(
            "the sweep",
            lambda: [one.container for one in node.attachments()] == ["alive"],
        )
        assert "swept pods/dead/eth0/cnidaria-flat" in agent.log
        node.assert_consistent()
        node.delete("dead")
        with new_namespace() as caller:
            node.add("far", host=caller)
            node.end("far")
            wait_for("the sweep", lambda: len(node.attachments()) == 1)
            assert "10.1.0" not in run(
                caller, "ip", "route", "show", "proto", "67", "scope", "link"
            )


def test_sweep_spares_what_it_cannot_see(node: CniNode) -> None:
    """A path that is gone proves nothing: the pod may live."""
    with node.agent(*SWEEPING) as agent:
        path = node.dir / "link"
        path.symlink_to(node.netns(_pod(node, "p1")))
        node.add("p1", CNI_NETNS=str(path))
        path.unlink()
        time.sleep(1)
        assert "swept" not in agent.log
        node.delete("p1", CNI_NETNS=str(path))
        assert node.state()["pod links"]["p1"] == set()


IPAM = network(type="cnidaria-ipam", ipam={"type": "cnidaria-ipam", "subnet": "10.1.0.0/24"})


def test_sweep_asks_the_kernel_which_pods_live(node: CniNode) -> None:
    """Of addresses under another plugin there is no link of ours to tell; nobody else gets them."""
    pods = ("p1", "p2")
    with node.agent(*SWEEPING) as agent:
        for pod in pods:
            path = node.dir / pod
            path.symlink_to(node.netns(_pod(node, pod)))
            node.call("ADD", pod, IPAM, CNI_NETNS=str(path)).result()
            path.unlink()
        time.sleep(1)
        assert "swept" not in agent.log
        node.end("p1")
        # Its number is free, and the next one's.
        node.call("ADD", _pod(node, "p3"), IPAM).result()
        wait_for("the sweep", lambda: "swept pods/p1/" in agent.log, 30)
        assert sorted(one.container for one in node.attachments()) == ["p2", "p3"]


def _pod(node: CniNode, name: str) -> str:
    node.pod(name)
    return name


# -- the command line ------------------------------------------------------------------------


def test_install_and_uninstall(node: CniNode) -> None:
    """The whole life of an installation, by its commands."""
    where = ["--bin-dir", str(node.dir / "bin2"), "--state-dir", str(node.settings.state_dir)]

    def cnidaria(*arguments: str) -> subprocess.CompletedProcess[str]:
        return node.host.run(
            subprocess.run, [CNIDARIA, *arguments],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    (node.dir / "bin2").mkdir()
    (node.dir / "bin2" / "cnidaria-flat").write_text("somebody else's")
    assert "is not ours" in cnidaria("install", *where).stderr
    (node.dir / "bin2" / "cnidaria-flat").unlink()
    assert cnidaria("install", *where).returncode == 0
    node.bin = node.dir / "bin2"
    node.add("p1")
    refused = cnidaria("uninstall", *where)
    assert refused.returncode == 1
    assert "1 pods are attached (first: pods/p1/eth0/cnidaria-flat)" in refused.stderr
    assert cnidaria("pods", *where[2:]).stdout.split()[6:8] == ["pods", "p1"]
    with node.agent():
        assert "the agent runs" in cnidaria("uninstall", *where, "--force").stderr
    foreign = node.settings.state_dir / "notes.txt"
    foreign.write_text("somebody else's")
    done = cnidaria("uninstall", *where, "--force")
    assert (done.returncode, f"left {foreign}: it is not ours" in done.stdout) == (0, True)
    assert not list((node.dir / "bin2").iterdir())
    assert list(node.settings.state_dir.iterdir()) == [foreign]
    foreign.unlink()
    assert cnidaria("uninstall", *where).returncode == 0
    assert not node.settings.state_dir.exists()
    state = node.state()
    assert not any([state["host links"], state["host objects"], state["pod links"]["p1"]])


def test_a_plugin_that_cannot_be_imported_costs_itself_only(
    node: CniNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.py").write_text("import not_there")
    info = tmp_path / "bad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[cnidaria]\nbad = bad\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    install(node.bin, ["bad"], node.settings)
    bad = network(name="bad", type="bad")
    node.conflist({"type": "bad"})
    with node.agent() as agent:
        node.add("p1")
        node.pod("p2")
        for verb, code in (("ADD", 11), ("STATUS", 50)):
            assert "No module named 'not_there'" in node.call(verb, "p2", bad).error(code)
        node.delete("p2", bad)
        node.delete("p1")
        problems = report.read(node.settings)["problems"]
        assert problems.keys() == {"plugin bad", "network pods (bad)"}
        assert "plugin bad: plugin 'bad' (bad (bad)) fails" in agent.log


def test_status_of_an_agent_that_is_stopped(node: CniNode) -> None:
    """It listens still, as the kernel does that."""
    command = [CNIDARIA, "status", "--state-dir", str(node.settings.state_dir)]
    with node.agent() as agent:
        agent.process.send_signal(signal.SIGSTOP)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        agent.process.send_signal(signal.SIGCONT)
    assert done.returncode == 1
    assert f"agent     hangs on {node.settings.socket}" in done.stdout
    assert "PROBLEM   agent: listens on" in done.stdout
