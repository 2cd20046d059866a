"""What an agent measures of policies and of its cluster, asked by the command line."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from cnidaria.node.metrics import METRICS
from cnidaria_policy import metrics as policy_metrics
from support.cni import CniNode
from support.metrics import Numbers, number, parse, types
from support.namespaces import run
from support.node import wait_for
from support.policy_examples import network_policy
from support.policy_lab import Question
from support.policy_node import FLAT, TABLE, Cluster, namespace

SHUT = network_policy("{podSelector: {}, ingress: []}", "shut", "x")
AUDITED = network_policy("{podSelector: {}, ingress: []}", "try", "y").replace(
    "metadata: {", 'metadata: {annotations: {cnidaria.io/audit: "true"}, '
)
IDLE = {"cnidaria_metrics_failures_total", "cnidaria_repairs_total"}
"""Have no samples where nothing has happened."""
PATIENCE = 30.0
"""Seconds for what must happen."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two pods with addresses of a block of a cluster's prefix; policies of files shut one."""
    with CniNode() as node:
        store = {"store": f"sqlite:{node.dir}/cluster.db", "node": "n1", "addresses": ["192.0.2.1"]}
        ipam = {"clusterPools": [{"prefix": "10.1.0.0/16", "blockLength": 24}]}
        made = Cluster(node, {**FLAT, "ipam": ipam, "cluster": store})
        made.publish()
        made.write("spaces.yaml", namespace("x", {}), namespace("y", {}))
        made.write("shut.yaml", SHUT)
        with node.agent():
            made.add("x/web")
            made.add("y/web")
            yield made
        made.close()


def asked(cluster: Cluster) -> Numbers:
    return parse(cluster.node.cnidaria("metrics"))


def of(cluster: Cluster, name: str, **labels: str) -> float:
    return number(asked(cluster), f"cnidaria_policy_{name}", network="pods", **labels)


def until(cluster: Cluster, name: str, value: float, **labels: str) -> None:
    wait_for(f"{name} {value}", lambda: of(cluster, name, **labels) == value, PATIENCE)


def test_what_is_in_force(cluster: Cluster) -> None:
    assert of(cluster, "in_force") == 1
    assert of(cluster, "pods") == 2
    kinds = {"NetworkPolicy": 1, "Namespace": 2, "ClusterNetworkPolicy": 0}
    assert kinds == {kind: of(cluster, "objects", kind=kind) for kind in kinds}
    table = run(cluster.node.host, "nft", "list", "table", "inet", TABLE)
    assert of(cluster, "table_entries", kind="chain") == table.count("\tchain ")
    assert of(cluster, "table_entries", kind="set") == table.count("\tset ") + table.count("\tmap ")
    assert of(cluster, "transactions_total", result="failed") == 0
    cluster.delete("x/web")
    assert of(cluster, "pods") == 1


def test_what_is_refused(cluster: Cluster) -> None:
    """What it said before stays in force."""
    assert of(cluster, "refused", source="files") == of(cluster, "problems") == 0
    news = of(cluster, "news_to_kernel_seconds_count")
    applied = of(cluster, "transactions_total", result="applied")
    cluster.write("shut.yaml", SHUT.replace("ingress", "ingres"))
    until(cluster, "refused", 1, source="files")
    assert of(cluster, "problems") == 1
    assert of(cluster, "source_up", source="files") == 1
    assert of(cluster, "objects", kind="NetworkPolicy") == 1
    wait_for("status", lambda: number(asked(cluster), "cnidaria_problems") == 1, PATIENCE)
    assert of(cluster, "news_to_kernel_seconds_count") == news
    (cluster.policies / "shut.yaml").unlink()
    until(cluster, "objects", 0, kind="NetworkPolicy")
    assert of(cluster, "refused", source="files") == of(cluster, "problems") == 0
    until(cluster, "news_to_kernel_seconds_count", news + 1)
    assert of(cluster, "transactions_total", result="applied") > applied


def test_a_source_that_is_away(cluster: Cluster) -> None:
    away = cluster.policies.with_name("away")
    cluster.policies.rename(away)
    until(cluster, "source_up", 0, source="files")
    assert of(cluster, "objects", kind="NetworkPolicy") == 1
    away.rename(cluster.policies)
    until(cluster, "source_up", 1, source="files")


def test_packets(cluster: Cluster) -> None:
    shut, free = (cluster.addresses(one)[0] for one in ("x/web", "y/web"))
    there: list[Question] = [(free, shut, "TCP", 80)]
    assert of(cluster, "packets_total", verdict="denied") == 0
    assert cluster.lab.ask(there, [False]) == [False]
    wait_for("denied", lambda: of(cluster, "packets_total", verdict="denied") >= 1, PATIENCE)
    (cluster.policies / "shut.yaml").unlink()
    cluster.write("try.yaml", AUDITED)
    until(cluster, "objects", 1, kind="NetworkPolicy")
    cluster.lab.forget_connections()
    assert cluster.lab.ask([(shut, free, "TCP", 80)], [True]) == [True]
    wait_for("audited", lambda: of(cluster, "packets_total", verdict="audited") >= 1, PATIENCE)
    assert of(cluster, "packets_total", verdict="denied") >= 1, "though its chain is gone"


def test_the_cluster_and_every_metric(cluster: Cluster) -> None:
    store = {"store": f"sqlite:{cluster.node.dir}/cluster.db"}
    found = asked(cluster)
    assert number(found, "cnidaria_cluster_store_up", **store) == 1
    assert number(found, "cnidaria_cluster_nodes", **store) == 1
    assert number(found, "cnidaria_cluster_blocks", network="pods") == 1
    changed = "cnidaria_cluster_store_last_change_timestamp_seconds"
    assert number(found, changed, **store) <= time.time()
    everything = {one.name for one in (*METRICS, *policy_metrics.METRICS)}
    assert types(cluster.node.cnidaria("metrics")).keys() | IDLE == everything
