"""cnidaria: pod networks that you extend in Python.

Everything that a network mode is written with is here, and in :mod:`cnidaria.wiring` (pod wiring
that modes share) and :mod:`cnidaria.kinds` (for kinds of kernel objects of one's own).  See
``docs/modes.md``.  Everything else is private and may change.
"""

from cnidaria.api import (
    Command,
    Mode,
    Network,
    NetworkConfig,
    Node,
    NodeInfo,
    NodeView,
    NotReady,
    Peer,
    Request,
    local_mac,
)
from cnidaria.cluster import ClusterConfig, ClusterStore, Documents, StoreError, open_store
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
from cnidaria.metrics import Histogram, Metric, Sample
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

from cnidaria import wiring  # isort: skip  # it is written with what is above

__all__ = [
    "Address",
    "Bridge",
    "BridgePort",
    "Check",
    "Cidr",
    "ClusterConfig",
    "ClusterStore",
    "CniError",
    "Code",
    "Command",
    "Doc",
    "Documents",
    "Encap",
    "Fdb",
    "Histogram",
    "InterfaceName",
    "IpAddress",
    "LeaseSet",
    "LinkUp",
    "MacAddress",
    "Macvlan",
    "Metric",
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
    "NodeView",
    "NotReady",
    "Object",
    "Peer",
    "Plan",
    "Range",
    "Request",
    "Result",
    "Route",
    "Rule",
    "Sample",
    "Section",
    "StoreError",
    "Sysctl",
    "Veth",
    "Vxlan",
    "expr",
    "hookimpl",
    "local_mac",
    "open_store",
    "wiring",
]
