"""The networks of this node: configuration decoded, node state declared and brought up."""

from __future__ import annotations

import errno
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from cnidaria.api import AnyMode, Network, NodeInfo, NotReady
from cnidaria.cluster import ClusterConfig, StoreError
from cnidaria.cluster.blocks import overlapping
from cnidaria.cni.config import NetConf
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.fields import decode
from cnidaria.kernel.handle import Difference, Kernel, KernelError
from cnidaria.kernel.netns import NetNS
from cnidaria.node.addresses import Addresses
from cnidaria.node.membership import Membership
from cnidaria.node.nodeinfo import read_node
from cnidaria.plan.attachment import NetworkId
from cnidaria.plan.namespaces import search
from cnidaria.plan.objects import Object
from cnidaria.plan.reconcile import Reconciler, bring_about
from cnidaria.plan.store import Store
from cnidaria.plugins import Registry

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """A network of this node, ready for use.

    Attributes:
        objects: what the mode wants on the node itself.
        conflict: why no pod may get an address here: another node has what this one would lend.
    """

    conf: NetConf
    mode: AnyMode
    net: Network[Any]
    objects: tuple[Object, ...]
    conflict: str = ""

    @property
    def id(self) -> NetworkId:
        return self.conf.name, self.conf.type

    @property
    def cluster(self) -> ClusterConfig | None:
        return cluster_of(self.net.config)


