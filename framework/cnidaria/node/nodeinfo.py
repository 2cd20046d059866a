"""Reading what modes need to know about this node from its kernel."""

from __future__ import annotations

import os
from collections.abc import Iterable
from ipaddress import ip_interface

from cnidaria.api import NetworkConfig, NodeInfo, NotReady
from cnidaria.cni.fields import ModeConfig
from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.objects import Sysctl


def read_node(kernel: Kernel, config: ModeConfig) -> NodeInfo:
    """This node as ``config`` sees it.

    Raises:
        NotReady: the configured uplink is missing, or down.
        KernelError: the kernel does not answer.
    """
    if not isinstance(config, NetworkConfig):
        return NodeInfo(os.uname().nodename)
    cluster = config.cluster
    name = cluster.node_name if cluster else os.uname().nodename
    uplink = config.uplink or _default_uplink(kernel)
    fixed: dict[int, str] = (
        {ip_interface(address).version: address for address in cluster.addresses} if cluster else {}
    )
    if not uplink:
        return NodeInfo(name, addresses=fixed)
    link = kernel.link(uplink)
    if link is None:
        raise NotReady(f"uplink {uplink!r}: there is no such interface on this node")
    if not link.up:
        raise NotReady(f"uplink {uplink!r}: the interface is down")
    found = first_of_each_family(kernel.addresses(uplink))
    accepting = Sysctl.of_link(uplink, "ipv6", "accept_ra", "1")
    accepts = not kernel.differences([accepting])
    return NodeInfo(name, uplink, link.mtu, {**found, **fixed}, accepts_ra=accepts)


def _default_uplink(kernel: Kernel) -> str:
    """The interface of the default route, IPv4's first; ``""`` if there is none."""
    links = (kernel.default_route_link(family) for family in (4, 6))
    return next((link.name for link in links if link), "")


def first_of_each_family(addresses: Iterable[str]) -> dict[int, str]:
    """Family to the first address that others can use: not link-local."""
    found: dict[int, str] = {}
    for address in map(ip_interface, addresses):
        if not address.is_link_local:
            found.setdefault(address.version, str(address.ip))
    return found
