"""A running agent's metrics: asked by the command line and scraped over HTTP."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import replace
from select import select

import pytest

from cnidaria.cli.status import gather
from cnidaria.kernel.netns import NetNS
from cnidaria.node import report
from cnidaria.node.endpoint import LONGEST, MOST
from cnidaria.node.server import WORKERS
from cnidaria.node.settings import Settings
from support.cni import CNIDARIA, NETWORK, CniNode, network
from support.metrics import Numbers, number, parse
from support.node import wait_for

PORT = 9469
SCRAPED = (CNIDARIA, "agent", "--metrics", f"127.0.0.1:{PORT}")
GET = b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n"


@pytest.fixture
def node() -> Iterator[CniNode]:
    with CniNode() as node:
        node.ip("link set lo up")
        yield node


def connect(host: NetNS, address: str = "127.0.0.1") -> socket.socket:
    def made() -> socket.socket:
        return socket.create_connection((address, PORT), timeout=30)

    return host.run(made)


def listens(host: NetNS, address: str = "127.0.0.1") -> bool:
    try:
        connect(host, address).close()
    except OSError:
        return False
    return True


def ask(host: NetNS, request: bytes) -> tuple[int, str, bytes]:
    """Status, head and body of the answer to what is sent."""
    with connect(host) as connection:
        connection.sendall(request)
        answer = b""
        with suppress(ConnectionResetError):  # where it has not read all that was sent
            while more := connection.recv(1 << 16):
                answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), head.decode(), body


def asked(node: CniNode) -> Numbers:
    return parse(node.cnidaria("metrics"))


def test_calls_pods_and_addresses(node: CniNode) -> None:
    node.conflist({key: NETWORK[key] for key in ("type", "ipam")})
    with node.agent():
        before = asked(node)
        assert number(before, "cnidaria_cni_calls_total", verb="ADD", code="0") == 0
        node.add("p1")
        node.add("p2")
        node.pod("p3")
        node.call("ADD", "p3", network(ipam={"ranges": [[{"subnet": "no"}]]})).error(7)
        node.delete("p1")
        found = asked(node)
        told = json.loads(node.cnidaria("metrics", "--json"))
    flat = {"network": "pods", "type": "cnidaria-flat"}
    v4 = {"network": "pods", "pool": "10.1.0.1-10.1.0.254"}
    calls = "cnidaria_cni_calls_total"
    assert number(found, calls, verb="ADD", code="0") == 2
    assert number(found, calls, verb="ADD", code="7") == 1
    assert number(found, calls, verb="DEL", code="0") == 1
    assert number(found, "cnidaria_cni_call_duration_seconds_count", verb="ADD") == 3
    assert 0 < number(found, "cnidaria_cni_call_duration_seconds_sum", verb="ADD") < 60
    assert number(found, "cnidaria_attachments", **flat) == 1
    assert number(found, "cnidaria_network_up", **flat) == 1
    assert number(found, "cnidaria_addresses", state="taken", **v4) == 1
    assert number(found, "cnidaria_addresses", state="free", **v4) == 252
    assert number(found, "cnidaria_problems") == 0
    assert number(found, "cnidaria_agent_start_time_seconds") <= time.time()
    (one,) = [family for family in told if family["name"] == "cnidaria_attachments"]
    assert one["samples"] == [{"name": one["name"], "labels": flat, "value": 1}]


def test_repairs_and_problems(node: CniNode) -> None:
    node.conflist({key: NETWORK[key] for key in ("type", "ipam")})
    with node.agent():
        (address, *_) = (one["address"] for one in node.add("p1")["ips"])
        time.sleep(0.6)  # a change of a fresh attachment is taken for the echo of its ADD
        node.ip(f"route del {address}")
        wait_for(
            "the repair",
            lambda: asked(node).get(("cnidaria_repairs_total", (("kind", "route"),))) == 1,
        )
        node.settings.conf_dir.joinpath("20-bad.conflist").write_text("{")
        wait_for("the problem", lambda: number(asked(node), "cnidaria_problems") == 1)


def test_without_an_agent(node: CniNode) -> None:
    said = node.cnidaria("metrics", exit=1)
    assert said == (
        f"cnidaria metrics: no agent listens on {node.settings.socket}: "
        "start one with `cnidaria agent`\n"
    )


FAULTY = (
    sys.executable,
    "-c",
    "from cnidaria.cli import main; from cnidaria import Metric; from cnidaria_flat import Flat\n"
    "twice = Metric('cnidaria_lan_neighbours', 'gauge', 'x').sample(1)\n"
    "Flat.metrics = lambda *_: {}\n"
    "import sys; sys.exit(main(['agent', *sys.argv[1:]]))",
)
"""An agent with a mode whose metrics are wrong."""


@pytest.mark.parametrize("wrong", ["1 / 0", "[twice, twice]"])
def test_a_mode_that_fails_costs_no_other_numbers(node: CniNode, wrong: str) -> None:
    node.conflist({key: NETWORK[key] for key in ("type", "ipam")})
    *python, script = FAULTY
    source = {"source": "network pods (cnidaria-flat)"}
    with node.agent(*python, script.format(wrong)) as agent:
        wait_for("the network", lambda: source_fails(node, source))
        assert number(asked(node), "cnidaria_network_up", network="pods", type="cnidaria-flat") == 1
        assert not [name for name, _ in asked(node) if name == "cnidaria_lan_neighbours"]
        assert agent.log.count("metrics of network pods (cnidaria-flat)") == 1


def test_a_mode_that_hangs_holds_up_no_call(node: CniNode) -> None:
    """Though more ask for its metrics than there are threads for calls."""
    node.conflist({key: NETWORK[key] for key in ("type", "ipam")})
    *python, script = FAULTY

    def said(timeout: float) -> str:
        with pytest.raises(report.NoAnswerError) as caught:
            report.metrics(replace(node.settings, timeout=timeout), "text")
        return str(caught.value)

    with node.agent(*python, script.format("__import__('time').sleep(1000)")):
        wait_for("the network", lambda: "pods" in gather(node.settings)["networks"])
        assert "timed out" in said(1.0)
        with ThreadPoolExecutor(WORKERS + 2) as threads:
            asking = [threads.submit(said, 30.0) for _ in range(WORKERS + 2)]
            node.add("p1")
            answers = [one.result() for one in as_completed(asking)]
        reason = "metrics of network pods (cnidaria-flat): are still being collected"
        assert sum(reason in one for one in answers) > WORKERS


def source_fails(node: CniNode, source: dict[str, str]) -> bool:
    place = "cnidaria_metrics_failures_total", tuple(source.items())
    return asked(node).get(place, 0) >= 1


# -- over HTTP -------------------------------------------------------------------------------------


def test_scraped(node: CniNode) -> None:
    node.conflist({key: NETWORK[key] for key in ("type", "ipam")})
    with node.agent(*SCRAPED):
        wait_for("the endpoint", lambda: listens(node.host))
        node.add("p1")
        status, head, body = ask(node.host, GET)
        assert status == 200
        assert "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n" in head
        assert f"\r\nContent-Length: {len(body)}\r\n" in head
        found = parse(body.decode())
        assert found.keys() == asked(node).keys()
        attached = {"network": "pods", "type": "cnidaria-flat"}
        assert number(found, "cnidaria_attachments", **attached) == 1
        by_query = ask(node.host, b"GET /metrics?x=1 HTTP/1.0\r\n\r\n")
        assert by_query[0] == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/ HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", 405),
        (b"GET /metrics\r\n\r\n", 400),
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * LONGEST * 4, 400),
    ],
)
def test_nothing_else_is_told(node: CniNode, request_: bytes, status: int) -> None:
    with node.agent(*SCRAPED):
        wait_for("the endpoint", lambda: listens(node.host))
        found, _, body = ask(node.host, request_)
        assert found == status
        assert b"cnidaria_" not in body


def test_idle_connections_hold_up_nobody(node: CniNode) -> None:
    """More than there may be: those past it are closed, and the others when their time is up."""
    with node.agent(*SCRAPED) as agent:
        wait_for("the endpoint", lambda: listens(node.host))
        idle = [connect(node.host) for _ in range(2 * MOST)]
        try:
            wait_for("the end", lambda: len(select(idle, [], [], 0)[0]) >= MOST)
            assert select(idle, [], [], 0)[0] == idle[MOST:]
            node.add("p1")
            assert number(asked(node), "cnidaria_cni_calls_total", verb="ADD", code="0") == 1
            assert [one.recv(1) for one in idle] == [b""] * len(idle)
            assert ask(node.host, GET)[0] == 200
        finally:
            for one in idle:
                one.close()
        assert agent.stop() == 0
        assert "Traceback" not in agent.log


def test_a_port_that_is_taken(node: CniNode) -> None:
    """Pods come and go; status says so until the port is free."""
    taken = node.host.run(socket.create_server, ("127.0.0.1", PORT))
    said = f"cannot listen on 127.0.0.1 port {PORT}"

    def problems() -> str:
        return str(gather(node.settings)["problems"])

    with taken, node.agent(*SCRAPED):
        wait_for("the problem", lambda: said in problems())
        node.add("p1")
        taken.close()
        wait_for("the endpoint", lambda: listens(node.host), 30)
        wait_for("no problem", lambda: said not in problems())
        assert ask(node.host, GET)[0] == 200


def test_an_ipv6_address(node: CniNode) -> None:
    with node.agent(CNIDARIA, "agent", "--metrics", f"[::1]:{PORT}"):
        wait_for("the endpoint", lambda: listens(node.host, "::1"))
        assert not listens(node.host)


def test_a_place_of_the_environment(node: CniNode) -> None:
    with node.agent("env", f"CNIDARIA_METRICS=127.0.0.1:{PORT}", CNIDARIA, "agent"):
        wait_for("the endpoint", lambda: listens(node.host))


def test_a_wrong_place_of_the_environment_is_the_agent_s_alone(
    node: CniNode,
) -> None:
    node.pod("p1")
    assert node.call("ADD", "p1", CNIDARIA_METRICS="9469").result()
    assert Settings.from_env({"CNIDARIA_METRICS": "9469"}).metrics is None


@pytest.mark.parametrize("text", ["9469", "localhost:9469"])
def test_a_place_that_is_none(node: CniNode, text: str) -> None:
    said = node.cnidaria("agent", "--metrics", text, exit=1)
    assert said.startswith(f"cnidaria agent: --metrics = {text!r}: must be an address and a port")
