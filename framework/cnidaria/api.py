"""What a network mode is written against.

A mode is a pure function: a :class:`Request` and a :class:`Network` in, a
:class:`~cnidaria.plan.plan.Plan` out.  The framework applies the plan as one transaction and
derives DEL, CHECK, GC, repair and dry run from it.  Nothing here touches the kernel.
"""

from __future__ import annotations

import hashlib
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Protocol, TypeVar

from cnidaria.cluster import ClusterConfig
from cnidaria.cni.config import NetConf
from cnidaria.cni.env import Invocation
from cnidaria.cni.fields import Doc, InterfaceName, ModeConfig, Range
from cnidaria.cni.result import Result
from cnidaria.ipam import LeaseSet
from cnidaria.kernel.netns import NetNS
from cnidaria.metrics import Sample
from cnidaria.plan.attachment import alias_of
from cnidaria.plan.objects import Object
from cnidaria.plan.plan import Plan


class NetworkConfig(ModeConfig):
    """The keys every mode that connects nodes understands."""

    uplink: (
        Annotated[
            InterfaceName, Doc("interface towards the other nodes; default: the default route's")
        ]
        | None
    ) = None
    mtu: (
        Annotated[int, Range(576, 65535, "bytes; default: the uplink's less the encapsulation")]
        | None
    ) = None
    cluster: (
        Annotated[ClusterConfig, Doc("where the other nodes are found; default: no others")] | None
    ) = None


C = TypeVar("C", bound=ModeConfig)
ConfigType = type[ModeConfig]


@dataclass(frozen=True)
class NodeInfo:
    """This node, as its kernel shows it.

    Attributes:
        name: unique in the cluster.
        uplink: name of the interface towards the other nodes, ``""`` if the node has none.
        mtu: of the uplink, bytes.
        addresses: address family (4 or 6) to the node's address on the uplink.
        accepts_ra: whether the uplink takes IPv6 router advertisements, which forwarding turns off.
    """

    name: str
    uplink: str = ""
    mtu: int = 1500
    addresses: Mapping[int, str] = field(default_factory=dict)
    accepts_ra: bool = False


@dataclass(frozen=True)
class Peer:
    """Another node of this network: its underlay addresses by family, and its pods' prefixes."""

    name: str
    addresses: Mapping[int, str]
    prefixes: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """One attachment that a runtime asks for."""

    network: str
    container_id: str
    ifname: str
    netns: str
    args: Mapping[str, str]
    conf: NetConf
    requested_mac: str | None = None

    @classmethod
    def of(cls, invocation: Invocation, conf: NetConf) -> Request:
        """What the runtime asked for. Raises :class:`CniError`: a MAC that cannot be."""
        return cls(
            network=conf.name,
            container_id=invocation.container_id,
            ifname=invocation.ifname,
            netns=invocation.netns,
            args=invocation.args,
            conf=conf,
            requested_mac=conf.requested_mac(invocation),
        )

    @property
    def prev_result(self) -> Result | None:
        """The result of the plugins before us in the chain, if there are any."""
        return self.conf.prev_result

    @property
    def host_ifname(self) -> str:
        """Name of the host's end: stable for this attachment, unique on the node (15 bytes)."""
        return "cnd" + self._digest("link").hex()[:12]

    @property
    def alias(self) -> str:
        """The mark of ownership on links, and an operator's hint whose link it is."""
        return alias_of((self.network, self.container_id, self.ifname, self.conf.type))

    @property
    def host_mac(self) -> str:
        """MAC of the host's end, set explicitly: udev would rewrite a random one."""
        return local_mac(self._digest("host"))

    @property
    def mac(self) -> str:
        """MAC of the pod's end: the requested one, else one of its own."""
        return self.requested_mac or local_mac(self._digest("pod"))

    def _digest(self, use: str) -> bytes:
        text = "\0".join((use, self.network, self.container_id, self.ifname))
        return hashlib.blake2b(text.encode(), digest_size=6).digest()


def local_mac(seed: bytes) -> str:
    """A locally administered unicast MAC from six bytes (IEEE 802, section 8.4)."""
    first = (seed[0] & 0xFC) | 0x02
    return ":".join(f"{byte:02x}" for byte in (first, *seed[1:6]))


