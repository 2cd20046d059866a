"""A pod's routes: those of the ``ipam`` section, and its default routes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cnidaria.api import Network, Request
from cnidaria.cni.records import Route as Wanted
from cnidaria.ipam import LeaseSet
from cnidaria.ipam.routes import DIRECT, SCOPES
from cnidaria.plan.objects import MAIN, Neighbour, Object, Route
from cnidaria.wiring.config import R

GATEWAYS: Final = {4: "169.254.1.1", 6: "fe80::1"}
"""The node as the pod sees it, by family: link-local, the same for every pod."""

DEFAULTS: Final = {4: "0.0.0.0/0", 6: "::/0"}


def routes(request: Request, lease: LeaseSet) -> Iterator[Object]:
    """The lease's routes, by their own next hop or the gateway of the lease's subnet."""
    for wanted in lease.routes:
        yield declared(wanted, request.ifname, lease.gateway_for(wanted.dst))


def routes_by_node(request: Request, net: Network[R], lease: LeaseSet) -> Iterator[Object]:
    """Default routes where wanted, and the lease's routes, which all go by the node.

    A next hop of their own is answered for by the node, too: a pod has no other way out.
    """
    hops = {wanted.gw for wanted in lease.routes if wanted.gw} - set(GATEWAYS.values())
    for hop in sorted(hops):
        yield Neighbour(request.ifname, hop, request.host_mac, where="pod")
    for wanted in (*_defaults(net, lease), *lease.routes):
        gateway = GATEWAYS[6 if ":" in wanted.dst else 4]
        yield declared(wanted, request.ifname, gateway, onlink=True)


def declared(wanted: Wanted, dev: str, gateway: str | None, *, onlink: bool = False) -> Route:
    """One route of the pod as it must be in the kernel.

    Args:
        gateway: the next hop where the route names none.
        onlink: whether the next hop is on ``dev`` whatever the addresses there say.
    """
    via = None if wanted.scope in DIRECT else wanted.gw or gateway
    return Route(
        wanted.dst,
        via=via,
        dev=dev,
        onlink=onlink and via is not None,
        scope=None if wanted.scope is None else SCOPES[wanted.scope],
        table=wanted.table or MAIN,
        metric=wanted.priority,
        mtu=wanted.mtu or None,
        advmss=wanted.advmss or None,
        where="pod",
    )


def has_default(net: Network[R], lease: LeaseSet, family: int) -> bool:
    """Whether the pod gets a default route of this family."""
    return net.config.default_route or DEFAULTS[family] in _given(lease)


def _given(lease: LeaseSet) -> set[str]:
    """What the lease's routes in the main table lead to."""
    return {wanted.dst for wanted in lease.routes if wanted.table in (None, 0, MAIN)}


def _defaults(net: Network[R], lease: LeaseSet) -> Iterator[Wanted]:
    """A default route of each family where the mode's are wanted and the lease has none."""
    given = _given(lease)
    for family in sorted(lease.families()):
        if net.config.default_route and DEFAULTS[family] not in given:
            yield Wanted(DEFAULTS[family])
