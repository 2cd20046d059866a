"""Random clusters with network policies, as Hypothesis strategies.

Few names, labels, ports and blocks, so that everything overlaps: what differs between two readings
of a policy shows in small examples.  All objects are valid Kubernetes JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from hypothesis import strategies as st

Object = dict[str, Any]

NAMESPACES = ("x", "y", "z")
LABELS = {"app": ("web", "db", "api"), "tier": ("1", "2")}
NAMESPACE_LABELS = {"team": ("a", "b"), "env": ("p", "q")}
NODES = {"n1": ("192.168.0.1", "fd01::1"), "n2": ("192.168.0.2", "fd01::2")}
OUTSIDE = ("203.0.113.5", "198.51.100.7", "2001:db8::9")
PORT_NAMES = ("http", "dns")
NUMBERS = (53, 80, 81, 8080)
PROTOCOLS = ("TCP", "UDP", "SCTP")
BLOCKS = {
    "0.0.0.0/0": ("10.0.0.0/8", "203.0.113.0/24", "192.168.0.1/32"),
    "10.0.0.0/8": ("10.0.1.0/24", "10.0.2.1/32"),
    "10.0.1.0/24": ("10.0.1.0/30", "10.0.1.2/32"),
    "203.0.113.0/24": ("203.0.113.4/30",),
    "198.51.100.7/32": (),
    "192.168.0.0/24": ("192.168.0.2/32",),
    "::/0": ("fd00::/16", "2001:db8::/32"),
    "fd00:1::/64": ("fd00:1::2/128",),
    "2001:db8::/32": (),
}
QUERIES = (
    ("TCP", 80), ("TCP", 81), ("TCP", 8080), ("UDP", 53), ("UDP", 80), ("SCTP", 80),
    ("SCTP", 8080), ("ICMP", None),
)  # fmt: skip
"""Protocols and ports that are worth asking about."""


def some_of(choices: dict[str, tuple[str, ...]]) -> st.SearchStrategy[dict[str, str]]:
    """Labels."""
    values = {key: st.sampled_from(options) for key, options in choices.items()}
    return st.fixed_dictionaries({}, optional=values)


@st.composite
def selectors(draw: st.DrawFn, labels: dict[str, tuple[str, ...]]) -> Object:
    """A label selector, mostly simple."""
    made: Object = {}
    if wanted := draw(some_of(labels)):
        made["matchLabels"] = wanted
    expressions = [
        draw(expression(labels)) for _ in range(draw(st.sampled_from((0, 0, 0, 1, 1, 2))))
    ]
    return {**made, "matchExpressions": expressions} if expressions else made


@st.composite
def expression(draw: st.DrawFn, labels: dict[str, tuple[str, ...]]) -> Object:
    """One requirement; also about a key that nobody has."""
    key = draw(st.sampled_from((*labels, "none")))
    operator = draw(st.sampled_from(("In", "NotIn", "Exists", "DoesNotExist")))
    if operator in ("Exists", "DoesNotExist"):
        return {"key": key, "operator": operator}
    values = st.lists(st.sampled_from(labels.get(key, ("v",))), min_size=1, max_size=2, unique=True)
    return {"key": key, "operator": operator, "values": draw(values)}


pod_selectors = selectors(LABELS)
namespace_selectors = selectors(NAMESPACE_LABELS)


# -- the cluster -----------------------------------------------------------------------------------


@st.composite
def clusters(draw: st.DrawFn, most_pods: int = 7) -> list[Object]:
    """Namespaces, nodes and pods."""
    objects = [
        meta("Namespace", name, labels=draw(some_of(NAMESPACE_LABELS)))
        for name in NAMESPACES
        if draw(st.booleans())
    ]
    for name, addresses in NODES.items():
        status = {"addresses": [{"type": "InternalIP", "address": one} for one in addresses]}
        labels = draw(some_of({"role": ("edge", "core")}))
        objects.append({**meta("Node", name, labels=labels), "status": status})
    for number in range(1, draw(st.integers(2, most_pods)) + 1):
        objects.append(draw(pods(number)))
    return objects


@st.composite
def pods(draw: st.DrawFn, number: int) -> Object:
    """A pod with addresses of its own in one or both families, or with its node's."""
    node = draw(st.sampled_from(tuple(NODES)))
    host = draw(st.sampled_from((False,) * 7 + (True,)))
    addresses = NODES[node] if host else (f"10.0.{node[1]}.{number}", f"fd00:{node[1]}::{number}")
    shown = draw(st.sampled_from((addresses, addresses, addresses[:1], addresses[1:])))
    phase = draw(st.sampled_from(("Running",) * 8 + ("Succeeded", "Failed", "Pending")))
    ports = [
        {"name": name, "containerPort": draw(st.sampled_from(NUMBERS)), **draw(protocols())}
        for name in PORT_NAMES
        if draw(st.booleans())
    ]
    spec: Object = {"nodeName": node, "containers": [{"name": "c", "ports": ports}]}
    return {
        **meta(
            "Pod", f"p{number}", draw(st.sampled_from(NAMESPACES)), labels=draw(some_of(LABELS))
        ),
        "spec": {**spec, "hostNetwork": True} if host else spec,
        "status": {"phase": phase, "podIP": shown[0], "podIPs": [{"ip": one} for one in shown]},
    }


