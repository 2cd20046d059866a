"""Kubernetes network policies, read line by line from their documentation. Slow and obvious.

The truth that the policy engine and the kernel are compared with.  It takes Kubernetes' own objects
as dicts and keeps nothing but them.  Quoted are

* NP: https://kubernetes.io/docs/concepts/services-networking/network-policies/ and the comments of
  ``k8s.io/api/networking/v1/types.go``;
* CNP: the comments of ``sigs.k8s.io/network-policy-api/apis/v1alpha2``;
* ANP: those of ``apis/v1alpha1``, whose objects are CNPs with other words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, Literal

Json = Mapping[str, Any]
Direction = Literal["ingress", "egress"]
PolicyName = tuple[str, str, str]
"""Kind, namespace (``""`` of cluster-wide ones), name."""

AUDIT = "cnidaria.io/audit"
NAME_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Reason:
    """What decided: a rule of a policy; ``rule`` is ``None`` where no rule of it matched."""

    policy: PolicyName
    rule: int | None = None


@dataclass(frozen=True)
class Side:
    """One side's decision.

    Attributes:
        tier: ``admin``, ``networkpolicy``, ``baseline``, or ``default`` where nobody decided.
        because: all that decide alike: every rule that allows, every policy that isolates.
        exempt: ``self`` or ``node``, where the NetworkPolicy documentation makes an exception.
    """

    allowed: bool
    tier: str
    because: frozenset[Reason] = frozenset()
    exempt: str = ""


@dataclass(frozen=True)
class Verdict:
    """NP: "both the egress policy on the source and the ingress policy on the destination need to
    allow the traffic".
    """

    egress: Side
    ingress: Side

    @property
    def allowed(self) -> bool:
        return self.egress.allowed and self.ingress.allowed


@dataclass(frozen=True)
class Traffic:
    """One connection, seen from the pod that is the subject: the other end is the peer.

    Attributes:
        port: at the destination; ``None`` of protocols without ports.
        target: the pod at the destination, whose named ports count.
    """

    subject: Json
    peer: str
    protocol: str
    port: int | None
    target: Json | None


class Twin:
    """A cluster at one moment.

    Args:
        objects: Namespaces, Pods, Nodes and policies in Kubernetes' JSON.
        audit: whether policies that are only audited count like the others.
    """

    def __init__(self, objects: Iterable[Json], *, audit: bool = False) -> None:
        self.objects = list(objects)
        self.audit = audit

    def verdict(self, src: str, dst: str, protocol: str, port: int | None = None) -> Verdict:
        """May ``src`` open a connection to ``dst``?

        Args:
            src, dst: addresses.
            protocol: ``TCP``, ``UDP``, ``SCTP``; others have no ports.
            port: at the destination.
        """
        source, target = self.pod_at(src), self.pod_at(dst)
        outside = Side(True, "default")
        egress = ingress = outside
        if source is not None:
            egress = self.decide("egress", Traffic(source, dst, protocol, port, target))
        if target is not None:
            ingress = self.decide("ingress", Traffic(target, src, protocol, port, target))
        return Verdict(egress, ingress)

    # -- tiers -----------------------------------------------------------------------------

    def decide(self, direction: Direction, traffic: Traffic) -> Side:
        """CNP: "Policy tiers are evaluated in the following order: Admin tier, NetworkPolicy tier,
        Baseline tier.  If a given connection wasn't allowed or denied by any of the tiers, the
        default kubernetes policy is applied, which says that all pods can communicate".
        """
        for tier in (
            self.cluster_tier("Admin", direction, traffic),
            self.network_policies(direction, traffic),
            self.cluster_tier("Baseline", direction, traffic),
        ):
            if tier is not None:
                return tier
        return Side(True, "default")

    def network_policies(self, direction: Direction, traffic: Traffic) -> Side | None:
        """NP: "By default, a pod is non-isolated"; a policy isolates it if it "both selects the pod
        and has 'Ingress' in its policyTypes".
        """
        isolating = [
            policy
            for policy in self.of_kind("NetworkPolicy")
            if self.counts(policy)
            and namespace_of(policy) == namespace_of(traffic.subject)
            and selects(policy["spec"].get("podSelector"), labels_of(traffic.subject))
            and direction in policy_types(policy["spec"])
        ]
        if not isolating:
            return None
        # NP: "a pod cannot block access to itself"
        if traffic.peer in addresses_of(traffic.subject):
            return Side(True, "networkpolicy", exempt="self")
        # NP: "traffic to and from the node where a Pod is running is always allowed"
        if traffic.peer in self.addresses_of_node(traffic.subject):
            return Side(True, "networkpolicy", exempt="node")
        # NP: "Network policies do not conflict; they are additive": any rule that matches allows.
        allowing = [
            Reason(name_of(policy), index)
            for policy in isolating
            for index, rule in enumerate(policy["spec"].get(direction) or [])
            if self.np_rule_matches(policy, direction, rule, traffic)
        ]
        if allowing:
            return Side(True, "networkpolicy", frozenset(allowing))
        return Side(
            False, "networkpolicy", frozenset(Reason(name_of(policy)) for policy in isolating)
        )

    def cluster_tier(self, tier: str, direction: Direction, traffic: Traffic) -> Side | None:
        """CNP: within one policy "a rule that appears at the top of the ingress rules would take
        the highest precedence": the first that matches decides.
        """
        for policy in self.cluster_policies(tier):
            if not self.is_subject(policy["spec"]["subject"], traffic.subject):
                continue
            for index, rule in enumerate(policy["spec"].get(direction) or []):
                action = self.cnp_rule(direction, rule, traffic)
                if action == "Pass":
                    # CNP: "Skips all further ClusterNetworkPolicy rules in the current tier"
                    return None
                if action is not None:
                    because = frozenset({Reason(name_of(policy), index)})
                    return Side(action != "Deny", tier.lower(), because)
        return None

    def cluster_policies(self, tier: str) -> list[Json]:
        """CNP: "Policies with lower priority values have higher precedence"; of equal ones "the
        implementation can apply any": by name here.  The one BaselineAdminNetworkPolicy has no
        priority: here it is behind all that have one.
        """
        old = "AdminNetworkPolicy" if tier == "Admin" else "BaselineAdminNetworkPolicy"
        found = [
            policy
            for policy in [*self.of_kind("ClusterNetworkPolicy"), *self.of_kind(old)]
            if self.counts(policy) and policy["spec"].get("tier", tier) == tier
        ]
        return sorted(
            found,
            key=lambda one: (
                one["spec"].get("priority", 1001),
                one["metadata"]["name"],
                one["kind"],
            ),
        )

    # -- rules of NetworkPolicy ------------------------------------------------------------

    def np_rule_matches(
        self, policy: Json, direction: Direction, rule: Json, traffic: Traffic
    ) -> bool:
        """NP: "The traffic must match both ports and from"; of both: "If this field is empty or
        missing, this rule matches all".
        """
        peers = rule.get("from" if direction == "ingress" else "to") or []
        ports = rule.get("ports") or []
        return (
            not peers or any(self.np_peer_matches(policy, peer, traffic.peer) for peer in peers)
        ) and (not ports or any(np_port_matches(port, traffic) for port in ports))

    def np_peer_matches(self, policy: Json, peer: Json, address: str) -> bool:
        """NP: an ipBlock by address, whoever has it; selectors by the pod that has the address."""
        block = peer.get("ipBlock")
        if block is not None:
            return inside(address, block["cidr"]) and not any(
                inside(address, part) for part in block.get("except") or []
            )
        pod = self.pod_at(address)
        if pod is None:
            return False
        namespaces, pods = peer.get("namespaceSelector"), peer.get("podSelector")
        # NP: without a namespaceSelector "it selects the pods matching podSelector in the policy's
        # own namespace"; without a podSelector "all pods in the namespaces".
        if namespaces is None:
            here = namespace_of(pod) == namespace_of(policy)
        else:
            here = selects(namespaces, self.labels_of_namespace(namespace_of(pod)))
        return here and (pods is None or selects(pods, labels_of(pod)))

    # -- rules of ClusterNetworkPolicy and AdminNetworkPolicy ------------------------------

    def cnp_rule(self, direction: Direction, rule: Json, traffic: Traffic) -> str | None:
        """The rule's action on this traffic; ``None``: it does not match.

        CNP: where a peer has no field that is known, "fail closed": an Accept rule matches no
        traffic by it, a Deny or Pass rule is "a 'Deny all' rule".
        """
        action: str = rule["action"]
        peers = rule["from" if direction == "ingress" else "to"]
        if action in ("Deny", "Pass") and not all(map(is_known, peers)):
            return "Deny"
        if any(self.cnp_peer_matches(peer, traffic.peer) for peer in peers) and protocols_match(
            rule, traffic
        ):
            return action
        return None

    def cnp_peer_matches(self, peer: Json, address: str) -> bool:
        """CNP: pods by selectors ("host-networked pods are not included"), nodes by "the IPs
        present in the node.Status.Addresses", networks by address ("cluster-internal traffic will
        be checked against the rule as well").
        """
        if "networks" in peer:
            return any(inside(address, network) for network in peer["networks"])
        if "nodes" in peer:
            return any(
                address in node_addresses(node)
                for node in self.of_kind("Node")
                if selects(peer["nodes"], labels_of(node))
            )
        pod = self.pod_at(address)
        return pod is not None and is_known(peer) and self.is_subject(peer, pod)

    def is_subject(self, chosen: Json, pod: Json) -> bool:
        """CNP: ``namespaces`` selects all pods of namespaces, ``pods`` by both selectors; a
        namespaceSelector that is missing selects all.
        """
        here = self.labels_of_namespace(namespace_of(pod))
        if "namespaces" in chosen:
            return selects(chosen["namespaces"], here)
        both = chosen["pods"]
        return selects(both.get("namespaceSelector"), here) and selects(
            both["podSelector"], labels_of(pod)
        )

    # -- the cluster -----------------------------------------------------------------------

    def of_kind(self, kind: str) -> list[Json]:
        return [obj for obj in self.objects if obj["kind"] == kind]

    def counts(self, policy: Json) -> bool:
        """A policy that is only audited decides nothing."""
        annotations = policy["metadata"].get("annotations") or {}
        return self.audit or annotations.get(AUDIT) != "true"

    def pod_at(self, address: str) -> Json | None:
        """The pod that has the address.  Host-network pods have their node's: they are nodes.
        Pods that ended have none any more.
        """
        for pod in self.of_kind("Pod"):
            ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
            if not ended and not pod["spec"].get("hostNetwork") and address in addresses_of(pod):
                return pod
        return None

    def labels_of_namespace(self, name: str) -> dict[str, str]:
        """The API server gives every namespace its name as a label."""
        for namespace in self.of_kind("Namespace"):
            if namespace["metadata"]["name"] == name:
                return {**labels_of(namespace), NAME_LABEL: name}
        return {NAME_LABEL: name}

    def addresses_of_node(self, pod: Json) -> set[str]:
        """Of the node where the pod runs."""
        for node in self.of_kind("Node"):
            if node["metadata"]["name"] == pod["spec"].get("nodeName"):
                return node_addresses(node)
        return set()


# -- selectors and ports ---------------------------------------------------------------------------


def selects(selector: Json | None, labels: Mapping[str, str]) -> bool:
    """Label selectors: all requirements must hold; an empty one selects everything."""
    selector = selector or {}
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        expression_holds(one, labels) for one in selector.get("matchExpressions") or []
    )


def expression_holds(expression: Json, labels: Mapping[str, str]) -> bool:
    """``NotIn`` also selects what does not have the label at all."""
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise AssertionError(expression)


def policy_types(spec: Json) -> set[str]:
    """NP: unless given, "policies that contain an egress section are assumed to affect egress, and
    all policies are assumed to affect ingress".
    """
    given = spec.get("policyTypes") or []
    if given:
        return {one.lower() for one in given}
    return {"ingress", "egress"} if spec.get("egress") else {"ingress"}


def np_port_matches(port: Json, traffic: Traffic) -> bool:
    """NP: protocol TCP unless given; all ports unless given; a range up to ``endPort``; or a name
    of a port of the pod at the destination, of the same protocol.
    """
    protocol, number = port.get("protocol") or "TCP", port.get("port")
    if traffic.protocol != protocol:
        return False
    if number is None:
        return True
    if isinstance(number, str):
        return (number, protocol, traffic.port) in named_ports(traffic.target)
    return traffic.port is not None and number <= traffic.port <= (port.get("endPort") or number)


def protocols_match(rule: Json, traffic: Traffic) -> bool:
    """CNP ``protocols``, ANP ``ports``: "If unspecified, protocol-specific attributes will not be
    used to match traffic".
    """
    if rule.get("protocols"):
        return any(cnp_protocol_matches(one, traffic) for one in rule["protocols"])
    if rule.get("ports"):
        return any(anp_port_matches(one, traffic) for one in rule["ports"])
    return True


def cnp_protocol_matches(one: Json, traffic: Traffic) -> bool:
    """A named port is of any protocol: that which the pod's port has."""
    if "destinationNamedPort" in one:
        wanted = (one["destinationNamedPort"], traffic.protocol, traffic.port)
        return wanted in named_ports(traffic.target)
    ((protocol, attributes),) = one.items()
    if traffic.protocol != protocol.upper():
        return False
    port = attributes.get("destinationPort")
    if port is None:
        return True
    span = port.get("range") or {"start": port.get("number"), "end": port.get("number")}
    return traffic.port is not None and span["start"] <= traffic.port <= span["end"]


