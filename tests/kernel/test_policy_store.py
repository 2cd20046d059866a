"""Policies in the cluster store: every node enforces them, and knows the pods of the others."""

from __future__ import annotations

import functools
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cnidaria import ClusterConfig
from cnidaria.cni.errors import CniError
from cnidaria_policy.objects import PolicyPod
from cnidaria_policy.shared import Shared
from support import metrics
from support.cni import CniNode
from support.namespaces import make_uplink, run
from support.node import wait_for
from support.policy_examples import network_policy
from support.policy_node import Cluster, flat

DENY = network_policy("{podSelector: {}, policyTypes: [Ingress]}", "deny", "x")
ONE = network_policy(
    "{podSelector: {matchLabels: {app: db}}, ingress: ["
    "{from: [{podSelector: {matchLabels: {role: client}}}]}]}",
    "one",
    "x",
)


class Nodes(Cluster):
    """Two nodes whose policies are in one store."""

    def __init__(self, first: CniNode, second: CniNode) -> None:
        super().__init__(first, flat(1), (second, flat(2)))
        self.store = first.dir / "cluster.db"
        for number, member in enumerate(self.members, 1):
            cluster = {
                "store": f"sqlite:{self.store}",
                "node": f"n{number}",
                "addresses": [f"192.0.2.{number}"],
                "expiry": 1,
            }
            member.use(flat(number), {"type": "cnidaria-policy", "cluster": cluster})

    def policy(self, *words: str, node: int = 0, exit: int = 0) -> str:  # noqa: A002
        return self.members[node].node.cnidaria("policy", *words, exit=exit)

    def apply(self, *objects: dict[str, Any] | str, node: int = 0) -> None:
        file: Path = self.node.dir / "apply.yaml"
        texts = [one if isinstance(one, str) else json.dumps(one) for one in objects]
        file.write_text("".join(f"---\n{text.removeprefix('---')}\n" for text in texts))
        self.policy("apply", str(file), node=node)


