"""``cnidaria init``: a conflist to start from, on stdout."""

from __future__ import annotations

import argparse
import json
from ipaddress import ip_network
from typing import Any

from cnidaria.cluster import ImpossibleStore, opener
from cnidaria.cni.config import parse_conflist, plugin_config
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.fields import decode
from cnidaria.cni.versions import CURRENT
from cnidaria.ipam import IPAM_TYPE, IpamConfig
from cnidaria.plugins import Registry, entry_points, load

SAFE_VERSION = "1.0.0"
"""What every runtime and plugin in use understands. Newer runtimes choose the newest of
``cniVersions``, and call all plugins of the chain with it: so it is only there for ours alone.
"""

EXAMPLE = """\
examples:
  cnidaria init flat --subnet 10.1.0.0/24 --subnet fd00:1::/64
  cnidaria init overlay --subnet 10.1.1.0/24 --store sqlite:/var/lib/cnidaria/cluster.db
  cnidaria init flat --subnet 10.1.0.0/24 > /etc/cni/net.d/10-pods.conflist

The runtime and the agent read the same file: there is no other configuration.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("mode", help="flat, overlay, or any installed CNI type")
    parser.add_argument(
        "--subnet", action="append", required=True, help="of this node's pods; one per family"
    )
    parser.add_argument("--name", default="pods", help="the network; default: %(default)s")
    parser.add_argument("--store", metavar="URL", help="the cluster store that all nodes name")
    parser.add_argument("--node", metavar="NAME", help="this node; default: the host name")
    parser.add_argument("--masquerade", action="store_true", help="hide pods behind the node")
    parser.add_argument(
        "--portmap",
        action="store_true",
        help="chain the reference portmap plugin; with CNI 1.0.0, which all its releases know",
    )


def run(options: argparse.Namespace) -> int:
    made = json.dumps(conflist(options), indent=2)
    check(made, load())
    print(made)
    return 0


def check(text: str, registry: Registry) -> None:
    """See what a runtime and the mode would say about it.

    Raises:
        CniError: 7, naming the key.
    """
    conf = plugin_config(parse_conflist(text.encode()), 0)
    mode = registry.modes.get(conf.type)
    if mode is None:
        raise CniError(Code.INVALID_CONFIG, registry.broken.get(conf.type, f"no {conf.type}"))
    cluster = getattr(decode(mode.Config, conf.raw, conf.type), "cluster", None)
    try:
        if cluster:
            opener(cluster.store, registry.stores)
    except ImpossibleStore as error:
        raise error.as_cni_error() from error
    IpamConfig.of(conf)


def conflist(options: argparse.Namespace) -> dict[str, Any]:
    """What the options ask for.

    Raises:
        CniError: no such mode, or a subnet that is none.
    """
    known = entry_points()
    mode = options.mode if options.mode in known else f"cnidaria-{options.mode}"
    if mode not in known:
        there = ", ".join(sorted(known))
        raise CniError(
            Code.INVALID_CONFIG, f"no mode {options.mode!r} is installed; there are: {there}"
        )
    plugin: dict[str, Any] = {"type": mode}
    if options.masquerade:
        plugin["masquerade"] = True
    if options.node and not options.store:
        text = f"--node {options.node}: needs --store, where the node is known by that name"
        raise CniError(Code.INVALID_CONFIG, text)
    if options.store:
        cluster = {"store": options.store, **({"node": options.node} if options.node else {})}
        plugin["cluster"] = cluster
    ranges = [[{"subnet": subnet(text)}] for text in options.subnet]
    plugin["ipam"] = {"type": IPAM_TYPE, "ranges": ranges}
    chain = [plugin]
    version: dict[str, Any] = {"cniVersion": SAFE_VERSION}
    if options.portmap:
        chain.append({"type": "portmap", "capabilities": {"portMappings": True}})
    else:
        version["cniVersions"] = [SAFE_VERSION, CURRENT]
    return {**version, "name": options.name, "plugins": chain}


def subnet(text: str) -> str:
    """A subnet in canonical form."""
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise CniError(Code.INVALID_CONFIG, f"--subnet {text}: {error}") from None
