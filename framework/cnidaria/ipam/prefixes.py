"""The prefixes of a node's pods: what other nodes have to route to it."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

from cnidaria.cni.codec import folded
from cnidaria.cni.errors import CniError
from cnidaria.ipam.config import IpamConfig
from cnidaria.ipam.ranges import IpNetwork, covering


def prefixes(config: IpamConfig) -> list[IpNetwork]:
    """The fewest prefixes with all subnets of a node's configuration.

    Args:
        config: resolved (:meth:`IpamConfig.resolve`).
    """
    return covering(one.subnet for ranges in config.sets for one in ranges.ranges)


def prefixes_of_foreign(raw: Mapping[str, Any]) -> list[IpNetwork]:
    """The same for another plugin's ``ipam``, as far as it can be told; empty if it cannot.

    It can for host-local's keys, and for static's ``addresses``, which are this node's alone.
    """
    keys = folded(raw)
    try:
        if "addresses" in keys:
            texts = [folded(one)["address"] for one in keys["addresses"]]
            return covering(ip_network(text.partition("/")[0]) for text in texts)
        known: dict[str, Any] = {key: keys[key] for key in ("subnet", "ranges") if key in keys}
        return prefixes(IpamConfig.parse(known))
    except (CniError, ValueError, TypeError, KeyError, AttributeError):
        return []
