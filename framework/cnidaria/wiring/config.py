"""The configuration keys of modes that wire pods by a routed link."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from cnidaria.api import NetworkConfig
from cnidaria.cni.fields import Cidr, Doc, Section


class Masquerade(Section):
    """Masquerading with exceptions."""

    except_: Annotated[list[Cidr], Doc("destinations that see the pod's own address")] = (
        msgspec.field(name="except")
    )


class RoutedConfig(NetworkConfig):
    """The keys of every mode that wires pods by a routed link."""

    masquerade: (
        Annotated[
            bool | Masquerade,
            Doc(
                "whether pods leave the cluster under the node's address, "
                'or {"except": [CIDR …]}; default: what ipMasq says, else false'
            ),
        ]
        | None
    ) = None
    ip_masq: Annotated[bool, Doc("the CNI specification's key for masquerade: true")] | None = None
    default_route: Annotated[
        bool, Doc("give the pod a default route for each of its address families")
    ] = True

    def __post_init__(self) -> None:
        given = self.masquerade
        if None not in (given, self.ip_masq) and bool(given) != self.ip_masq:
            shown = "false" if given is False else "true" if given is True else "with exceptions"
            raise ValueError(
                f"ipMasq = {str(self.ip_masq).lower()}: contradicts masquerade, which is {shown}"
            )

    @property
    def masquerades(self) -> bool | Masquerade:
        """Whether pods leave the cluster under the node's address, and but for where."""
        return bool(self.ip_masq) if self.masquerade is None else self.masquerade


R = TypeVar("R", bound=RoutedConfig)
