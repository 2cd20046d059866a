"""What STATUS says of policies, and that what others break is put right."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnidaria import open_store
from cnidaria.cli.status import gather
from cnidaria.cni.errors import CniError
from support.cni import CNIDARIA, Answer, CniNode
from support.namespaces import run
from support.needs import needs
from support.node import wait_for
from support.policy_examples import network_policy
from support.policy_lab import Question
from support.policy_node import FLAT, TABLE, Cluster, bridge, namespace

pytestmark = needs("nft")

SETTINGS = [
    f"net.bridge.bridge-nf-{one}"
    for one in ("call-iptables", "call-ip6tables", "filter-vlan-tagged")
]


def mounted(command: str) -> tuple[str, ...]:
    """Runs a program with this mount of its own."""
    return ("unshare", "--mount", "sh", "-ec", f'{command}; exec "$0" "$@"')


HIDDEN = mounted("mount -t tmpfs none /proc/sys/net/bridge")
"""As on a kernel without br_netfilter."""
READ_ONLY = mounted("cd /proc/sys/net; mount --bind . .; mount -o remount,bind,ro .; cd /")

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
        whole = rules(cluster)
        chain = f"chain inet {TABLE} ingress"
        unhooked = f"flush {chain}; delete {chain}; add {chain}"
        other_hook = "{ type filter hook forward priority 100; policy drop; }"
        for change in (
            f"flush chain inet {TABLE} torn",
            f"delete table inet {TABLE}",
            f"add table inet {TABLE} {{ flags dormant; }}",
            unhooked,
            f"{unhooked} {other_hook}",
        ):
            run(cluster.node.host, "nft", change)
            assert rules(cluster) != whole
            wait_for(f"the table after {change}", lambda: whole == rules(cluster))

        def counted() -> int:
            # One that meets the change itself, half of it read, is refused and tried again.
            found: dict[str, int] = gather(cluster.node.settings)["repairs"]
            return found.get("policy_table", 0)

        wait_for("the count", lambda: counted() == 5)


def rules(cluster: Cluster) -> list[str]:
    """The table's lines, if it is there: chains that are made anew come last."""
    try:
        return sorted(ruleset(cluster).splitlines())
    except AssertionError:
        return []


def asked(cluster: Cluster, under: Sequence[str] = ()) -> Answer:
    """What STATUS of the policies says."""
    conf = {"cniVersion": "1.1.0", "name": "pods", **cluster.members[0].plugins[-1]}
    return cluster.node.call("STATUS", conf=conf, under=under)


def settings(cluster: Cluster) -> list[str]:
    return run(cluster.node.host, "sysctl", "-n", *SETTINGS).split()


def turn_off(cluster: Cluster) -> None:
    run(cluster.node.host, "sysctl", "-w", *(f"{one}=0" for one in SETTINGS))


def check(cluster: Cluster, pod: str) -> None:
    """What CHECK of a pod says."""
    member = cluster.member(pod)
    member.node.host.run(member.runtime.check, member.attachment(pod))


def passes(cluster: Cluster, expected: bool) -> bool:
    """Whether a connection to the pod that is shut begins."""
    src, dst = (cluster.addresses(one)[0] for one in ("y/web", "x/web"))
    asked: list[Question] = [(src, dst, "TCP", 80)]
    cluster.lab.forget_connections()
    return cluster.lab.ask(asked, [expected]) == [True]


def problems(cluster: Cluster) -> dict[str, str]:
    """Those that ``cnidaria status`` tells."""
    told: dict[str, str] = gather(cluster.node.settings)["problems"]
    return told


@pytest.mark.parametrize("agent", [True, False], ids=["agent", "one-shot"])
def test_a_refused_file_is_told_while_pods_can_be_added(cluster: Cluster, agent: bool) -> None:
    with cluster.node.agent() if agent else nullcontext():
        cluster.add("x/web")
        assert asked(cluster).stderr == ""
        cluster.write("y.yaml", SHUT.replace("podSelector", "podSelektor"))
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


class TestStores:
    """Policies in the cluster store, whose file is ``store``."""

    @pytest.fixture
    def store(self, cluster: Cluster) -> Path:
        file = cluster.node.dir / "store.sqlite"
        shared = {"store": f"sqlite:{file}", "node": "n1", "addresses": ["192.0.2.1"]}
        cluster.members[0].use(FLAT, {"type": "cnidaria-policy", "cluster": shared})
        cluster.publish()
        return file

    def test_one_that_cannot_be_read(self, cluster: Cluster, store: Path) -> None:
        with cluster.node.agent():
            wait_for("the network", lambda: asked(cluster).exit == 0)
            cluster.add("x/web")
            store.unlink()
            store.mkdir()
            wait_for("STATUS", lambda: asked(cluster).exit != 0)
            assert "other nodes cannot be told of pods" in asked(cluster).error(50)

    def test_one_that_could_never_be_read(self, cluster: Cluster, store: Path) -> None:
        store.write_bytes(b"no database" * 1000)
        with cluster.node.agent():
            assert str(store) in asked(cluster).error(50)
            with pytest.raises(CniError, match=store.stem) as caught:
                cluster.add("x/web")
            assert caught.value.code == 11

    def test_an_object_that_is_refused(self, cluster: Cluster, store: Path) -> None:
        """While somebody remembers what it has said before, pods can be added."""
        with cluster.node.agent():
            wait_for("the network", lambda: asked(cluster).exit == 0)
            apply(cluster, SHUT)
            bad = yaml.safe_load(SHUT.replace("podSelector", "podSelektor"))
            write(store, "pods/NetworkPolicy/x/shut", bad)
            wait_for("the note", lambda: "podSelektor" in asked(cluster).stderr)
            said = asked(cluster)
            assert said.result() is None
            assert "NetworkPolicy/x/shut" in said.stderr
            cluster.add("x/web")
        with cluster.node.agent():
            assert "podSelektor" in asked(cluster).error(50)
            apply(cluster, SHUT)
            wait_for("no note", lambda: (one := asked(cluster)).exit == 0 and not one.stderr)


