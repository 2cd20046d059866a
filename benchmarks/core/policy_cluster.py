"""A cluster of the size that the policy engine's goals are set for: the same one for the same seed.

Ten deployments in each namespace, whose pods have the same labels; policies as teams write them
(isolation, from another deployment, from namespaces of a kind, to blocks, to the names' service)
and as an administrator does.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

Object = dict[str, Any]
Question = tuple[str, str, str, int]
"""Source and destination address, protocol, destination port."""

PORTS = (80, 443, 8080, 5432, 6379, 9090, 53, 3306)
TEAMS, STAGES, NODES = 20, ("dev", "test", "live"), 100
DEPLOYMENTS = 10
TIERS = ("web", "api", "db", "cache", "job")


@dataclass(frozen=True)
class Scale:
    """How large it is."""

    pods: int = 10_000
    namespaces: int = 200
    policies: int = 1_000
    label_sets: int = 500


class Cluster:
    """Objects as the API server has them, and questions about them."""

    def __init__(self, scale: Scale = Scale(), seed: int = 3) -> None:
        self.scale = scale
        self._draw = random.Random(seed)
        self.label_sets = [
            {"app": f"app-{n // len(TIERS)}", "tier": TIERS[n % len(TIERS)], "chart": f"c-{n % 7}"}
            for n in range(scale.label_sets)
        ]
        self.nodes = [self._node(number) for number in range(NODES)]
        self.namespaces = [self._namespace(number) for number in range(scale.namespaces)]
        self._sets = [
            self._draw.sample(self.label_sets, DEPLOYMENTS) for _ in range(scale.namespaces)
        ]
        self.pods = [self.pod(number) for number in range(scale.pods)]
        cluster_wide = max(1, scale.policies // 66)
        self.policies = [self._admin(number) for number in range(cluster_wide - 1)]
        self.policies.append(self._baseline())
        self.policies += [self.policy(n) for n in range(scale.policies - cluster_wide)]

    def objects(self) -> list[Object]:
        """All of them, the pods last."""
        return [*self.nodes, *self.namespaces, *self.policies, *self.pods]

    def questions(self, count: int, skewed: bool = False) -> list[Question]:
        """Connections between pods and with one in ten an address outside on either side.

        Skewed: nine of ten go to one pod in a hundred.
        """
        addresses = [pod["status"]["podIP"] for pod in self.pods]
        few = addresses[:: max(1, len(addresses) // 100)] or addresses
        draw = self._draw
        made: list[Question] = []
        for _ in range(count):
            src, dst = draw.choice(addresses), draw.choice(addresses)
            if skewed and draw.random() < 0.9:
                dst = draw.choice(few)
            outside = draw.random()
            if outside < 0.05:
                src = self._outside()
            elif outside < 0.1:
                dst = self._outside()
            protocol = "UDP" if draw.random() < 0.2 else "TCP"
            made.append((src, dst, protocol, draw.choice(PORTS)))
        return made

    def _outside(self) -> str:
        return str(
            IPv4Address(self._draw.choice((0xC0A80000, 0xCB007100)) + self._draw.getrandbits(12))
        )

    def _node(self, number: int) -> Object:
        address = f"172.16.{number // 250}.{number % 250 + 1}"
        return {
            **_meta("Node", f"node-{number}", labels={"zone": f"z{number % 3}"}),
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        }

    def _namespace(self, number: int) -> Object:
        name = f"ns-{number}"
        labels = {
            "kubernetes.io/metadata.name": name,
            "team": f"t{number % TEAMS}",
            "stage": STAGES[number % len(STAGES)],
        }
        return _meta("Namespace", name, labels=labels)

    def pod(self, number: int) -> Object:
        """The pod of this number; those beyond the cluster's size are new ones for it."""
        namespace = number % self.scale.namespaces
        turn = number // self.scale.namespaces
        labels = self._sets[namespace][turn % DEPLOYMENTS]
        address = str(IPv4Address("10.0.0.1") + number + number // 250 * 6)
        addresses = [address, f"fd00::{number:x}"] if number % 5 == 0 else [address]
        ports = [{"name": "http", "containerPort": 8080 if turn % 2 else 80, "protocol": "TCP"}]
        return {
            **_meta(
                "Pod",
                f"{labels['app']}-{labels['tier']}-{number}",
                f"ns-{namespace}",
                labels=labels,
            ),
            "spec": {
                "nodeName": f"node-{number * 7 % NODES}",
                "containers": [{"name": "main", "ports": ports}],
            },
            "status": {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": one} for one in addresses],
            },
        }

    def policy(self, number: int, port: int = 8080) -> Object:
        """The NetworkPolicy of this number; another port makes another version of it."""
        namespace, turn = number % self.scale.namespaces, number // self.scale.namespaces
        own, other = self._draw.sample(self._sets[namespace], 2)
        team = {"matchLabels": {"team": f"t{namespace % TEAMS}"}}
        ports = [{"protocol": "TCP", "port": port}, {"protocol": "TCP", "port": "http"}]
        spec: Object = {"podSelector": {"matchLabels": {"app": own["app"]}}}
        match turn % 5:
            case 0:
                spec |= {
                    "podSelector": {},
                    "policyTypes": ["Ingress"],
                    "ingress": [{"from": [{"podSelector": {}}]}],
                }
            case 1:
                peers = [{"podSelector": {"matchLabels": other}}, {"namespaceSelector": team}]
                spec |= {"ingress": [{"from": peers, "ports": ports}]}
            case 2:
                block = {
                    "cidr": f"10.{namespace % 4}.0.0/16",
                    "except": [f"10.{namespace % 4}.8.0/24"],
                }
                spec |= {
                    "ingress": [
                        {
                            "from": [{"ipBlock": block}],
                            "ports": [
                                {"protocol": "TCP", "port": 443},
                                {"protocol": "TCP", "port": port},
                            ],
                        }
                    ]
                }
            case 3:
                names = {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ns-0"}}
                }
                outside = {"ipBlock": {"cidr": "203.0.113.0/24"}}
                rules = [
                    {
                        "to": [names],
                        "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
                    },
                    {"to": [{"podSelector": {}}, outside]},
                    {"to": [{"namespaceSelector": team}], "ports": ports},
                ]
                spec |= {"policyTypes": ["Egress"], "egress": rules}
            case _:
                stage = {
                    "matchExpressions": [{"key": "stage", "operator": "NotIn", "values": ["dev"]}]
                }
                range_ = {"protocol": "TCP", "port": 5000, "endPort": 6500}
                peer = {"namespaceSelector": stage, "podSelector": {"matchLabels": {"tier": "api"}}}
                spec |= {
                    "podSelector": {"matchLabels": {"tier": "db"}},
                    "ingress": [{"from": [peer], "ports": [range_]}],
                }
        # As the API server stores it: with the default written out.
        spec = {"policyTypes": ["Ingress"], **spec}
        return {**_meta("NetworkPolicy", f"np-{number}", f"ns-{namespace}"), "spec": spec}

    def _admin(self, number: int) -> Object:
        subject = {"namespaces": {"matchLabels": {"team": f"t{number % TEAMS}"}}}
        action = ("Deny", "Allow", "Pass")[number % 3]
        source = {"namespaces": {"matchLabels": {"stage": STAGES[number % 3]}}}
        rule = {
            "action": action,
            "from": [source],
            "ports": [{"portNumber": {"protocol": "TCP", "port": PORTS[number % len(PORTS)]}}],
        }
        spec = {"priority": number, "subject": subject, "ingress": [rule]}
        return {**_meta("AdminNetworkPolicy", f"admin-{number}"), "spec": spec}

    def _baseline(self) -> Object:
        live = {"namespaces": {"matchLabels": {"stage": "live"}}}
        dev = {"namespaces": {"matchLabels": {"stage": "dev"}}}
        rule = {"action": "Deny", "from": [dev]}
        spec = {"subject": live, "ingress": [rule]}
        return {**_meta("BaselineAdminNetworkPolicy", "default"), "spec": spec}


_VERSIONS = {
    "NetworkPolicy": "networking.k8s.io/v1",
    "AdminNetworkPolicy": "policy.networking.k8s.io/v1alpha1",
    "BaselineAdminNetworkPolicy": "policy.networking.k8s.io/v1alpha1",
}


def _meta(kind: str, name: str, namespace: str = "", **more: Any) -> Object:
    place = {"namespace": namespace} if namespace else {}
    version = _VERSIONS.get(kind, "v1")
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **place, **more}}
