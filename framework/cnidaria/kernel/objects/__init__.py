"""Declared kernel objects: what must be there, never how it gets there.

An object lives in one of two network namespaces: ``"host"`` (the caller's) or ``"pod"``. All text
is canonical, so equal objects compare equal, and survive the journal unchanged. What an object
cannot be is refused when it is made, by a :class:`ValueError` that names field and value.
"""

from __future__ import annotations

from cnidaria.kernel.objects.addressing import (
    MAIN,
    PROTOCOL,
    SCOPES,
    V6_METRIC,
    Address,
    Encap,
    Fdb,
    Neighbour,
    Route,
    Rule,
    Sysctl,
)
from cnidaria.kernel.objects.base import (
    End,
    Object,
    Where,
    from_wire,
    kinds_with_drivers,
    register,
    to_wire,
)
from cnidaria.kernel.objects.links import (
    MARK,
    AnyLink,
    Bridge,
    BridgePort,
    Link,
    LinkUp,
    Macvlan,
    Veth,
    Vxlan,
)
from cnidaria.kernel.objects.nft import (
    TABLES,
    NftChain,
    NftElement,
    NftElements,
    NftRule,
    NftSet,
    NftTable,
)

__all__ = [
    "MAIN",
    "MARK",
    "PROTOCOL",
    "SCOPES",
    "TABLES",
    "V6_METRIC",
    "Address",
    "AnyLink",
    "Bridge",
    "BridgePort",
    "Encap",
    "End",
    "Fdb",
    "Link",
    "LinkUp",
    "Macvlan",
    "Neighbour",
    "NftChain",
    "NftElement",
    "NftElements",
    "NftRule",
    "NftSet",
    "NftTable",
    "Object",
    "Route",
    "Rule",
    "Sysctl",
    "Veth",
    "Vxlan",
    "Where",
    "from_wire",
    "kinds_with_drivers",
    "register",
    "to_wire",
]
