"""Pod wiring that modes share: a routed link, and what the node needs for it."""

from cnidaria.wiring.config import Masquerade, RoutedConfig
from cnidaria.wiring.guard import firewall, tunnel_guard
from cnidaria.wiring.node import next_hops, routed_node
from cnidaria.wiring.pod import addresses, routed_pod
from cnidaria.wiring.routes import routes

__all__ = [
    "Masquerade",
    "RoutedConfig",
    "addresses",
    "firewall",
    "next_hops",
    "routed_node",
    "routed_pod",
    "routes",
    "tunnel_guard",
]
