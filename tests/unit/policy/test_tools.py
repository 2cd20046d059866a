"""explain, matrix, diff and lint: from files alone."""

from __future__ import annotations

import json
import os
import random
import re
import socket
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from cnidaria_core import PolicyEngine
from hypothesis import given, settings
from hypothesis import strategies as st

from cnidaria.cli import main
from cnidaria_policy import lint as lint_module
from cnidaria_policy import manifests, names
from cnidaria_policy.compare import compare
from cnidaria_policy.denied import Refreshed, holder
from cnidaria_policy.explain import explain, parse_target
from cnidaria_policy.kube import RESOURCES, pruned
from cnidaria_policy.lint import lint
from cnidaria_policy.manifests import content, key_of
from cnidaria_policy.matrix import Group, Matrix, matrix, said
from cnidaria_policy.objects import PolicyPod
from cnidaria_policy.picture import COLOURS, EACH, MOST, svg
from cnidaria_policy.policies import Policies
from cnidaria_policy.program import LOG_GROUP
from cnidaria_policy.reach import LAST, NAMES, NOTHING, OTHERS, Ports, Reach
from support.policy_examples import CLUSTER, cluster_policy, network_policy
from support.policy_worlds import QUERIES, Object, worlds

SVG = "{http://www.w3.org/2000/svg}"
NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132, "ICMP": 0}
DENY = network_policy("{podSelector: {}}", "deny")
DB = network_policy(
    "{podSelector: {matchLabels: {app: db}}, ingress: ["
    "{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: sql}]}]}",
    "db",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    (tmp_path / "policies.yaml").write_text(DENY + DB)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    code = main(["policy", *map(str, words)])
    return code, capsys.readouterr().out


def test_explain_names_the_rule_and_its_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(capsys, "explain", "shop/web", "shop/db:sql", "--files", folder)
    assert code == 0
    assert said.splitlines() == [
        "shop/web (10.0.1.1) > shop/db (10.0.1.2) TCP 5432: allowed",
        "  egress  allowed  no policy decides: allowed by default",
        f"  ingress allowed  NetworkPolicy shop/db ingress rule 0  ({folder}/policies.yaml:10)",
    ]
    code, said = run(capsys, "explain", "203.0.113.5", "shop/web:80/udp", "--files", folder)
    assert code == 1
    assert "denied   NetworkPolicy shop/deny ingress isolation" in said
    code, said = run(capsys, "explain", "shop/web", "shop/db/icmp", "--json", "--files", folder)
    found = json.loads(said)
    assert (code, found["allowed"], found["protocol"], found["kernel"]) == (1, False, "ICMP", None)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("shop/db:5432", ("shop/db", "tcp", "5432")),
        ("shop/db:sql/udp", ("shop/db", "udp", "sql")),
        ("shop/db/icmp", ("shop/db", "icmp", "")),
        ("10.0.0.1:80/SCTP", ("10.0.0.1", "sctp", "80")),
        ("[fd00::1]:53/udp", ("fd00::1", "udp", "53")),
        ("[fd00::1]/icmp", ("fd00::1", "icmp", "")),
    ],
)
def test_targets(text: str, parts: tuple[str, str, str]) -> None:
    assert parse_target(text) == parts


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("shop/db", "which port?"),
        ("shop/db:70000", "between 0 and 65535"),
        ("shop/db:nix", "no TCP port 'nix'"),
        ("shop/nix:80", "one of the pods that are known"),
        ("[fd00::1]:80", "no address family in common"),
        ("[x:80", "must be NAMESPACE/POD or an address"),
        ("shop/db:80/tcpx", "protocol 'tcpx': must be tcp, udp, sctp or icmp"),
        ("shop/db:80/icmp", "icmp has no ports"),
        ("shop/api:once", "shop/api has no TCP port 'once'"),
        ("shop/lost:80", "of its node n9, of which no address is known: give the node's address"),
        ("shop/loose:80", "of its node (no spec.nodeName), of which no address is known"),
    ],
)
def test_wrong_targets(
    folder: Path, target: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "special.yaml").write_text(SPECIAL)
    assert main(["policy", "explain", "shop/web", target, "--files", str(folder)]) == 1
    assert said in capsys.readouterr().err


