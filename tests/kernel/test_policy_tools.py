"""explain, verify and watch on a node: against its kernel, as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from cnidaria_policy.denied import watch
from support.cni import CniNode
from support.namespaces import make_uplink, run
from support.needs import needs
from support.node import wait_for
from support.policy_examples import cluster_policy, network_policy
from support.policy_node import FLAT, STEPS, TABLE, Cluster, fill

pytestmark = needs("nft")

SECONDS = 20.0
CNIDARIA = str(Path(sys.executable).with_name("cnidaria"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with CniNode() as node:
        made = Cluster(node, FLAT)
        made.publish()
        made.write("policies.yaml", *STEPS.values())
        with node.agent():
            fill(made, "x")
            made.add("y/web")
            yield made
        made.close()


def command(cluster: Cluster, *words: str) -> list[str]:
    where = cluster.node.settings
    paths = ["--state-dir", str(where.state_dir), "--conf-dir", str(where.conf_dir)]
    return [CNIDARIA, "policy", *words, *paths]


def tool(cluster: Cluster, *words: str) -> tuple[int, str]:
    """Exit code and output of a command that runs on the node."""
    done = cluster.node.host.run(
        subprocess.run,
        command(cluster, *words),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def asked(cluster: Cluster, *words: str) -> tuple[int, Any]:
    code, said = tool(cluster, *words, "--json")
    return code, json.loads(said)


def test_explain_shows_the_way_through_the_kernel(cluster: Cluster) -> None:
    code, said = tool(cluster, "explain", "x/web", "x/db:http")
    assert code == 0, said
    web, db = (cluster.addresses(one)[0] for one in ("x/web", "x/db"))
    lines = said.splitlines()
    assert lines[0] == f"x/web ({web}) > x/db ({db}) TCP 80: allowed"
    assert f"NetworkPolicy x/web-to-db ingress rule 0  ({cluster.policies}/policies.yaml:" in said
    assert lines[3] == "  kernel  egress   allowed: nothing about this pod"
    assert lines[4].startswith(f"  kernel  ingress  allowed: {db} in ingress4: goto ingress-")
    assert lines[4].endswith(": accept, NetworkPolicy x/web-to-db ingress rule 0")
    code, found = asked(cluster, "explain", "x/api", "x/db:80")
    assert (code, found["allowed"], found["kernel_agrees"]) == (1, False, True)
    assert found["kernel"][1]["allowed"] is False


def test_a_table_that_was_tampered_with_is_found_out(cluster: Cluster) -> None:
    """Without the agent, which would put it right."""
    code, report = asked(cluster, "verify", "--flows", "300")
    assert code == 0, report
    assert report["flows"] == 300
    assert report["agrees"] is True
    with CniNode() as node:
        other = Cluster(node, FLAT)
        other.publish()
        other.write("policies.yaml", *STEPS.values())
        fill(other, "x")
        assert asked(other, "verify")[0] == 0
        db = other.addresses("x/db")[0]
        run(node.host, "nft", "delete", "element", "inet", TABLE, "ingress4", f"{{ {db} }}")
        code, report = asked(other, "verify")
        assert code == 1
        assert [one for one in report["differences"] if f"ingress4: {db}" in one]
        assert any("x/db" in one for one in report["wrong"])
        code, said = tool(other, "explain", "x/api", "x/db:80")
        assert code == 2
        assert "the kernel does otherwise" in said
        run(node.host, "nft", "delete", "table", "inet", TABLE)
        code, report = asked(other, "verify")
        assert (code, report["differences"]) == (1, [f"there is no table {TABLE}"])
        other.close()


@pytest.mark.parametrize("peers", ["networks: [0.0.0.0/0, '::/0']", "nodes: {}"])
@pytest.mark.parametrize("agent", [True, False], ids=["agent", "one-shot"])
def test_a_node_that_no_object_tells_of(peers: str, agent: bool) -> None:
    """It is known by the addresses that it has: what is denied towards it is denied, and said."""
    deny = cluster_policy(
        "{tier: Admin, priority: 1, subject: {namespaces: {}}, egress: "
        f"[{{action: Deny, to: [{{{peers}}}]}}]}}"
    )
    ends = "192.0.2.1", "2001:db8::1"
    with CniNode() as node:
        make_uplink(node.host, f"{ends[0]}/24")
        run(node.host, "ip", "address", "add", f"{ends[1]}/64", "dev", "up0", "nodad")
        one = Cluster(node, FLAT)
        one.publish()
        one.write("deny.yaml", deny)
        with node.agent() if agent else nullcontext():
            fill(one, "x")
            for at, end in enumerate(ends):
                way = f"[{end}]:80" if at else f"{end}:80"
                code, said = asked(one, "explain", "x/web", way)
                assert (code, said["allowed"], said["kernel_agrees"]) == (1, False, True)
                code, said = asked(one, "explain", end, "x/web:80")
                assert (code, said["allowed"], said["kernel_agrees"]) == (0, True, True)
            code, report = asked(one, "verify", "--flows", "300")
            assert (code, report["flows"]) == (0, 300), report
            run(node.host, "ip", "address", "del", f"{ends[0]}/24", "dev", "up0")
            run(node.host, "ip", "address", "add", "192.0.2.7/24", "dev", "up0")
            policy = {"cniVersion": "1.1.0", "name": "pods", **one.members[0].plugins[1]}
            assert node.call("STATUS", conf=policy).exit == 0  # without an agent nobody else looks
            wait_for("a new address", lambda: asked(one, "verify", "--flows", "0")[0] == 0)
            assert asked(one, "explain", "x/web", "192.0.2.7:80")[0] == 1
        one.close()


def test_verify_tells_what_it_could_not_try(cluster: Cluster) -> None:
    code, report = asked(cluster, "verify", "--flows", "0")
    assert (code, report["flows"], report["agrees"]) == (0, 0, True)


def test_matrix_diff_and_lint_of_a_node(cluster: Cluster) -> None:
    _, found = asked(cluster, "matrix")
    assert found["reach"]["x/web"]["x/db"] == "TCP 80"
    _, said = tool(cluster, "diff", "--without", str(cluster.policies / "policies.yaml"))
    assert "opens " in said
    assert tool(cluster, "lint") == (0, "")  # each selects a pod that lives here
    cluster.write("lost.yaml", network_policy("{podSelector: {matchLabels: {apps: web}}}", "q"))
    code, said = tool(cluster, "lint")
    assert code == 1
    assert "NetworkPolicy shop/q: spec.podSelector: no pod is selected" in said
    assert "did you mean 'app'?" in said
    (cluster.policies / "lost.yaml").unlink()


def test_watch_names_pods_and_the_policy(cluster: Cluster) -> None:
    words = command(cluster, "watch", "--seconds", "20", "--json")
    api, db = (cluster.addresses(one) for one in ("x/api", "x/db"))
    with cluster.node.host.run(
        subprocess.Popen, words, stdout=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        told: list[dict[str, Any]] = []

        def heard() -> bool:
            for family in (0, 1):
                cluster.lab.forget_connections()
                cluster.lab.ask([(api[family], db[family], "TCP", 80)], [False])
            told.extend(json.loads(line) for line in process.stdout or ())
            return {one["src"] for one in told} == {"x/api"} and len(told) >= 2

        wait_for("denied connections", heard)
        process.terminate()
    for one in told:
        assert (one["dst"], one["protocol"], one["port"]) == ("x/db", "TCP", 80)
        assert one["what"] == "denied"
        assert one["why"].startswith("NetworkPolicy x/")
        assert one["why"].endswith("ingress isolation")


def test_status_and_pods_know_the_objects_of_policies(cluster: Cluster) -> None:
    where = cluster.node.settings
    for words in (["status", "--socket", str(where.socket)], ["pods"]):
        done = cluster.node.host.run(
            subprocess.run,
            [CNIDARIA, *words, "--state-dir", str(where.state_dir)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_a_second_watch_says_who_listens(cluster: Cluster) -> None:
    words = command(cluster, "watch")
    with cluster.node.host.run(subprocess.Popen, words) as first:
        try:
            said = []

            def refused() -> bool:
                said[:] = [tool(cluster, "watch", "--seconds", "0.1")]
                return said[0][0] == 1

            wait_for("the first one to listen", refused)
            assert f"cannot listen to NFLOG group 67: process {first.pid} (" in said[0][1]
            assert "policy watch" in said[0][1]
            assert "does, and the kernel tells one alone: end that" in said[0][1]
        finally:
            first.terminate()


def test_watch_names_pods_that_came_after_it(cluster: Cluster) -> None:
    words = command(cluster, "watch", "--seconds", "20", "--json")
    with cluster.node.host.run(
        subprocess.Popen, words, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        db, told = cluster.addresses("x/db")[0], []

        def heard(name: str, src: str) -> bool:
            cluster.lab.forget_connections()
            cluster.lab.ask([(src, db, "TCP", 80)], [False])
            told.extend(json.loads(line)["src"] for line in process.stdout or ())
            return name in told

        api = cluster.addresses("x/api")[0]
        wait_for("an event", lambda: heard("x/api", api))
        late = cluster.add("z/late")[0]
        wait_for("the new pod's name", lambda: heard("z/late", late))
        process.terminate()
    cluster.delete("z/late")


def test_an_audited_policy_decides_nothing_and_is_told(cluster: Cluster) -> None:
    audited = network_policy("{podSelector: {}, ingress: []}", "would", "y").replace(
        "metadata: {", 'metadata: {annotations: {cnidaria.io/audit: "true"}, ', 1
    )
    cluster.write("audited.yaml", audited)
    place = cluster.node.host
    comment = 'comment "audit: would deny: NetworkPolicy y/would ingress isolation"'
    wait_for("the policy", lambda: comment in run(place, "nft", "list", "table", "inet", TABLE))
    src, dst = (cluster.addresses(one)[0] for one in ("x/web", "y/web"))
    events = watch("pods", place, {src: "x/web", dst: "y/web"}.__getitem__, seconds=SECONDS)
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(next, events)

        def heard() -> bool:
            cluster.lab.forget_connections()
            assert cluster.lab.ask([(src, dst, "TCP", 80)], [True]) == [True]
            return told.done()

        wait_for("what is told", heard)
    event = told.result()
    assert (event.src, event.dst, event.port, event.what) == ("x/web", "y/web", 80, "audit")
    assert event.why == "audit: would deny: NetworkPolicy y/would ingress isolation"
    (cluster.policies / "audited.yaml").unlink()
