"""The CNI result that a plan amounts to (CNI specification, section 5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec.structs import replace

from cnidaria.cni.address import canonical_mac
from cnidaria.cni.records import Dns, Interface, Ip
from cnidaria.cni.records import Route as ResultRoute
from cnidaria.cni.result import Result
from cnidaria.plan.objects import (
    MAIN,
    SCOPES,
    V6_METRIC,
    Address,
    Link,
    Neighbour,
    Object,
    Route,
    Veth,
)

DEFAULTS = frozenset({"0.0.0.0/0", "::/0"})


def outcome(objects: Iterable[Object], netns: str, dns: Dns, before: Result | None) -> Result:
    """What ADD answers: the links that a plan makes, and the pod's addresses and routes.

    Args:
        netns: path of the pod's namespace.
        dns: of the addresses' lease.
        before: the result of the plugins before in the chain, which is added to.
    """
    objects = list(objects)
    interfaces = [one for obj in objects if isinstance(obj, Link) for one in _ends(obj, netns)]
    index = {one.name: n for n, one in enumerate(interfaces) if one.sandbox}
    routes = [
        obj
        for obj in objects
        if isinstance(obj, Route) and obj.where == "pod" and obj.type == "unicast"
    ]
    gateways = {
        (route.dev, ":" in route.dst): route.via
        for route in sorted(routes, key=lambda route: -route.metric)
        if route.dst in DEFAULTS and route.table == MAIN
    }
    ips = [
        Ip(obj.address, gateways.get((obj.dev, ":" in obj.address)), index.get(obj.dev))
        for obj in objects
        if isinstance(obj, Address) and obj.where == "pod"
    ]
    return (before or Result()).extended(
        interfaces,
        ips,
        [_told(route) for route in routes],
        dns if dns != Dns() or before is None else None,
    )


def lacking(objects: Iterable[Object], told: Result) -> list[str]:
    """The pod's addresses in a plan that the result of the whole chain does not have."""
    known = {ip.address.partition("/")[0] for ip in told.ips}
    addresses = (obj.address for obj in objects if isinstance(obj, Address) and obj.where == "pod")
    return [address for address in addresses if address.partition("/")[0] not in known]


def as_told(objects: Iterable[Object], told: Result) -> list[Object]:
    """A plan with what later plugins of the chain have changed: the MACs of the pod's interfaces.

    With its MAC a link loses its neighbours, also permanent ones.

    Args:
        told: the result of the whole chain.
    """
    macs = {one.name: one.mac for one in told.interfaces if one.sandbox}
    objects = list(objects)
    now = [_with_mac(obj, macs) for obj in objects]
    changed = {
        obj.ends()[-1]
        for obj, before in zip(now, objects, strict=True)
        if obj != before and obj.ends()
    }
    return [
        obj for obj in now if not (isinstance(obj, Neighbour) and (obj.where, obj.dev) in changed)
    ]


def _with_mac(obj: Object, macs: Mapping[str, str]) -> Object:
    """A link whose end in the pod has the MAC that ``macs`` gives to its name."""
    field = "peer_mac" if isinstance(obj, Veth) else "mac"
    where, name = obj.ends()[-1] if obj.ends() else ("", "")
    try:
        mac = canonical_mac(macs.get(name, ""))
    except ValueError:
        return obj
    return replace(obj, **{field: mac}) if where == "pod" and hasattr(obj, field) else obj


def _told(route: Route) -> ResultRoute:
    """A route with what about it is not as usual."""
    usual = V6_METRIC if ":" in route.dst else 0
    return ResultRoute(
        dst=route.dst,
        gw=route.via,
        mtu=route.mtu or 0,
        advmss=route.advmss or 0,
        priority=0 if route.metric == usual else route.metric,
        table=None if route.table == MAIN else route.table,
        scope=SCOPES[route.scope] if route.scope and route.scope != "global" else None,
    )


def _ends(link: Link, netns: str) -> Iterator[Interface]:
    """Both ends of a veth, the only one of anything else."""
    macs = (link.mac, link.peer_mac) if isinstance(link, Veth) else (getattr(link, "mac", None),)
    mtu = getattr(link, "mtu", None) or 0
    for (where, name), mac in zip(link.ends(), macs, strict=True):
        yield Interface(name, mac or "", mtu, netns if where == "pod" else "")
