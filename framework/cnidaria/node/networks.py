"""The networks of this node: configuration decoded, node state declared and brought up."""

from __future__ import annotations

import errno
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from cnidaria.api import AnyMode, Network, NodeInfo, NotReady
from cnidaria.cluster import ClusterConfig, StoreError
from cnidaria.cni.config import NetConf
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.fields import decode
from cnidaria.kernel.handle import Kernel, KernelError
from cnidaria.kernel.netns import NetNS
from cnidaria.node.addresses import Addresses
from cnidaria.node.membership import Membership
from cnidaria.node.nodeinfo import read_node
from cnidaria.plan.objects import Object

log = logging.getLogger(__name__)

NetworkId = tuple[str, str]
"""A network's name and a CNI type: a chain may hold several plugins of ours."""


@dataclass(frozen=True)
class Opened:
    """A network of this node, ready for use.

    Attributes:
        objects: what the mode wants on the node itself.
    """

    conf: NetConf
    mode: AnyMode
    net: Network[Any]
    objects: tuple[Object, ...]

    @property
    def id(self) -> NetworkId:
        return self.conf.name, self.conf.type

    @property
    def cluster(self) -> ClusterConfig | None:
        return cluster_of(self.net.config)


class Networks:
    """Opens networks by their configuration and keeps what was opened. Thread-safe.

    Attributes:
        broken: plugins that cannot be loaded, with the reason.
    """

    def __init__(
        self,
        modes: Mapping[str, AnyMode],
        addresses: Addresses,
        membership: Membership,
        kernel_for: Callable[[NetNS], Kernel],
        broken: Mapping[str, str] | None = None,
    ) -> None:
        self._modes = modes
        self.broken = broken or {}
        self._addresses = addresses
        self._membership = membership
        self._kernel_for = kernel_for
        self._opened: dict[tuple[int, NetworkId], Opened] = {}
        self._up: dict[tuple[int, NetworkId], tuple[Object, ...]] = {}
        self._lock = threading.Lock()
        self._users: Counter[tuple[int, NetworkId]] = Counter()
        self._use_lock = threading.Lock()

    @property
    def types(self) -> frozenset[str]:
        """The CNI types of the installed modes, also of those that cannot be loaded."""
        return frozenset({*self._modes, *self.broken})

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

    def bring_up(self, opened: Opened, host: NetNS, *, look: bool = False) -> None:
        """Make the node's part of a network so, unless that was done already.

        Args:
            look: whether to see in the kernel that it still is so.

        Raises:
            CniError: the kernel refuses something (106).
        """
        place = host.cookie, opened.id
        if not look and self._up.get(place) == opened.objects:
            return
        with self._lock:
            kernel = self._kernel_for(host)
            try:
                wrong = {id(one.object) for one in kernel.differences(opened.objects)}
                kernel.apply([obj for obj in opened.objects if id(obj) in wrong])
            except KernelError as error:
                soon = error.errno == errno.EAGAIN
                code = Code.TRY_AGAIN_LATER if soon else Code.KERNEL_REFUSED
                raise CniError(code, str(error)) from error
            self._up[place] = opened.objects

    @contextmanager
    def in_use(self, network: NetworkId, host: NetNS) -> Iterator[None]:
        """Keep the node's part of a network from being taken down meanwhile."""
        place = host.cookie, network
        with self._use_lock:
            self._users[place] += 1
        try:
            yield
        finally:
            with self._use_lock:
                self._users[place] -= 1
                if not self._users[place]:
                    del self._users[place]

    def retire(self, conf: NetConf, host: NetNS, needed: Callable[[], bool]) -> None:
        """Withdraw the node's part of a network unless it is in use, or ``needed``.

        What cannot be withdrawn is logged.
        """
        with self._use_lock:
            if (host.cookie, (conf.name, conf.type)) not in self._users and not needed():
                self._take_down(conf, host)

    def _take_down(self, conf: NetConf, host: NetNS) -> None:
        place = host.cookie, (conf.name, conf.type)
        objects = self._up.pop(place, None)
        known = self._opened.pop(place, None)
        if objects is None:
            try:
                objects = (known or self._open(conf, host)).objects
            except (CniError, NotReady) as error:
                log.info("network %s: nothing to take down: %s", conf.name, error)
                return
        for failure in self._kernel_for(host).withdraw(objects):
            log.warning("network %s: %s", conf.name, failure)

    def is_up(self, opened: Opened, host: NetNS) -> None:
        """Somebody else has made the node's part of a network so."""
        self._up[host.cookie, opened.id] = opened.objects

    def _open(self, conf: NetConf, host: NetNS) -> Opened:
        mode = self._modes.get(conf.type)
        if mode is None and conf.type in self.broken:
            raise NotReady(self.broken[conf.type])
        if mode is None:
            known = ", ".join(sorted(self._modes)) or "none"
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
        return Opened(conf, mode, net, tuple(mode.node(net)))

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


def cluster_of(config: object) -> ClusterConfig | None:
    """The cluster that a mode's configuration names, if it has such a key."""
    return getattr(config, "cluster", None)
