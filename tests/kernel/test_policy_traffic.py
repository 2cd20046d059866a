"""Real packets beyond the first one: answers, and what NAT makes of a connection on its way."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from cnidaria.kernel.conntrack import flows
from cnidaria.kernel.netns import NetNS
from cnidaria_policy.service import follow
from support.namespaces import may_unshare, run
from support.needs import needs
from support.policy_enforcer import Ends, enforcing, write
from support.policy_examples import cluster_policy
from support.policy_lab import NODES, NUMBERS, Lab, Question, lab, pod_addresses

pytestmark = needs("nft", "ping")

WEB, DB, API = (pod_addresses("n1", number) for number in (1, 2, 3))
OUTSIDE: Ends = ("203.0.113.5", "2001:db8::9")
SERVICE: Ends = ("192.0.2.1", "2001:db8:5e::1")
NAT = f"""
table inet nat {{
  chain to {{ type nat hook prerouting priority dstnat
    ip daddr {SERVICE[0]} dnat ip to {DB[0]}
    ip6 daddr {SERVICE[1]} dnat ip6 to {DB[1]}
  }}
  chain from {{ type nat hook postrouting priority srcnat; masquerade
  }}
}}
"""
TO_DB = (("TCP", 80), ("UDP", 53), ("SCTP", 80))
OF_DB = "podSelector: {matchLabels: {app: db}}"
ONLY_WEB = f"{{{OF_DB}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: web}}}}}}]}}]}}"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Lab]:
    if not may_unshare():
        pytest.skip("may not make network namespaces: run by scripts/in-namespaces")
    with lab(3) as made:
        made.alias(SERVICE[0], DB[0])
        made.alias(SERVICE[1], DB[1])
        yield made


@pytest.fixture
def host(cluster: Lab) -> NetNS:
    cluster.forget_connections()
    return cluster.nodes["n1"]


def every(src: Ends, dst: Ends, *what: tuple[str, int | None]) -> list[Question]:
    """Of both families."""
    return [(src[n], dst[n], *one) for n in (0, 1) for one in what]


def begins(cluster: Lab, asked: list[Question], expected: bool) -> bool:
    """Whether all of them begin, or none."""
    return cluster.ask(asked, [expected] * len(asked)) == [expected] * len(asked)


@pytest.mark.parametrize("began", ["inside", "outside"])
def test_answers_pass_and_nothing_else(
    cluster: Lab, host: NetNS, tmp_path: Path, began: str
) -> None:
    """Of a pod that may not be talked to, or may not talk, beside the one thing that is allowed."""
    kind, other = ("Egress", "Ingress") if began == "inside" else ("Ingress", "Egress")
    write(tmp_path, "none", f"{{podSelector: {{}}, policyTypes: [{other}]}}")
    write(tmp_path, "all", f"{{podSelector: {{}}, policyTypes: [{kind}], {kind.lower()}: [{{}}]}}")
    ends = (WEB, OUTSIDE) if began == "inside" else (OUTSIDE, WEB)
    asked = every(*ends, ("UDP", 53), ("SCTP", 80))
    with enforcing(host, tmp_path, {"web": WEB}):
        assert cluster.answer(asked) == [False] * 4  # of nothing that has begun
        assert begins(cluster, asked, True)
        assert cluster.answer(asked) == [True] * 4
        assert begins(cluster, every(*reversed(ends), ("UDP", 53), ("ICMP", None)), False)
        inside = cluster.place(ends[0][0])
        for address in ends[1]:
            run(inside, "ping", "-c", "1", "-W", "5", "-I", ends[0][":" in address], address)


@pytest.fixture
def nat(host: NetNS) -> Iterator[None]:
    run(host, "sh", "-c", f"echo '{NAT}' | nft -f -")
    yield
    run(host, "nft", "delete", "table", "inet", "nat")


@pytest.mark.parametrize("kind", range(130, 138))
def test_what_neighbours_say_is_not_routed(
    cluster: Lab, host: NetNS, tmp_path: Path, kind: int
) -> None:
    """Only who is on the link may send it: from a pod to another one it could be anything."""
    write(tmp_path, "none", "{podSelector: {}, policyTypes: [Ingress]}")
    text = f"this is {kind}".encode()
    ends = [cluster.place(one[1]) for one in (WEB, DB)]
    with enforcing(host, tmp_path, {"web": WEB, "db": DB}), ExitStack() as stack:
        sender, receiver = (
            stack.enter_context(one.socket(socket.AF_INET6, socket.SOCK_RAW, 58)) for one in ends
        )
        receiver.setblocking(False)
        for hops in (1, 2, 64, 255):
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
            sender.sendto(bytes((kind, 0, 0, 0)) + text, (DB[1], 0, 0, 0))
        cluster.pass_by()
        heard = []
        with suppress(BlockingIOError):
            while True:
                heard.append(receiver.recv(2048))
        assert not any(text in one for one in heard)


@pytest.mark.usefixtures("nat")
def test_nat_hides_nobody(cluster: Lab, host: NetNS, tmp_path: Path) -> None:
    """A service's address is that of the pod behind it, and who masquerades is who is behind."""
    with enforcing(host, tmp_path, {"web": WEB, "db": DB, "api": API}) as enforcer:
        assert begins(cluster, every(WEB, SERVICE, *TO_DB), True)
        write(tmp_path, "db", ONLY_WEB)
        follow(enforcer, host)
        cluster.forget_connections()
        assert begins(cluster, every(WEB, SERVICE, *TO_DB), True)
        assert begins(cluster, every(API, SERVICE, *TO_DB), False)
        assert begins(cluster, every(OUTSIDE, DB, *TO_DB), False)
        write(tmp_path, "web", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress],"
              " egress: [{to: [{podSelector: {matchLabels: {app: api}}}]}]}")  # fmt: skip
        follow(enforcer, host)
        cluster.forget_connections()
        assert begins(cluster, every(WEB, SERVICE, *TO_DB), False)
        assert begins(cluster, every(WEB, OUTSIDE, *TO_DB), False)
        assert begins(cluster, every(WEB, API, *TO_DB), True)


