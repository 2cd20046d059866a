"""The routes that go with addresses, as a mode may declare them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import Final

import msgspec

from cnidaria.cni.codec import show
from cnidaria.cni.errors import CniError
from cnidaria.cni.records import Route
from cnidaria.plan import objects

SCOPES: Final = {number: name for name, number in objects.SCOPES.items()}
"""What the numbers of a route's ``scope`` mean."""

DIRECT: Final = frozenset({253, 254})
"""Scopes of routes that have no next hop."""

_PRIORITY: Final = {4: 0, 6: objects.V6_METRIC}
_LIMITS: Final = {
    "mtu": 65520,  # beyond these two the kernel takes another value than it is told
    "advmss": 65495,
    "priority": 2**32 - 1,
    "table": 2**32 - 1,
}


def settled(
    routes: Iterable[Route], families: Iterable[int], where: str, code: int
) -> tuple[Route, ...]:
    """``routes`` with canonical destinations, each once.

    Args:
        families: 4, 6 or both: of the pod's addresses.
        where: names the list in errors.
        code: of the errors.

    Raises:
        CniError: ``code``; the kernel cannot have a route, or not beside another one.
    """
    found: dict[tuple[str, int, int], Route] = {}
    for n, given in enumerate(routes):
        route = msgspec.structs.replace(given, dst=str(ip_network(given.dst, strict=False)))
        for key, problem in _problems(route, frozenset(families)):
            shown = show(getattr(route, key))
            raise CniError(code, f"{where}[{n}].{key} = {shown}: {problem}")
        version = _version(route.dst)
        place = route.dst, route.table or objects.MAIN, route.priority or _PRIORITY[version]
        first = found.setdefault(place, route)
        if first != route:
            raise CniError(
                code,
                f'{where}[{n}].dst = "{route.dst}": is there twice in one table with one priority',
                f"the first goes by {first.gw or 'the gateway'}, "
                f"this one by {route.gw or 'the gateway'}",
            )
    return tuple(found.values())


def _problems(route: Route, families: frozenset[int]) -> Iterator[tuple[str, str]]:
    """Keys that are wrong, each with what is allowed."""
    version = _version(route.dst)
    if version not in families:
        yield "dst", f"the pod has no IPv{version} address"
    if route.gw and _version(route.gw) != version:
        yield "gw", f"must be an IPv{version} address, as {route.dst} is"
    for key, limit in _LIMITS.items():
        if not 0 <= (getattr(route, key) or 0) <= limit:
            yield key, f"must be between 0 and {limit}"
    if route.scope is not None and route.scope not in SCOPES:
        allowed = ", ".join(f"{number} ({name})" for number, name in SCOPES.items())
        yield "scope", f"must be one of {allowed}"
    if route.scope in DIRECT and route.gw:
        yield "scope", f'must be another one, or without the key "gw" = "{route.gw}"'


def _version(text: str) -> int:
    return 6 if ":" in text else 4
