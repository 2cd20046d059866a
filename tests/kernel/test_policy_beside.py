"""Policies beside the firewalls of others: real ones, left as they are, and named if they drop."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cnidaria.cli.status import gather
from cnidaria.kernel.conntrack import Flow, flows
from cnidaria.kernel.foreign import dropping
from support.cni import CniNode
from support.firewalls import firewalld, has_firewalld, others
from support.namespaces import make_uplink, run
from support.needs import needs
from support.node import wait_for
from support.policy_examples import network_policy
from support.policy_node import FLAT, STEPS, Cluster, fill, subnets

pytestmark = needs("nft", "iptables-nft", "iptables-legacy")

PATIENCE = 20.0


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A node with an uplink."""
    with CniNode() as node:
        make_uplink(node.host, "192.0.2.1/24")
        run(node.host, "ip", "address", "add", "2001:db8::1/64", "dev", "up0", "nodad")
        for gateway in ("192.0.2.254", "2001:db8::2"):
            run(node.host, "ip", "route", "add", "default", "via", gateway)
        made = Cluster(node, FLAT)
        made.publish()
        yield made
        made.close()


@contextmanager
def pods(cluster: Cluster) -> Iterator[None]:
    """Three pods come, and go at the end."""
    fill(cluster, "x")
    yield
    for one in list(cluster.pods):
        cluster.delete(one)


def lives_beside(cluster: Cluster) -> None:
    """Pods come and go, policies are in force, nothing of the others' changes or is named."""
    theirs = others(cluster.node.host)
    assert theirs
    with cluster.node.agent(), pods(cluster):
        cluster.judge()
        cluster.write("policies.yaml", *STEPS.values())
        cluster.judge()
        assert dropping(cluster.node.host, places(cluster)) == []
        assert others(cluster.node.host) == theirs
        (cluster.policies / "policies.yaml").unlink()
        cluster.judge()
        assert status(cluster) == ""
    assert others(cluster.node.host) == theirs


def places(cluster: Cluster) -> dict[str, str]:
    """The pods' addresses; their interfaces are those that the routes name."""
    return {one: "" for pod in cluster.pods for one in cluster.addresses(pod)}


def status(cluster: Cluster) -> str:
    """The problems that ``cnidaria status`` tells."""
    return " ".join(gather(cluster.node.settings)["problems"].values())


def named(cluster: Cluster, *words: str) -> None:
    """An agent that starts tells of a problem in these words, and no packet between pods passes."""
    theirs = others(cluster.node.host)
    with cluster.node.agent(), pods(cluster):
        what = f"status has {words}"
        wait_for(what, lambda: all(word in status(cluster) for word in words), PATIENCE)
        cluster.lab.forget_connections()
        asked = cluster.questions()
        assert not any(cluster.lab.ask(asked, [False] * len(asked)))
    assert others(cluster.node.host) == theirs


@pytest.mark.skipif(not has_firewalld(), reason="needs firewalld: run scripts/setup-runtimes")
@needs("dbus-daemon")
def test_firewalld(cluster: Cluster) -> None:
    with firewalld(cluster.node.host) as wall:
        chain = "chain filter_FWD_public of table inet firewalld"
        named(cluster, chain, "drops all connections from pods to elsewhere")
        for subnet in subnets(1):
            wall.set("--zone=trusted", f"--add-source={subnet}")
        with pods(cluster):
            (found,) = dropping(cluster.node.host, places(cluster))
            assert (found.chain, found.what) == (
                "filter_FWD_public",
                "all connections to pods from elsewhere",
            )
        wall.set("--set-default-zone=trusted")
        lives_beside(cluster)