@dataclass(frozen=True)
class Network(Generic[C]):
    """One network of a conflist on this node, configuration decoded.

    Attributes:
        prefixes: the pod prefixes that this node hands addresses out of, canonical CIDR.
        peers: the other nodes, as the cluster store shows them now.
    """

    name: str
    config: C
    node: NodeInfo
    prefixes: tuple[str, ...] = ()
    peers: tuple[Peer, ...] = ()
    take: Callable[[Request], LeaseSet] | None = None

    def lease(self, request: Request) -> LeaseSet:
        """Addresses for the pod, by the conflist's ``ipam``: ours, or another plugin's.

        Raises:
            CniError: nothing free (101), the requested address cannot be had (102), or the
                other plugin's own error.
        """
        if self.take is None:
            raise LookupError(f"network {self.name!r} has no ipam")
        return self.take(request)

    def families(self) -> frozenset[int]:
        """The address families (4, 6) of this node's pods."""
        return frozenset(ip_network(prefix).version for prefix in self.prefixes)


@dataclass(frozen=True)
class Node:
    """The node as :meth:`Mode.serve` works on it.

    Attributes:
        namespace: the host's network namespace; stays open while the service runs.
        wake: have the node's part of all networks declared anew, soon.
        problem: say what is wrong with the network, for people; ``""``: nothing any more.
        is_entered: whether this node is in the network's cluster store under its name. If not, what
            the store has of that name may be another machine's.
    """

    namespace: NetNS
    wake: Callable[[], None]
    problem: Callable[[str], None]
    is_entered: Callable[[], bool] = lambda: True


class NotReady(Exception):
    """No pod can be added now; becomes STATUS's error.

    Args:
        limited: pods that exist may be cut off, too (code 51 instead of 50; CNI specification,
            section "STATUS").
    """

    def __init__(self, reason: str, *, limited: bool = False) -> None:
        super().__init__(reason)
        self.limited = limited


class Mode(Generic[C]):
    """A network mode. Subclass it, name its CNI type, and say what a pod needs."""

    type: ClassVar[str]
    Config: ClassVar[ConfigType]

    def attach(self, request: Request, net: Network[C]) -> Plan:
        """ADD: what must be there for this pod. Pure: declare, do not do."""
        raise NotImplementedError(f"{type(self).__name__}.attach")

    def node(self, net: Network[C]) -> Iterable[Object]:  # noqa: ARG002
        """What this network needs on the node itself, whatever its pods. Pure.

        Raises:
            NotReady: it cannot be had yet; the text says why and what would help.
        """
        return ()

    def status(self, net: Network[C], host: NetNS) -> Iterable[str]:  # noqa: ARG002
        """STATUS, once the node's part is there: what is wrong although pods can be added.

        Each is a line on the plugin's stderr. It may look, and must change nothing.

        Args:
            host: the node's network namespace.

        Raises:
            NotReady: no pod can be added; the text says why and what would help.
            KernelError: the kernel does not answer.
        """
        return ()

    async def serve(self, net: Network[C], node: Node) -> None:
        """In the agent, for as long as the network is up: follow what changes by itself.

        Started once the node's part of the network is there, and again when its configuration
        changes; cancelled at the end.  An error is logged, and it is started again after a while.
        Long work belongs into ``asyncio.to_thread``.
        """

    def metrics(self, net: Network[C], host: NetNS) -> Iterable[Sample]:  # noqa: ARG002
        """In the agent, each time that somebody asks: what is measured of this network.

        One of the labels should be the network's name. Must be quick: a scraper waits.

        Args:
            host: the node's network namespace.
        """
        return ()


AnyMode = Mode[Any]

D = TypeVar("D", bound=ModeConfig)
O = TypeVar("O", bound=Object)  # noqa: E741


class NodeView(Protocol):
    """This node, for commands: read, never changed.

    Attributes:
        namespace: the network namespace that the command runs in.
        state_dir: where the agent's journal and socket are.
    """

    @property
    def namespace(self) -> NetNS: ...  # noqa: D102

    @property
    def state_dir(self) -> Path: ...  # noqa: D102

    def networks(self, mode: str, config: type[D]) -> dict[str, D]:
        """The networks of the conflists that have a plugin of this CNI type: name to its keys.

        Raises:
            CniError: a conflist is wrong.
        """

    def declared(self, kind: type[O]) -> list[O]:
        """All objects of a kind that the pods of this node declare.

        Raises:
            CniError: the journal cannot be read.
        """


@dataclass(frozen=True)
class Command:
    """A command of ``cnidaria``, brought by a plugin.

    Attributes:
        summary: in lower case, without a full stop.
        arguments: adds the command's arguments to its parser. The second parser has the options
            that say where things are on the node: a parent for parsers of subcommands.
        run: does it; the exit code. :class:`OSError` and :class:`CniError` are reported in a line.
    """

    name: str
    summary: str
    arguments: Callable[[ArgumentParser, ArgumentParser], None]
    run: Callable[[Namespace, NodeView], int]