def anp_port_matches(one: Json, traffic: Traffic) -> bool:
    """``portNumber`` and ``portRange`` have a protocol, TCP unless given; a ``namedPort`` none."""
    if "namedPort" in one:
        return (one["namedPort"], traffic.protocol, traffic.port) in named_ports(traffic.target)
    given = one.get("portNumber") or one["portRange"]
    first, last = given.get("start", given.get("port")), given.get("end", given.get("port"))
    same = traffic.protocol == (given.get("protocol") or "TCP")
    return same and traffic.port is not None and first <= traffic.port <= last


def named_ports(pod: Json | None) -> set[tuple[str, str, int | None]]:
    """Name, protocol, number of a pod's ports; of init containers those that stay count, too."""
    if pod is None:
        return set()
    spec = pod["spec"]
    stay = [one for one in spec.get("initContainers") or [] if one.get("restartPolicy") == "Always"]
    return {
        (port["name"], port.get("protocol") or "TCP", port["containerPort"])
        for container in [*(spec.get("containers") or []), *stay]
        for port in container.get("ports") or []
        if port.get("name")
    }


def is_known(peer: Json) -> bool:
    """Domain names are a field that we do not know."""
    return bool({"namespaces", "pods", "nodes", "networks"} & peer.keys())


# -- objects ---------------------------------------------------------------------------------------


def name_of(obj: Json) -> PolicyName:
    return obj["kind"], obj["metadata"].get("namespace") or "", obj["metadata"]["name"]


def namespace_of(obj: Json) -> str:
    return obj["metadata"].get("namespace") or "default"


def labels_of(obj: Json) -> dict[str, str]:
    return dict(obj["metadata"].get("labels") or {})


def addresses_of(pod: Json) -> set[str]:
    status = pod.get("status") or {}
    several = {one["ip"] for one in status.get("podIPs") or []}
    return several or ({status["podIP"]} if status.get("podIP") else set())


def node_addresses(node: Json) -> set[str]:
    found = (node.get("status") or {}).get("addresses") or []
    return {one["address"] for one in found if is_address(one["address"])}


def is_address(text: str) -> bool:
    """Not a host name."""
    try:
        return bool(ip_address(text))
    except ValueError:
        return False


def inside(address: str, block: str) -> bool:
    one, net = ip_address(address), ip_network(block, strict=False)
    return one.version == net.version and one in net
