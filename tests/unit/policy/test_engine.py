"""The policy engine against the worked examples of the documentation, and its contract."""

from __future__ import annotations

import json
import pickle
from array import array
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from cnidaria_core import (
    HistoryLost,
    InvalidAddress,
    InvalidBuffer,
    InvalidObject,
    NoCommonFamily,
    PolicyEngine,
    PolicyError,
    UnknownPod,
)


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def pod(
    key: str,
    *ips: str,
    labels: dict[str, str] | None = None,
    node: str | None = None,
    ports: dict[str, int] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    where, name = key.split("/")
    listed = [{"name": name, "containerPort": port} for name, port in (ports or {}).items()]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": where, "labels": labels or {}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": listed}], **spec},
        "status": {"phase": "Running", "podIPs": [{"ip": ip} for ip in ips]},
    }


def node(name: str, *ips: str, **labels: str) -> dict[str, Any]:
    addresses = [{"type": "InternalIP", "address": ip} for ip in ips]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"addresses": [*addresses, {"type": "Hostname", "address": name}]},
    }


def policy(key: str, **spec: Any) -> dict[str, Any]:
    where, name = key.split("/")
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": where},
        "spec": spec,
    }


def engine(*objects: dict[str, Any]) -> PolicyEngine:
    made = PolicyEngine()
    made.load(objects)
    return made


# https://kubernetes.io/docs/concepts/services-networking/network-policies/#networkpolicy-resource
EXAMPLE = policy(
    "default/test-network-policy",
    podSelector={"matchLabels": {"role": "db"}},
    policyTypes=["Ingress", "Egress"],
    ingress=[
        {
            "from": [
                {"ipBlock": {"cidr": "172.17.0.0/16", "except": ["172.17.1.0/24"]}},
                {"namespaceSelector": {"matchLabels": {"project": "myproject"}}},
                {"podSelector": {"matchLabels": {"role": "frontend"}}},
            ],
            "ports": [{"protocol": "TCP", "port": 6379}],
        }
    ],
    egress=[
        {
            "to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}],
            "ports": [{"protocol": "TCP", "port": 5978}],
        }
    ],
)


@pytest.fixture
def example() -> PolicyEngine:
    return engine(
        namespace("default"),
        namespace("mine", project="myproject"),
        namespace("other"),
        pod("default/db", "10.1.0.1", labels={"role": "db"}, node="n1"),
        pod("default/web", "10.1.0.2", labels={"role": "frontend"}),
        pod("default/batch", "10.1.0.3", labels={"role": "batch"}),
        pod("mine/any", "10.1.0.4"),
        pod("other/web", "10.1.0.5", labels={"role": "frontend"}),
        node("n1", "192.168.0.1"),
        node("n2", "192.168.0.2"),
        EXAMPLE,
    )


@pytest.mark.parametrize(
    ("src", "allowed"),
    [
        ("default/web", True),
        ("default/batch", False),
        ("mine/any", True),
        ("other/web", False),
        ("172.17.0.1", True),
        ("172.17.1.1", False),
        ("172.17.2.0", True),
        ("172.18.0.0", False),
        ("192.168.0.1", True),
        ("192.168.0.2", False),
    ],
)
def test_example_ingress(example, src, allowed):
    assert example.verdict(src, "default/db", "TCP", 6379).allowed is allowed
    own_node = src == "192.168.0.1"
    assert example.verdict(src, "default/db", "TCP", 6380).allowed is own_node
    assert example.verdict(src, "default/db", "UDP", 6379).allowed is own_node
    assert example.verdict(src, "default/db", "ICMP").allowed is own_node


def test_example_egress(example):
    assert example.verdict("default/db", "10.0.0.200", "TCP", 5978)
    assert not example.verdict("default/db", "10.0.1.200", "TCP", 5978)
    assert not example.verdict("default/db", "10.0.0.200", "TCP", 5979)
    assert not example.verdict("default/db", "default/web", "TCP", 5978)
    assert example.verdict("default/web", "10.0.0.200", "TCP", 80)


def test_reasons(example):
    verdict = example.verdict("default/web", "default/db", "TCP", 6379)
    assert (verdict.egress.tier, verdict.egress.id) == ("Default", 0)
    reason = verdict.ingress
    assert (reason.kind, reason.namespace, reason.name, reason.direction, reason.rule) == (
        "NetworkPolicy",
        "default",
        "test-network-policy",
        "ingress",
        0,
    )
    assert str(reason) == "NetworkPolicy default/test-network-policy ingress rule 0"
    assert example.reason(reason.id) == reason
    denied = example.verdict("default/batch", "default/db", "TCP", 6379).ingress
    assert (denied.rule, denied.allow) == (None, False)
    assert example.verdict("default/db", "default/db", "TCP", 1).ingress.id == 2
    assert example.verdict("192.168.0.1", "default/db", "TCP", 1).ingress.id == 1