class Networks:
    """Opens networks by their configuration and keeps what was opened. Thread-safe."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        addresses: Addresses,
        membership: Membership,
        kernel_for: Callable[[NetNS], Kernel],
    ) -> None:
        self._store = store
        self._registry = registry
        self._addresses = addresses
        self._membership = membership
        self._kernel_for = kernel_for
        self._opened: dict[tuple[int, NetworkId], Opened] = {}
        self._up: dict[tuple[int, NetworkId], tuple[Object, ...]] = {}
        self._lock = threading.Lock()
        self._users: Counter[tuple[int, NetworkId]] = Counter()
        self._in_use: dict[tuple[int, NetworkId], Opened] = {}
        self._use_lock = threading.Lock()

    @property
    def types(self) -> frozenset[str]:
        """The CNI types of the installed modes, also of those that cannot be loaded."""
        return frozenset({*self._registry.modes, *self._registry.broken})

    @property
    def broken(self) -> Mapping[str, str]:
        """Plugins that cannot be loaded, with the reason."""
        return self._registry.broken

    def open(self, conf: NetConf, host: NetNS) -> Opened:
        """The network that ``conf`` describes, as it is on the node of ``host``.

        Raises:
            CniError: the configuration is wrong (7), or the cluster store does not answer (11).
            NotReady: its node state cannot be had yet.
        """
        known = self._opened.get((host.cookie, (conf.name, conf.type)))
        if known and known.conf.describes_same(conf):
            return replace(known, conf=conf)
        return self.reopen(conf, host)

    def reopen(self, conf: NetConf, host: NetNS) -> Opened:
        """The same, with everything looked up now. Raises as :meth:`open`."""
        place = host.cookie, (conf.name, conf.type)
        try:
            opened = self._opened[place] = self._open(conf, host)
        except (CniError, NotReady):
            self._opened.pop(place, None)
            raise
        return opened

    def why_not(self, opened: Opened) -> str:
        """Why no pod may be added here: another node has what this one would lend, or its name.

        Raises:
            CniError: whose the name is cannot be known (11).
        """
        try:
            return opened.conflict or self._membership.find_taken(opened.cluster)
        except StoreError as error:
            raise error.as_cni_error() from error

    def bring_up(self, opened: Opened, host: NetNS, *, look: bool = False) -> None:
        """Make the node's part of a network so, unless that was done already.

        Args:
            look: whether to see in the kernel that it still is so.

        Raises:
            CniError: the kernel refuses something (106), or nothing can be recorded (107).
        """
        place = host.cookie, opened.id
        if not look and self._up.get(place) == opened.objects:
            return
        self._store.node_part(*place, there=True)
        with self._lock:
            try:
                with self._kernel_for(host) as kernel:
                    for error in bring_about(kernel, opened.objects).errors:
                        raise error
            except KernelError as error:
                soon = error.errno == errno.EAGAIN
                code = Code.TRY_AGAIN_LATER if soon else Code.KERNEL_REFUSED
                raise CniError(code, str(error)) from error
            self._up[place] = opened.objects

    def difference(self, opened: Opened, host: NetNS) -> Difference | None:
        """The first of what a network wants on the node that is not so.

        Raises:
            CniError: the kernel does not answer (106).
        """
        try:
            with self._kernel_for(host) as kernel:
                return next(iter(kernel.differences(opened.objects)), None)
        except KernelError as error:
            raise CniError(Code.KERNEL_REFUSED, str(error)) from error

    @contextmanager
    def in_use(self, opened: Opened, host: NetNS) -> Iterator[None]:
        """Keep the node's part of a network from being taken down meanwhile."""
        place = host.cookie, opened.id
        with self._use_lock:
            self._users[place] += 1
            self._in_use[place] = opened
        try:
            yield
        finally:
            with self._use_lock:
                self._users[place] -= 1
                if not self._users[place]:
                    del self._users[place], self._in_use[place]

    def used(self, host: NetNS) -> list[Opened]:
        """The networks that are :meth:`in_use`."""
        with self._use_lock:
            return [one for (cookie, _), one in self._in_use.items() if cookie == host.cookie]

    def retire(self, network: NetworkId, host: NetNS) -> None:
        """With the last pod of a network, its part of a node goes, too.

        Where nobody looks after the node. What of ours no other network wants there goes with it:
        what a network wanted when its part was made may be something else than it wants by now.
        """
        place = host.cookie, network
        with self._use_lock:
            if place in self._users or self._store.has_pods(*place):
                return
            self._opened.pop(place, None)
            self._up.pop(place, None)
            try:
                self._prune(host)
                self._store.node_part(host.cookie, network, there=False)
            except (CniError, NotReady, KernelError) as error:
                log.warning("network %s: what it has on the node stays: %s", network[0], error)

    def retire_forgotten(self, *, but: int = 0) -> None:
        """The same for networks whose process died before it could; ``but`` a host (cookie)."""
        for cookie, network in self._store.node_parts():
            if cookie == but or self._store.has_pods(cookie, network):
                continue
            host = search(cookie)
            if host is None:
                self._store.node_part(cookie, network, there=False)
                continue
            with host:
                self.retire(network, host)

    def _prune(self, host: NetNS) -> None:
        wanted = [one for (cookie, _), one in self._in_use.items() if cookie == host.cookie]
        for one in self._store.networks_of_pods(host.cookie).values():
            if not one.config:
                raise NotReady(f"nobody knows the configuration of {one.id}, nor what it needs")
            wanted.append(self.open(NetConf.parse(one.config, "DEL"), host))
        objects = {obj.key: obj for one in wanted for obj in one.objects}
        changes = Reconciler(self._kernel_for, host, self._store.frozen).sync(objects.values())
        for failure in changes.errors:
            raise failure

    def settled(self, opened: Iterable[Opened], host: NetNS) -> None:
        """Somebody else has made the node as these networks, and no others, want it.

        Raises:
            StateError: that cannot be recorded.
        """
        there = {one.id: one.objects for one in opened}
        for network, objects in there.items():
            self._store.node_part(host.cookie, network, there=True)
            self._up[host.cookie, network] = objects
        for cookie, network in self._store.node_parts():
            if (
                cookie == host.cookie
                and network not in there
                and (cookie, network) not in self._users
            ):
                self._store.node_part(cookie, network, there=False)
                self._up.pop((cookie, network), None)

    def _open(self, conf: NetConf, host: NetNS) -> Opened:
        mode = self._registry.mode(conf.type)
        if mode is None and conf.type in self.broken:
            raise NotReady(self.broken[conf.type])
        if mode is None:
            known = ", ".join(sorted(self._registry.modes)) or "none"
            raise CniError(
                Code.INVALID_CONFIG,
                f'type = "{conf.type}": no such mode is installed',
                f"there are: {known}",
            )
        config: Any = decode(mode.Config, conf.raw, conf.type)
        cluster = cluster_of(config)
        net = Network(
            name=conf.name,
            config=config,
            node=self._node(config, host),
            prefixes=self._addresses.prefixes(conf, cluster),
            peers=self._peers(cluster, conf.name),
        )
        return Opened(conf, mode, net, tuple(mode.node(net)), conflict(net))

    def _node(self, config: Any, host: NetNS) -> NodeInfo:
        try:
            return read_node(self._kernel_for(host), config)
        except KernelError as error:
            raise CniError(Code.KERNEL_REFUSED, str(error)) from error

    def _peers(self, cluster: ClusterConfig | None, network: str) -> Any:
        try:
            return self._membership.peers(cluster, network)
        except StoreError as error:
            raise error.as_cni_error() from error


def conflict(net: Network[Any]) -> str:
    """What another node of the network has that this one has, too; ``""`` if nothing.

    Whoever comes second is not entered in the cluster store, so only this node knows.
    """
    for peer in net.peers:
        if both := overlapping(net.prefixes, peer.prefixes):
            return (
                f"{both[0]} of this node overlaps {both[1]} of node {peer.name!r}; "
                'give each node a subnet of its own, or let them claim one by "clusterPools"'
            )
        for family, address in net.node.addresses.items():
            if peer.addresses.get(family) == address:
                return f"this node and node {peer.name!r} both have the address {address}"
    return ""


def cluster_of(config: object) -> ClusterConfig | None:
    """The cluster that a mode's configuration names, if it has such a key."""
    return getattr(config, "cluster", None)
