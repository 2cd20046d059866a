"""What STATUS says of policies, and that what others break is put right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import pytest

from cnidaria.cli.status import gather
from cnidaria.cni.errors import CniError
from support.cni import Answer, CniNode
from support.namespaces import run
from support.needs import needs
from support.node import wait_for
from support.policy_examples import network_policy
from support.policy_node import FLAT, TABLE, Cluster, bridge, namespace

pytestmark = needs("nft")

SETTINGS = [f"net.bridge.bridge-nf-call-{one}" for one in ("iptables", "ip6tables")]
HIDE = 'mount -t tmpfs none /proc/sys/net/bridge; exec "$0" "$@"'
BLIND = ("unshare", "--mount", "sh", "-c", HIDE)
"""Runs a program as on a kernel without br_netfilter."""

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


def asked(cluster: Cluster, under: Sequence[str] = ()) -> Answer:
    """What STATUS of the policies says."""
    conf = {"cniVersion": "1.1.0", "name": "pods", **cluster.members[0].plugins[-1]}
    return cluster.node.call("STATUS", conf=conf, under=under)


@pytest.mark.parametrize("agent", [True, False], ids=["agent", "one-shot"])
def test_a_refused_file_is_told_while_pods_can_be_added(cluster: Cluster, agent: bool) -> None:
    with cluster.node.agent() if agent else nullcontext():
        cluster.add("x/web")
        assert asked(cluster).stderr == ""
        cluster.write("y.yaml", SHUT.replace("podSelector", "podSelektor"))
        if not agent:  # nobody remembers what the file has said before
            assert "podSelektor" in asked(cluster).error(50)
            return
        wait_for("the note", lambda: "podSelektor" in asked(cluster).stderr)
        said = asked(cluster)
        assert said.result() is None
        assert said.stderr.startswith(f"cnidaria-policy: {cluster.policies}/y.yaml:")
        cluster.add("x/db")
        (cluster.policies / "y.yaml").unlink()
        wait_for("no note", lambda: not asked(cluster).stderr)


def test_policies_that_were_never_known(cluster: Cluster) -> None:
    cluster.write("y.yaml", SHUT.replace("podSelector", "podSelektor"))
    with cluster.node.agent():
        assert "podSelektor" in asked(cluster).error(50)
        with pytest.raises(CniError, match="podSelektor") as caught:
            cluster.add("x/web")
        assert caught.value.code == 11


def test_a_cluster_store_that_cannot_be_read(cluster: Cluster) -> None:
    store = cluster.node.dir / "store.sqlite"
    shared = {"store": f"sqlite:{store}", "node": "n1", "addresses": ["192.0.2.1"]}
    cluster.members[0].use(FLAT, {"type": "cnidaria-policy", "cluster": shared})
    cluster.publish()
    with cluster.node.agent():
        wait_for("the network", lambda: asked(cluster).exit == 0)
        cluster.add("x/web")
        store.unlink()
        store.mkdir()
        wait_for("STATUS", lambda: asked(cluster).exit != 0)
        assert "other nodes cannot be told of pods" in asked(cluster).error(50)


class TestBridges:
    """Pods behind a bridge, which the node sees by br_netfilter only."""

    @pytest.fixture
    def cluster(self) -> Iterator[Cluster]:
        with CniNode() as node:
            made = Cluster(node, bridge(node))
            made.write("x.yaml", namespace("x", {}), SHUT)
            made.publish()
            yield made
            made.close()

    def test_what_others_turned_off_is_turned_on_again(self, cluster: Cluster) -> None:
        cluster.add("x/web")
        host = cluster.node.host
        run(host, "sysctl", "-w", *(f"{one}=0" for one in SETTINGS))
        said = asked(cluster)
        assert (said.result(), said.stderr) == (None, "")
        assert run(host, "sysctl", "-n", *SETTINGS).split() == ["1", "1"]

    def test_a_kernel_that_does_not_see_them(self, cluster: Cluster) -> None:
        """Without such pods that is a note, with them no pod can be added."""
        said = asked(cluster, BLIND)
        assert said.result() is None
        assert "br_netfilter" in said.stderr
        cluster.add("x/web")
        assert "br_netfilter" in asked(cluster, BLIND).error(50)
