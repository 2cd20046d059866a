"""What the section ``ipam`` of a network configuration means.

host-local's keys have host-local's meaning. Of what it would hand out, the network and broadcast
address of a subnet and the gateways of all ranges are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import msgspec

from cnidaria.cni.address import parse_ip
from cnidaria.cni.codec import folded
from cnidaria.cni.config import NetConf, plugin_type
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.fields import decode
from cnidaria.cni.records import Route
from cnidaria.cni.versions import parse as parse_version
from cnidaria.ipam.keys import (
    IPAM_TYPE,
    ClusterPool,
    IpamKeys,
    Network,
    RangeKeys,
    RuntimeRanges,
    parse_interval,
)
from cnidaria.ipam.ranges import (
    IpAddress,
    Range,
    RangeSet,
    check_sets,
    invalid,
    parse_subnet,
)

Claim = Callable[[str, int], str]
"""Gives this node's block of a cluster's prefix: (prefix, block length) to CIDR."""

_SEVERAL_ADDRESSES = (0, 3, 0)
"""The version of CNI since which a result may have more than one address of a family."""


@dataclass(frozen=True)
class PoolSpec:
    """What one pool of addresses is made of, all text canonical; equal ones share the pool.

    Attributes:
        ranges: first and last address of each.
        exclude: intervals ``first-last`` of the pool's family.
        cooldown: seconds.
        reservations: address and who alone gets it.
    """

    ranges: tuple[tuple[str, str], ...]
    exclude: tuple[str, ...]
    cooldown: float
    reservations: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class IpamConfig:
    """A validated ``ipam`` section. :meth:`parse` makes it.

    Attributes:
        where: the plugin that it is of, for errors.
        sets: a pod gets one address of each.
        cluster_pools: of each, this node's block becomes a set by :meth:`resolve`.
        exclude: first and last address of each interval that is not handed out.
        cooldown: seconds for which a released address rests.
        reservations: address to who alone gets it (``namespace/name`` of a pod, or a container).
        own: addresses of the node itself and what they are there; see :meth:`without`.
        routes: for the pod.
        resolv_conf: path of the file for the result's ``dns``, ``""`` if there is none.
    """

    where: str
    sets: tuple[RangeSet, ...]
    cluster_pools: tuple[ClusterPool, ...] = ()
    exclude: tuple[tuple[IpAddress, IpAddress], ...] = ()
    cooldown: float = 0.0
    reservations: Mapping[IpAddress, str] = field(default_factory=dict)
    reserve_gateway: bool = True
    own: Mapping[str, str] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    resolv_conf: str = ""

    @classmethod
    def parse(cls, raw: Mapping[str, Any], where: str = IPAM_TYPE) -> IpamConfig:
        """Read the section ``ipam`` as it came. Equal sections are read once.

        Raises:
            CniError: code 7, naming the key, its value and what is allowed.
        """
        return _parse(msgspec.json.encode(raw), where)

    @classmethod
    def of(cls, conf: NetConf, claim: Claim | None = None, where: str = "") -> IpamConfig:
        """The ``ipam`` of a network configuration, with ``runtimeConfig.ipRanges`` in front and
        this node's blocks behind.

        Args:
            claim: see :meth:`resolve`.
            where: the plugin's name in errors; default: the configuration's type.

        Raises:
            CniError: code 7; see :meth:`parse` and :meth:`resolve`.
        """
        where = where or conf.type
        if not conf.ipam:
            raise CniError(Code.INVALID_CONFIG, f'{where}: missing key "ipam": addresses for pods')
        config = cls.parse(conf.ipam, where)
        if conf.runtime.ip_ranges:
            config = config._preceded_by(conf.runtime.ip_ranges)
        config = config.resolve(claim)
        config._check_sets(conf.cni_version)
        return config

    def _preceded_by(self, ip_ranges: list[Any]) -> IpamConfig:
        raw = {"runtimeConfig": {"ipRanges": ip_ranges}}
        keys = decode(RuntimeRanges, raw, self.where).runtime_config.ip_ranges
        with _naming(self.where):
            sets = (*_range_sets(keys, "runtimeConfig.ipRanges"), *self.sets)
            check_sets(sets)
        return replace(self, sets=sets)

    def resolve(self, claim: Claim | None) -> IpamConfig:
        """This configuration with this node's blocks of the cluster's pools as range sets.

        Args:
            claim: called for each pool; what it raises passes through.

        Raises:
            CniError: code 7; a block overlaps with another range, or blocks are wanted where
                none can be claimed.
        """
        if not self.cluster_pools:
            return self
        if claim is None:
            raise CniError(
                Code.INVALID_CONFIG,
                f"{self.where}: ipam.clusterPools needs a cluster: nodes claim their blocks there",
                'a mode\'s key "cluster" says where the nodes find one another',
            )
        blocks = tuple(claim(pool.prefix, pool.length) for pool in self.cluster_pools)
        if blocks not in self._resolved:
            self._resolved[blocks] = self._with_blocks(blocks)
        return self._resolved[blocks]

    @cached_property
    def _resolved(self) -> dict[tuple[str, ...], IpamConfig]:
        return {}

    def _with_blocks(self, blocks: tuple[str, ...]) -> IpamConfig:
        claimed = tuple(
            RangeSet((Range.of(parse_subnet(block), f"ipam.clusterPools[{i}]"),))
            for i, block in enumerate(blocks)
        )
        sets = (*self.sets, *claimed)
        with _naming(self.where):
            check_sets(sets)
        return replace(self, sets=sets, cluster_pools=())

    def without(self, own: Mapping[str, str]) -> IpamConfig:
        """This configuration where these addresses are the node's own, so that no pod gets them.

        Args:
            own: address (canonical) to what it is there, such as "an address of this node".
        """
        if not own:
            return self
        key = frozenset(own.items())
        if key not in self._spared:
            self._spared.clear()  # only what the node has now is asked for again
            self._spared[key] = replace(self, own=dict(own))
        return self._spared[key]

    @cached_property
    def _spared(self) -> dict[frozenset[tuple[str, str]], IpamConfig]:
        return {}

    @cached_property
    def pools(self) -> tuple[tuple[RangeSet, PoolSpec], ...]:
        """Each range set, and the pool of its addresses."""
        return tuple((one, self._spec(one)) for one in self.sets)

    def withheld(self, address: IpAddress) -> str:
        """Why nobody gets ``address``, ``""`` if that is not so."""
        for what, reason in self._withheld():
            if what == address:
                return f"is {reason}"
        for first, last in self.exclude:
            if first.version == address.version and int(first) <= int(address) <= int(last):
                return "is left out by ipam.exclude"
        return ""

    def _withheld(self) -> Iterator[tuple[IpAddress, str]]:
        for one in self._ranges():
            yield from one.unusable
            if self.reserve_gateway:
                yield one.gateway, f"the gateway of {one.subnet}"
        for address, what in self.own.items():
            yield parse_ip(address), what

    def _ranges(self) -> Iterator[Range]:
        for one in self.sets:
            yield from one.ranges

    def _spec(self, one: RangeSet) -> PoolSpec:
        singles = {address: None for address, _ in self._withheld()}
        intervals = [*((address, address) for address in singles), *self.exclude]
        return PoolSpec(
            ranges=tuple((str(found.first), str(found.last)) for found in one.ranges),
            exclude=tuple(
                f"{first}-{last}" for first, last in intervals if first.version == one.version
            ),
            cooldown=self.cooldown,
            reservations=tuple(
                (str(address), who) for address, who in self.reservations.items() if address in one
            ),
        )

    def _check_reservations(self) -> None:
        """Refuse reservations of addresses that nobody can get."""
        cluster = [parse_subnet(pool.prefix) for pool in self.cluster_pools]
        for address, who in self.reservations.items():
            problem = self.withheld(address)
            if not any(address in one for one in (*self.sets, *cluster)):
                problem = "is in no range"
            if problem:
                raise invalid("ipam.reservations", {str(address): who}, f"{address} {problem}")

    def _check_sets(self, version: str) -> None:
        if not self.sets:
            raise CniError(
                Code.INVALID_CONFIG,
                f"{self.where}: ipam has no addresses: missing key "
                '"ipam.subnet", "ipam.ranges" or "ipam.clusterPools"',
            )
        families = [one.version for one in self.sets]
        if len(set(families)) < len(families) and parse_version(version) < _SEVERAL_ADDRESSES:
            raise CniError(
                Code.INVALID_CONFIG,
                f"{self.where}: ipam gives several addresses of one family; a result of "
                f"cniVersion {version} can have one of each",
                "cniVersion 0.3.0 or newer is needed",
            )


@lru_cache(maxsize=256)
def _parse(raw: bytes, where: str) -> IpamConfig:
    keys = decode(Network, {"ipam": msgspec.json.decode(raw)}, where).ipam
    with _naming(where):
        config = IpamConfig(
            where=where,
            sets=(*_single(keys), *_range_sets(keys.ranges, "ipam.ranges")),
            cluster_pools=tuple(keys.cluster_pools),
            exclude=tuple(map(parse_interval, keys.exclude)),
            cooldown=float(keys.cooldown),
            reservations=_reservations(keys.reservations),
            reserve_gateway=keys.reserve_gateway,
            routes=tuple(route.route() for route in keys.routes),
            resolv_conf=keys.resolv_conf,
        )
        check_sets(config.sets)
        config._check_reservations()
    return config


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Put the plugin's name in front of errors."""
    try:
        yield
    except CniError as error:
        raise CniError(error.code, f"{where}: {error.msg}", error.details) from None


