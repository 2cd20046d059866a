"""A pod's side: interface, addresses, gateway, routes.

The default gateway is link-local, an address of the host's end and the same for every pod. The pod
has a permanent neighbour entry for it; the host asks for the pod (docs/decisions/0006).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from cnidaria.api import Network, Request
from cnidaria.ipam import LeaseSet
from cnidaria.plan.objects import Address, Neighbour, Object, Route, Sysctl, Veth
from cnidaria.plan.plan import Plan
from cnidaria.wiring.config import R, check_mtu
from cnidaria.wiring.routes import GATEWAYS, has_default, routes_by_node


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
    # All of the host first, then all of the pod: each turn would be a batch of its own.
    objects += host_side(request, net, lease)
    objects += pod_side(request, net, lease)
    return Plan(objects)


def host_side(request: Request, net: Network[R], lease: LeaseSet) -> Iterator[Object]:
    """The host's end as the pod's gateway, and the way to the pod."""
    for family in sorted(lease.families()):
        # Each alone: of a whole prefix the kernel takes 10 ms longer to delete the link.
        gateway = ip_network(GATEWAYS[family])
        yield Address(request.host_ifname, str(gateway), nodad=True)
    for address in host_prefixes(lease):
        # Of scope "link" what the node sends would come from the gateway's address.
        yield Route(address, dev=request.host_ifname, scope="global")
    if not has_default(net, lease, 4):
        # Then it may not hear who asks for it: rp_filter counts for ARP, too.
        for one in lease.addresses:
            if ":" not in one.address:
                yield Neighbour(request.host_ifname, one.address, request.mac)


def pod_side(request: Request, net: Network[R], lease: LeaseSet) -> Iterator[Object]:
    """The pod's addresses and routes, and a gateway that it need not ask for."""
    if 6 in lease.families():
        yield from with_ipv6(request)
        yield Sysctl.of_link(request.ifname, "ipv6", "accept_ra", "0", where="pod")
    for family in sorted(lease.families()):
        yield Neighbour(request.ifname, GATEWAYS[family], request.host_mac, where="pod")
    for address in host_prefixes(lease):
        yield Address(request.ifname, address, nodad=True, where="pod")
    yield from routes_by_node(request, net, lease)


def host_prefixes(lease: LeaseSet) -> list[str]:
    """The leased addresses, each as a prefix of its own."""
    found = (ip_address(one.address) for one in lease.addresses)
    return [f"{address}/{address.max_prefixlen}" for address in found]


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