@pytest.mark.parametrize("kind", ["legacy", "nft"])
def test_iptables(cluster: Cluster, kind: str) -> None:
    host = cluster.node.host
    programs = f"iptables-{kind}", f"ip6tables-{kind}"
    for line in (
        "-t filter -N MINE",
        "-t filter -A MINE -p tcp --dport 25 -m addrtype --dst-type LOCAL -j REJECT",
        "-t filter -A MINE -m conntrack --ctstate INVALID -j DROP",
        "-t filter -A INPUT -j MINE",
        "-t filter -A FORWARD -j MINE",
        "-t mangle -A PREROUTING -p tcp --tcp-flags SYN,RST SYN,RST -j DROP",
    ):
        for program in programs:
            run(host, program, *line.split())
    lives_beside(cluster)
    for program in programs:
        for line in ("-N REST", "-A REST -j REJECT", "-A FORWARD -j REST"):
            run(host, program, *line.split())
    by = "iptables-legacy" if kind == "legacy" else "nftables"
    chains = [f"chain REST of table {family} filter" for family in ("ip", "ip6")]
    named(cluster, f"{by}: rule", *chains, "drops all connections from pods to elsewhere")


KUBE_PROXY = Path(__file__).parent.parent / "support" / "kube-proxy"
"""Rules that kube-proxy made: services with and without endpoints, node ports, a load balancer."""


def load(cluster: Cluster, program: str, file: str) -> None:
    """Have a program read a rule set."""
    text = (KUBE_PROXY / file).read_text()
    argv = [program, "-f", "-"] if program == "nft" else [program]
    cluster.node.host.run(subprocess.run, argv, input=text, text=True, check=True)


@pytest.mark.parametrize("kind", ["legacy", "nft"])
def test_kube_proxy_by_iptables(cluster: Cluster, kind: str) -> None:
    for program in ("iptables", "ip6tables"):
        load(cluster, f"{program}-{kind}-restore", program)
    lives_beside(cluster)
    for program in ("iptables", "ip6tables"):
        run(cluster.node.host, f"{program}-{kind}", "-A", "KUBE-FORWARD", "-j", "DROP")
    chains = [f"chain KUBE-FORWARD of table {family} filter" for family in ("ip", "ip6")]
    named(cluster, *chains)


def test_kube_proxy_by_nftables(cluster: Cluster) -> None:
    load(cluster, "nft", "nftables")
    lives_beside(cluster)
    for family in ("ip", "ip6"):
        run(cluster.node.host, "nft", "add", "rule", family, "kube-proxy", "filter-forward", "drop")
    chains = [f"chain filter-forward of table {family} kube-proxy" for family in ("ip", "ip6")]
    named(cluster, *chains, "drops all connections")


# -- what gets round policies ----------------------------------------------------------------------

ANSWERED = (
    network_policy("{podSelector: {matchLabels: {app: web}}, ingress: []}", "web", "x"),
    network_policy(
        "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: "
        "{app: web}}}], ports: [{port: 80}]}]}",
        "db",
        "x",
    ),
)
"""To web comes nothing but answers, to db what web sends to one port."""
BOTH_WAYS = "type filter hook prerouting priority raw;"


def answered(cluster: Cluster, src: str, dst: str, port: int = 80) -> bool:
    """Whether a TCP connection comes about: its answers come, too."""
    hosts = [cluster.hosts[cluster.addresses(one)[0]].namespace for one in (src, dst)]
    with hosts[1].socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind((cluster.addresses(dst)[0], port))
        server.listen()
        with hosts[0].socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(0.5)
            try:
                client.connect((cluster.addresses(dst)[0], port))
            except OSError:
                return False
            return True


@contextmanager
def rule(cluster: Cluster, text: str) -> Iterator[None]:
    """Somebody's table, for a time."""
    run(cluster.node.host, "nft", text)
    try:
        yield
    finally:
        run(cluster.node.host, "nft", "delete table ip raw2")


def test_what_is_not_tracked_is_judged_packet_by_packet(cluster: Cluster) -> None:
    """No policy is got round: answers pass only where they might begin a connection."""
    table = f"table ip raw2 {{ chain c {{ {BOTH_WAYS} notrack; }}; }}"
    with cluster.node.agent(), pods(cluster):
        cluster.write("policies.yaml", *ANSWERED)
        cluster.judge()
        assert answered(cluster, "x/web", "x/db")
        with rule(cluster, table):
            cluster.judge()  # the first packets
            assert not answered(cluster, "x/web", "x/db")
            assert not answered(cluster, "x/api", "x/db")
            says = "keeps connection tracking off all connections"
            wait_for("status tells it", lambda: says in status(cluster), PATIENCE)
            said = cluster.node.cnidaria("policy", "verify", "--flows", "20")
            assert "all agree" in said
            assert "  note     nftables: rule handle" in said
            assert says in said
            (cluster.policies / "policies.yaml").unlink()
            cluster.judge()
            assert answered(cluster, "x/web", "x/db")
        assert "note" not in cluster.node.cnidaria("policy", "verify", "--flows", "0")