def ipam_type(raw: Mapping[str, Any]) -> str:
    """The IPAM plugin that a section ``ipam`` names; ours where it names none.

    Raises:
        CniError: code 7; it cannot be a plugin's name.
    """
    return plugin_type(folded(raw).get("type") or IPAM_TYPE, "ipam.type")


def _single(keys: IpamKeys) -> Iterator[RangeSet]:
    """The range set that the section's own keys make; host-local puts it first."""
    if keys.subnet:
        yield RangeSet((_range(keys, "ipam"),))
        return
    for name, value in (
        ("rangeStart", keys.range_start),
        ("rangeEnd", keys.range_end),
        ("gateway", keys.gateway),
    ):
        if value:
            raise invalid(f"ipam.{name}", value, 'needs the key "ipam.subnet"')


def _range_sets(sets: Sequence[Sequence[RangeKeys]], path: str) -> Iterator[RangeSet]:
    for i, ranges in enumerate(sets):
        if not ranges:
            raise invalid(f"{path}[{i}]", [], "must have at least one range")
        yield RangeSet(tuple(_range(keys, f"{path}[{i}][{j}]") for j, keys in enumerate(ranges)))


def _range(keys: RangeKeys | IpamKeys, path: str) -> Range:
    subnet = parse_subnet(keys.subnet or "")
    return Range.of(subnet, path, keys.range_start, keys.range_end, keys.gateway)


def _reservations(raw: Mapping[str, str]) -> dict[IpAddress, str]:
    found: dict[IpAddress, str] = {}
    for text, who in raw.items():
        try:
            address = parse_ip(text)
        except ValueError as error:
            raise invalid("ipam.reservations", {text: who}, f"the key {error}") from None
        if address in found:
            raise invalid("ipam.reservations", {text: who}, f"{address} is there twice")
        found[address] = who
    return found
