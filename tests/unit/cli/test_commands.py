"""The command line: what it says, where, and with which exit code."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from cnidaria.cli import COMMANDS, main, parser
from cnidaria.cli.pods import addresses
from cnidaria.node import report
from cnidaria.node.frame import LENGTH, Reply, frame, parse_call
from cnidaria.node.settings import Settings
from cnidaria.plan.attachment import Attachment
from cnidaria.plan.lease import Lease

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("command", ["status", "pods"])
@pytest.mark.parametrize("value", ["abc", "0", "-1", "nan"])
def test_a_wrong_environment_is_said_in_a_line(
    command: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("CNIDARIA_TIMEOUT", value)
    assert main([command]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"cnidaria {command}: CNIDARIA_TIMEOUT = {value!r}: must be a number of seconds above 0\n"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        parser(command).parse_args([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "example" in text
    assert "default: there" not in text


def test_a_node_s_name_needs_a_store(capsys: Capture) -> None:
    assert main(["init", "flat", "--subnet", "10.1.0.0/24", "--node", "n1"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("cnidaria init: --node n1: needs --store, where")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--name", "my pods"], 'name = "my pods": must be ASCII letters'),
        (["--name", "../x"], 'name = "../x": must be'),
        (["--store", "cluster.db"], 'cluster.store = "cluster.db": must be a URL such as'),
        (
            ["--store", "sqlite:cluster.db"],
            'cluster.store = "sqlite:cluster.db": must be "sqlite:',
        ),
        (["--store", "redis://x"], 'cluster.store = "redis://x": no store of this kind'),
        (["--store", "sqlite:/c.db", "--node", "a\nb"], "cluster.node = "),
        (["--subnet", "10.1.0.0/25"], "ipam.ranges[1][0].subnet = "),
        (["--subnet", "127.0.0.0/8"], "must be without 127.0.0.0/8"),
    ],
)
def test_init_prints_nothing_that_would_be_refused(
    more: list[str], says: str, capsys: Capture
) -> None:
    assert main(["init", "flat", "--subnet", "10.1.0.0/24", *more]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert says in printed.err and "(code" not in printed.err


def test_addresses_of_another_ipam_plugin_are_listed() -> None:
    def attachment(**fields: object) -> Attachment:
        return Attachment(network="n", container="c", ifname="eth0", plugin="p", **fields)

    v1 = {"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.5/16"}, {"address": "fd00::5/64"}]}
    v0 = {"cniVersion": "0.2.0", "ip4": {"ip": "10.9.0.5/16"}}
    assert addresses(attachment(result=v1)) == ["10.9.0.5", "fd00::5"]
    assert addresses(attachment(result=v0)) == ["10.9.0.5"]
    leases = (Lease("n", "10.1.0.2", 24),)
    assert addresses(attachment(result=v1, leases=leases)) == ["10.1.0.2"]
    assert addresses(attachment()) == []


# -- whether there is an agent ---------------------------------------------------------------


@contextmanager
def listening(settings: Settings, talk: Callable[[socket.socket], None]) -> Iterator[None]:
    """Something on the agent's socket that does ``talk`` with whoever comes first."""
    settings.state_dir.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(settings.socket))
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as connection:
                talk(connection)

        thread = Thread(target=serve)
        thread.start()
        yield
        thread.join()


def silent(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (b"", "silent"),
        (b"\xff\xff\xff\xff", "silent"),
        (frame({"v": 1}), "silent"),
        (Reply(0, b"{}").pack()[:-1], "silent"),
        (Reply(0, b"{}").pack(), "answers"),
    ],
    ids=["none", "too long", "nonsense", "cut", "whole"],
)
def test_an_agent_is_one_that_answers(answer: bytes, state: str, tmp_path: Path) -> None:
    def talk(connection: socket.socket) -> None:
        assert parse_call(connection.recv(4096)[LENGTH.size :], ()).env["CNI_COMMAND"] == "VERSION"
        connection.sendall(answer)

    settings = Settings(tmp_path / "state", tmp_path / "state" / "agent.sock")
    assert report.ask_agent(settings) == "absent"
    with listening(settings, talk):
        assert report.ask_agent(settings) == state


def test_an_agent_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "state", tmp_path / "state" / "agent.sock")
    with listening(settings, silent):
        assert report.ask_agent(settings, patience=0.1) == "silent"


def test_status_of_an_agent_that_hangs(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report.ask_agent, "__defaults__", (0.3,))
    settings = Settings(tmp_path / "state", tmp_path / "state" / "agent.sock")
    where = ["--state-dir", str(settings.state_dir)]
    assert main(["status", *where]) == 0
    none = f"agent     none on {settings.socket}: every call runs one-shot\n"
    assert capsys.readouterr().out == none
    with listening(settings, silent):
        assert main(["status", *where]) == 1
    text = capsys.readouterr().out
    assert text.startswith(f"agent     hangs on {settings.socket}\n")
    assert f"PROBLEM   agent: listens on {settings.socket} and does not answer" in text
    settings.socket.unlink()
    assert main(["status", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["agent"] is False