SPECIAL = """
---
apiVersion: v1
kind: Pod
metadata: {name: agent, namespace: shop, labels: {app: agent}}
spec: {nodeName: n1, hostNetwork: true, containers: [{ports: [{name: own, containerPort: 99}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: lost, namespace: shop}
spec: {nodeName: n9, hostNetwork: true}
---
apiVersion: v1
kind: Pod
metadata: {name: loose, namespace: shop}
spec: {hostNetwork: true}
---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: shop, labels: {app: api}}
spec:
  nodeName: n2
  containers: []
  initContainers:
  - {name: proxy, restartPolicy: Always, ports: [{name: mesh, containerPort: 15001}]}
  - {name: init, ports: [{name: once, containerPort: 15002}]}
status: {phase: Running, podIP: 10.0.1.9}
"""


def test_a_pod_with_its_nodes_network_is_judged_as_the_node(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "special.yaml").write_text(SPECIAL)
    _, said = run(capsys, "explain", "shop/agent", "shop/web:80", "--files", folder)
    note = "  note    shop/agent has its node's network: for policies it is the node"
    assert said.splitlines() == [
        "192.168.0.1 > shop/web (10.0.1.1) TCP 80: allowed",
        "  egress  allowed  no policy decides: allowed by default",
        "  ingress allowed  a pod and its own node always reach each other",
        note,
    ]
    _, said = run(capsys, "explain", "shop/web", "shop/agent:own", "--files", folder)
    assert said.startswith("shop/web (10.0.1.1) > 192.168.0.1 TCP 99: ")
    assert said.splitlines()[-1] == note
    addressed = SPECIAL.replace(
        "hostNetwork: true}", "hostNetwork: true}\nstatus: {podIP: 1.2.3.4}"
    )
    (folder / "special.yaml").write_text(addressed)
    _, said = run(capsys, "explain", "shop/lost", "shop/web:80", "--files", folder)
    assert said.startswith("1.2.3.4 > shop/web (10.0.1.1) TCP 80: denied")


def test_a_pod_that_has_no_address_yet() -> None:
    web = {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "x", "name": "web"}}
    with pytest.raises(ValueError, match="x/web has no address; give the one that it will have"):
        explain(Policies({key_of(web): web}, {}), "x/web", "10.0.0.1:80")


def test_what_is_no_text_for_terminals_is_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = '{name: "\\e[31m", action: Deny, from: [{namespaces: {}}]}'
    lost = network_policy("{podSelector: {matchLabels: {app: nix}}}")
    spec = f"{{tier: Admin, priority: 5, subject: {{namespaces: {{}}}}, ingress: [{rule}]}}"
    (tmp_path / "x\x1b[31m.yaml").write_text(CLUSTER + cluster_policy(spec) + lost)
    (tmp_path / "y\x1b[31m").mkdir()
    files = [tmp_path, tmp_path / "y\x1b[31m", tmp_path / "no\x1b[31m"]
    for words in (
        ("explain", "shop/web", "shop/db:80", "--files", files[0]),
        ("lint", "--files", *files[:2]),
        ("matrix", "--files", *files),
    ):
        main(["policy", *map(str, words)])
        said = "".join(capsys.readouterr())
        assert r"\x1b[31m" in said
        assert "\x1b" not in said


