"""Wrong input of every kind: the state before stays in force, and ``status`` says why."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from cnidaria import NftTable
from cnidaria.cli.status import gather
from cnidaria.kernel.errors import KernelError
from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.netns import NetNS
from cnidaria.kinds import Batch, Ruleset, WholeTable
from cnidaria.testing.runtime import Attachment, Runtime
from cnidaria_policy.config import PolicyConfig
from cnidaria_policy.drivers import ENFORCERS
from cnidaria_policy.enforcer import Enforcer, mark
from cnidaria_policy.objects import PolicyPod, PolicyTable
from cnidaria_policy.service import follow
from cnidaria_policy.sources import Sources
from support.cni import CniNode
from support.namespaces import make_uplink, run
from support.needs import needs
from support.node import PLUGIN_DIR, wait_for
from support.policy_examples import network_policy
from support.policy_lab import Question
from support.policy_node import FLAT, TABLE, Cluster, namespace

SHUT = network_policy("{podSelector: {}, ingress: []}", "shut", "x")
OPEN = network_policy("{podSelector: {}, ingress: [{}]}", "shut", "x")
PATIENCE = 60.0
"""Seconds for what must happen."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two pods, of which one is shut, and an agent."""
    with CniNode() as node:
        made = Cluster(node, FLAT)
        made.publish()
        made.write("spaces.yaml", namespace("x", {}), namespace("y", {}))
        made.write("shut.yaml", SHUT)
        with node.agent():
            made.add("x/web")
            made.add("y/web")
            yield made
        made.close()


def passes(cluster: Cluster) -> bool:
    """Whether a connection to the pod that is shut begins."""
    src, dst = (cluster.addresses(one)[0] for one in ("y/web", "x/web"))
    asked: list[Question] = [(src, dst, "TCP", 80)]
    cluster.lab.forget_connections()
    return cluster.lab.ask(asked, [False]) == [True]


def status(cluster: Cluster) -> dict[str, str]:
    """The problems that ``cnidaria status`` tells."""
    problems: dict[str, str] = gather(cluster.node.settings)["problems"]
    return problems


@contextmanager
def told(cluster: Cluster, *words: str) -> Iterator[None]:
    """Inside something is wrong: it is said in these words, and what was in force stays so."""

    def said() -> bool:
        problem = " ".join(status(cluster).values())
        return all(word in problem for word in words)

    wait_for(f"status says {words}", said, PATIENCE)
    assert not passes(cluster)
    yield
    wait_for("status says nothing", lambda: not status(cluster), PATIENCE)
    assert not passes(cluster)


