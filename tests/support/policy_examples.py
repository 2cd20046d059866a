"""Worked examples of network policies, with what must come of them.

The situations are those of the Kubernetes documentation (concepts/services-networking/
network-policies) and of the ClusterNetworkPolicy examples (network-policy-api), in one small
cluster of our own.  Everything that judges policies is asked all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

CLUSTER = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: shop, stage: prod}}
---
apiVersion: v1
kind: Namespace
metadata: {name: tools, labels: {team: ops}}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {role: worker}}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2, labels: {role: control}}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, containers: [{ports: [{name: http, containerPort: 80}]}]}
status: {phase: Running, podIP: 10.0.1.1}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: n1, containers: [{ports: [{name: sql, containerPort: 5432}]}]}
status: {phase: Running, podIP: 10.0.1.2}
---
apiVersion: v1
kind: Pod
metadata: {name: job, namespace: shop, labels: {app: job}}
spec: {nodeName: n2, containers: [{}]}
status: {phase: Running, podIP: 10.0.2.1}
---
apiVersion: v1
kind: Pod
metadata: {name: probe, namespace: tools, labels: {app: probe}}
spec: {nodeName: n2, containers: [{ports: [{name: http, containerPort: 8080}]}]}
status: {phase: Running, podIP: 10.0.2.2}
"""
PLACES = {
    "web": "10.0.1.1",
    "db": "10.0.1.2",
    "job": "10.0.2.1",
    "probe": "10.0.2.2",
    "n1": "192.168.0.1",
    "n2": "192.168.0.2",
    "world": "203.0.113.5",
    "partner": "203.0.113.130",
}


@dataclass(frozen=True)
class Example:
    """Policies as YAML, and lines as ``web > db TCP/5432 yes``."""

    name: str
    policies: str
    expected: str

    def objects(self) -> list[dict[str, Any]]:
        """The cluster with the policies."""
        return [*yaml.safe_load_all(CLUSTER), *filter(None, yaml.safe_load_all(self.policies))]

    def questions(self) -> list[tuple[str, str, str, int | None, bool]]:
        """Source and destination addresses, protocol, port, and whether it is allowed."""
        asked = []
        for line in self.expected.strip().splitlines():
            src, _, dst, what, answer = line.split()
            protocol, _, port = what.partition("/")
            number = int(port) if port else None
            asked.append((PLACES[src], PLACES[dst], protocol, number, answer == "yes"))
        return asked


def network_policy(spec: str, name: str = "p", namespace: str = "shop") -> str:
    """A NetworkPolicy of its spec in flow style."""
    place = f'{{name: {name}, namespace: "{namespace}"}}'
    return (
        f"---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {place}\n"
        f"spec: {spec}\n"
    )


def cluster_policy(spec: str, name: str = "c", kind: str = "ClusterNetworkPolicy") -> str:
    """A cluster-wide policy of its spec in flow style."""
    version = "v1alpha2" if kind == "ClusterNetworkPolicy" else "v1alpha1"
    return (
        f"---\napiVersion: policy.networking.k8s.io/{version}\nkind: {kind}\n"
        f"metadata: {{name: {name}}}\nspec: {spec}\n"
    )


DENY_ALL = network_policy("{podSelector: {}, policyTypes: [Ingress, Egress]}", "nothing")
OF_DB = "podSelector: {matchLabels: {app: db}}"
OF_SHOP = "{namespaces: {matchLabels: {team: shop}}}"

