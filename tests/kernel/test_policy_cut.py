"""Connections that began when they were allowed: what becomes of them when policies change."""

from __future__ import annotations

import errno
from collections.abc import Iterator
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