def test_named_ports_of_sidecars(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ports = network_policy("{podSelector: {}, ingress: [{ports: [{port: mesh}, {port: once}]}]}")
    (folder / "policies.yaml").write_text(ports)
    (folder / "special.yaml").write_text(SPECIAL)
    _, said = run(capsys, "explain", "shop/web", "shop/api:mesh", "--files", folder)
    assert said.startswith("shop/web (10.0.1.1) > shop/api (10.0.1.9) TCP 15001: allowed")
    _, said = run(capsys, "lint", "--files", folder)
    assert "'mesh'" not in said
    assert "no pod has a port 'once'" in said


def test_what_is_kept_of_a_pod_decides_as_the_whole() -> None:
    """Of an API server's, sidecars among it."""
    (_, *_, obj) = filter(None, yaml.safe_load_all(SPECIAL))
    (pods,) = (one for one in RESOURCES if one.kind == "Pod")
    whole, kept = PolicyEngine(), PolicyEngine()
    whole.apply(obj)
    kept.apply(pruned(pods, obj))
    assert kept == whole


def test_matrix_as_table_data_and_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = folder / "reach.svg"
    code, said = run(capsys, "matrix", "--files", folder, "--svg", picture)
    assert code == 0
    assert "TCP 5432" in said
    _, data = run(capsys, "matrix", "--files", folder, "--json")
    reach = json.loads(data)["reach"]
    assert reach["shop/web"]["shop/db"] == "TCP 5432"
    assert reach["shop/db"]["shop/web"] == "nothing"
    assert reach["shop/db"]["elsewhere"] == "everything"
    root = ElementTree.parse(picture).getroot()
    titles = {title.text for title in root.iter("{http://www.w3.org/2000/svg}title")}
    assert "shop/web to shop/db: TCP 5432" in titles


def drawn(picture: str) -> dict[tuple[int, int], str]:
    """Row and column, and what the colour there stands for."""
    found = {}
    for path in ElementTree.fromstring(picture).iter(f"{SVG}path"):
        runs = re.findall(r"M(\d+) (\d+)h(\d+)v1", path.get("d") or "")
        for column, row, width in (map(int, run) for run in runs):
            what = next(one for one, colour in COLOURS.items() if colour == path.get("fill"))
            for at in range(column, column + width):
                assert (row, at) not in found
                found[row, at] = what
    return found


def a_matrix(pods: int, spaces: int, seed: int = 1) -> Matrix:
    choose = random.Random(seed).choice
    web = Ports.where(lambda one, at: (one, at) == (6, 80), {6: [80, 81]})
    cells = [{4: NOTHING}, {4: Ports.where(lambda *_: True, {})}, {4: web}, None]
    names = [*(f"n{at % spaces}/pod-{at}" for at in range(pods)), "elsewhere"]
    groups = [Group(one, (one,) if "/" in one else (), ()) for one in names]
    return Matrix(tuple(groups), tuple(tuple(choose(cells) for _ in names) for _ in names))


def test_the_picture_has_every_cell_in_its_colour() -> None:
    found = a_matrix(EACH - 1, 7)
    meant = {"no common address family": "nothing", "TCP 80": "in part"}
    assert drawn(svg(found)) == {
        (row, column): meant.get(said(one), said(one))
        for row, cells in enumerate(found.cells)
        for column, one in enumerate(cells)
    }


def test_many_groups_are_drawn_by_namespace() -> None:
    found = a_matrix(120, 120)
    picture = svg(found)
    assert "121 groups of pods, drawn by namespace; cnidaria policy matrix --json has" in picture
    assert set(drawn(picture)) == {(row, at) for row in range(121) for at in range(121)}
    several = drawn(svg(a_matrix(240, 4)))  # of 60 pods each
    assert set(several.values()) == {"not the same for all pods"} | {several[1, 1]}
    one = found.cells[0][:1] * 121
    picture = svg(Matrix(found.groups, (one,) * 121))  # namespaces that are all alike
    assert set(drawn(picture)) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert ">n0 and 119 more<" in picture
    assert ">elsewhere<" in picture


def test_a_picture_is_no_larger_than_a_megabyte() -> None:
    """And says what it leaves out."""
    picture = svg(a_matrix(400, 400))
    assert f"; {401 - MOST} of 401 rows are left out" in picture
    assert len(picture) < 1_000_000


def test_diff_tells_what_opens_and_what_closes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (new / "db.yaml").write_text(DB.replace("app: web", "app: job"))
    _, said = run(capsys, "diff", "--files", folder / "cluster.yaml", folder / "policies.yaml",
                  "--with", new)  # fmt: skip
    assert sorted(said.splitlines()) == [
        "closes  shop/web > shop/db  TCP 5432  (IPv4)",
        "opens   shop/job > shop/db  TCP 5432  (IPv4)",
    ]
    _, said = run(capsys, "diff", "--files", folder, "--without", folder / "policies.yaml")
    assert "opens" in said
    assert "closes" not in said
    _, said = run(capsys, "diff", "--files", folder, "--with", folder / "policies.yaml")
    assert said == "nothing changes\n"


LINT = {
    "selects-nothing": network_policy("{podSelector: {matchLabels: {app: nix}}}"),
    "unknown-label": network_policy("{podSelector: {matchLabels: {apps: web}}}"),
    "unknown-port": network_policy("{podSelector: {}, ingress: [{ports: [{port: htpp}]}]}"),
    "covers-pods": network_policy(
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.1.0/24}}]}]}"
    ),
    "never-decides": network_policy("{podSelector: {}, ingress: [{}, {ports: [{port: 80}]}]}"),
}


