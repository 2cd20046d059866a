"""Flat mode: pods in the address space of the existing network, reached by plain routes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from cnidaria import Doc, Mode, Network, NotReady, Object, Plan, Request, Route, hookimpl, wiring


class FlatConfig(wiring.RoutedConfig):
    """The keys of ``cnidaria-flat``."""

    underlay: Annotated[
        Literal["routed"], Doc("how pods join the network: each by a route of its own")
    ] = "routed"


class Flat(Mode[FlatConfig]):
    """Pods in the address space of the existing network, reached by plain routes."""

    type = "cnidaria-flat"
    Config = FlatConfig

    def attach(self, request: Request, net: Network[FlatConfig]) -> Plan:
        """A veth pair, routed."""
        return wiring.routed_pod(request, net, mtu(net))

    def node(self, net: Network[FlatConfig]) -> Iterable[Object]:
        """Forwarding, and a route to each of the other nodes' prefixes."""
        yield from wiring.routed_node(net, mtu(net))
        for prefix, router in wiring.next_hops(net):
            if not net.node.uplink:
                raise NotReady('there is no uplink to other nodes; set the key "uplink"')
            yield Route(prefix, via=router, dev=net.node.uplink)


def mtu(net: Network[FlatConfig]) -> int:
    """What pods may send, bytes: the uplink's."""
    return net.config.mtu or net.node.mtu


@hookimpl
def cnidaria_modes() -> Sequence[type[Mode[Any]]]:
    """The one mode of this package."""
    return [Flat]
