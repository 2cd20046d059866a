"""The configuration keys of modes that wire pods by a routed link."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, TypeVar

import msgspec

from cnidaria.api import Network, NetworkConfig, NotReady
from cnidaria.cni.errors import CniError, Code
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

LEAST_MTU: Final = {4: 68, 6: 1280}
"""What every link must carry, bytes, by address family (RFC 791, RFC 8200 section 5)."""


def check_mtu(net: Network[R], mtu: int, families: Iterable[int]) -> int:
    """``mtu`` if pods of these address families can have it.

    Raises:
        CniError: code 7; the key ``mtu`` is too low for IPv6.
        NotReady: the uplink's is too low.
    """
    least = max((LEAST_MTU[family] for family in families), default=0)
    if mtu >= least:
        return mtu
    if net.config.mtu:
        raise CniError(
            Code.INVALID_CONFIG, f"mtu = {mtu}: must be at least {least}: the pods have IPv6"
        )
    raise NotReady(
        f"pods would have an MTU of {mtu} bytes, as the uplink {net.node.uplink} has "
        f"{net.node.mtu}; IPv6 needs {least}"
    )
