"""The keys of ``ipam``, as typed JSON. What they mean together: :mod:`cnidaria.ipam.config`."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Annotated, Final

import msgspec

from cnidaria.cni.address import parse_cidr, parse_ip
from cnidaria.cni.fields import Check, Doc, Section
from cnidaria.cni.records import Route
from cnidaria.ipam.ranges import IpAddress, parse_subnet
from cnidaria.plan.lease import COOLDOWN

IPAM_TYPE: Final = "cnidaria-ipam"
"""The CNI type of the IPAM plugin, and the default of ``ipam.type``."""

DAY: Final = 86400
_BLOCK_LENGTHS: Final = {4: 24, 6: 64}


def _by(parse: Callable[[str], object], *, empty: bool = False) -> Callable[[str], str]:
    """The problem that ``parse`` has with a text; with ``empty``, it has none with ``""``."""

    def problem(text: str) -> str:
        try:
            if text or not empty:
                parse(text)
        except ValueError as error:
            return str(error)
        return ""

    return problem


def parse_interval(text: str) -> tuple[IpAddress, IpAddress]:
    """First and last of an address, a prefix or ``first-last``.

    Raises:
        ValueError: none of these, reversed, or of two families.
    """
    if "/" in text:
        subnet = ip_network(parse_cidr(text), strict=False)
        return subnet.network_address, subnet.broadcast_address
    head, dash, tail = text.partition("-")
    first = parse_ip(head.strip())
    last = parse_ip(tail.strip()) if dash else first
    if first.version != last.version or int(first) > int(last):
        raise ValueError("must be the lower address, a hyphen, and the higher address")
    return first, last


def _destination(text: str) -> None:
    right = ip_network(parse_cidr(text), strict=False)
    if right.network_address != parse_cidr(text)[0]:
        raise ValueError(f'has host bits set: must be written "{right}"')


def _absolute(text: str) -> str:
    return "" if text.startswith("/") or not text else "must be an absolute path"


def _holder(text: str) -> str:
    return "" if text else 'must be a pod such as "default/web-0", or a container id'


Subnet = Annotated[str, Check(_by(parse_subnet), 'a subnet such as "10.1.0.0/24"')]
OptionalIp = Annotated[str, Check(_by(parse_ip, empty=True), 'an address such as "10.1.0.5"')]
Interval = Annotated[
    str, Check(_by(parse_interval), 'an address, a prefix, or "10.1.0.10-10.1.0.19"')
]
Destination = Annotated[str, Check(_by(_destination), 'a network such as "10.0.0.0/8"')]
Holder = Annotated[str, Check(_holder, 'a pod such as "default/web-0", or a container id')]
Path = Annotated[str, Check(_absolute, "an absolute path")]


class RangeKeys(Section):
    """One range (host-local's keys)."""

    subnet: Annotated[Subnet, Doc("what the range is a part of, CIDR")]
    range_start: Annotated[OptionalIp, Doc("first address; default: the subnet's second")] = ""
    range_end: Annotated[OptionalIp, Doc("last address; default: the subnet's last usable")] = ""
    gateway: Annotated[OptionalIp, Doc("default: the subnet's second address")] = ""


class RouteKeys(Section):
    """A route for the pod, as a result of CNI 1.1 has it."""

    dst: Annotated[Destination, Doc("destination, CIDR")]
    gw: Annotated[OptionalIp, Doc("next hop; default: the address's gateway")] = ""
    mtu: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    advmss: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    priority: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)] = 0
    table: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)] | None = None
    scope: Annotated[int, msgspec.Meta(ge=0, le=255)] | None = None

    def route(self) -> Route:
        """As a result has it."""
        return Route(
            dst=str(ip_network(parse_cidr(self.dst))),
            gw=str(parse_ip(self.gw)) if self.gw else None,
            mtu=self.mtu,
            advmss=self.advmss,
            priority=self.priority,
            table=self.table,
            scope=self.scope,
        )


class ClusterPool(Section):
    """A prefix of the whole cluster, of which each node claims one block for its pods."""

    prefix: Annotated[Subnet, Doc("addresses of all nodes' pods, CIDR")]
    block_length: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=126)] | None,
        Doc("prefix length of one node's block; default: 24 for IPv4, 64 for IPv6"),
    ] = None

    def __post_init__(self) -> None:
        pool = parse_subnet(self.prefix)
        longest = pool.max_prefixlen - 2
        if not pool.prefixlen <= self.length <= longest:
            raise ValueError(
                f"blockLength = {self.length}: must be between {pool.prefixlen} and {longest} "
                f"for the prefix {self.prefix}"
            )

    @property
    def length(self) -> int:
        """Prefix length of one node's block."""
        return self.block_length or _BLOCK_LENGTHS[parse_subnet(self.prefix).version]


class IpamKeys(Section):
    """The section ``ipam`` of a network configuration.

    A pod gets one address of each range set: the one that ``subnet`` makes, each of ``ranges``,
    and this node's block of each of ``clusterPools``.
    """

    type: Annotated[str, Doc("the IPAM plugin; another one is executed")] = IPAM_TYPE
    subnet: Annotated[Subnet, Doc("a single range: its subnet, CIDR")] | None = None
    range_start: Annotated[OptionalIp, Doc("of the single range: first address")] = ""
    range_end: Annotated[OptionalIp, Doc("of the single range: last address")] = ""
    gateway: Annotated[OptionalIp, Doc("of the single range: gateway")] = ""
    ranges: Annotated[list[list[RangeKeys]], Doc("range sets")] = []
    cluster_pools: Annotated[
        list[ClusterPool], Doc("prefixes of the cluster that nodes claim blocks of")
    ] = []
    routes: Annotated[list[RouteKeys], Doc("routes for the pod")] = []
    resolv_conf: Annotated[Path, Doc("a file such as /etc/resolv.conf, for the result's dns")] = ""
    data_dir: Annotated[str, Doc("accepted for host-local's sake; leases are in the journal")] = ""
    exclude: Annotated[list[Interval], Doc("addresses that are not handed out")] = []
    cooldown: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            le=DAY,
            description="seconds for which a released address rests; if nothing else is free, the "
            "one released longest ago is used nevertheless",
        ),
    ] = COOLDOWN
    reservations: Annotated[
        dict[str, Holder],
        Doc('address to who alone gets it: a pod ("namespace/name") or a container id'),
    ] = {}
    reserve_gateway: Annotated[
        bool, Doc("keep gateways from being handed out; not needed where no host has them")
    ] = True


class Network(Section):
    """What of a network configuration is looked at here."""

    ipam: IpamKeys


class _Runtime(Section):
    ip_ranges: list[list[RangeKeys]]


class RuntimeRanges(Section):
    """The capability argument ``ipRanges``."""

    runtime_config: _Runtime