def test_tables_are_what_the_engine_decides_by(example):
    tables = example.tables()
    assert tables.version == example.version == 1
    assert set(tables.subjects) == {"10.1.0.1"}
    subject = tables.subjects["10.1.0.1"]
    peer = tables.endpoints["10.1.0.2"]
    row = tables.rows[subject, "ingress", peer]
    decision = tables.filters[row].decide(6, 6379)
    assert decision.allow
    assert tables.reasons[decision.reason].name == "test-network-policy"
    assert not tables.filters[tables.rows[subject, "ingress", None]].default.allow
    assert [block for block in tables.blocks if block[0].startswith("172")] == [
        ("172.17.0.0", "172.17.0.255"),
        ("172.17.2.0", "172.17.255.255"),
    ]
    here = example.tables("n1")
    assert (here.rows, here.filters, here.subjects) == (
        tables.rows,
        tables.filters,
        tables.subjects,
    )
    elsewhere = example.tables("n2")
    assert (elsewhere.subjects, elsewhere.rows, elsewhere.filters) == ({}, {}, {})
    assert elsewhere.endpoints == tables.endpoints


def test_changes_lead_from_one_version_to_another(example):
    before = example.tables()
    example.apply(pod("default/web2", "10.1.0.6", "fd00::6", labels={"role": "frontend"}))
    changes = example.changes_since(before.version)
    assert changes.endpoints == dict.fromkeys(["10.1.0.6", "fd00::6"], before.endpoints["10.1.0.2"])
    assert len(changes) == 2
    example.delete("NetworkPolicy", "test-network-policy", "default")
    changes = example.changes_since(before.version)
    assert changes.subjects == {"10.1.0.1": None}
    for part in ("endpoints", "blocks", "subjects", "rows", "filters", "reasons"):
        merged = {**getattr(before, part), **getattr(changes, part)}
        merged = {key: value for key, value in merged.items() if value is not None}
        assert merged == getattr(example.tables(), part)
    with pytest.raises(HistoryLost, match="take tables"):
        example.changes_since(99)


def test_unknown_ends(example):
    with pytest.raises(UnknownPod, match="no pod default/nobody"):
        example.verdict("default/nobody", "default/db", "TCP", 1)
    with pytest.raises(InvalidAddress):
        example.verdict("db", "default/db", "TCP", 1)
    with pytest.raises(ValueError, match="port: TCP, UDP and SCTP need one"):
        example.verdict("default/db", "default/db")
    with pytest.raises(ValueError, match='protocol: "tcpp"'):
        example.verdict("default/db", "default/db", "tcpp", 1)
    with pytest.raises(ValueError, match="70000: must be a number from 0 to 65535"):
        example.verdict("default/db", "default/db", "TCP", 70000)


@pytest.mark.parametrize(
    ("src", "dst"),
    [
        ("10.0.0.1", "fd00::1"),
        ("a/four", "fd00::1"),
        ("a/four", "a/six"),
        ("a/six", "10.0.0.9"),
        ("a/six", "::ffff:10.0.0.9"),
    ],
)
def test_there_is_no_connection_between_families(src: str, dst: str) -> None:
    here = engine(pod("a/four", "10.0.0.4", "10.0.0.5"), pod("a/six", "fd00::6"))
    for ends in ((src, dst), (dst, src)):
        with pytest.raises(NoCommonFamily, match="have no address family in common") as caught:
            here.verdict(*ends, "TCP", 80)
        assert isinstance(caught.value, ValueError) and isinstance(caught.value, PolicyError)
        again = pickle.loads(pickle.dumps(caught.value))
        assert (again.src, again.dst) == ends and str(again) == str(caught.value)


def test_the_first_addresses_of_a_family_that_both_have_count() -> None:
    shut = policy(
        "a/shut", podSelector={}, ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.4/32"}}]}]
    )
    both = pod("a/both", "fd00::7", "10.0.0.7")
    here = engine(pod("a/four", "10.0.0.4", "10.0.0.5"), pod("a/six", "fd00::6"), both, shut)
    assert here.verdict("a/four", "a/both", "TCP", 80)
    assert not here.verdict("a/six", "a/both", "TCP", 80)
    assert not here.verdict("10.0.0.5", "a/both", "TCP", 80)
    assert here.verdict("::ffff:10.0.0.4", "a/both", "TCP", 80)


