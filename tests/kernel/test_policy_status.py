"""What STATUS says of policies, and that what others break is put right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cnidaria.cli.status import gather
from support.cni import CniNode
from support.namespaces import run
from support.needs import needs
from support.node import wait_for
from support.policy_examples import network_policy
from support.policy_node import FLAT, TABLE, Cluster, namespace

pytestmark = needs("nft")

SHUT = network_policy("{podSelector: {}, ingress: []}", "shut", "x")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with CniNode() as node:
        made = Cluster(node, FLAT)
        made.write("x.yaml", namespace("x", {}), SHUT)
        made.publish()
        yield made
        made.close()


def ruleset(cluster: Cluster) -> str:
    return run(cluster.node.host, "nft", "list", "table", "inet", TABLE)


def test_a_table_that_others_break_is_put_right(cluster: Cluster) -> None:
    with cluster.node.agent():
        cluster.add("x/web")
        whole = ruleset(cluster)
        for change in (f"flush chain inet {TABLE} torn", f"delete table inet {TABLE}"):
            run(cluster.node.host, "nft", *change.split())
            wait_for("the table", lambda: whole == rules(cluster))
        counted = {"policy_table": 2}
        wait_for("the count", lambda: gather(cluster.node.settings)["repairs"] == counted)


def rules(cluster: Cluster) -> str:
    """The table's, if it is there."""
    try:
        return ruleset(cluster)
    except AssertionError:
        return ""
