"""A pod's side: interface, addresses, gateway, routes.

The default gateway is link-local and answered by a permanent neighbour entry, so neither proxy ARP
nor an address on the host's end is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from cnidaria.api import Network, Request
from cnidaria.ipam import LeaseSet
from cnidaria.plan.objects import Address, Neighbour, Object, Route, Sysctl, Veth
from cnidaria.plan.plan import Plan
from cnidaria.wiring.config import R, check_mtu
from cnidaria.wiring.routes import GATEWAYS, routes_by_node

HOST_BITS = {4: 32, 6: 128}


def routed_pod(request: Request, net: Network[R], mtu: int) -> Plan:
    """A pod behind a veth pair, with /32 and /128 addresses and routes on both sides.

    Args:
        mtu: of the pod's interface, bytes.

    Raises:
        CniError, NotReady: the pod cannot have that; see :func:`.check_mtu`.
    """
    lease = net.lease(request)
    check_mtu(net, mtu, lease.families())
    objects: list[Object] = [
        Veth(
            request.host_ifname,
            peer=request.ifname,
            mac=request.host_mac,
            peer_mac=request.mac,
            mtu=mtu,
            alias=request.alias,
        )
    ]
    if 6 in lease.families():
        objects += with_ipv6(request)
        objects.append(Sysctl.of_link(request.ifname, "ipv6", "accept_ra", "0", where="pod"))
    for family in sorted(lease.families()):
        objects.append(gateway(request, family))
    for address in (ip_address(one.address) for one in lease.addresses):
        objects += address_of(request, str(address), address.version)
    objects += routes_by_node(request, net, lease)
    return Plan(objects)


def addresses(request: Request, lease: LeaseSet) -> Iterator[Object]:
    """The leased addresses on the pod's interface, with their subnets' prefix lengths."""
    if 6 in lease.families():
        yield from with_ipv6(request)
    for one in lease.addresses:
        address = f"{one.address}/{one.prefix_len}"
        yield Address(request.ifname, address, nodad=True, where="pod")


def with_ipv6(request: Request) -> Iterator[Object]:
    """The pod's interface takes IPv6 addresses, whatever the namespace's default is."""
    yield Sysctl.of_link(request.ifname, "ipv6", "disable_ipv6", "0", where="pod")


def gateway(request: Request, family: int) -> Object:
    """The link-local gateway, resolved without a packet."""
    return Neighbour(request.ifname, GATEWAYS[family], request.host_mac, where="pod")


def address_of(request: Request, address: str, family: int) -> Iterator[Object]:
    """One address of the pod, and the host's way to it."""
    prefix = f"{address}/{HOST_BITS[family]}"
    yield Address(request.ifname, prefix, nodad=family == 6, where="pod")
    yield Route(prefix, dev=request.host_ifname, scope="link")
    yield Neighbour(request.host_ifname, address, request.mac)