def test_in_bulk_nothing_passes_between_families() -> None:
    four, six = IPv4Address("10.0.0.1"), IPv6Address("fd00::1")
    mapped = b"\0" * 10 + b"\xff\xff" + four.packed
    src = memoryview(mapped + six.packed + mapped + six.packed).cast("B", (4, 16))
    dst = memoryview(six.packed + mapped + mapped + six.packed).cast("B", (4, 16))
    said = engine().verdicts(src, dst, b"\6" * 4, array("H", [80] * 4))
    assert said.tolist() == [0, 0, 1, 1]
    numbers = array("I", [int(four)] * 4)
    assert engine().verdicts(numbers, dst, b"\6" * 4, array("H", [80] * 4)).tolist() == [0, 1, 1, 0]


def test_addresses_of_a_pod_count_once_in_their_order() -> None:
    """However many a hostile object has."""
    several = ["fd00::1", "10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2", "fd00:0::1", "10.0.0.1"]
    here = engine(pod("a/p", *several))
    assert here == engine(pod("a/p", "fd00::1", "10.0.0.1", "10.0.0.2"))
    assert here != engine(pod("a/p", "10.0.0.1", "fd00::1", "10.0.0.2"))
    many = [str(IPv4Address(0x0A000000 + n)) for n in range(200_000)]
    here = engine(pod("a/p", *many, *many))
    assert here == engine(pod("a/p", *many)) == PolicyEngine.from_bytes(here.to_bytes())
    here.load(
        [policy("a/shut", podSelector={}, ingress=[]), pod("a/p", *many[1:], labels={"b": "c"})]
    )
    assert list(here.tables().subjects) == many[1:]
    with pytest.raises(NoCommonFamily):
        here.verdict("a/p", "fd00::1", "TCP", 80)


def test_a_pod_whose_address_is_anothers_has_none() -> None:
    """Its policies are not the other one's, nor the other way round."""
    ended = pod("a/done", "10.0.0.1")
    ended["status"]["phase"] = "Succeeded"
    deny = policy("b/deny", podSelector={}, policyTypes=["Egress"])
    here = engine(ended, pod("a/old", "10.0.0.5"), pod("b/node", "10.0.0.9", hostNetwork=True))
    assert here.verdict("a/old", "8.8.8.8", "TCP", 80).allowed
    here.load([deny, pod("b/new", "10.0.0.1"), pod("b/newer", "10.0.0.5")])
    for gone in ("a/done", "a/old"):
        with pytest.raises(UnknownPod, match=gone):
            here.verdict(gone, "8.8.8.8", "TCP", 80)
    assert not here.verdict("b/new", "8.8.8.8", "TCP", 80).allowed
    assert here.verdict("b/node", "8.8.8.8", "TCP", 80).allowed
    here.load([node("n1", "10.0.0.9")])
    assert here.verdict("b/node", "8.8.8.8", "TCP", 80).allowed


def test_only_pods_reach_themselves() -> None:
    here = engine(pod("a/p", "10.0.0.1"), node("n1", "10.0.0.9"))
    itself = here.verdict("a/p", "a/p", "TCP", 80)
    assert str(itself.egress) == "a pod always reaches itself"
    for address in ("8.8.8.8", "10.0.0.9"):
        said = here.verdict(address, address, "TCP", 80)
        assert {str(said.egress), str(said.ingress)} == {str(here.reason(0))}


def test_who_reaches_whom_in_every_family() -> None:
    """Whichever address of a pod is told first."""
    blocks = [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]
    pods = [pod("a/p", "10.0.0.1", "fd00::1"), pod("a/q", "fd00::2", "10.0.0.2")]
    only4 = pod("a/r", "10.0.0.3")
    here = engine(*pods, only4, policy("a/four", podSelector={}, ingress=blocks))
    groups, matrix = here.reachable("TCP", 80)
    assert groups == [["a/p"], ["a/q"], ["a/r"]]
    assert matrix.tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 1]]


def test_any_address_of_a_node_counts() -> None:
    """The documentation of ``nodes`` asks for no type; names are none."""
    named = node("10.0.0.7")
    deny = {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "deny"},
        "spec": {
            "tier": "Admin",
            "priority": 1,
            "subject": {"namespaces": {}},
            "egress": [{"action": "Deny", "to": [{"nodes": {}}]}],
        },
    }
    here = engine(pod("a/p", "10.0.0.1"), named, node("n1"), deny)
    assert not here.verdict("a/p", "10.0.0.7", "TCP", 80).allowed


