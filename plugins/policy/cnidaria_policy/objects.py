"""What policy mode declares: a pod whose policies are in force, and a network's whole table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, get_args

from cnidaria import Object
from cnidaria_policy import names
from cnidaria_policy.drivers import PodDriver, TableDriver
from cnidaria_policy.links import Family


class PolicyTable(Object, frozen=True):
    """All policies of a network, as they concern this node.

    Attributes:
        config: the mode's configuration.
    """

    network: str
    config: Mapping[str, Any] = {}

    DRIVER: ClassVar[Any] = TableDriver()

    @property
    def key(self) -> tuple[Any, ...]:
        """As any table's."""
        return ("nft_table", "inet", names.table(self.network))

    def parents(self) -> tuple[tuple[Any, ...], ...]:
        """The tables beside it, of the pods' links: what changes there concerns it, too."""
        name = names.links_table(self.network)
        return tuple(("nft_table", family, name) for family in get_args(Family))

    def __str__(self) -> str:
        return f"policies of network {self.network}"


class PolicyPod(Object, frozen=True):
    """A pod whose policies are in force.

    Attributes:
        id: of the attachment in its network.
        namespace, name: Kubernetes' names of the pod.
        labels: where no source knows the pod.
        is_kubernetes: its names are Kubernetes', and its sources know them, or will.
        ifname: the pod's interface; ``addresses``: those on it.
        host_ifname: the interface on the node's side, ``""`` if nobody said.
        config: the mode's configuration.
    """

    network: str
    id: str
    namespace: str
    name: str
    addresses: tuple[str, ...]
    ifname: str
    host_ifname: str = ""
    labels: Mapping[str, str] = {}
    config: Mapping[str, Any] = {}
    is_kubernetes: bool = False

    DRIVER: ClassVar[Any] = PodDriver()

    @property
    def key(self) -> tuple[Any, ...]:
        """One for each attachment."""
        return ("policy_pod", self.network, self.id)

    def parents(self) -> tuple[tuple[Any, ...], ...]:
        """The network's table."""
        return (("nft_table", "inet", names.table(self.network)),)

    def __str__(self) -> str:
        return f"policies of pod {self.namespace}/{self.name}"