def pod(name: str, **labels: str) -> dict[str, Any]:
    meta = {"namespace": "x", "name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta}


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with ExitStack() as stack:
        first, second = (stack.enter_context(CniNode()) for _ in range(2))
        made = Nodes(first, second)
        stack.callback(made.close)
        made.publish()
        yield made


def pings(nodes: Nodes, src: str, dst: list[str]) -> bool:
    """Whether the pod reaches the first address of another one."""
    member = nodes.member(src).node
    namespace = member.pods[src.replace("/", "-")]
    said = run(namespace, "ping", "-c1", "-W0.3", dst[0], check=False)
    return " 1 received" in said


def test_both_nodes_enforce_what_is_applied_on_one(nodes: Nodes) -> None:
    """web and api live on the first node, db on the second."""
    with nodes.agents():
        web, db = nodes.add("x/web"), nodes.add("x/db")
        assert pings(nodes, "x/web", db)
        nodes.apply(DENY)
        wait_for("deny on the other node", lambda: not pings(nodes, "x/web", db))
        wait_for("deny on this node", lambda: not pings(nodes, "x/db", web))
        nodes.apply(ONE, pod("db", app="db"), node=1)
        assert not pings(nodes, "x/web", db)
        nodes.apply(pod("web", role="client"))
        wait_for("the label", lambda: pings(nodes, "x/web", db))
        told = nodes.policy("explain", "x/web", "x/db:80", node=1)
        assert "cluster store: spec.ingress[0]" in told
        assert nodes.policy("get").splitlines() == [
            "NetworkPolicy x/deny", "NetworkPolicy x/one", "Pod x/db", "Pod x/web",
        ]  # fmt: skip
        for number in (0, 1):
            assert "all agree" in nodes.policy("verify", node=number)
        nodes.policy("delete", "Pod", "x/web")
        wait_for("the label to go", lambda: not pings(nodes, "x/web", db))
        assert "is not in the cluster store" in nodes.policy("delete", "Pod", "x/web", exit=1)
        nodes.delete("x/web")
        nodes.delete("x/db")


def test_a_pod_that_is_gone_is_nobodys_peer(nodes: Nodes) -> None:
    """Its address may be another pod's next; without an agent, too."""
    nodes.apply(DENY, ONE, pod("db", app="db"), pod("web", role="client"))
    nodes.add("x/db")
    web = nodes.add("x/web")
    table = ["nft", "list", "table", "inet", "cnidaria-policy-pods"]
    other = nodes.members[1].node

    def known() -> bool:
        return web[0] in run(other.host, *table)

    with other.agent():
        wait_for("the other node's pod", known)
        nodes.delete("x/web")
        wait_for("its end", lambda: not known())


def test_a_store_that_is_lost_while_nobody_looks(nodes: Nodes) -> None:
    """What is in force stays so, until something is applied, or the table is deleted."""
    first = nodes.members[0]
    member = first.node
    table = ["nft", "list", "table", "inet", "cnidaria-policy-pods"]
    nodes.apply(DENY)
    with member.agent():
        nodes.add("x/web")
        before = run(member.host, *table)
        assert "all agree" in nodes.policy("verify")
    for file in nodes.store.parent.glob(f"{nodes.store.name}*"):
        file.unlink()
    with member.agent() as agent:
        wait_for("a complaint", lambda: "was made anew, and nothing was applied" in agent.log)
        with pytest.raises(CniError, match="was made anew") as caught:
            nodes.add("x/api")
        assert caught.value.code == 11
        member.host.run(first.runtime.delete, first.attachment("x/api"))
        assert run(member.host, *table) == before
        nodes.apply(network_policy("{podSelector: {}, ingress: [{}]}", "open", "x"))
        wait_for("what was applied", lambda: "NetworkPolicy x/open" in run(member.host, *table))
        assert "NetworkPolicy x/deny" not in run(member.host, *table)
        nodes.add("x/api")
        assert "all agree" in nodes.policy("verify")


def entered(nodes: Nodes) -> dict[str, int]:
    """The pods that are entered as the first node's, and when that was."""
    with closing(sqlite3.connect(nodes.store)) as db:
        query = "SELECT value, revision FROM documents WHERE owner = 'n1' AND value IS NOT NULL"
        return {json.loads(one)["metadata"]["name"]: when for one, when in db.execute(query)}


def test_two_machines_of_one_name(nodes: Nodes) -> None:
    """The second one says so, and leaves alone what the first one has entered."""
    first, second = nodes.members
    second.use(*first.plugins)
    nodes.publish()
    policy = {"cniVersion": "1.1.0", "name": "pods", **first.plugins[1]}
    with first.node.agent():
        nodes.add("x/web")
        have = entered(nodes)
        assert list(have) == ["web"]
        with second.node.agent() as other:
            asked = functools.partial(second.node.call, "STATUS", conf=policy)
            wait_for("STATUS says so", lambda: asked().exit != 0)
            assert "node name 'n1' is used" in asked().error(50)
            with pytest.raises(CniError, match="node name 'n1' is used") as caught:
                nodes.add("x/db")
            assert caught.value.code == 11
            second.node.host.run(second.runtime.delete, second.attachment("x/db"))
            nodes.apply(DENY, node=1)
            table = ["nft", "list", "table", "inet", "cnidaria-policy-pods"]
            wait_for("its policies", lambda: "NetworkPolicy x/deny" in run(first.node.host, *table))
            time.sleep(2)
            assert entered(nodes) == have, other.log
        assert first.node.call("STATUS", conf=policy).exit == 0
        nodes.delete("x/web")


def test_two_machines_of_one_name_of_which_one_has_no_agent(nodes: Nodes) -> None:
    """It adds no pod, and takes out its own ones: not those of the same name of the first one."""
    first, second = nodes.members
    second.use(second.plugins[0], first.plugins[1])
    policy = {"cniVersion": "1.1.0", "name": "pods", **first.plugins[1]}
    attachment = second.attachment("x/web")
    second.node.host.run(second.runtime.add, attachment)  # nobody has the name yet
    table = ["nft", "list", "tables"]
    with first.node.agent():
        nodes.add("x/web")
        have = entered(nodes)
        assert list(have) == ["web"]
        assert "node name 'n1' is used" in second.node.call("STATUS", conf=policy).error(50)
        with pytest.raises(CniError, match="node name 'n1' is used") as caught:
            nodes.add("x/db")
        assert caught.value.code == 11
        second.node.host.run(second.runtime.delete, second.attachment("x/db"))
        second.node.host.run(second.runtime.delete, attachment)
        assert "cnidaria" not in run(second.node.host, *table)
        assert entered(nodes) == have
        nodes.delete("x/web")
        assert entered(nodes) == {}


def test_an_agent_adds_no_pod_before_it_knows_whose_its_name_is(nodes: Nodes) -> None:
    """A conflist that it has not looked at yet."""
    first, second = nodes.members
    second.use(second.plugins[0], first.plugins[1])
    conflist = second.node.settings.conf_dir / "10-pods.conflist"
    conflist.unlink()
    with first.node.agent(), second.node.agent():
        nodes.add("x/web")
        with pytest.raises(CniError, match="node name 'n1' is used") as caught:
            nodes.add("x/db")
        assert caught.value.code == 11
        assert list(entered(nodes)) == ["web"]


def test_a_store_that_is_a_directory(nodes: Nodes) -> None:
    """The configuration is wrong, and the error says what is allowed."""
    nodes.store.mkdir()
    first = nodes.members[0]
    policy = {"cniVersion": "1.1.0", "name": "pods", **first.plugins[1]}
    for agent in (first.node.agent(), nullcontext()):
        with agent:
            said = first.node.call("STATUS", conf=policy).error(7)
            assert f'cluster.store = "sqlite:{nodes.store}": is no regular file; must be' in said
            with pytest.raises(CniError, match="is no regular file; must be") as caught:
                nodes.add("x/web")
            assert caught.value.code == 7
            first.node.host.run(first.runtime.delete, first.attachment("x/web"))


def test_the_end_of_a_sandbox_is_not_that_of_the_next_one(nodes: Nodes) -> None:
    """Without an agent, too: the runtime may end the old one when the new one is there."""
    nodes.add("x/web")
    member = nodes.members[0]
    old = member.attachment("x/web")
    member.node.pod("again")
    new = msgspec.structs.replace(old, container_id="again", netns=member.node.netns("again"))
    (ip, *_) = member.node.host.run(member.runtime.add, new)["ips"]
    member.node.host.run(member.runtime.delete, old)

    def entered() -> list[str]:
        with closing(sqlite3.connect(nodes.store)) as db:
            query = "SELECT value FROM documents WHERE owner = 'n1' AND value IS NOT NULL"
            return [json.loads(value)["status"]["podIP"] for (value,) in db.execute(query)]

    assert entered() == [ip["address"].split("/")[0]]
    member.node.host.run(member.runtime.delete, new)
    assert entered() == []


def test_a_store_that_cannot_be_read(nodes: Nodes) -> None:
    """Nothing starts that policies may be about; what runs goes on, and DEL is always possible."""
    nodes.apply(DENY)
    member = nodes.members[0]
    with member.node.agent() as agent:
        nodes.add("x/web")
        away = nodes.store.with_name("away.db")
        nodes.store.rename(away)
        nodes.store.write_bytes(b"no database" * 1000)
        wait_for("a complaint", lambda: "cluster store" in agent.log, 30)
        nodes.delete("x/web")
    with pytest.raises(CniError, match="cluster store") as caught:
        nodes.add("x/api")
    assert caught.value.code == 11
    member.node.host.run(member.runtime.delete, member.attachment("x/api"))
    away.rename(nodes.store)
    nodes.add("x/api")
    nodes.delete("x/api")


def test_a_chain_whose_plugins_are_all_in_the_cluster(nodes: Nodes) -> None:
    """It is one network there, with the prefixes of the plugin that has some."""
    member = nodes.members[0]
    connecting, policy = member.plugins
    make_uplink(member.node.host, "192.0.2.1/24")
    member.use({**connecting, "cluster": policy["cluster"], "uplink": "up0"}, policy)
    member.publish()
    with member.node.agent():

        def entered() -> list[list[str]]:
            return [line.split() for line in member.node.cnidaria("cluster").splitlines()[1:]]

        expected = [["pods", "n1", "192.0.2.1", "10.1.0.0/24,fd00:1::/64", "here"]]
        wait_for("the node", lambda: entered() == expected)
        nodes.add("x/web")
        assert entered() == expected
        nodes.delete("x/web")


def test_a_burst_arrives_whole_and_in_a_few_pieces(nodes: Nodes) -> None:
    """600 pods of another node come, one by one; 200 go, 200 are others than they were."""
    nodes.apply(DENY, ONE, pod("web", app="db"))
    node = nodes.members[0].node
    pods = [client(number) for number in range(600)]
    others = [
        msgspec.structs.replace(one, addresses=(f"10.3.{n}.7",))
        for n, one in enumerate(pods[200:400])
    ]
    wanted = {address for one in (*others, *pods[400:]) for address in one.addresses}

    def applied() -> float:
        numbers, name = (
            metrics.parse(node.cnidaria("metrics")),
            "cnidaria_policy_transactions_total",
        )
        return metrics.number(numbers, name, network="pods", result="applied")

    def peers() -> set[str]:
        told = run(node.host, "nft", "list", "map", "inet", "cnidaria-policy-pods", "peers4")
        return set(re.findall(r"\b10\.[23]\.\d+\.\d+", told))

    away = Shared("pods", ClusterConfig(store=f"sqlite:{nodes.store}", node="n9"), "n9")
    with node.agent(), ExitStack() as stack:
        stack.callback(away.stop)
        nodes.add("x/web")
        before = applied()
        for some in (pods[:300], pods[300:], others):
            for one in some:
                away.enter(one)
            time.sleep(0.2)  # they are seen at several times
        for one in pods[:200]:
            away.leave(one)
        wait_for("what is left", lambda: peers() == wanted, 30)
        assert 0 < applied() - before < 50
        assert "all agree" in nodes.policy("verify")


def client(number: int) -> PolicyPod:
    address = f"10.2.{number // 250}.{number % 250 + 1}"
    return PolicyPod(
        "pods", f"c{number}/eth0", "x", f"c{number}", (address,), "eth0", labels={"role": "client"}
    )


def test_a_node_that_comes_back_enters_its_pods_again(nodes: Nodes) -> None:
    """It was taken for dead, and its pods live."""
    nodes.apply(DENY, ONE, pod("db", app="db"), pod("web", role="client"))
    nodes.add("x/db")
    web = nodes.add("x/web")
    first, second = (one.node for one in nodes.members)

    def known() -> bool:
        return web[0] in run(second.host, "nft", "list", "table", "inet", "cnidaria-policy-pods")

    with second.agent():
        with first.agent():
            wait_for("the pod", known)
        wait_for("the node's end", lambda: not known(), 30)
        with first.agent():
            wait_for("the pod again", known)