EXAMPLES = (
    Example(
        "no policy: everybody may talk to everybody", "", "world > web TCP/1 yes\nweb > db ICMP yes"
    ),
    Example(
        "default deny of ingress",
        network_policy("{podSelector: {}, policyTypes: [Ingress]}"),
        """
        web > db TCP/5432 no
        probe > web TCP/80 no
        world > web UDP/53 no
        web > db ICMP no
        web > world TCP/443 yes
        n1 > web TCP/80 yes
        n2 > web TCP/80 no
        web > web TCP/80 yes
        web > probe TCP/8080 yes
        """,
    ),
    Example(
        "allow all of ingress beats a default deny",
        DENY_ALL
        + network_policy("{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}", "all"),
        """
        probe > web TCP/80 yes
        probe > web SCTP/80 yes
        world > web ICMP yes
        web > db TCP/5432 no
        """,
    ),
    Example(
        "default deny of egress",
        network_policy("{podSelector: {}, policyTypes: [Egress]}"),
        """
        web > world TCP/443 no
        web > n1 TCP/10250 yes
        web > n2 TCP/10250 no
        web > web TCP/80 yes
        world > web TCP/80 yes
        probe > web TCP/80 yes
        """,
    ),
    Example(
        "allow all of egress",
        DENY_ALL + network_policy("{podSelector: {}, policyTypes: [Egress], egress: [{}]}", "all"),
        """
        web > world UDP/53 yes
        web > probe TCP/1 yes
        web > db TCP/5432 no
        """,
    ),
    Example(
        "default deny of both",
        DENY_ALL,
        """
        web > world TCP/443 no
        world > web TCP/80 no
        web > db TCP/5432 no
        n1 > web TCP/80 yes
        probe > world TCP/443 yes
        """,
    ),
    Example(
        "block with exception, namespace and pods for ingress; a block for egress",
        network_policy(
            "{" + OF_DB + ", policyTypes: [Ingress, Egress], ingress: [{from: ["
            "{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.128/25]}}, "
            "{namespaceSelector: {matchLabels: {team: ops}}}, "
            "{podSelector: {matchLabels: {app: web}}}], ports: [{protocol: TCP, port: 5432}]}], "
            "egress: [{to: [{ipBlock: {cidr: 10.0.2.0/24}}], "
            "ports: [{protocol: TCP, port: 5978}]}]}"
        ),
        """
        web > db TCP/5432 yes
        web > db TCP/5433 no
        web > db UDP/5432 no
        job > db TCP/5432 no
        probe > db TCP/5432 yes
        world > db TCP/5432 yes
        partner > db TCP/5432 no
        db > job TCP/5978 yes
        db > job TCP/5979 no
        db > web TCP/5978 no
        db > world TCP/5978 no
        """,
    ),
    Example(
        "two elements of a from list mean either, one with both selectors means both",
        network_policy(
            "{" + OF_DB + ", ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}, "
            "podSelector: {matchLabels: {app: other}}}, "
            "{podSelector: {matchLabels: {app: job}}}]}]}"
        ),
        "probe > db TCP/1 no\njob > db TCP/1 yes\nweb > db TCP/1 no",
    ),
    Example(
        "namespaces by the name that the API server gives them as a label",
        network_policy(
            "{" + OF_DB + ", ingress: [{from: [{namespaceSelector: {matchExpressions: "
            "[{key: kubernetes.io/metadata.name, operator: In, values: [tools]}]}}]}]}"
        ),
        "probe > db TCP/1 yes\nweb > db TCP/1 no",
    ),
    Example(
        "a range of ports",
        network_policy(
            "{" + OF_DB + ", policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}], "
            "ports: [{protocol: TCP, port: 32000, endPort: 32768}]}]}"
        ),
        """
        db > web TCP/31999 no
        db > web TCP/32000 yes
        db > web TCP/32768 yes
        db > web TCP/32769 no
        db > web UDP/32000 no
        """,
    ),
    Example(
        "named ports are those of the destination, and their protocol counts",
        network_policy(
            "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}"
        )
        + network_policy(
            "{podSelector: {matchLabels: {app: probe}}, ingress: [{ports: [{port: http}]}]}",
            "q",
            "tools",
        ),
        """
        db > web TCP/80 yes
        db > web TCP/8080 no
        db > probe TCP/8080 yes
        db > probe TCP/80 no
        db > probe UDP/8080 no
        db > job TCP/80 no
        db > world TCP/80 no
        """,
    ),
    Example(
        "rules of several policies add up",
        network_policy(
            "{" + OF_DB + ", ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}"
        )
        + network_policy("{" + OF_DB + ", ingress: [{ports: [{port: 9100}]}]}", "q"),
        """
        web > db TCP/5432 yes
        job > db TCP/9100 yes
        job > db TCP/5432 no
        world > db TCP/9100 yes
        """,
    ),
    Example(
        "policyTypes are guessed: egress counts where it has rules",
        network_policy("{" + OF_DB + ", egress: [{ports: [{port: 53, protocol: UDP}]}]}")
        + network_policy("{podSelector: {matchLabels: {app: job}}, egress: []}", "q"),
        "db > world UDP/53 yes\ndb > world TCP/53 no\nweb > db TCP/1 no\n"
        "job > world TCP/1 yes\nweb > job TCP/1 no",
    ),
    Example(
        "a policy that is audited decides nothing",
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
        "metadata: {name: p, namespace: shop, "
        'annotations: {cnidaria.io/audit: "true"}}\nspec: {podSelector: {}}\n',
        "web > db TCP/1 yes",
    ),
    Example(
        "Admin denies what a NetworkPolicy allows, and accepts what it denies",
        DENY_ALL
        + network_policy("{podSelector: {}, ingress: [{}]}", "all")
        + cluster_policy(
            "{tier: Admin, priority: 10, subject: " + OF_SHOP + ", ingress: ["
            "{action: Deny, from: [{namespaces: {matchLabels: {team: ops}}}], "
            "protocols: [{tcp: {destinationPort: {number: 80}}}]}], "
            "egress: [{action: Accept, to: [{networks: [203.0.113.0/25]}]}]}"
        ),
        """
        probe > web TCP/80 no
        probe > web TCP/81 yes
        web > world UDP/53 yes
        web > partner UDP/53 no
        web > probe TCP/8080 no
        """,
    ),
    Example(
        "Pass leaves it to the namespace, below it other Admin rules do not count",
        cluster_policy(
            "{tier: Admin, priority: 5, subject: " + OF_SHOP + ", ingress: ["
            "{action: Pass, from: [{pods: {podSelector: {matchLabels: {app: probe}}}}]}]}",
            "a",
        )
        + cluster_policy(
            "{tier: Admin, priority: 6, subject: " + OF_SHOP + ", ingress: ["
            "{action: Deny, from: [{namespaces: {}}]}]}",
            "b",
        )
        + network_policy("{" + OF_DB + "}"),
        """
        probe > web TCP/80 yes
        probe > db TCP/5432 no
        web > db TCP/5432 no
        job > web TCP/80 no
        web > web TCP/80 no
        world > web TCP/80 yes
        """,
    ),
    Example(
        "Baseline counts only for pods that no NetworkPolicy selects",
        cluster_policy(
            "{tier: Baseline, priority: 0, subject: {namespaces: {}}, ingress: ["
            "{action: Accept, from: [{namespaces: {matchLabels: {team: ops}}}]}, "
            "{action: Deny, from: [{namespaces: {}}]}]}"
        )
        + network_policy("{" + OF_DB + ", ingress: [{from: [{podSelector: {}}]}]}"),
        """
        probe > web TCP/80 yes
        job > web TCP/80 no
        web > db TCP/5432 yes
        probe > db TCP/5432 no
        web > probe TCP/80 no
        world > web TCP/80 yes
        """,
    ),
    Example(
        "nodes as peers; the own one, too",
        cluster_policy(
            "{tier: Admin, priority: 1, subject: " + OF_SHOP + ", egress: ["
            "{action: Accept, to: [{nodes: {matchLabels: {role: control}}}], "
            "protocols: [{tcp: {destinationPort: {range: {start: 6443, end: 6444}}}}]}, "
            "{action: Deny, to: [{nodes: {}}]}]}"
        ),
        """
        web > n2 TCP/6443 yes
        web > n2 TCP/22 no
        web > n1 TCP/22 no
        web > n1 TCP/6443 no
        n1 > web TCP/80 yes
        """,
    ),
    Example(
        "a service that leads back to the pod itself is judged by Admin rules",
        cluster_policy(
            "{tier: Admin, priority: 15, subject: "
            + OF_SHOP
            + ", ingress: [{action: Deny, from: ["
            + OF_SHOP
            + "]}]}"
        ),
        "web > web TCP/80 no\nprobe > web TCP/80 yes",
    ),
    Example(
        "of one priority the order of names decides",
        cluster_policy(
            "{tier: Admin, priority: 3, subject: " + OF_SHOP + ", ingress: "
            "[{action: Accept, from: [{namespaces: {}}]}]}",
            "b",
        )
        + cluster_policy(
            "{tier: Admin, priority: 3, subject: " + OF_SHOP + ", ingress: "
            "[{action: Deny, from: [{namespaces: {}}], "
            "protocols: [{destinationNamedPort: http}]}]}",
            "a",
        ),
        "probe > web TCP/80 no\nprobe > web TCP/81 yes",
    ),
    Example(
        "AdminNetworkPolicy and BaselineAdminNetworkPolicy",
        cluster_policy(
            "{priority: 4, subject: " + OF_SHOP + ", ingress: ["
            "{action: Allow, from: [{namespaces: {matchLabels: {team: ops}}}], "
            "ports: [{portNumber: {protocol: TCP, port: 80}}, {namedPort: sql}]}, "
            "{action: Pass, from: [{namespaces: {matchLabels: {team: ops}}}], "
            "ports: [{portRange: {start: 1, end: 100}}]}, "
            "{action: Deny, from: [{namespaces: {matchLabels: {team: ops}}}]}]}",
            kind="AdminNetworkPolicy",
        )
        + cluster_policy(
            "{subject: " + OF_SHOP + ", ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
            "default",
            "BaselineAdminNetworkPolicy",
        ),
        """
        probe > web TCP/80 yes
        probe > web TCP/99 no
        probe > web UDP/80 no
        probe > db TCP/5432 yes
        job > web TCP/80 no
        world > web TCP/80 yes
        """,
    ),
    Example(
        "a peer that nobody knows: Accept matches nothing, Deny denies all",
        cluster_policy(
            "{tier: Admin, priority: 1, subject: {pods: {podSelector: {matchLabels: {app: web}}}}, "
            "egress: [{action: Accept, to: [{domainNames: [example.com]}]}]}",
            "a",
        )
        + cluster_policy(
            "{tier: Admin, priority: 2, subject: {pods: {podSelector: {matchLabels: {app: web}}}}, "
            "egress: [{action: Deny, to: [{domainNames: [example.com]}]}]}",
            "b",
        ),
        "web > world TCP/443 no\ndb > world TCP/443 yes",
    ),
)