@pytest.mark.parametrize(
    ("spec", "path", "allowed"),
    [
        ({"ingres": []}, "spec.ingres", "unknown field"),
        ({"policyTypes": ["ingress"]}, "spec.policyTypes[0]", "Ingress, Egress"),
        ({"ingress": [{"ports": [{"endPort": 5}]}]}, "spec.ingress[0].ports[0].port", "required"),
        (
            {"ingress": [{"ports": [{"port": 80, "endPort": 79}]}]},
            "spec.ingress[0].ports[0].endPort",
            "from 80 to 65535",
        ),
        (
            {"ingress": [{"ports": [{"port": "a-name-that-is-too-long"}]}]},
            "spec.ingress[0].ports[0].port",
            "1 to 15",
        ),
        (
            {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}]},
            "spec.ingress[0].from[0].ipBlock.cidr",
            "must be a prefix",
        ),
        (
            {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}]},
            "spec.egress[0].to[0].ipBlock.except[0]",
            "inside 10.0.0.0/8",
        ),
        (
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            "spec.podSelector.matchExpressions[0].values",
            "is required",
        ),
    ],
)
def test_invalid_policies_are_refused(example, spec, path, allowed):
    before = example.tables()
    with pytest.raises(InvalidObject) as caught:
        example.load([pod("default/x", "10.1.0.9"), policy("default/bad", **spec)])
    error = caught.value
    assert (error.kind, error.namespace, error.name) == ("NetworkPolicy", "default", "bad")
    assert error.path == path
    assert allowed in error.allowed
    assert str(error).startswith(f"NetworkPolicy default/bad: {path}: ")
    assert example.tables() == before


def test_json_and_mappings_are_the_same():
    one, other = PolicyEngine(), PolicyEngine()
    one.apply(EXAMPLE)
    other.apply(json.dumps(EXAMPLE).encode())
    assert not one.apply(json.dumps(EXAMPLE))
    assert one.tables() == other.tables()


def test_verdicts_in_bulk_take_addresses_in_any_form() -> None:
    made = engine(
        pod("a/one", "10.0.0.1"), pod("a/two", "10.0.0.2"), policy("a/none", podSelector={})
    )
    asked = [
        ("10.0.0.9", "10.0.0.1", 80),
        ("10.0.0.1", "10.0.0.9", 80),
        ("10.0.0.2", "10.0.0.1", 0),
    ]
    expected = [made.verdict(src, dst, "TCP", port).allowed for src, dst, port in asked]
    assert expected == [False, True, False]
    protocols, ports = bytes([6, 6, 6]), array("H", [80, 80, 0])
    numbers = [array("I", [int(IPv4Address(one[at])) for one in asked]) for at in (0, 1)]
    out = bytearray(3)
    assert made.verdicts(*numbers, protocols, ports, out=out) is out
    assert list(out) == expected
    four = [b"".join(IPv4Address(one[at]).packed for one in asked) for at in (0, 1)]
    shaped = [memoryview(one).cast("B", (3, 4)) for one in four]
    assert list(made.verdicts(*shaped, protocols, ports)) == expected
    assert list(made.verdicts(array("I"), array("I"), b"", array("H"))) == []


def test_verdicts_in_bulk_refuse_other_buffers() -> None:
    made, one, port = engine(), array("I", [1]), array("H", [1])
    for name, arguments in {
        "src": (array("Q", [1]), one, b"\6", port),
        "dst": (one, array("I", [1, 2]), b"\6", port),
        "protocols": (one, one, b"\6\6", port),
        "ports": (one, one, b"\6", array("I", [1])),
    }.items():
        with pytest.raises(InvalidBuffer, match=f"^{name}: "):
            made.verdicts(*arguments)
    with pytest.raises(InvalidBuffer, match="read-only"):
        made.verdicts(one, one, b"\6", port, out=bytes(1))
    with pytest.raises(InvalidBuffer, match=r"src: its shape has to be \(n, 4\), not \(1, 3\)"):
        made.verdicts(memoryview(bytes(3)).cast("B", (1, 3)), one, b"\6", port)
    with pytest.raises(TypeError, match="buffer protocol"):
        made.verdicts([1], one, b"\6", port)  # type: ignore[arg-type]
