"""The key ``cluster`` of a network's configuration."""

from __future__ import annotations

import os
from typing import Annotated

import msgspec

from cnidaria.cluster.model import EXPIRY
from cnidaria.cluster.store import split_url, sqlite_problem
from cnidaria.cni.fields import Check, Doc, IpAddress, Section


def _url_problem(text: str) -> str:
    scheme = split_url(text)[0]
    if not scheme or not text.isprintable():
        return 'must be a URL such as "sqlite:/var/lib/cnidaria/cluster.db"'
    return sqlite_problem(text) if scheme == "sqlite" else ""


def _name_problem(text: str) -> str:
    return "" if text and text.isprintable() else "must be a printable, non-empty text"


class ClusterConfig(Section):
    """Where the nodes of a network find one another.

    For example ``{"store": "sqlite:/var/lib/cnidaria/cluster.db", "node": "n1"}``.
    """

    store: Annotated[str, Check(_url_problem, "the store's URL; all nodes name the same store")]
    node: Annotated[
        Annotated[str, Check(_name_problem)] | None,
        Doc("this node's name, unique in the cluster; default: the host name"),
    ] = None
    addresses: Annotated[
        tuple[IpAddress, ...],
        Doc("what the other nodes reach this one by, one per family; default: the uplink's"),
    ] = ()
    expiry: Annotated[
        float,
        msgspec.Meta(
            ge=1,
            le=86400,
            description="seconds without a sign of life until the others take this node as gone",
        ),
    ] = EXPIRY

    def __post_init__(self) -> None:
        families = [6 if ":" in address else 4 for address in self.addresses]
        if len(set(families)) != len(families):
            raise ValueError("addresses: at most one of each address family")

    @property
    def node_name(self) -> str:
        """The node's name: the configured one, or the host name."""
        return self.node or os.uname().nodename
