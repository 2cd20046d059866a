"""What is probably not meant: policies that select nothing, rules that never decide, typos."""

from __future__ import annotations

import difflib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any, Final

from cnidaria_core import PolicyEngine, PolicyReason

from cnidaria_policy.manifests import Json, Key, lines_in, ports_of, shown
from cnidaria_policy.policies import Policies, is_placeholder

CLUSTER_WIDE: Final = (
    "ClusterNetworkPolicy",
    "AdminNetworkPolicy",
    "BaselineAdminNetworkPolicy",
)
SELECTORS: Final = ("podSelector", "namespaceSelector", "namespaces", "nodes")
CLOSE: Final = 0.75
"""How alike two label keys are that may be meant for one another."""


@dataclass(frozen=True)
class Finding:
    """Something that is probably not meant.

    Attributes:
        check: ``selects-nothing``, ``never-decides``, ``unknown-port``, ``covers-pods``,
            ``unknown-label``.
        policy: kind and name.
        place: file and line, ``""`` if nobody knows.
    """

    check: str
    policy: str
    path: str
    text: str
    place: str = ""

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        return f"{where}{self.policy}: {self.path}: {self.text} [{self.check}]"

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def lint(policies: Policies) -> list[Finding]:
    """All findings, in the order of the policies."""
    cluster = Cluster(policies)
    found = [
        (key, one)
        for key, obj in policies.objects.items()
        if key[0] == "NetworkPolicy" or key[0] in CLUSTER_WIDE
        for check in (selects_nothing, unknown_labels, unknown_ports, covers_pods, never_decides)
        for one in check(cluster, key, obj)
    ]
    places = policies.places
    lines = lines_in([(places[key], one.path) for key, one in found if key in places])
    return [
        replace(one, place=f"{shown(places[key].file)}:{next(lines)}") if key in places else one
        for key, one in found
    ]


class Cluster:
    """What the checks ask of all pods and policies, each found out once.

    Attributes:
        labels: keys that are in use, by kind.
        ports: names that pods give their ports.
        deciding: directions and positions of the rules that decide anything, by policy.
    """

    def __init__(self, policies: Policies) -> None:
        self.labels: dict[str, set[str]] = {"Namespace": {"kubernetes.io/metadata.name"}}
        self.ports: set[str] = set()
        for (kind, _, _), obj in policies.objects.items():
            self.labels.setdefault(kind, set()).update(obj["metadata"].get("labels") or {})
            if kind == "Pod":
                self.ports.update(port["name"] for port in ports_of(obj) if port.get("name"))
        for pod in policies.local:
            if ("Pod", pod.namespace, pod.name) not in policies.objects:
                self.labels.setdefault("Pod", set()).update(pod.labels)
        self.deciding: dict[Key, set[tuple[str | None, int | None]]] = {}
        for one in policies.tables().reasons.values():
            self.deciding.setdefault(policy_of(one), set()).add((one.direction, one.rule))
        self._addresses = {4: Addresses(policies.pods, 4), 6: Addresses(policies.pods, 6)}
        self._meant: dict[tuple[str, str], str] = {}
        # One engine for all, in which one policy after the other is alone.
        self._alone = PolicyEngine.from_bytes(policies.engine.to_bytes(), history=1)
        for kind, namespace, name in list(self._alone):
            if kind.endswith("Policy"):
                self._alone.delete(kind, name, namespace)

    def selects(self, key: Key, obj: Json) -> bool:
        """Whether the policy, were it the only one, would restrict any pod."""
        meta = {k: v for k, v in obj["metadata"].items() if k != "annotations"}
        told = {**obj, "metadata": meta, "spec": {**spec_of(obj), **_telling(key)}}
        self._alone.apply(told)
        reasons = self._alone.tables().reasons.values()
        kind, namespace, name = key
        self._alone.delete(kind, name, namespace or None)
        return any(policy_of(one) == key for one in reasons)

    def meant(self, kind: str, label: str) -> str:
        """The label in use that is most like one that nobody has; ``""``: none."""
        if (kind, label) not in self._meant:
            known = self.labels.get(kind, set())
            close = difflib.get_close_matches(label, sorted(known), 1, CLOSE)
            self._meant[kind, label] = close[0] if close else ""
        return self._meant[kind, label]

    def inside(self, block: str, parts: Iterable[str]) -> list[str]:
        """The pods with an address in a block, without what it excepts."""
        return self._addresses[ip_network(block, strict=False).version].inside(block, parts)


class Addresses:
    """Pods by their addresses of one family; not by those that were made up."""

    def __init__(self, pods: Mapping[str, Iterable[str]], version: int) -> None:
        self._pods = list(pods)
        known = (
            (int(one), place)
            for place, addresses in enumerate(pods.values())
            for one in map(ip_address, addresses)
            if one.version == version and not is_placeholder(str(one))
        )
        ascending = sorted(known)
        self._numbers = [number for number, _ in ascending]
        self._places = [place for _, place in ascending]

    def inside(self, block: str, parts: Iterable[str]) -> list[str]:
        """Pods in a block, in the order they came in, once for each address."""
        first, after = self._span(block)
        found: list[int] = []
        for part in sorted(map(self._span, parts)):
            found += self._places[first : min(part[0], after)]
            first = max(first, part[1])
        return [self._pods[place] for place in sorted(found + self._places[first:after])]

    def _span(self, block: str) -> tuple[int, int]:
        net = ip_network(block, strict=False)
        first, last = int(net.network_address), int(net.broadcast_address)
        return bisect_left(self._numbers, first), bisect_right(self._numbers, last)