def meta(kind: str, name: str, namespace: str = "", **more: Any) -> Object:
    """The beginning of an object."""
    versions = {
        "NetworkPolicy": "networking.k8s.io/v1",
        "ClusterNetworkPolicy": "policy.networking.k8s.io/v1alpha2",
        "AdminNetworkPolicy": "policy.networking.k8s.io/v1alpha1",
        "BaselineAdminNetworkPolicy": "policy.networking.k8s.io/v1alpha1",
    }
    place = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": versions.get(kind, "v1"),
        "kind": kind,
        "metadata": {"name": name, **place, **more},
    }


def protocols() -> st.SearchStrategy[Object]:
    """A protocol, or none: TCP."""
    return st.sampled_from(({}, *({"protocol": one} for one in PROTOCOLS)))


# -- NetworkPolicy ---------------------------------------------------------------------------------


def np_ports() -> st.SearchStrategy[Object]:
    """What a NetworkPolicyPort may be."""
    numbers = st.sampled_from(
        (
            {},
            *({"port": one} for one in (*NUMBERS, *PORT_NAMES)),
            *({"port": a, "endPort": b} for a, b in ((80, 81), (1, 65535), (8000, 9000), (53, 53))),
        )
    )
    return st.builds(lambda port, protocol: {**protocol, **port}, numbers, protocols())


@st.composite
def blocks(draw: st.DrawFn) -> Object:
    """An ipBlock, with exceptions or without."""
    cidr = draw(st.sampled_from(tuple(BLOCKS)))
    parts = st.lists(st.sampled_from(BLOCKS[cidr] or ("",)), unique=True, max_size=2)
    excepted = [part for part in draw(parts) if part]
    return {"cidr": cidr, **({"except": excepted} if excepted else {})}


def np_peers() -> st.SearchStrategy[Object]:
    """What a NetworkPolicyPeer may be."""
    return st.one_of(
        st.builds(lambda one: {"podSelector": one}, pod_selectors),
        st.builds(lambda one: {"namespaceSelector": one}, namespace_selectors),
        st.builds(
            lambda one, two: {"podSelector": one, "namespaceSelector": two},
            pod_selectors,
            namespace_selectors,
        ),
        st.builds(lambda one: {"ipBlock": one}, blocks()),
    )


def np_rules(peers: str) -> st.SearchStrategy[list[Object]]:
    """Rules of one direction; missing and empty lists mean the same."""
    return st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                peers: st.lists(np_peers(), max_size=2),
                "ports": st.lists(np_ports(), max_size=2),
            },
        ),
        max_size=3,
    )


@st.composite
def network_policies(draw: st.DrawFn, name: str) -> Object:
    """A NetworkPolicy."""
    types = st.sampled_from(
        (
            {},
            *({"policyTypes": one} for one in ([], ["Ingress"], ["Egress"], ["Ingress", "Egress"])),
        )
    )
    rules = st.fixed_dictionaries(
        {}, optional={"ingress": np_rules("from"), "egress": np_rules("to")}
    )
    spec = {"podSelector": draw(pod_selectors), **draw(types), **draw(rules)}
    namespace = draw(st.sampled_from(NAMESPACES))
    return {**meta("NetworkPolicy", name, namespace, **draw(audited)), "spec": spec}


audited = st.sampled_from(({},) * 6 + ({"annotations": {"cnidaria.io/audit": "true"}},))


# -- ClusterNetworkPolicy and AdminNetworkPolicy ---------------------------------------------------


def chosen_pods(namespaces_only: str = "namespaces") -> st.SearchStrategy[Object]:
    """Pods by namespaces, or by both selectors: a subject, or a peer."""
    both = st.fixed_dictionaries(
        {"podSelector": pod_selectors}, optional={"namespaceSelector": namespace_selectors}
    )
    return st.one_of(
        st.builds(lambda one: {namespaces_only: one}, namespace_selectors),
        st.builds(lambda one: {"pods": one}, both),
    )


def cluster_peers(direction: str) -> st.SearchStrategy[Object]:
    """A peer of a cluster-wide policy."""
    if direction == "ingress":
        return chosen_pods()
    networks = st.lists(st.sampled_from(tuple(BLOCKS)), min_size=1, max_size=2, unique=True)
    return st.one_of(
        chosen_pods(),
        chosen_pods(),
        st.builds(lambda one: {"networks": one}, networks),
        st.builds(lambda one: {"nodes": one}, selectors({"role": ("edge", "core")})),
    )