def test_connections_of_any_zone_are_judged_and_ended(cluster: Cluster) -> None:
    """Answers that are in another zone belong to nothing."""
    with cluster.node.agent(), pods(cluster):
        web = cluster.addresses("x/web")[0]
        cluster.write("policies.yaml", *ANSWERED)
        cluster.judge()
        half = f"table ip raw2 {{ chain c {{ {BOTH_WAYS} ip saddr {web} ct zone set 5; }}; }}"
        with rule(cluster, half):
            cluster.judge()
            assert not answered(cluster, "x/web", "x/db")
            says = "may give another zone of connection tracking to connections"
            wait_for("status tells it", lambda: says in status(cluster), PATIENCE)
        with rule(cluster, f"table ip raw2 {{ chain c {{ {BOTH_WAYS} ct zone set 5; }}; }}"):
            cluster.judge()
            assert answered(cluster, "x/web", "x/db")
            assert flows_of(cluster, web)
            cluster.write("policies.yaml", ANSWERED[0], DENIED)
            wait_for("the connection is ended", lambda: not flows_of(cluster, web))


DENIED = network_policy("{podSelector: {matchLabels: {app: db}}, ingress: []}", "db", "x")


def flows_of(cluster: Cluster, src: str) -> list[Flow]:
    """TCP connections to db that somebody began."""
    found = flows(cluster.node.host, [cluster.addresses("x/db")[0]])
    return [one for one in found if (one.src, one.protocol, one.port) == (src, 6, 80)]


def test_what_is_sent_to_another_link_at_once_is_not_judged_but_told(cluster: Cluster) -> None:
    with cluster.node.agent(), pods(cluster):
        cluster.write("policies.yaml", DENIED)
        cluster.judge()
        ends = {one: link(cluster, one) for one in ("x/web", "x/db")}
        inside = cluster.hosts[cluster.addresses("x/db")[0]].namespace
        mac = run(inside, "ip", "link", "show", "eth0").split("link/ether ")[1].split()[0]
        hook = f"type filter hook ingress device {ends['x/web']} priority 0;"
        past = f"ip protocol udp ether daddr set {mac} fwd to {ends['x/db']};"
        asked = (cluster.addresses("x/web")[0], cluster.addresses("x/db")[0], "UDP", 80)
        assert cluster.lab.ask([asked], [False]) == [False]
        run(cluster.node.host, "nft", f"table netdev past {{ chain c {{ {hook} {past} }}; }}")
        assert cluster.lab.ask([asked], [True]) == [True]
        says = "may send on UDP connections from pods to elsewhere"
        wait_for("status tells it", lambda: says in status(cluster), PATIENCE)
        run(cluster.node.host, "nft", "delete table netdev past")


def test_what_ipsec_blocks_nobody_tells(cluster: Cluster) -> None:
    with cluster.node.agent(), pods(cluster):
        web, db = cluster.addresses("x/web")[0], cluster.addresses("x/db")[0]
        way = "src", f"{web}/32", "dst", f"{db}/32", "dir", "fwd"
        assert cluster.lab.ask([(web, db, "UDP", 80)], [True]) == [True]
        run(cluster.node.host, "ip", "xfrm", "policy", "add", *way, "action", "block")
        assert cluster.lab.ask([(web, db, "UDP", 80)], [False]) == [False]
        assert "all agree" in cluster.node.cnidaria("policy", "verify", "--flows", "0")
        run(cluster.node.host, "ip", "xfrm", "policy", "delete", *way)


def link(cluster: Cluster, pod: str) -> str:
    """The pod's interface on the node's side."""
    return run(cluster.node.host, "ip", "route", "get", cluster.addresses(pod)[0]).split()[2]
