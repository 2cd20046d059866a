"""explain, matrix, diff and lint: from files alone."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings

from cnidaria.cli import main
from cnidaria_policy.compare import compare
from cnidaria_policy.explain import parse_target
from cnidaria_policy.lint import lint
from cnidaria_policy.manifests import key_of
from cnidaria_policy.matrix import matrix, svg
from cnidaria_policy.policies import Policies
from cnidaria_policy.reach import LAST, NAMES, NOTHING, OTHERS, Ports, Reach
from support.policy_examples import CLUSTER, network_policy
from support.policy_worlds import QUERIES, Object, worlds

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
    ],
)
def test_wrong_targets(
    folder: Path, target: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "explain", "shop/web", target, "--files", str(folder)]) == 1
    assert said in capsys.readouterr().err


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
