"""Ranges and sets of ranges: what host-local's keys mean.

A *range* is a part of a subnet, a *range set* is one or more ranges of one address family. A pod
gets one address of each range set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_network,
)
from typing import Final

from cnidaria.cni.address import parse_cidr, parse_ip
from cnidaria.cni.codec import show
from cnidaria.cni.errors import CniError, Code

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network

HOST_BITS = 2
"""A subnet has at least so many bits for addresses: network, gateway, broadcast and one more."""

NOBODYS: Final[Mapping[IpNetwork, str]] = {
    ip_network("0.0.0.0/8"): "this network's own (RFC 791)",
    ip_network("127.0.0.0/8"): "loopback (RFC 1122)",
    ip_network("169.254.0.0/16"): "link-local (RFC 3927)",
    ip_network("224.0.0.0/4"): "multicast (RFC 5771)",
    ip_network("240.0.0.0/4"): "reserved, the last one is broadcast (RFC 1112)",
    ip_network("::/127"): "unspecified and loopback (RFC 4291)",
    ip_network("::ffff:0:0/96"): "IPv4 written as IPv6 (RFC 4291)",
    ip_network("fe80::/10"): "link-local (RFC 4291)",
    ip_network("ff00::/8"): "multicast (RFC 4291)",
}
"""Addresses that no pod can have, and what they are instead."""


def invalid(path: str, value: object, problem: str) -> CniError:
    """Code 7: what is wrong with the ``value`` of the key ``path``."""
    return CniError(Code.INVALID_CONFIG, f"{path} = {show(value)}: {problem}")


def parse_subnet(text: str) -> IpNetwork:
    """A subnet that addresses can be handed out of.

    Raises:
        ValueError: not CIDR, host bits set, too small, or with addresses that no pod can have; the
            text follows key and value.
    """
    address, length = parse_cidr(text)
    longest = address.max_prefixlen - HOST_BITS
    if length > longest:
        raise ValueError(f"is too small: the prefix length must be at most {longest}")
    subnet = ip_network((address, length), strict=False)
    if subnet.network_address != address:
        raise ValueError(f'has host bits set: must be written "{subnet}"')
    for block, what in NOBODYS.items():
        if block.version == subnet.version and subnet.overlaps(block):
            raise ValueError(
                f"must be without {block}, which no pod can have an address of: {what}"
            )
    return subnet


@dataclass(frozen=True)
class Range:
    """Consecutive addresses of a subnet.

    Attributes:
        subnet: gives the pod's address its prefix length.
        first: may be handed out, as may ``last`` (but for :attr:`unusable` addresses).
        gateway: of the subnet; need not be in it.
        path: the key that it is configured by, for errors.
    """

    subnet: IpNetwork
    first: IpAddress
    last: IpAddress
    gateway: IpAddress
    path: str

    @classmethod
    def of(
        cls,
        subnet: IpNetwork,
        path: str,
        start: str | None = None,
        end: str | None = None,
        gateway: str | None = None,
    ) -> Range:
        """Fill in what is not given, as host-local does.

        The range then starts with the subnet's second address and ends with its last, or the one
        before the broadcast address; the gateway is the subnet's second address.

        Raises:
            CniError: code 7; an address is not in the subnet, or they are in the wrong order.
        """
        second, final = subnet[1], subnet[-2 if subnet.version == 4 else -1]
        first = cls._inside(subnet, f"{path}.rangeStart", start) if start else second
        last = cls._inside(subnet, f"{path}.rangeEnd", end) if end else final
        router = parse_ip(gateway) if gateway else second
        if int(first) > int(last):
            key, value, problem = (
                ("rangeEnd", end, f"must not be below the range's start, {first}")
                if end
                else ("rangeStart", start, f"must not be above the range's end, {last}")
            )
            raise invalid(f"{path}.{key}", value, problem)
        if router.version != subnet.version:
            raise invalid(f"{path}.gateway", gateway, f"must be an IPv{subnet.version} address")
        return cls(subnet, first, last, router, path)

    @staticmethod
    def _inside(subnet: IpNetwork, path: str, text: str) -> IpAddress:
        address = parse_ip(text)
        if address not in subnet:
            raise invalid(path, text, f"must be an address of the subnet {subnet}")
        return address

    @cached_property
    def router(self) -> str:
        """The gateway as text."""
        return str(self.gateway)

    @property
    def unusable(self) -> Iterator[tuple[IpAddress, str]]:
        """Addresses that a host of the subnet cannot have, and what they are.

        In IPv6 the first address is the routers' anycast address (RFC 4291, section 2.6.1); a
        broadcast address there is none.
        """
        yield self.subnet.network_address, f"the network address of {self.subnet}"
        if self.subnet.version == 4:
            yield self.subnet.broadcast_address, f"the broadcast address of {self.subnet}"

    def __contains__(self, address: IpAddress) -> bool:
        return address.version == self.subnet.version and int(self.first) <= int(address) <= int(
            self.last
        )

    def overlaps(self, other: Range) -> bool:
        """Whether there is an address in both."""
        return (
            self.subnet.version == other.subnet.version
            and int(self.first) <= int(other.last)
            and int(other.first) <= int(self.last)
        )

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


@dataclass(frozen=True)
class RangeSet:
    """Ranges of one family, used in their order."""

    ranges: tuple[Range, ...]

    @cached_property
    def version(self) -> int:
        """The address family, 4 or 6."""
        return self.ranges[0].subnet.version

    def range_for(self, address: IpAddress) -> Range | None:
        """The range that ``address`` is in."""
        return next((found for found in self.ranges if address in found), None)

    def __contains__(self, address: IpAddress) -> bool:
        return self.range_for(address) is not None

    def __str__(self) -> str:
        return ", ".join(map(str, self.ranges))


def check_sets(sets: Sequence[RangeSet]) -> None:
    """Refuse mixed families in a set, and ranges that overlap.

    Raises:
        CniError: code 7, naming the keys.
    """
    seen: list[Range] = []
    for one in sets:
        for found in one.ranges:
            if found.subnet.version != one.version:
                first = one.ranges[0]
                problem = f"must be of one family with {first.path}, {first.subnet}"
                raise invalid(f"{found.path}.subnet", str(found.subnet), problem)
            other = next(filter(found.overlaps, seen), None)
            if other:
                problem = f"its range {found} overlaps with {other} of {other.path}"
                raise invalid(f"{found.path}.subnet", str(found.subnet), problem)
            seen.append(found)


def covering(subnets: Iterable[IpNetwork]) -> list[IpNetwork]:
    """The fewest prefixes that have the addresses of all ``subnets``, IPv4 first."""
    every = list(subnets)
    v4 = [subnet for subnet in every if isinstance(subnet, IPv4Network)]
    v6 = [subnet for subnet in every if isinstance(subnet, IPv6Network)]
    return [*collapse_addresses(v4), *collapse_addresses(v6)]
