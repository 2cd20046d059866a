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

    masquerade: Annotated[
        bool | Masquerade,
        Doc('whether pods leave the cluster under the node\'s address, or {"except": [CIDR …]}'),
    ] = False
    default_route: Annotated[
        bool, Doc("give the pod a default route for each of its address families")
    ] = True


R = TypeVar("R", bound=RoutedConfig)