def policy_of(reason: PolicyReason) -> Key:
    """The policy that decides; empty where none does."""
    return reason.kind or "", reason.namespace or "", reason.name or ""


def title(key: Key) -> str:
    """Kind and name."""
    return f"{key[0]} {'/'.join(filter(None, key[1:]))}"


# -- checks ----------------------------------------------------------------------------------------


def selects_nothing(cluster: Cluster, key: Key, obj: Json) -> Iterator[Finding]:
    """No pod is restricted by it."""
    if not cluster.selects(key, obj):
        path = "spec.podSelector" if key[0] == "NetworkPolicy" else "spec.subject"
        yield Finding("selects-nothing", title(key), path, "no pod is selected")


def spec_of(obj: Json) -> Json:
    """What a policy says; an empty one may be left out."""
    return obj.get("spec") or {}


def _telling(key: Key) -> Json:
    """Rules under which a policy shows by its reasons whether it selects any pod."""
    if key[0] == "NetworkPolicy":
        return {"ingress": [], "egress": [], "policyTypes": ["Ingress", "Egress"]}
    everybody: list[Json] = [{"namespaces": {}}]
    return {"ingress": [{"action": "Deny", "from": everybody}], "egress": []}


def unknown_labels(cluster: Cluster, key: Key, obj: Json) -> Iterator[Finding]:
    """A label that nobody has, while a similar one is in use."""
    for path, kind, label in labels_in(spec_of(obj), "spec"):
        if label not in cluster.labels.get(kind, ()) and (meant := cluster.meant(kind, label)):
            text = f"no {kind.lower()} has the label {label!r}; did you mean {meant!r}?"
            yield Finding("unknown-label", title(key), path, text)


def labels_in(part: Any, path: str, kind: str = "Pod") -> Iterator[tuple[str, str, str]]:
    """Path, kind of what is selected, and key of each requirement of each selector."""
    if isinstance(part, list):
        for place, item in enumerate(part):
            yield from labels_in(item, f"{path}[{place}]", kind)
    elif isinstance(part, Mapping):
        for label in part.get("matchLabels") or {}:
            yield f"{path}.matchLabels", kind, label
        for place, one in enumerate(part.get("matchExpressions") or []):
            yield f"{path}.matchExpressions[{place}]", kind, one["key"]
        for name, inner in part.items():
            if name not in ("matchLabels", "matchExpressions"):
                yield from labels_in(inner, f"{path}.{name}", _kind(name, kind))


def _kind(name: str, kind: str) -> str:
    if name in SELECTORS:
        return {"podSelector": "Pod", "nodes": "Node"}.get(name, "Namespace")
    return kind


def unknown_ports(cluster: Cluster, key: Key, obj: Json) -> Iterator[Finding]:
    """A port's name that no pod has."""
    for direction in ("ingress", "egress"):
        for place, rule in enumerate(spec_of(obj).get(direction) or []):
            for field in ("ports", "protocols"):
                for number, port in enumerate(rule.get(field) or []):
                    name = _port_name(port)
                    if name and name not in cluster.ports:
                        path = f"spec.{direction}[{place}].{field}[{number}]"
                        yield Finding(
                            "unknown-port", title(key), path, f"no pod has a port {name!r}"
                        )


def _port_name(port: Json) -> str:
    given = port.get("port")
    return (
        given
        if isinstance(given, str)
        else port.get("namedPort") or port.get("destinationNamedPort") or ""
    )


def covers_pods(cluster: Cluster, key: Key, obj: Json) -> Iterator[Finding]:
    """A block of addresses in which pods are: selectors follow pods, blocks do not."""
    for path, block, parts in blocks_in(spec_of(obj)):
        net = ip_network(block, strict=False)
        inside = cluster.inside(block, parts) if net.prefixlen > 0 else []
        if inside:
            more = f" and {len(inside) - 1} more" if len(inside) > 1 else ""
            text = f"{block} covers pod {inside[0]}{more}; select pods by their labels"
            yield Finding("covers-pods", title(key), path, text)


def blocks_in(spec: Json) -> Iterator[tuple[str, str, list[str]]]:
    """Path, block and exceptions of every peer that is one."""
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for place, rule in enumerate(spec.get(direction) or []):
            for number, peer in enumerate(rule.get(peers) or []):
                path = f"spec.{direction}[{place}].{peers}[{number}]"
                if block := peer.get("ipBlock"):
                    yield f"{path}.ipBlock.cidr", block["cidr"], block.get("except") or []
                for which, network in enumerate(peer.get("networks") or []):
                    yield f"{path}.networks[{which}]", network, []


def never_decides(cluster: Cluster, key: Key, obj: Json) -> Iterator[Finding]:
    """A rule that others decide before, whoever asks; of a policy that does select pods."""
    deciding = cluster.deciding.get(key)
    if not deciding:
        return
    for direction in ("ingress", "egress"):
        for place, rule in enumerate(spec_of(obj).get(direction) or []):
            if (direction, place) not in deciding and rule.get("action") != "Pass":
                path = f"spec.{direction}[{place}]"
                text = "never decides: it matches nobody, or other rules come before it"
                yield Finding("never-decides", title(key), path, text)