@pytest.mark.usefixtures("nat")
def test_what_nat_hides_is_ended_too(cluster: Lab, host: NetNS, tmp_path: Path) -> None:
    with enforcing(host, tmp_path, {"web": WEB, "db": DB, "api": API}) as enforcer:
        for src in (WEB, API, DB):
            assert begins(cluster, every(src, SERVICE, ("UDP", 53), ("SCTP", 80)), True)
        write(tmp_path, "db", ONLY_WEB)
        follow(enforcer, host)
        left = {(one.src, one.dst, one.protocol) for one in flows(host, DB)}
        assert left == {
            (src[n], DB[n], NUMBERS[name])
            for src in (WEB, DB)
            for n in (0, 1)
            for name in ("UDP", "SCTP")
        }


@pytest.mark.usefixtures("nat")
def test_a_pod_that_reaches_itself_by_a_service(cluster: Lab, host: NetNS, tmp_path: Path) -> None:
    """No NetworkPolicy keeps it from that; policies of the whole cluster make no exception."""
    shut = "{podSelector: {}, policyTypes: [Ingress, Egress]}"
    with enforcing(host, tmp_path, {"web": WEB, "db": DB}) as enforcer:
        write(tmp_path, "shut", shut)
        follow(enforcer, host)
        assert begins(cluster, every(DB, SERVICE, *TO_DB), True)
        assert begins(cluster, every(WEB, SERVICE, *TO_DB), False)
        for way, peers in (("ingress", "from"), ("egress", "to")):
            rule = f"[{{action: Deny, {peers}: [{{pods: {{{OF_DB}}}}}]}}]"
            spec = f"{{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, {way}: {rule}}}"
            (tmp_path / "all.yaml").write_text(cluster_policy(spec))
            follow(enforcer, host)
            cluster.forget_connections()
            assert begins(cluster, every(DB, SERVICE, *TO_DB), False), way


@pytest.mark.parametrize("what", ["networks", "nodes"])
def test_a_pod_and_its_own_node_that_no_file_knows(
    cluster: Lab, host: NetNS, tmp_path: Path, what: str
) -> None:
    """What is denied towards all networks, or all nodes, is denied towards the own one."""
    peers = "networks: [0.0.0.0/0, '::/0']" if what == "networks" else "nodes: {}"
    deny = cluster_policy(
        "{tier: Admin, priority: 1, subject: {namespaces: {}}, egress: "
        f"[{{action: Deny, to: [{{{peers}}}]}}]}}"
    )
    to_node = every(WEB, NODES["n1"], ("TCP", 80), ("UDP", 53), ("ICMP", None))
    from_node = every(NODES["n1"], WEB, ("TCP", 80), ("UDP", 53), ("ICMP", None))
    with enforcing(host, tmp_path, {"web": WEB}) as enforcer:
        assert begins(cluster, to_node, True)
        cluster.forget_connections()
        (tmp_path / "deny.yaml").write_text(deny)
        follow(enforcer, host)
        assert begins(cluster, to_node, False)
        assert begins(cluster, from_node, True)
        said = [enforcer.world.engine.verdict(*one).allowed for one in (*to_node, *from_node)]
        assert said == [False] * len(to_node) + [True] * len(from_node)
