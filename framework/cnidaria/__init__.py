"""cnidaria: pod networks that you extend in Python.

Everything that a network mode is written with is here; see ``docs/modes.md``.
"""

from cnidaria.api import (
    Mode,
    Network,
    NetworkConfig,
    Node,
    NodeInfo,
    NotReady,
    Peer,
    Request,
    local_mac,
)
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.fields import (
    Check,
    Cidr,
    Doc,
    InterfaceName,
    IpAddress,
    MacAddress,
    ModeConfig,
    Range,
    Section,
)
from cnidaria.cni.result import Result
from cnidaria.hookspecs import hookimpl
from cnidaria.ipam import LeaseSet
from cnidaria.plan import expr
from cnidaria.plan.objects import (
    Address,
    Bridge,
    BridgePort,
    Encap,
    Fdb,
    LinkUp,
    Macvlan,
    Neighbour,
    NftChain,
    NftElement,
    NftElements,
    NftRule,
    NftSet,
    NftTable,
    Object,
    Route,
    Rule,
    Sysctl,
    Veth,
    Vxlan,
)
from cnidaria.plan.plan import Plan

__all__ = [
    "Address",
    "Bridge",
    "BridgePort",
    "Check",
    "Cidr",
    "CniError",
    "Code",
    "Doc",
    "Encap",
    "Fdb",
    "InterfaceName",
    "IpAddress",
    "LeaseSet",
    "LinkUp",
    "MacAddress",
    "Macvlan",
    "Mode",
    "ModeConfig",
    "Neighbour",
    "Network",
    "NetworkConfig",
    "NftChain",
    "NftElement",
    "NftElements",
    "NftRule",
    "NftSet",
    "NftTable",
    "Node",
    "NodeInfo",
    "NotReady",
    "Object",
    "Peer",
    "Plan",
    "Range",
    "Request",
    "Result",
    "Route",
    "Rule",
    "Section",
    "Sysctl",
    "Veth",
    "Vxlan",
    "expr",
    "hookimpl",
    "local_mac",
]