def apply(cluster: Cluster, text: str) -> None:
    file = cluster.node.dir / "apply.yaml"
    file.write_text(text)
    cluster.node.cnidaria("policy", "apply", str(file))


def write(store: Path, path: str, obj: dict[str, Any]) -> None:
    """A document of any content: whoever applies one has it checked."""
    with closing(open_store(f"sqlite:{store}")) as opened:
        opened.put({path: json.dumps(obj).encode()})


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

    @pytest.mark.parametrize("agent", [True, False], ids=["agent", "one-shot"])
    def test_what_others_turned_off(self, cluster: Cluster, agent: bool) -> None:
        """CHECK says so; STATUS turns it on again, and so does an agent that nobody asks."""
        cluster.add("x/web")
        cluster.add("y/web")
        assert not passes(cluster, False)
        turn_off(cluster)
        assert passes(cluster, True)
        with pytest.raises(CniError, match=SETTINGS[0]) as caught:
            check(cluster, "x/web")
        assert caught.value.code == 105
        with cluster.node.agent() if agent else nullcontext():
            said = asked(cluster)
            assert (said.result(), said.stderr) == (None, "")
            assert not passes(cluster, False)
            assert settings(cluster) == ["1"] * 3
            check(cluster, "x/web")
            for _ in range(2 if agent else 0):
                turn_off(cluster)
                wait_for("the settings", lambda: settings(cluster) == ["1"] * 3)

    def test_what_nobody_needs_is_left_alone(self, cluster: Cluster) -> None:
        turn_off(cluster)
        with cluster.node.agent():
            cluster.write("y.yaml", "garbage")
            wait_for("a look", lambda: "y.yaml" in asked(cluster).stderr)
            assert settings(cluster) == ["0"] * 3
            cluster.add("x/web")
            assert settings(cluster) == ["1"] * 3

    @pytest.mark.parametrize("mount", [HIDDEN, READ_ONLY], ids=["hidden", "read-only"])
    def test_an_agent_that_cannot_turn_them_on(
        self, cluster: Cluster, mount: tuple[str, ...]
    ) -> None:
        """As :meth:`test_a_kernel_that_does_not_see_them`, and it goes on saying so."""
        turn_off(cluster)
        with cluster.node.agent(*mount, CNIDARIA, "agent"):
            said = asked(cluster)
            assert said.result() is None
            assert ("br_netfilter" in said.stderr) == (mount is HIDDEN)
            with pytest.raises(CniError, match="br_netfilter"):
                cluster.add("x/web")
        cluster.add("x/db")
        turn_off(cluster)
        with cluster.node.agent(*mount, CNIDARIA, "agent"):
            assert "br_netfilter" in asked(cluster).error(50)
            served = "service of network pods (cnidaria-policy)"
            wait_for("status", lambda: "br_netfilter" in problems(cluster).get(served, ""))
        assert settings(cluster) == ["0"] * 3

    @pytest.mark.parametrize("mount", [HIDDEN, READ_ONLY], ids=["hidden", "read-only"])
    def test_a_kernel_that_does_not_see_them(
        self, cluster: Cluster, mount: tuple[str, ...]
    ) -> None:
        """Without such pods that is a note at most, with them no pod can be added."""
        turn_off(cluster)
        said = asked(cluster, mount)
        assert said.result() is None
        assert ("br_netfilter" in said.stderr) == (mount is HIDDEN)
        cluster.add("x/web")
        turn_off(cluster)
        assert "br_netfilter" in asked(cluster, mount).error(50)


def test_policies_that_nobody_knows_keep_no_other_state_back() -> None:
    """The directory is not there: of this network, and of others, all else is in force."""
    with CniNode() as node:
        policies = node.dir / "later"
        node.conflist(FLAT, {"type": "cnidaria-policy", "policies": [str(policies)]})
        other = {**FLAT, "ipam": {"ranges": [[{"subnet": "10.7.0.0/24"}]]}}
        text = json.dumps({"cniVersion": "1.1.0", "name": "other", "plugins": [other]})
        (node.settings.conf_dir / "20-other.conflist").write_text(text)
        with node.agent():
            wait_for("the others' tables", lambda: {"pods", "other"} <= tables(node))
            told = node.cnidaria("status", exit=1)
            assert "network   pods (cnidaria-flat, cnidaria-policy): 10.1.0.0/24" in told
            assert f"{policies}: No such file or directory" in told
            policies.mkdir()
            wait_for("the policies", lambda: not gather(node.settings)["problems"])


def tables(node: CniNode) -> set[str]:
    """Of networks that give pods their addresses, by network."""
    found = run(node.host, "nft", "list", "tables").split()
    return {one.removeprefix("cnidaria/") for one in found if one.startswith("cnidaria/")}