@pytest.mark.parametrize("check", LINT)
def test_lint_finds(check: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "policies.yaml").write_text(LINT[check])
    code, said = run(capsys, "lint", "--files", folder)
    assert code == 1
    assert f"[{check}]" in said
    assert said.startswith(f"{folder}/policies.yaml:")


def test_lint_has_nothing_to_say(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "lint", "--files", folder) == (0, "")


class CountedEngines:
    """Stands for the class of engines where they are made."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, **options: int) -> PolicyEngine:
        self.made += 1
        return PolicyEngine(**options)

    def from_bytes(self, data: bytes, **options: int) -> PolicyEngine:
        self.made += 1
        return PolicyEngine.from_bytes(data, **options)


def test_lint_makes_one_engine_and_reads_a_file_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many policies there are, and findings about them."""
    policies = "".join(
        network_policy("{podSelector: {matchLabels: {app: nix}}}", f"p{number}")
        for number in range(30)
    )
    (folder / "policies.yaml").write_text(policies)
    read = Policies.from_files([folder])
    engines, files = CountedEngines(), []
    monkeypatch.setattr(lint_module, "PolicyEngine", engines)

    def counted(file: Path) -> bytes:
        files.append(file)
        return content(file)

    monkeypatch.setattr(manifests, "content", counted)
    found = lint(read)
    assert [one.place for one in found] == [
        f"{folder}/policies.yaml:{line}" for line in range(5, 155, 5)
    ]
    assert engines.made == 1
    assert files == [folder / "policies.yaml"]


@settings(max_examples=30)
@given(worlds())
def test_a_policy_selects_nothing_if_an_engine_with_it_alone_has_no_rules(
    world: list[Object],
) -> None:
    policies = of(world)
    cluster = lint_module.Cluster(policies)
    rest = [one for one in world if not one["kind"].endswith("Policy")]
    for key, obj in policies.objects.items():
        if key[0].endswith("Policy"):
            one = PolicyEngine()
            meta = {**obj["metadata"], "annotations": {}}
            spec = {**obj["spec"], **lint_module._telling(key)}
            one.load([*rest, {**obj, "metadata": meta, "spec": spec}])
            assert cluster.selects(key, obj) == bool(one.tables().reasons)


@given(
    st.dictionaries(st.integers(0, 31), st.sampled_from("abc")),
    st.sampled_from(["10.0.0.0/27", "10.0.0.8/29", "10.0.0.5/32", "10.0.0.0/30"]),
    st.lists(st.sampled_from(["10.0.0.8/30", "10.0.0.0/29", "10.0.0.9/32", "10.0.0.5/32"])),
)
def test_pods_in_a_block(found: dict[int, str], block: str, parts: list[str]) -> None:
    pods = {name: [f"10.0.0.{at}" for at, one in found.items() if one == name] for name in "abc"}
    inside = [
        name
        for name, addresses in pods.items()
        for one in map(ip_address, addresses)
        if one in ip_network(block) and not any(one in ip_network(part) for part in parts)
    ]
    assert lint_module.Addresses(pods, 4).inside(block, parts) == inside
    assert lint_module.Addresses(pods, 6).inside("::/1", ["::/2"]) == []


def test_lint_knows_the_pods_that_live_here() -> None:
    """Also those that no source tells of."""
    pod = PolicyPod("net", "1", "shop", "db", ("10.0.0.5",), "eth0", labels={"app": "db"})
    (obj,) = yaml.safe_load_all(network_policy("{podSelector: {matchLabels: {app: db}}}"))
    assert lint(Policies({key_of(obj): obj}, {}, "n1", [pod])) == []
    obj["spec"]["podSelector"]["matchLabels"] = {"apps": "db"}
    checks = [one.check for one in lint(Policies({key_of(obj): obj}, {}, "n1", [pod]))]
    assert checks == ["selects-nothing", "unknown-label"]


# -- exactness -------------------------------------------------------------------------------------


def of(world: list[Object]) -> Policies:
    return Policies({key_of(one): one for one in world}, {})


@settings(max_examples=30)
@given(worlds())
def test_reach_is_what_verdicts_say(world: list[Object]) -> None:
    policies = of(world)
    reach = Reach(policies.tables())
    addresses = [one for some in policies.pods.values() for one in some]
    for src in addresses:
        for dst in addresses:
            if src != dst and (":" in src) == (":" in dst):
                ports = reach.between(reach.classes(src), reach.classes(dst))
                for protocol, port in QUERIES:
                    allowed = policies.engine.verdict(src, dst, protocol, port).allowed
                    assert ports.has(NUMBERS[protocol], port or 0) == allowed


