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
        run(node.host, "ip", "link", "add", "extra", "type", "bridge")
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
    "a priority": (
        "flush chain inet {t} ingress; delete chain inet {t} ingress; "
        "add chain inet {t} ingress {{ type filter hook forward priority 400; }}"
    ),
    "a hook": (
        "flush chain inet {t} ingress; delete chain inet {t} ingress; "
        "add chain inet {t} ingress {{ type filter hook input priority -10; }}"
    ),
    "a type": (
        "flush chain inet {t} ingress; delete chain inet {t} ingress; "
        "add chain inet {t} ingress {{ type nat hook postrouting priority -10; }}"
    ),
    "a chain of a link": (
        "add chain inet {t} mine {{ type filter hook ingress device lo priority 0; }}"
    ),
    "a chain of links": (
        "add chain inet {t} mine {{ type filter hook ingress devices = {{ lo, extra }} "
        "priority 0; }}"
    ),
    "a name that we never give": "add chain inet {t} .mine",
    "a chain within a rule": "insert rule inet {t} ingress jump {{ accept; }}",
    "a set by a name that we never give": "add set inet {t} .mine {{ type ipv4_addr; }}",
    "dormant": "add table inet {t} {{ flags dormant; }}",
    "a size": (
        "flush chain inet {t} ingress; delete map inet {t} ingress6; "
        "add map inet {t} ingress6 {{ type ipv6_addr : verdict; size 1; }}"
    ),
}
"""Each lets something pass, or drops it, that it should not, or could."""


TOLD = {
    "quota": "other rules, with quota",
    "numgen": "other rules, with numgen",
    "a policy of a chain": "chain ingress: policy drop instead of accept",
    "a priority": "chain ingress: priority 400 instead of -10",
    "a hook": "chain ingress: hook input instead of forward",
    "a type": "chain ingress: type nat instead of filter, hook postrouting instead of forward",
    "a chain of its own": "chain mine: must not be there",
    "a chain of a link": "chain mine: must not be there",
    "a chain of links": "chain mine: must not be there",
    "a name that we never give": "chain .mine: must not be there",
    "a set by a name that we never give": "set .mine: must not be there",
    "a chain within a rule": "chain ingress: other rules",
    "dormant": "the table is dormant: nothing of it is in force",
    "a size": "set ingress6: missing, or of another type",
}
"""What is said, where that is always the same."""


NAMED = {
    "counter": "add counter inet {t} mine",
    "quota": "add quota inet {t} mine {{ over 1 mbytes }}",
    "limit": "add limit inet {t} mine {{ rate 1/second }}",
    "ct helper": 'add ct helper inet {t} mine {{ type "ftp" protocol tcp; }}',
    "ct timeout": "add ct timeout inet {t} mine {{ protocol udp; policy = {{ unreplied : 3 }}; }}",
    "ct expectation": (
        "add ct expectation inet {t} mine {{ protocol tcp; dport 80; timeout 1m; size 2; l3proto "
        "ip; }}"
    ),
    "synproxy": "add synproxy inet {t} mine {{ mss 1460; wscale 7; }}",
    "secmark": 'add secmark inet {t} mine {{ "system_u:object_r:ssh_server_packet_t:s0" }}',
    "flowtable": "add flowtable inet {t} mine {{ hook ingress priority 0; devices = {{ lo }}; }}",
}
"""What a table may have by a name, besides chains and sets."""
USED = {
    "counter": "insert rule inet {t} {deny} counter name mine",
    "quota": "insert rule inet {t} {deny} quota name mine accept",
    "limit": "insert rule inet {t} {deny} limit name mine accept",
    "flowtable": "insert rule inet {t} ingress flow add @mine",
}


@pytest.mark.parametrize("what", NAMED)
def test_what_has_a_name_in_our_table_is_told_and_taken_out(cluster: Cluster, what: str) -> None:
    host = cluster.node.host
    whole = table(host)
    names = {"t": TABLE, "deny": denying(host)}
    try:
        run(host, "nft", NAMED[what].format(**names))
    except AssertionError as error:
        if "No such file or directory" not in str(error):
            raise
        pytest.skip(f"this kernel has no {what}")
    assert f"differs  {what} mine: must not be there" in verify(cluster, code=1)
    if what in USED:
        run(host, "nft", USED[what].format(**names))
    with cluster.node.agent():
        wait_for("the agent puts it right", lambda: lines(table(host)) == lines(whole))
    assert "all agree" in verify(cluster)


def verify(cluster: Cluster, code: int = 0) -> str:
    return cluster.node.cnidaria("policy", "verify", "--flows", "0", exit=code)


@pytest.mark.parametrize("what", TAMPERED)
def test_what_is_not_ours_is_told_and_put_right(cluster: Cluster, what: str) -> None:
    host = cluster.node.host
    whole = table(host)
    assert "all agree" in verify(cluster)
    db = cluster.addresses("x/db")[0]
    names = {"t": TABLE, "deny": denying(host), "db": db}
    run(host, "nft", TAMPERED[what].format(**names))
    said = verify(cluster, code=1)
    assert "differs" in said
    assert TOLD.get(what, "") in said
    with cluster.node.agent():
        wait_for("the agent puts it right", lambda: lines(table(host)) == lines(whole))
    assert "all agree" in verify(cluster)


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
