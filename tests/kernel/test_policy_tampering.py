"""What somebody does to a policy table is found out, told, and put right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cnidaria.cli.status import gather
from cnidaria.kernel.netns import NetNS
from support.cni import CniNode
from support.namespaces import run
from support.needs import needs
from support.node import wait_for
from support.policy_examples import cluster_policy, network_policy
from support.policy_node import FLAT, TABLE, Cluster, namespace, pod

pytestmark = needs("nft")

ONLY_WEB = network_policy(
    "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: "
    "{app: web}}}], ports: [{port: 80}]}]}",
    "db",
    "x",
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with CniNode() as node:
        made = Cluster(node, FLAT)
        pods = (pod("x", app, {"app": app}) for app in ("web", "db"))
        made.write("x.yaml", namespace("x", {}), *pods, ONLY_WEB)
        made.publish()
        for app in ("web", "db"):
            made.add(f"x/{app}")
        yield made
        made.close()


def table(host: NetNS) -> str:
    return run(host, "nft", "--stateless", "list", "table", "inet", TABLE)


def lines(text: str) -> list[str]:
    """In no order: a chain that is made anew comes last."""
    return sorted(text.splitlines())


def denying(host: NetNS) -> str:
    """The chain that denies, by its name."""
    words = map(str.split, table(host).splitlines())
    return next(one[1] for one in words if one[:1] == ["chain"] and one[1].startswith("deny-"))


TAMPERED = {
    "quota": "insert rule inet {t} {deny} quota over 1 kbytes accept",
    "numgen": "insert rule inet {t} ingress numgen random mod 2 == 0 accept",
    "a limit the other way": "insert rule inet {t} {deny} limit rate over 1/second accept",
    "an hour of the day": 'insert rule inet {t} ingress meta hour "00:00"-"23:59" accept',
    "a mark": "insert rule inet {t} ingress meta mark 7 accept",
    "a set without a name": "insert rule inet {t} ingress tcp dport {{ 80, 81 }} accept",
    "another way": (
        "delete element inet {t} ingress4 {{ {db} }}; "
        "add element inet {t} ingress4 {{ {db} : goto torn }}"
    ),
    "a policy of a chain": "chain inet {t} ingress {{ policy drop; }}",
    "a chain of its own": "add chain inet {t} mine {{ type filter hook forward priority -300; }}",
}
"""Each lets something pass, or drops it, that it should not, or could."""


@pytest.mark.parametrize("what", TAMPERED)
def test_what_is_not_ours_is_told_and_put_right(cluster: Cluster, what: str) -> None:
    host = cluster.node.host
    whole = table(host)
    assert "all agree" in cluster.node.cnidaria("policy", "verify", "--flows", "0")
    db = cluster.addresses("x/db")[0]
    names = {"t": TABLE, "deny": denying(host), "db": db}
    run(host, "nft", TAMPERED[what].format(**names))
    said = cluster.node.cnidaria("policy", "verify", "--flows", "0", exit=1)
    assert "differs" in said
    if what in ("quota", "numgen"):
        assert f"other rules, with {what}" in said
    with cluster.node.agent():
        wait_for("the agent puts it right", lambda: lines(table(host)) == lines(whole))
    assert "all agree" in cluster.node.cnidaria("policy", "verify", "--flows", "0")


WEB = "podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]"
STEPS = {
    "dns": network_policy(
        f"{{{WEB}, egress: [{{ports: [{{protocol: UDP, port: 53}}]}}]}}", "dns", "x"
    ),
    "none": cluster_policy(
        "{tier: Admin, priority: 1, subject: {namespaces: {}}, egress: "
        "[{action: Deny, to: [{namespaces: {}}]}]}"
    ),
    "db": network_policy(
        f"{{{WEB}, egress: [{{to: [{{podSelector: {{matchLabels: {{app: db}}}}}}]}}]}}", "db", "x"
    ),
}


def test_defaults_that_came_about_otherwise_are_no_difference() -> None:
    """The agent's engine has seen policies come one by one, verify's all at once."""
    with CniNode() as node:
        cluster = Cluster(node, FLAT)
        try:
            pods = [pod("x", app, {"app": app}) for app in ("web", "db", "api")]
            cluster.write("x.yaml", namespace("x", {}), *pods)
            cluster.publish()
            with node.agent():
                for one in ("x/web", "x/db", "x/api"):
                    cluster.add(one)
                for name, text in STEPS.items():
                    before = table(node.host)
                    cluster.write(f"{name}.yaml", text)
                    wait_for(name, lambda old=before: table(node.host) != old)
                    wait_for("rest", lambda: not gather(node.settings)["problems"])
                    assert "all agree" in node.cnidaria("policy", "verify", "--flows", "50")
        finally:
            cluster.close()
