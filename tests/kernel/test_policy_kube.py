"""Policies that come from a Kubernetes API server: followed, and never lost with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnidaria.cli.status import gather
from cnidaria.cni.errors import CniError
from cnidaria.kernel.netns import NetNS
from cnidaria.kernel.ruleset import generation
from cnidaria.kernel.session import Session
from cnidaria_policy import kubeconfig
from cnidaria_policy.kube import Kube
from support import metrics
from support.cni import CniNode
from support.kube_api import KubeApi
from support.namespaces import new_namespace
from support.node import wait_for
from support.policy_examples import network_policy
from support.policy_lab import Question
from support.policy_node import FLAT, Cluster, namespace, pod

SHUT = network_policy("{podSelector: {matchLabels: {app: db}}, ingress: []}", "shut", "x")
AUDITED = yaml.safe_load(SHUT) | {
    "metadata": {"name": "a", "namespace": "x", "annotations": {"cnidaria.io/audit": "true"}}
}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """An agent that follows an API server; nobody has written files."""
    with ExitStack() as stack:
        node = stack.enter_context(CniNode())
        api = stack.enter_context(KubeApi(node.host, node.dir))
        made = Cluster(node, FLAT)
        stack.callback(made.close)
        policy = {"type": "cnidaria-policy", "kubeconfig": str(api.kubeconfig), "node": "n1"}
        made.members[0].use(FLAT, policy)
        made.api = api
        for one in (namespace("x", {}), namespace("y", {}), SHUT):
            api.put(one)
        for name in ("web", "db"):
            api.put(pod("x", name, {"app": name}))
        made.publish()
        stack.enter_context(node.agent())
        for name in ("x/web", "x/db"):
            made.add(name)
        yield made


def passes(cluster: Cluster) -> bool:
    src, dst = (cluster.addresses(one)[0] for one in ("x/web", "x/db"))
    asked: list[Question] = [(src, dst, "TCP", 80)]
    cluster.lab.forget_connections()
    return cluster.lab.ask(asked, [False]) == [True]


def test_what_the_server_tells_is_in_force(cluster: Cluster) -> None:
    api = cluster.api
    assert not passes(cluster)
    api.put(pod("x", "db", {"app": "other"}))
    wait_for("another label", lambda: passes(cluster))
    api.put(pod("x", "db", {"app": "db"}))
    wait_for("the old label", lambda: not passes(cluster))
    api.remove("NetworkPolicy", "x", "shut")
    wait_for("no policy", lambda: passes(cluster))
    api.put(SHUT)
    wait_for("the policy again", lambda: not passes(cluster))


def test_what_happened_while_nobody_watched_is_found_out(cluster: Cluster) -> None:
    """Watches end; the versions that they knew are gone; the server itself is, for a while."""
    api = cluster.api
    api.break_watches()
    api.remove("NetworkPolicy", "x", "shut")
    wait_for("no policy", lambda: passes(cluster))
    api.forget()
    api.put(SHUT)
    wait_for("the policy", lambda: not passes(cluster))
    api.is_down = True
    api.forget()
    wait_for("status says so", lambda: "out of order" in str(gather(cluster.node.settings)))
    assert not passes(cluster)
    cluster.delete("x/db")
    cluster.add("x/db")  # it was known before
    assert not passes(cluster)
    api.is_down = False
    api.remove("NetworkPolicy", "x", "shut")
    wait_for("no policy", lambda: passes(cluster))
    wait_for("status says nothing", lambda: not gather(cluster.node.settings)["problems"])


def test_a_burst_of_changes_is_merged(cluster: Cluster) -> None:
    """A thousand of them are few transactions, and the last word counts."""
    api, place = cluster.api, cluster.node.host
    with Session(place) as session:
        before = generation(session)
    for number in range(500):
        api.put(pod("x", "db", {"app": "db" if number % 2 else "other", "n": str(number)}))
        api.put(pod("y", f"p{number}", {"app": "web"}))
    api.remove("NetworkPolicy", "x", "shut")
    wait_for("what came last", lambda: passes(cluster))
    with Session(place) as session:
        assert generation(session) - before < 100


def test_a_pod_that_nobody_told_of_is_asked_for(cluster: Cluster) -> None:
    """One that is not there at all, or cannot be asked for, does not start."""
    api = cluster.api
    api.hidden.add("late")
    api.put(pod("x", "late", {"app": "db"}))
    cluster.add("x/late")
    src, dst = (cluster.addresses(one)[0] for one in ("x/web", "x/late"))
    assert cluster.lab.ask([(src, dst, "TCP", 80)], [False]) == [False]
    with pytest.raises(CniError, match="has no pod x/nobody") as caught:
        cluster.add("x/nobody")
    assert caught.value.code == 11


def test_an_object_that_is_not_understood_keeps_what_it_said(cluster: Cluster) -> None:
    api = cluster.api
    api.put(SHUT.replace("podSelector", "podSelektor"))
    wait_for("status says so", lambda: "podSelektor" in str(gather(cluster.node.settings)))
    assert not passes(cluster)
    measured = metrics.parse(cluster.node.cnidaria("metrics"))
    assert metrics.number(measured, "cnidaria_policy_refused", network="pods", source="api") == 1
    assert metrics.number(measured, "cnidaria_policy_source_up", network="pods", source="api") == 1
    api.put(SHUT)
    wait_for("status says nothing", lambda: not gather(cluster.node.settings)["problems"])


def test_without_an_agent_every_call_asks(tmp_path: Path) -> None:
    with new_namespace() as place, KubeApi(place, tmp_path) as api:
        for number in range(5):
            api.put(namespace(f"n{number}", {"team": "a"}))
        api.put(AUDITED)
        api.put(pod("x", "db", {"app": "db"}))
        source = Kube(api.kubeconfig)
        found = place.run(source.look)
        assert source.is_whole
        assert source.problems == []
        assert source.is_reachable and source.refused == 0
        assert len(found) == 7
        assert found["NetworkPolicy", "x", "a"]["metadata"]["annotations"] == {
            "cnidaria.io/audit": "true"
        }
        assert "uid" not in found["Pod", "x", "db"]["metadata"]
        assert place.run(source.look) is found


def test_a_server_that_cannot_be_asked(place: NetNS, tmp_path: Path) -> None:
    with KubeApi(place, tmp_path) as api:
        api.is_down = True
        source = Kube(api.kubeconfig)
        assert place.run(source.look) == {}
        assert not source.is_whole
        (problem,) = source.problems
        assert "503" in problem
        assert "out of order" in problem
        assert not source.is_reachable
    source = Kube(tmp_path / "nothing")
    assert source.look() == {}
    assert not source.is_reachable
    assert "No such file" in source.problems[0]


@pytest.fixture
def place() -> Iterator[NetNS]:
    with new_namespace() as made:
        yield made


GOOD: dict[str, Any] = {
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    "clusters": [{"name": "k", "cluster": {"server": "https://[fd00::1]:6443/base/"}}],
    "users": [{"name": "u", "user": {"tokenFile": "token"}}],
}
WRONG = {
    "has no context": {"current-context": "d"},
    "must be a URL": {"clusters": [{"name": "k", "cluster": {"server": "fd00::1"}}]},
    "exec is not supported": {"users": [{"name": "u", "user": {"exec": {}}}]},
    "is not base64": {
        "clusters": [
            {"name": "k", "cluster": {"server": "https://x", "certificate-authority-data": "?"}}
        ]
    },
    "go together": {"users": [{"name": "u", "user": {"client-key-data": "eA=="}}]},
    "cannot be used": {
        "clusters": [
            {"name": "k", "cluster": {"server": "https://x", "certificate-authority-data": "eA=="}}
        ]
    },
}


def test_a_kubeconfig(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(GOOD))
    (tmp_path / "token").write_text("t1\n")
    found = kubeconfig.read(file)
    assert (found.host, found.port, found.path) == ("fd00::1", 6443, "/base")
    assert found.tls is not None
    assert found.headers() == {"Authorization": "Bearer t1"}
    (tmp_path / "token").write_text("t2\n")
    assert found.headers() == {"Authorization": "Bearer t2"}


@pytest.mark.parametrize("why", WRONG)
def test_a_kubeconfig_that_is_wrong(why: str, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump({**GOOD, **WRONG[why]}))
    with pytest.raises(kubeconfig.BadKubeconfig, match=why) as caught:
        kubeconfig.read(file)
    assert str(caught.value).startswith(f"{file}: ")