@settings(max_examples=12)
@given(worlds(), worlds())
def test_diff_is_what_verdicts_say(world: list[Object], other: list[Object]) -> None:
    """Every pair of pods, before and after."""
    before = of(world)
    policies = [one for one in other if one["kind"].endswith("Policy")]
    after = before.changed({key_of(one): one for one in policies})
    changes = {}
    for one in compare(before, after):
        for src in one.src:
            for dst in one.dst:
                changes[src, dst, one.family] = one
    for src, froms in before.pods.items():
        for dst, tos in before.pods.items():
            for a in froms:
                for b in tos:
                    if src != dst and (":" in a) == (":" in b):
                        change = changes.get((src, dst, 6 if ":" in a else 4))
                        for protocol, port in QUERIES:
                            was, is_ = (
                                side.engine.verdict(a, b, protocol, port).allowed
                                for side in (before, after)
                            )
                            place = NUMBERS[protocol], port or 0
                            opens = bool(change and change.opens.has(*place))
                            closes = bool(change and change.closes.has(*place))
                            assert (opens, closes) == (is_ and not was, was and not is_)


@settings(max_examples=15)
@given(worlds())
def test_lint_and_matrix_take_any_cluster(world: list[Object]) -> None:
    policies = of(world)
    for finding in lint(policies):
        assert str(finding)
    ElementTree.fromstring(svg(matrix(policies)))


def test_sets_of_ports() -> None:
    some = Ports.where(lambda one, at: one == 6 and 80 <= at <= 90, {6: [80, 91]})
    few = Ports.where(lambda one, at: one == 6 and at == 85, {6: [85, 86]})
    assert str(some) == "TCP 80-90"
    assert str(some.less(few)) == "TCP 80-84, 86-90"
    assert not NOTHING
    assert str(NOTHING) == "nothing"
    everything = Ports.where(lambda *_: True, {})
    assert everything.is_everything
    assert dict(everything.spans) == dict.fromkeys(NAMES, ((0, LAST),))
    assert everything.has(OTHERS, 0)
    assert str(everything.less(some)) == "TCP 0-79, 91-65535; UDP; SCTP; other protocols"


def test_what_stands_for_a_table_with_a_long_name() -> None:
    """In 127 bytes with the name of a chain; the same for no other table."""
    tables = [names.table(name) for name in ("pods", "p" * 64, "p" * 65, "p" * 200, "\u00e4" * 90)]
    assert names.told(tables[0]) == tables[0]
    told = [names.told(one) for one in tables]
    assert len({*told}) == len(told)
    assert all(len(f"{one} allow-audit-{2**32}".encode()) <= 127 for one in told)


def test_names_are_read_again_but_for_a_twentieth_of_the_time() -> None:
    now, reads, took = [0.0], [0], 0.1

    def read() -> Callable[[str], str]:
        reads[0] += 1
        now[0] += took
        if reads[0] == 3:
            raise FileNotFoundError
        return f"{reads[0]} {{}}".format

    name_of = Refreshed(read, lambda: now[0])
    assert name_of("a") == "1 a"
    now[0] += 1.5
    assert name_of("a") == "1 a"
    now[0] += 1
    assert name_of("a") == "2 a"
    now[0] += 3
    assert name_of("a") == "2 a"  # the third one failed
    now[0] += 3
    assert name_of("a") == "4 a"


def test_who_listens(tmp_path: Path) -> None:
    logs, sockets = tmp_path / "logs", tmp_path / "sockets"
    logs.write_text(f"    1  1 0 2 0 0 1\n{LOG_GROUP:5} 4294963199     0 2 65535      1  1\n")
    with socket.socket(socket.AF_UNIX) as held:
        inode = os.fstat(held.fileno()).st_ino
        sockets.write_text(f"sk Eth Pid Inode\n0 15 4294963199 1\n0 12 4294963199 0 {inode}\n")
        assert holder(logs, sockets).startswith(f"process {os.getpid()} (")
    assert holder(logs, sockets) == "another process"
    logs.write_text("    1  1 0 2 0 0 1\n")
    assert holder(logs, sockets) == ""
