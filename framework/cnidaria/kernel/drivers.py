"""Who makes which kind of object so."""

from __future__ import annotations

from typing import Any, Final

from cnidaria.kernel.driver import Driver
from cnidaria.kernel.entries import Addresses, FdbEntries, Neighbours, Rules
from cnidaria.kernel.linkkinds import Bridges, Macvlans, Veths, Vxlans
from cnidaria.kernel.links import AnyLinks, BridgePorts, LinkUps
from cnidaria.kernel.nftchains import Chains
from cnidaria.kernel.nftsets import Elements, Sets
from cnidaria.kernel.nfttables import Tables
from cnidaria.kernel.objects import (
    Address,
    AnyLink,
    Bridge,
    BridgePort,
    Fdb,
    LinkUp,
    Macvlan,
    Neighbour,
    NftChain,
    NftElements,
    NftSet,
    NftTable,
    Object,
    Route,
    Rule,
    Sysctl,
    Veth,
    Vxlan,
)
from cnidaria.kernel.routes import Routes
from cnidaria.kernel.sysctls import Sysctls

DRIVERS: Final[dict[type[Object], Driver[Any]]] = {
    Veth: Veths(),
    Bridge: Bridges(),
    Macvlan: Macvlans(),
    Vxlan: Vxlans(),
    AnyLink: AnyLinks(),
    LinkUp: LinkUps(),
    BridgePort: BridgePorts(),
    Address: Addresses(),
    Route: Routes(),
    Neighbour: Neighbours(),
    Fdb: FdbEntries(),
    Rule: Rules(),
    Sysctl: Sysctls(),
    NftTable: Tables(),
    NftSet: Sets(),
    NftChain: Chains(),
    NftElements: Elements(),
}


def driver_of(obj: Object) -> Driver[Any]:
    """The driver of an object's kind, or of the built-in kind that it is derived from.

    Raises:
        TypeError: a kind of somebody else that brings no driver.
    """
    if obj.DRIVER is not None:
        own: Driver[Any] = obj.DRIVER
        return own
    for kind in type(obj).__mro__:
        if kind in DRIVERS:
            return DRIVERS[kind]
    raise TypeError(f"{type(obj).__name__}.DRIVER = None: must be a cnidaria.kernel.driver.Driver")