PORTS = (*({"number": one} for one in NUMBERS), {"range": {"start": 80, "end": 8080}})


def cnp_protocols(direction: str, named: bool) -> st.SearchStrategy[Object]:
    """What limits a rule to protocols and ports."""
    plain = st.builds(
        lambda protocol, port: {protocol.lower(): {"destinationPort": port}},
        st.sampled_from(PROTOCOLS),
        st.sampled_from(PORTS),
    )
    names = st.sampled_from(tuple({"destinationNamedPort": one} for one in PORT_NAMES))
    return st.one_of(plain, plain, names) if named else plain


def anp_ports(named: bool) -> st.SearchStrategy[Object]:
    """The same in the words of AdminNetworkPolicy."""
    numbers = st.builds(
        lambda port, protocol: {"portNumber": {"port": port, "protocol": protocol}},
        st.sampled_from(NUMBERS),
        st.sampled_from(PROTOCOLS),
    )
    ranges = st.builds(lambda one: {"portRange": {"start": 80, "end": 8080, **one}}, protocols())
    names = st.sampled_from(tuple({"namedPort": one} for one in PORT_NAMES))
    return st.one_of(numbers, ranges, names) if named else st.one_of(numbers, ranges)


@st.composite
def cluster_rules(draw: st.DrawFn, direction: str, kind: str) -> list[Object]:
    """Rules of one direction of a cluster-wide policy, in order."""
    new = kind == "ClusterNetworkPolicy"
    actions = ("Accept" if new else "Allow", "Deny", "Pass")
    made: list[Object] = []
    for _ in range(draw(st.integers(0, 3))):
        peers = draw(st.lists(cluster_peers(direction), min_size=1, max_size=2))
        # The API forbids named ports where peers have none.
        named = not any({"networks", "nodes"} & peer.keys() for peer in peers)
        ports = cnp_protocols(direction, named) if new else anp_ports(named)
        few = draw(st.lists(ports, max_size=2))
        action = draw(st.sampled_from(actions[:2] if kind.startswith("Baseline") else actions))
        rule: Object = {"action": action, "from" if direction == "ingress" else "to": peers}
        made.append({**rule, "protocols" if new else "ports": few} if few else rule)
    return made


@st.composite
def cluster_policies(draw: st.DrawFn, name: str) -> Object:
    """A ClusterNetworkPolicy or one of its predecessors."""
    kind = draw(
        st.sampled_from(
            ("ClusterNetworkPolicy",) * 3 + ("AdminNetworkPolicy", "BaselineAdminNetworkPolicy")
        )
    )
    spec: Object = {"subject": draw(chosen_pods())}
    if kind == "ClusterNetworkPolicy":
        spec["tier"] = draw(st.sampled_from(("Admin", "Baseline")))
    if kind != "BaselineAdminNetworkPolicy":
        spec["priority"] = draw(st.integers(0, 3))
    for direction in ("ingress", "egress"):
        if rules := draw(cluster_rules(direction, kind)):
            spec[direction] = rules
    # The API allows one BaselineAdminNetworkPolicy, of this name.
    name = "default" if kind == "BaselineAdminNetworkPolicy" else name
    return {**meta(kind, name, **draw(audited)), "spec": spec}


@st.composite
def policies(draw: st.DrawFn, most: int = 4) -> list[Object]:
    """Policies of all kinds, of distinct names."""
    made: dict[tuple[str, str], Object] = {}
    for number in range(draw(st.integers(0, most))):
        one = draw(st.one_of(network_policies(f"q{number}"), cluster_policies(f"q{number}")))
        made[one["kind"], one["metadata"]["name"]] = one
    return list(made.values())


@st.composite
def worlds(draw: st.DrawFn, most_pods: int = 7, most_policies: int = 4) -> list[Object]:
    """A cluster with policies."""
    return [*draw(clusters(most_pods)), *draw(policies(most_policies))]


def addresses(world: list[Object]) -> list[str]:
    """All that is worth asking about: pods', nodes', and some outside."""
    of_pods = [
        one["ip"] for obj in world if obj["kind"] == "Pod" for one in obj["status"]["podIPs"]
    ]
    return list(
        dict.fromkeys([*of_pods, *(one for pair in NODES.values() for one in pair), *OUTSIDE])
    )


def questions(world: list[Object]) -> Iterator[tuple[str, str, str, int | None]]:
    """Every source, destination, protocol and port."""
    places = addresses(world)
    for src in places:
        for dst in places:
            if ip_address(src).version == ip_address(dst).version:
                for protocol, port in QUERIES:
                    yield src, dst, protocol, port
