"""A second pair of eyes: a namespace read by pyroute2, which shares no code with our kernel layer.

What the kernel layer wrote and read back by itself proves little: the same mistake may be on both
sides.  Tests of modes compare a plan with what this sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cnidaria.kernel.netns import NetNS
from cnidaria.kernel.objects import Address, Link, Neighbour, Object, Route

_FAMILIES = {2: 4, 10: 6}
_UNICAST = 1
_DEFAULTS = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True)
class Seen:
    """What is in a namespace.

    Attributes:
        links: names.
        addresses: link and address with prefix length.
        routes: destination and link, of unicast routes in the main table.
        neighbours: link, address, MAC; permanent ones.
    """

    links: frozenset[str]
    addresses: frozenset[tuple[str, str]]
    routes: frozenset[tuple[str, str]]
    neighbours: frozenset[tuple[str, str, str]]

    def missing(self, objects: Iterable[Object]) -> list[Object]:
        """Those of ``objects``, all of this namespace, that are not there."""
        return [obj for obj in objects if not self._has(obj)]

    def _has(self, obj: Object) -> bool:
        match obj:
            case Link():
                return set(obj.names()) <= self.links
            case Address():
                return (obj.dev, obj.address) in self.addresses
            case Route(type="unicast", dev=str(dev)):
                return (obj.dst, dev) in self.routes
            case Neighbour():
                return (obj.dev, obj.address, obj.mac) in self.neighbours
            case _:
                return True


def look(namespace: NetNS) -> Seen:
    """Everything in a namespace, now.

    Raises:
        OSError: the namespace cannot be entered.
    """
    return namespace.run(_read)


def _read() -> Seen:
    from pyroute2.iproute.linux import IPRoute  # the heaviest import there is, and only for tests

    with IPRoute() as ipr:  # type: ignore[no-untyped-call]
        names = {link["index"]: link.get("ifname") for link in ipr.get_links()}
        return Seen(
            links=frozenset(names.values()),
            addresses=frozenset(_addresses(ipr.get_addr(), names)),
            routes=frozenset(_routes(ipr.get_routes(table=254), names)),
            neighbours=frozenset(_neighbours(ipr.get_neighbours(), names)),
        )


def _addresses(found: Iterable[Any], names: dict[int, str]) -> Iterator[tuple[str, str]]:
    for one in found:
        yield names[one["index"]], f"{one.get('address')}/{one['prefixlen']}"


def _routes(found: Iterable[Any], names: dict[int, str]) -> Iterator[tuple[str, str]]:
    for one in found:
        family = _FAMILIES.get(one["family"])
        if family and one["type"] == _UNICAST and one.get("oif"):
            prefix = f"{one.get('dst')}/{one['dst_len']}" if one["dst_len"] else _DEFAULTS[family]
            yield prefix, names[one.get("oif")]


def _neighbours(found: Iterable[Any], names: dict[int, str]) -> Iterator[tuple[str, str, str]]:
    permanent = 0x80  # NUD_PERMANENT
    for one in found:
        if one["state"] & permanent and one["family"] in _FAMILIES and one.get("lladdr"):
            yield names[one["ifindex"]], one.get("dst"), one.get("lladdr")
