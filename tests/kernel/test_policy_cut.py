"""Connections that began when they were allowed: what becomes of them when policies change."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cnidaria.kernel.conntrack import flows
from cnidaria.kernel.errors import KernelError
from cnidaria.kernel.netns import NetNS
from cnidaria_policy.enforcer import Enforcer
from cnidaria_policy.service import follow
from support.namespaces import may_unshare, run
from support.needs import needs
from support.policy_enforcer import Ends, enforcing, pod, write
from support.policy_lab import NUMBERS, Lab, Question, lab, pod_addresses

pytestmark = needs("nft")

HERE, LATE, ELSEWHERE = pod_addresses("n1", 1), pod_addresses("n1", 2), pod_addresses("n2", 2)
PORTS = "[{port: 80}, {port: 53, protocol: UDP}, {port: 80, protocol: SCTP}]"
ALLOWED = {("TCP", 80), ("UDP", 53), ("SCTP", 80)}
BEGUN = [*ALLOWED, ("TCP", 443), ("UDP", 81), ("SCTP", 81), ("ICMP", None)]

NO_RESETS = """
table inet quiet {
  chain raw { type filter hook prerouting priority raw; tcp flags rst drop
  }
}
"""
"""Nobody listens, and connections are remembered nevertheless."""

Known = set[tuple[str, str, int, int]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Lab]:
    if not may_unshare():
        pytest.skip("may not make network namespaces: run by scripts/in-namespaces")
    with lab(2) as made:
        # An association that nobody answers is forgotten after three seconds.
        patience = "net.netfilter.nf_conntrack_sctp_timeout_cookie_wait=600"
        run(made.nodes["n1"], "sysctl", "-w", patience)
        run(made.nodes["n1"], "sh", "-c", f"echo '{NO_RESETS}' | nft -f -")
        yield made


@pytest.fixture
def host(cluster: Lab) -> NetNS:
    cluster.forget_connections()
    return cluster.nodes["n1"]


@pytest.fixture
def enforcer(host: NetNS, tmp_path: Path) -> Iterator[Enforcer]:
    """Of a node with one pod, and no policy yet."""
    with enforcing(host, tmp_path, {"web": HERE}) as made:
        yield made


def begin(cluster: Lab, src: Ends, dst: Ends) -> list[Question]:
    """Connections of every protocol and both families, all of them allowed."""
    asked = [(src[n], dst[n], *what) for n in (0, 1) for what in BEGUN]
    assert cluster.ask(asked, [True] * len(asked)) == [True] * len(asked)
    return asked


def known(host: NetNS, ends: tuple[str, ...] = HERE) -> Known:
    return {(one.src, one.dst, one.protocol, one.port) for one in flows(host, ends)}


def of(asked: list[Question]) -> Known:
    """As the kernel tells of these."""
    return {
        (src, dst, NUMBERS["ICMPv6" if name == "ICMP" and ":" in src else name], port or 0)
        for src, dst, name, port in asked
    }


@pytest.mark.parametrize("side", ["egress", "ingress"])
def test_those_that_are_not_allowed_any_more_are_ended_and_no_others(
    cluster: Lab, host: NetNS, enforcer: Enforcer, tmp_path: Path, side: str
) -> None:
    ends = (HERE, ELSEWHERE) if side == "egress" else (ELSEWHERE, HERE)
    asked = begin(cluster, *ends)
    back = begin(cluster, *reversed(ends))
    rule = f"podSelector: {{}}, policyTypes: [{side.title()}], {side}: [{{ports: {PORTS}}}]"
    write(tmp_path, "some", f"{{{rule}}}")
    follow(enforcer, host)
    still = [one for one in asked if one[2:] in ALLOWED]
    assert known(host) == of(still) | of(back)


HELPER = """
table inet helpers {
  ct helper trivial { type \\"tftp\\" protocol udp;
  }
  chain c { type filter hook prerouting priority 0; udp dport 69 ct helper set \\"trivial\\"
  }
}
"""


@pytest.fixture
def helper(host: NetNS) -> Iterator[None]:
    """The node looks into TFTP for the ports that data come from."""
    run(host, "sh", "-c", f'echo "{HELPER}" | nft -f -')
    yield
    run(host, "nft", "delete", "table", "inet", "helpers")


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.usefixtures("helper")
def test_what_belongs_to_a_connection_ends_with_it(
    cluster: Lab, host: NetNS, enforcer: Enforcer, tmp_path: Path, family: int
) -> None:
    """Data that TFTP sends from a port that no policy names."""
    write(tmp_path, "some", f"{{podSelector: {{}}, ingress: [{{ports: {PORTS}}}]}}")
    follow(enforcer, host)
    client, server = ELSEWHERE[family], HERE[family]
    transfer(cluster, client, server, answered=False)
    rules = "[{ports: [{port: 69, protocol: UDP}]}]"
    write(tmp_path, "more", f"{{podSelector: {{}}, ingress: {rules}}}")
    write(tmp_path, "none", "{podSelector: {}, policyTypes: [Egress], egress: []}")
    follow(enforcer, host)
    both = transfer(cluster, client, server, answered=True)
    assert known(host) == both
    write(tmp_path, "some", "{podSelector: {}, ingress: []}")
    follow(enforcer, host)
    assert known(host) == both
    write(tmp_path, "more", "{podSelector: {}, ingress: []}")
    follow(enforcer, host)
    assert known(host) == set()


def transfer(cluster: Lab, client: str, server: str, *, answered: bool) -> Known:
    """A file is asked for and comes, unless that is denied; the two connections."""
    kind = socket.AF_INET6 if ":" in client else socket.AF_INET
    with ExitStack() as stack:
        asks, hears, sends = (
            stack.enter_context(cluster.place(one).socket(kind, socket.SOCK_DGRAM))
            for one in (client, server, server)
        )
        for one, place, port in ((asks, client, 0), (hears, server, 69), (sends, server, 0)):
            one.bind((place, port))
            one.settimeout(10 if answered else 0.2)
        asks.sendto(b"\0\1name\0octet\0", (server, 69))
        if not answered:
            with pytest.raises(TimeoutError):
                hears.recv(99)
            return set()
        _, whence = hears.recvfrom(99)
        sends.sendto(b"\0\3\0\1data", whence)
        assert asks.recv(99) == b"\0\3\0\1data"
        return {(client, server, 17, 69), (server, client, 17, whence[1])}


def test_what_an_add_finds_out_ends_connections_too(
    cluster: Lab, host: NetNS, enforcer: Enforcer, tmp_path: Path
) -> None:
    """An ADD may see the news before who follows the sources does."""
    asked = begin(cluster, HERE, ELSEWHERE)
    rule = f"podSelector: {{}}, policyTypes: [Egress], egress: [{{ports: {PORTS}}}]"
    write(tmp_path, "some", f"{{{rule}}}")
    enforcer.attach(host, pod("late", LATE))
    assert known(host) == of(asked)
    follow(enforcer, host)
    assert known(host) == of([one for one in asked if one[2:] in ALLOWED])


def test_nothing_is_ended_that_could_begin_again(
    cluster: Lab,
    host: NetNS,
    enforcer: Enforcer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An ADD has taken the news in, and they are not in the kernel yet when it is time to cut."""

    def refuse(*_: object) -> None:
        raise KernelError(errno.ENOMEM, "a table", "Cannot allocate memory")

    asked = begin(cluster, HERE, ELSEWHERE)
    write(tmp_path, "none", "{podSelector: {}, policyTypes: [Egress], egress: []}")
    with monkeypatch.context() as broken:
        broken.setattr(enforcer.table, "change", refuse)
        for step in (lambda: enforcer.attach(host, pod("late", LATE)), lambda: enforcer.cut(host)):
            with pytest.raises(KernelError, match="Cannot allocate memory"):
                step()
        assert known(host) == of(asked)
    assert enforcer.cut(host) == len(asked)
    assert known(host) == set()
    assert cluster.ask(asked, [False] * len(asked)) == [False] * len(asked)


def test_what_began_before_a_restart_is_ended_after_it(
    cluster: Lab, host: NetNS, enforcer: Enforcer, tmp_path: Path
) -> None:
    """Policies have changed meanwhile."""
    asked = begin(cluster, HERE, ELSEWHERE)
    write(tmp_path, "none", "{podSelector: {}, policyTypes: [Egress], egress: []}")
    later = Enforcer(enforcer.network, enforcer.config)
    later.open(host, [pod("web", HERE)])
    assert known(host) == of(asked)
    follow(later, host)
    assert known(host) == set()
