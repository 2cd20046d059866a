"""What a network would be on this node, and what a pod would get: nothing is changed or recorded.

The kernel and the state are only read, no cluster store and no other plugin is asked. Where that
leaves something open it is filled with an example, which is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_network
from typing import Any

from cnidaria.api import AnyMode, Network, Peer, Request
from cnidaria.cni.config import ConfList, NetConf, plugin_config
from cnidaria.cni.env import Invocation
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.fields import decode
from cnidaria.cni.result import Interface, Result
from cnidaria.ipam import (
    IPAM_TYPE,
    IpamConfig,
    LeaseSet,
    Owner,
    Pools,
    ipam_type,
    own_addresses,
    prefixes,
    prefixes_of_foreign,
    requested,
)
from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.netns import NetNS
from cnidaria.node.nodeinfo import read_node
from cnidaria.plan.lease import Lease
from cnidaria.plan.objects import Object
from cnidaria.plan.outcome import outcome
from cnidaria.plugins import Registry

EXAMPLE_SUBNET = "192.0.2.0/24"
"""Where it cannot be told what another IPAM plugin would give (RFC 5737: documentation)."""


@dataclass
class Step:
    """One plugin of the chain.

    Attributes:
        node: what the node would have for it; ``pod``: what the pod would get, in order.
        notes: what is an example only, and why.
    """

    type: str
    node: tuple[Object, ...] = ()
    pod: tuple[Object, ...] = ()
    notes: list[str] = field(default_factory=list)


@dataclass
class Preview:
    """A whole chain, and what its ADD would answer; ``None`` where none of its plugins is ours."""

    network: str
    cni_version: str
    steps: list[Step] = field(default_factory=list)
    result: Result | None = None


@dataclass
class DryRun:
    """Plays through the ADD of one pod.

    Args:
        told: networks as the agent has reported them last, by name.
    """

    registry: Registry
    pools: Pools
    host: NetNS
    told: Mapping[str, Any]

    def run(self, conflist: ConfList, invocation: Invocation) -> Preview:
        """The chain's plugins, one after the other.

        Raises:
            CniError: what the ADD would fail with.
            NotReady: the node's part of a network cannot be had.
        """
        preview = Preview(conflist.name, conflist.cni_version)
        for index in range(len(conflist.plugins)):
            conf = plugin_config(conflist, index)
            if preview.result is not None:
                before = preview.result.to_json(conf.cni_version)
                conf = NetConf.parse({**conf.raw, "prevResult": before})
            step = Step(conf.type)
            preview.steps.append(step)
            mode = self.registry.modes.get(conf.type)
            if mode:
                preview.result = self._ours(mode, conf, invocation, step)
            elif conf.type in self.registry.broken:
                raise CniError(Code.INTERNAL, self.registry.broken[conf.type])
            else:
                preview.result = self._other(conf, invocation, step)
        return preview

    def _ours(self, mode: AnyMode, conf: NetConf, invocation: Invocation, step: Step) -> Result:
        config: Any = decode(mode.Config, conf.raw, conf.type)
        if getattr(config, "cluster", None) and conf.name not in self.told:
            step.notes.append("no agent has told of the other nodes: as if there were none")
        net: Network[Any] = Network(
            name=conf.name,
            config=config,
            node=read_node(Kernel(self.host), config),
            prefixes=tuple(self._prefixes(conf, step)),
            peers=tuple(self._peers(conf.name)),
        )
        given = LeaseSet(())

        def take(_request: Request) -> LeaseSet:
            nonlocal given
            given = self._leases(conf, invocation, step)
            return given

        step.node = tuple(mode.node(net))
        plan = mode.attach(Request.of(invocation, conf), replace(net, take=take))
        step.pod = plan.objects
        dns = conf.resolver(given.dns)
        return plan.result or outcome(plan.objects, invocation.netns, dns, conf.prev_result)

    def _other(self, conf: NetConf, invocation: Invocation, step: Step) -> Result | None:
        """Another plugin changes nothing here; one that connects pods gets an example's result."""
        if conf.prev_result or not conf.ipam:
            step.notes.append("another plugin, which is not asked")
            return conf.prev_result
        step.notes.append("another plugin, which is not asked: its result is an example")
        ends = (Interface("veth-example"), Interface(invocation.ifname, sandbox=invocation.netns))
        leased = self._leases(conf, invocation, step).result(conf.cni_version)
        ips = [type(ip)(ip.address, ip.gateway, 1) for ip in leased.ips]
        return Result().extended(ends, ips, leased.routes, conf.resolver(leased.dns))

    def _leases(self, conf: NetConf, invocation: Invocation, step: Step) -> LeaseSet:
        """From our own pools what would be next, else examples. Nothing is written down."""
        if not conf.ipam or ipam_type(conf.ipam) == IPAM_TYPE:
            config = IpamConfig.of(conf, partial(self._block, conf.name, step))
            wishes = requested(conf, invocation)
            own = own_addresses(self.host)
            given = self.pools.lease(conf.name, config, Owner.of(invocation), wishes, own)
            return given.settled(f"{conf.type}: ipam.routes", Code.INVALID_CONFIG)
        plugin = ipam_type(conf.ipam)
        step.notes.append(f"addresses are examples: {plugin} is not asked")
        subnets = prefixes_of_foreign(conf.ipam) or [ip_network(EXAMPLE_SUBNET)]
        return LeaseSet(tuple(_example(plugin, str(subnet)) for subnet in subnets))

    def _prefixes(self, conf: NetConf, step: Step) -> Iterator[str]:
        if not conf.ipam:
            return
        if ipam_type(conf.ipam) == IPAM_TYPE:
            config = IpamConfig.parse(conf.ipam, conf.type)
            found = prefixes(config.resolve(partial(self._block, conf.name, step)))
        else:
            found = prefixes_of_foreign(conf.ipam)
        yield from map(str, found)

    def _block(self, network: str, step: Step, pool: str, length: int) -> str:
        """This node's block of a cluster's prefix: as the agent told, else the first one."""
        whole = ip_network(pool)
        for text in self.told.get(network, {}).get("prefixes", ()):
            block = ip_network(text)
            if block.version == whole.version and block.subnet_of(whole):  # type: ignore[arg-type]
                return str(block)
        note = f"this node's block of {pool} is an example: none is claimed"
        if note not in step.notes:
            step.notes.append(note)
        return str(next(whole.subnets(new_prefix=length)))

    def _peers(self, network: str) -> Iterator[Peer]:
        for peer in self.told.get(network, {}).get("peers", ()):
            addresses = {int(family): address for family, address in peer["addresses"].items()}
            yield Peer(peer["name"], addresses, tuple(peer["prefixes"]))


def _example(plugin: str, subnet: str) -> Lease:
    network = ip_network(subnet)
    if network.num_addresses < 4:
        return Lease(plugin, str(network[-1]), network.prefixlen, None, 0.0)
    return Lease(plugin, str(network[2]), network.prefixlen, str(network[1]), 0.0)