BAD = {
    "a field that nobody knows": (SHUT.replace("ingress", "ingres"), "spec.ingres"),
    "a block that is none": (
        SHUT.replace("[]", "[{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}]"),
        "spec.ingress[0].from[0].ipBlock.cidr",
    ),
    "half of a file": (SHUT[:-10], "shut.yaml:"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_file_that_is_refused(cluster: Cluster, what: str) -> None:
    """It opens nothing, and neither does a pod's return."""
    text, word = BAD[what]
    cluster.write("shut.yaml", text)
    with told(cluster, str(cluster.policies / "shut.yaml"), word):
        cluster.delete("x/web")
        cluster.add("x/web")
        assert not passes(cluster)
        cluster.write("shut.yaml", SHUT)


@pytest.mark.parametrize("agent", [True, False], ids=["agent", "one-shot"])
def test_a_file_that_is_refused_when_somebody_starts(agent: bool) -> None:
    """What was in force before stays so: it was kept beside the journal."""
    with CniNode() as node, ExitStack() as stack:
        made = Cluster(node, FLAT)
        stack.callback(made.close)
        made.publish()
        made.write("shut.yaml", SHUT)
        with node.agent() if agent else nullcontext() as first:
            made.add("x/web")
            made.add("y/web")
            if first:
                first.stop(signal.SIGKILL)
        made.write("shut.yaml", SHUT.replace("podSelector", "podSelektor"))
        with node.agent() if agent else nullcontext():
            policy = {"cniVersion": "1.1.0", "name": "pods", **made.members[0].plugins[1]}
            said = node.call("STATUS", conf=policy)
            assert said.result() is None
            line = 1 + SHUT.splitlines().index("spec: {podSelector: {}, ingress: []}")
            where = f"{made.policies}/shut.yaml:{line}: NetworkPolicy x/shut: spec.podSelektor"
            assert where in said.stderr
            if agent:
                wait_for("status says so", lambda: where in str(status(made)), PATIENCE)
            assert not passes(made)
            made.delete("x/web")
            made.add("x/web")
            assert not passes(made)
            assert "all agree" in node.cnidaria("policy", "verify", "--flows", "20")
            made.delete("x/web")
            made.delete("y/web")
        assert (node.settings.state_dir / "policies").exists() == agent
        node.cnidaria("uninstall", f"--bin-dir={node.bin}")
        assert not node.settings.state_dir.exists()


def test_a_pipe_in_the_place_of_a_file(cluster: Cluster) -> None:
    """Nobody waits for it: not the agent, not a pod, and not what is said of another file."""
    pipe, file = cluster.policies / "pipe.yaml", cluster.policies / "shut.yaml"
    os.mkfifo(pipe)
    with told(cluster, f"{pipe}: is no regular file"):
        pipe.replace(file)
        with told(cluster, f"{file}: is no regular file"):
            cluster.write("late.yaml", "garbage")
            wait_for("late.yaml", lambda: "late.yaml" in str(status(cluster)), PATIENCE)
            cluster.delete("x/web")
            cluster.add("x/web")
            (cluster.policies / "late.yaml").unlink()
            file.unlink()
            cluster.write("shut.yaml", SHUT)


def test_a_file_that_is_being_written(cluster: Cluster) -> None:
    """Nobody looks at it before its writer has closed it: until then it says what it said."""
    with (cluster.policies / "late.yaml").open("w") as file:
        file.write(OPEN.replace("shut", "late"))
        file.flush()
        assert not passes(cluster)
        file.write("garbage")
    with told(cluster, "late.yaml"):
        (cluster.policies / "late.yaml").unlink()
    shut = cluster.policies / "shut.yaml"
    with shut.open("w") as file, told(cluster, f"{shut}: is being written"):
        cluster.delete("x/web")
        cluster.add("x/web")
        assert not passes(cluster)
        file.write(SHUT)
        file.close()


def test_a_directory_that_cannot_be_read(cluster: Cluster) -> None:
    away = cluster.policies.with_name("away")
    cluster.policies.rename(away)
    with told(cluster, f"{cluster.policies}: No such file"):
        away.rename(cluster.policies)
    cluster.policies.rename(away)
    cluster.policies.write_text("no directory")
    with told(cluster, f"{cluster.policies}: Not a directory"):
        cluster.policies.unlink()
        away.rename(cluster.policies)


def test_of_two_objects_of_one_name_the_first_counts(cluster: Cluster) -> None:
    cluster.write("zz.yaml", OPEN)
    with told(cluster, "zz.yaml:", "NetworkPolicy x/shut is there already"):
        (cluster.policies / "zz.yaml").unlink()


def large(rules: int, fill: str = "") -> dict[str, Any]:
    """A policy of as many rules; what fills it is in an annotation."""
    made: dict[str, Any] = yaml.safe_load(SHUT)
    made["metadata"]["annotations"] = {"why": fill}
    made["spec"]["ingress"] = [
        {
            "from": [{"ipBlock": {"cidr": f"100.{64 + (n >> 16)}.{n >> 8 & 255}.{n & 255}/32"}}],
            "ports": [{"port": 1 + n % 60000}],
        }
        for n in range(rules)
    ]
    return made


def test_a_policy_of_ten_megabytes_and_many_rules(cluster: Cluster, effort: int) -> None:
    """It takes its time, and until it is in force what was before is; nothing is ever open."""
    rules = 2_000 if effort == 1 else 100_000
    text = json.dumps(large(rules, "x" * (10 << 20)))
    assert len(text) > 10 << 20
    spare = cluster.node.dir / "spare"
    spare.write_text(text)
    spare.rename(cluster.policies / "shut.json")
    (cluster.policies / "shut.yaml").unlink()
    last = f"NetworkPolicy x/shut ingress rule {rules - 1}"
    table = WholeTable(NftTable(TABLE), mark("pods"))  # nft itself takes minutes for so many chains

    def there() -> bool:
        assert not passes(cluster)
        time.sleep(0.1)
        found = table.read(cluster.node.host) or Ruleset()
        return any(last == rule.comment for one in found.chains.values() for rule in one.rules)

    wait_for(last, there, 20 * PATIENCE)
    assert not status(cluster)
    cluster.write("shut.yaml", SHUT)
    (cluster.policies / "shut.json").unlink()
    wait_for("the large one is gone", lambda: not there(), 20 * PATIENCE)
    assert not passes(cluster)


def test_a_foreign_firewall_that_drops_is_named() -> None:
    with CniNode() as node:
        made = Cluster(node, FLAT)
        made.publish()
        chain = "type filter hook forward priority filter; policy drop;"
        run(node.host, "nft", f"add table ip others; add chain ip others FORWARD {{ {chain} }}")
        with node.agent():
            wait_for(
                "status names it",
                lambda: "chain FORWARD of table ip others" in " ".join(status(made).values()),
                PATIENCE,
            )
        assert "policy drop" in run(node.host, "nft", "list", "table", "ip", "others")
        made.close()


# -- a kernel that refuses -------------------------------------------------------------------------


class Refusing:
    """Stands for a table's transaction: the kernel has no memory for it."""

    def __init__(self) -> None:
        self.tried = 0

    def __call__(self, *_: object) -> None:
        self.tried += 1
        raise KernelError(12, "cannot change the table", "Cannot allocate memory")


def test_what_the_kernel_refuses_is_tried_again(host: NetNS, tmp_path: Path) -> None:
    """Meanwhile the rules of before are in force."""
    file = tmp_path / "shut.yaml"
    file.write_text(SHUT)
    enforcer = Enforcer("pods", PolicyConfig(policies=(str(tmp_path),), node="n1"))
    enforcer.open(host, [])
    pod = PolicyPod("pods", "c/eth0", "x", "web", ("10.1.0.2",), "eth0")
    enforcer.attach(host, pod)
    before = enforcer.table.read(host)
    file.write_text(OPEN)
    change = enforcer.table.change
    enforcer.table.change = refusing = Refusing()  # type: ignore[method-assign]
    for tried in (2, 3):
        with pytest.raises(KernelError, match="Cannot allocate memory"):
            follow(enforcer, host)
        assert refusing.tried == tried
        assert enforcer.table.read(host) == before
    enforcer.table.change = change  # type: ignore[method-assign]
    follow(enforcer, host)
    now = enforcer.table.read(host)
    assert now is not None
    assert now != before
    assert now == enforcer.program.rules


def test_pods_come_and_go_while_a_file_is_read(
    host: NetNS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large one takes its time; until it was read to its end what was in force is."""
    monkeypatch.setattr("cnidaria_policy.enforcer.PATIENCE", 0.1)
    (tmp_path / "shut.yaml").write_text(SHUT)
    enforcer = Enforcer("pods", PolicyConfig(policies=(str(tmp_path),), node="n1"))
    web, db = made("web", 0, "10.1.0.2"), made("db", 1, "10.1.0.3")
    enforcer.open(host, [web])
    begun, done = threading.Event(), threading.Event()
    look = enforcer.sources.look

    def look_slowly() -> Any:
        begun.set()
        assert done.wait(PATIENCE)
        return look()

    enforcer.sources.look = look_slowly  # type: ignore[method-assign]
    with ThreadPoolExecutor() as pool:
        (tmp_path / "shut.yaml").write_text(OPEN)
        reading = pool.submit(follow, enforcer, host)
        assert begun.wait(PATIENCE)
        enforcer.attach(host, db)
        enforcer.detach(host, web)
        have = enforcer.table.read(host)
        assert have is not None
        assert have.elements["ingress4"].keys() == {("10.1.0.3",)}
        assert "NetworkPolicy x/shut ingress rule 0" not in str(have)
        done.set()
        reading.result()
    assert "NetworkPolicy x/shut ingress rule 0" in str(enforcer.table.read(host))


def test_a_pod_that_goes_while_the_sources_are_read_for_the_first_time(
    host: NetNS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address is the next pod's, who must not be taken for it."""
    (tmp_path / "shut.yaml").write_text(SHUT)
    config = {"policies": [str(tmp_path)], "node": "n1"}
    old = msgspec.structs.replace(made("web", 0, "10.1.0.2"), config=config)
    stays = msgspec.structs.replace(made("db", 1, "10.1.0.3"), config=config)
    begun, done = threading.Event(), threading.Event()
    look = Sources.look

    def look_slowly(self: Sources) -> Any:
        begun.set()
        assert done.wait(PATIENCE)
        return look(self)

    kernel = Kernel(host, declared=lambda _: [old, stays])
    with monkeypatch.context() as slow, ThreadPoolExecutor() as pool:
        slow.setattr(Sources, "look", look_slowly)
        opening = pool.submit(kernel.apply, [PolicyTable("pods", config)])
        assert begun.wait(PATIENCE)
        assert kernel.withdraw([old]) == []
        done.set()
        opening.result()
    enforcer = ENFORCERS.find(host, "pods")
    assert enforcer is not None
    assert [one.name for one in enforcer.world.pods()] == ["db"]
    have = enforcer.table.read(host)
    assert have is not None
    assert have.elements["ingress4"].keys() == {("10.1.0.3",)}
    kernel.withdraw([PolicyTable("pods", config)])


def made(name: str, number: int, *addresses: str) -> PolicyPod:
    return PolicyPod("pods", f"{number}/eth0", "x", name, addresses, "eth0", f"veth{number}")


def test_a_pod_that_goes_takes_nothing_from_another_one(host: NetNS, tmp_path: Path) -> None:
    """Also where nobody has looked at the policies: the late end of one whose address is given."""
    (tmp_path / "shut.yaml").write_text(SHUT)
    enforcer = Enforcer("pods", PolicyConfig(policies=(str(tmp_path),), node="n1"))
    old, new = made("db", 0, "10.1.0.2", "10.1.0.3"), made("web", 1, "10.1.0.3")
    enforcer.open(host, [old, new])
    kernel = Kernel(host, declared=lambda _: [old, new])
    assert kernel.withdraw([old]) == []
    have = enforcer.table.read(host)
    assert have is not None
    assert have.elements["ingress4"].keys() == {("10.1.0.3",)}


def test_a_pod_goes_also_while_the_kernel_refuses(host: NetNS, tmp_path: Path) -> None:
    """What it refuses is somebody's large policy; the pod, and one that was about to come, go."""
    enforcer = Enforcer("pods", PolicyConfig(policies=(str(tmp_path),), node="n1"))
    (tmp_path / "shut.yaml").write_text(SHUT)
    web = made("web", 0, "10.1.0.2")
    db, again = made("db", 1, "10.1.0.3", "10.1.0.4"), made("db", 2, "10.1.0.4", "10.1.0.5")
    late = made("late", 3, "10.1.0.6")
    enforcer.open(host, [])
    for one in (web, db, again):
        enforcer.attach(host, one, "bridge")
    change = enforcer.table.change

    def refuse(namespace: NetNS, batch: Batch, sets: Any) -> None:
        if len(batch) > 50:
            raise KernelError(12, "cannot change the table", "Cannot allocate memory")
        change(namespace, batch, sets)

    enforcer.table.change = refuse  # type: ignore[method-assign]
    (tmp_path / "large.json").write_text(json.dumps(large(100)))
    with pytest.raises(KernelError, match="Cannot allocate memory"):
        enforcer.attach(host, late, "bridge")
    for one in (late, web, db):
        enforcer.detach(host, one)
    have = enforcer.table.read(host)
    assert have is not None
    assert {key for (key,) in have.elements["subjects4"]} == {"10.1.0.4", "10.1.0.5"}
    assert [*have.elements["ingress4"]] == [*have.elements["subjects4"]]
    guarded = enforcer.guards["bridge"].table.read(host)
    assert guarded is not None
    assert "veth2" in str(guarded.elements)
    assert not {"veth0", "veth1", "veth3"} & {*str(guarded.elements).replace("'", " ").split()}
    with pytest.raises(KernelError, match="Cannot allocate memory"):
        follow(enforcer, host)
    enforcer.table.change = change  # type: ignore[method-assign]
    follow(enforcer, host)
    assert enforcer.wrong(host) == 0


# -- pods that cannot be judged, and what a runtime says of them -----------------------------------


@pytest.mark.parametrize("kind", ["macvlan", "ipvlan"])
def test_a_pod_whose_packets_the_node_does_not_see_is_refused(tmp_path: Path, kind: str) -> None:
    if not Path(PLUGIN_DIR, kind).exists():
        pytest.skip(f"{kind} is not installed")
    with CniNode() as node:
        make_uplink(node.host, "192.0.2.1/24")
        if not has_links(node.host, kind):
            pytest.skip(f"needs a kernel with {kind}")
        ipam = {
            "type": "host-local",
            "dataDir": str(node.dir / "leases"),
            "subnet": "10.9.0.0/24",
        }
        plugins = [
            {"type": kind, "master": "up0", "ipam": ipam},
            {"type": "cnidaria-policy", "policies": [str(tmp_path)]},
        ]
        conflist = {"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}
        runtime = Runtime(conflist, node.path.split(":"))
        node.pod("p")
        pod = Attachment("p", node.netns("p"))
        with pytest.raises(Exception, match=f"{kind}: its packets do not pass the node") as caught:
            node.host.run(runtime.add, pod)
        assert caught.value.code == 7  # type: ignore[attr-defined]
        node.host.run(runtime.delete, pod)
        assert "cnidaria" not in run(node.host, "nft", "list", "tables")


def has_links(host: NetNS, kind: str) -> bool:
    """Whether the kernel has links of a kind."""
    try:
        run(host, "ip", "link", "add", "try0", "link", "up0", "type", kind)
    except AssertionError:
        return False
    run(host, "ip", "link", "delete", "try0")
    return True


def test_an_annotation_tells_the_labels(cluster: Cluster) -> None:
    """Where no source knows the pod: by the runtime's capability."""
    only = network_policy("{podSelector: {matchLabels: {app: api}}, ingress: []}", "only", "y")
    cluster.write("only.yaml", only)
    capability = "io.kubernetes.cri.pod-annotations"
    plugins = [*cluster.members[0].plugins]
    plugins[1] = {**plugins[1], "capabilities": {capability: True}}
    conflist = {"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}
    node = cluster.node
    runtime = Runtime(conflist, node.path.split(":"))
    args = {"K8S_POD_NAMESPACE": "y", "K8S_POD_NAME": "api"}
    for labels, dropped in (("app=api, tier=1", True), ("app=web", False)):
        node.pod("y-api")
        annotations = {capability: {"cnidaria.io/labels": labels}}
        pod = Attachment("y-api", node.netns("y-api"), args=args, capabilities=annotations)
        result = node.host.run(runtime.add, pod)
        address = result["ips"][0]["address"].split("/")[0]
        wait_for("the policy", lambda: (f"{address} " in subjects(node)) == dropped)  # noqa: B023
        node.host.run(runtime.delete, pod)
        node.end("y-api")
    (cluster.policies / "only.yaml").unlink()


def subjects(node: CniNode) -> str:
    return run(node.host, "nft", "list", "set", "inet", TABLE, "subjects4")


@needs("nft")
def test_pods_that_nobody_can_know_are_refused_for_now(tmp_path: Path) -> None:
    """Before every file was good once it is not known what the policies are: code 11."""
    with CniNode() as node:
        made = Cluster(node, FLAT)
        made.publish()
        made.write("shut.yaml", SHUT.replace("podSelector", "podSelektor"))
        with node.agent():
            with pytest.raises(Exception, match="podSelektor") as caught:
                made.add("x/web")
            assert caught.value.code == 11  # type: ignore[attr-defined]
            made.write("shut.yaml", SHUT)
            first = made.members[0]
            node.host.run(first.runtime.delete, first.attachment("x/web"))
            made.add("x/web")
        made.close()
