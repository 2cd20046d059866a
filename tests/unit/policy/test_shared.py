"""The cluster store as a source: what is in force when something of it is wrong, moved, or lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cnidaria_core import PolicyEngine

from cnidaria import ClusterConfig
from cnidaria_policy.config import PolicyConfig
from cnidaria_policy.objects import PolicyPod
from cnidaria_policy.shared import Shared
from cnidaria_policy.sources import Sources
from cnidaria_policy.world import World

DENY = ("NetworkPolicy", "x", "deny")
ALLOW = ("NetworkPolicy", "x", "allow")
DB = ("Pod", "x", "db-0")
Opener = Callable[[str], Shared]


def policy(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": "x", "name": name},
        "spec": {"podSelector": {}},
    }


def written(**labels: str) -> dict[str, Any]:
    meta = {"namespace": "x", "name": "db-0", "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta}


def pod(address: str, **labels: str) -> PolicyPod:
    return PolicyPod(
        network="pods", id=address, namespace="x", name="db-0", addresses=(address,),
        ifname="eth0", labels=labels,
    )  # fmt: skip


def labels(engine: PolicyEngine) -> set[str]:
    """What policies see as the label ``app`` of the pod here: by the policies that select it."""
    seen: dict[str, bool] = {}
    for key in ("old", "new", "told"):
        engine.apply({**policy(key), "spec": {"podSelector": {"matchLabels": {"app": key}}}})
        seen[key] = not engine.verdict("192.0.2.9", "10.1.0.2", "TCP", 80).allowed
        engine.delete("NetworkPolicy", key, "x")
    return {key for key, selected in seen.items() if selected}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/store/cluster.db"


@pytest.fixture
def start(url: str) -> Iterator[Opener]:
    with ExitStack() as stack:

        def start(node: str) -> Shared:
            made = Shared("pods", ClusterConfig(store=url, node=node), node)
            stack.callback(made.stop)
            return made

        yield start


def test_a_document_that_cannot_be_used_keeps_what_it_said(start: Opener) -> None:
    one, fresh = start("n1"), start("n2")
    one.apply([policy("deny")])
    before = one.look()
    one._opened().put({"pods/NetworkPolicy/x/deny": b'{"kind":'})
    assert one.look() == before and one.is_whole
    assert ["pods/NetworkPolicy/x/deny" in problem for problem in one.problems] == [True]
    assert one.is_reachable and one.refused == 1
    fresh.look()
    assert not fresh.is_whole, "nobody knows what it says"
    assert one.delete(DENY)
    assert (one.look(), one.problems, one.refused) == ({}, [], 0)
    fresh.look()
    assert fresh.is_whole


def test_a_store_that_was_lost_opens_nothing(start: Opener, url: str) -> None:
    one, other = start("n1"), start("n2")
    one.apply([policy("deny"), policy("allow")])
    other.enter(pod("10.2.0.2", app="old"))
    assert set(one.look()) == {DENY, ALLOW, DB}
    for file in list(Path(url.removeprefix("sqlite:")).parent.iterdir()):
        file.unlink()
    assert set(one.look()) == {DENY, ALLOW}
    assert "was made anew, without the 2 objects" in one.problems[0]
    other.enter(pod("10.2.0.2", app="old"))
    assert set(one.look()) == {DENY, ALLOW, DB}, "nodes say nothing of policies"
    other.apply([policy("deny")])
    assert set(one.look()) == {DENY, DB} and one.problems == []


def test_a_store_that_cannot_be_read(start: Opener, url: str) -> None:
    one = start("n1")
    one.apply([policy("deny")])
    before = one.look()
    file = Path(url.removeprefix("sqlite:"))
    away = file.parent.with_name("away")
    file.parent.rename(away)
    file.parent.write_text("no directory")
    assert one.look() == before and not one.is_reachable and one.refused == 0
    file.parent.unlink()
    away.rename(file.parent)
    assert one.look() == before and one.is_reachable


def test_what_another_node_says_of_a_pod_is_not_about_one_here(start: Opener) -> None:
    """It has moved, and was taken down there without the store."""
    here, there = start("n1"), start("n2")
    there.enter(pod("10.2.0.2", app="old"))
    world = World("n1")
    world.replace(here.look())
    world.attach([pod("10.1.0.2", app="new")])
    assert labels(world.engine) == {"new"}
    here.apply([written(app="told")])
    world.replace(here.look())
    assert labels(world.engine) == {"told"}, "what people say counts wherever it is"
    here.delete(DB)
    world.replace(here.look())
    assert labels(world.engine) == {"new"}


def test_a_file_about_a_pod_counts_on_every_node(start: Opener, url: str, tmp_path: Path) -> None:
    start("n2").enter(pod("10.2.0.2", app="old"))
    (tmp_path / "pods.json").write_bytes(msgspec.json.encode(written(app="told")))
    config = PolicyConfig(policies=(str(tmp_path),), cluster=ClusterConfig(store=url, node="n1"))
    sources = Sources("pods", config)
    found = sources.look()[DB]
    sources.stop()
    assert found["metadata"]["labels"] == {"app": "told"}
    assert found["status"]["podIP"] == "10.2.0.2"


def test_a_node_has_one_name(url: str) -> None:
    cluster = ClusterConfig(store=url, node="n1")
    assert PolicyConfig(cluster=cluster, node="n1").node_name == "n1"
    with pytest.raises(ValueError, match=r"'n2', but this is node 'n1'.*cluster\.node"):
        PolicyConfig(cluster=cluster, node="n2")
