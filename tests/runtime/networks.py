"""The networks under which every client is tested."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from support.node import Node

Plugin = Mapping[str, Any]


@dataclass(frozen=True)
class Network:
    """A conflist, and what is known about it."""

    label: str
    plugins: tuple[Plugin, ...]
    cni_version: str = "1.0.0"
    port_mapping: bool = False
    checks: bool = True
    residue: tuple[str, ...] = ()
    """What its plugins leave by design (patterns for ``leftovers``)."""
    name: str = "pods"

    @property
    def has_status(self) -> bool:
        """Whether its version of CNI has STATUS and GC."""
        return self.cni_version == "1.1.0"

    def __str__(self) -> str:
        return self.label

    def write(self, node: Node) -> None:
        """Make it the node's one network."""
        conflist = {
            "cniVersion": self.cni_version,
            "name": self.name,
            "plugins": self.plugins,
        }
        node.write(f"/etc/cni/net.d/10-{self.name}.conflist", json.dumps(conflist, indent=2))


IPAM = {
    "type": "cnidaria-ipam",
    "ranges": [[{"subnet": "10.22.0.0/24"}], [{"subnet": "fd00:22::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
}
FLAT = {"type": "cnidaria-flat", "underlay": "routed", "ipam": IPAM}

SOMAXCONN = 517
"""What the chain's tuning plugin sets net.core.somaxconn to in a pod."""
RATE = 80_000_000
"""Bits per second to which the chain's bandwidth plugin limits a pod."""

CHAIN = (
    {"type": "portmap", "capabilities": {"portMappings": True}},
    {
        "type": "bandwidth",
        "ingressRate": RATE,
        "ingressBurst": RATE,
        "egressRate": RATE,
        "egressBurst": RATE,
    },
    {"type": "tuning", "sysctl": {"net.core.somaxconn": str(SOMAXCONN)}},
    {"type": "firewall"},
)
BRIDGE = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipam": IPAM}

POLICY = {"type": "cnidaria-policy", "capabilities": {"io.kubernetes.cri.pod-annotations": True}}
POLICED = (
    Network("policed", (FLAT, POLICY)),
    Network(
        "policed-chain", (BRIDGE, *CHAIN, POLICY), checks=False, residue=(r"\w+: (.* )?cni0\b.*",)
    ),
)
"""Networks in which policies are enforced, behind what is ours and what is others'."""

MODERN = Network("alone-1.1", (FLAT,), cni_version="1.1.0")
"""For clients that know STATUS and GC."""

OVERLAY = Network("overlay", ({"type": "cnidaria-overlay", "vni": 22, "ipam": IPAM},))

NETWORKS = (
    Network("alone", (FLAT,)),
    # The reference portmap's CHECK fails on its own rules where a pod has two address families.
    Network("chained", (FLAT, *CHAIN), port_mapping=True, checks=False),
    # The reference bridge keeps its bridge, with the gateway's addresses.
    Network("ipam-under-bridge", (BRIDGE,), residue=(r"\w+: (.* )?cni0\b.*",)),
)
