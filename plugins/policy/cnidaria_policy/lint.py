"""What is probably not meant: policies that select nothing, rules that never decide, typos."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from ipaddress import ip_address, ip_network
from typing import Any, Final

from cnidaria_core import PolicyEngine

from cnidaria_policy.manifests import Json, Key, line_in
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
    found: list[Finding] = []
    for key, obj in policies.objects.items():
        if key[0] == "NetworkPolicy" or key[0] in CLUSTER_WIDE:
            for check in (
                selects_nothing,
                unknown_labels,
                unknown_ports,
                covers_pods,
                never_decides,
            ):
                found += (_placed(policies, key, one) for one in check(policies, key, obj))
    return found


def _placed(policies: Policies, key: Key, one: Finding) -> Finding:
    manifest = policies.places.get(key)
    if manifest is None:
        return one
    place = f"{manifest.file}:{line_in(manifest, one.path)}"
    return Finding(one.check, one.policy, one.path, one.text, place)


def title(key: Key) -> str:
    """Kind and name."""
    return f"{key[0]} {'/'.join(filter(None, key[1:]))}"


# -- checks ----------------------------------------------------------------------------------------


def selects_nothing(policies: Policies, key: Key, obj: Json) -> Iterator[Finding]:
    """No pod is restricted by it."""
    if not any(
        one.kind == key[0] and (one.namespace or "", one.name) == key[1:]
        for one in _isolated(policies, key, obj)
    ):
        path = "spec.podSelector" if key[0] == "NetworkPolicy" else "spec.subject"
        yield Finding("selects-nothing", title(key), path, "no pod is selected")


def _isolated(policies: Policies, key: Key, obj: Json) -> list[Any]:
    """The reasons by which the policy, alone among all pods, decides anything."""
    return list(
        _alone(policies, {**obj, "spec": {**spec_of(obj), **_telling(key)}})
        .tables()
        .reasons.values()
    )


def spec_of(obj: Json) -> Json:
    """What a policy says; an empty one may be left out."""
    return obj.get("spec") or {}


def _telling(key: Key) -> Json:
    """Rules under which a policy shows by its reasons whether it selects any pod."""
    if key[0] == "NetworkPolicy":
        return {"ingress": [], "egress": [], "policyTypes": ["Ingress", "Egress"]}
    everybody: list[Json] = [{"namespaces": {}}]
    return {"ingress": [{"action": "Deny", "from": everybody}], "egress": []}


def _alone(policies: Policies, policy: Json) -> PolicyEngine:
    """An engine with all pods and this one policy."""
    engine = PolicyEngine(history=1)
    others = [
        obj for key, obj in policies.objects.items() if key[0] in ("Namespace", "Node", "Pod")
    ]
    meta = {k: v for k, v in policy["metadata"].items() if k != "annotations"}
    engine.load([*others, {**policy, "metadata": meta}])
    return engine


def unknown_labels(policies: Policies, key: Key, obj: Json) -> Iterator[Finding]:
    """A label that nobody has, while a similar one is in use."""
    for path, kind, label in labels_in(spec_of(obj), "spec"):
        known = _labels(policies, kind)
        if label in known:
            continue
        meant = difflib.get_close_matches(label, known, 1, CLOSE)
        if meant:
            text = f"no {kind.lower()} has the label {label!r}; did you mean {meant[0]!r}?"
            yield Finding("unknown-label", title(key), path, text)


def _labels(policies: Policies, kind: str) -> set[str]:
    found = {"kubernetes.io/metadata.name"} if kind == "Namespace" else set[str]()
    for (one, _, _), obj in policies.objects.items():
        if one == kind:
            found |= (obj["metadata"].get("labels") or {}).keys()
    return found


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


def unknown_ports(policies: Policies, key: Key, obj: Json) -> Iterator[Finding]:
    """A port's name that no pod has."""
    known = {
        port["name"]
        for (kind, _, _), pod in policies.objects.items()
        if kind == "Pod"
        for container in (pod.get("spec") or {}).get("containers") or []
        for port in container.get("ports") or []
        if port.get("name")
    }
    for direction in ("ingress", "egress"):
        for place, rule in enumerate(spec_of(obj).get(direction) or []):
            for field in ("ports", "protocols"):
                for number, port in enumerate(rule.get(field) or []):
                    name = _port_name(port)
                    if name and name not in known:
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


def covers_pods(policies: Policies, key: Key, obj: Json) -> Iterator[Finding]:
    """A block of addresses in which pods are: selectors follow pods, blocks do not."""
    for path, block, parts in blocks_in(spec_of(obj)):
        net = ip_network(block, strict=False)
        if net.prefixlen == 0:
            continue
        inside = [
            pod
            for pod, addresses in policies.pods.items()
            for one in map(ip_address, addresses)
            if one.version == net.version
            and one in net
            and not is_placeholder(str(one))
            and not any(one in ip_network(part, strict=False) for part in parts)
        ]
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


def never_decides(policies: Policies, key: Key, obj: Json) -> Iterator[Finding]:
    """A rule that others decide before, whoever asks; of a policy that does select pods."""
    deciding = {
        (one.direction, one.rule)
        for one in policies.tables().reasons.values()
        if one.kind == key[0] and (one.namespace or "", one.name) == key[1:]
    }
    if not deciding:
        return
    for direction in ("ingress", "egress"):
        for place, rule in enumerate(spec_of(obj).get(direction) or []):
            if (direction, place) not in deciding and rule.get("action") != "Pass":
                path = f"spec.{direction}[{place}]"
                text = "never decides: it matches nobody, or other rules come before it"
                yield Finding("never-decides", title(key), path, text)
