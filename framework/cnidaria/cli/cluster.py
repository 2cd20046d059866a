"""``cnidaria cluster``: the nodes of this node's clusters, and the blocks that they claimed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from cnidaria.cli.options import add_paths, settings
from cnidaria.cli.text import table
from cnidaria.cluster import ClusterConfig, ClusterStore, StoreError, open_store
from cnidaria.cni.errors import CniError
from cnidaria.cni.fields import decode
from cnidaria.node import confdir
from cnidaria.node.install import InstallError
from cnidaria.node.networks import cluster_of
from cnidaria.node.settings import Settings
from cnidaria.plugins import Registry, load

EXAMPLE = """\
examples:
  cnidaria cluster
  cnidaria cluster --json
  cnidaria cluster --forget n7          # n7 is gone for good: its blocks are free again

A node that is away keeps the blocks that it has claimed, for it may come back with its pods.
"""
HEADINGS = ("NETWORK", "NODE", "ADDRESSES", "PREFIXES", "STATE")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--forget", metavar="NODE", help="free the blocks of a node that does not come back"
    )
    add_paths(parser, conf_dir=True)


def run(options: argparse.Namespace) -> int:
    clusters = list(configured(settings(options), load()))
    if options.forget is not None:
        return forget(clusters, options.forget)
    found = [
        one for network, cluster, store in clusters for one in members(network, cluster, store)
    ]
    if options.json:
        print(json.dumps(found, indent=2))
    elif not found:
        print("no network of this node is part of a cluster")
    else:
        print(table(HEADINGS, map(row, found)))
    return 0


def configured(
    where: Settings, registry: Registry
) -> Iterator[tuple[str, ClusterConfig, ClusterStore]]:
    """The networks of the conflists that are part of a cluster. What cannot be read is told."""
    entries, errors = confdir.read(where.conf_dir, frozenset(registry.modes))
    for file, error in errors.items():
        print(f"{file}: {error}", file=sys.stderr)
    seen: set[tuple[str, str]] = set()  # a network's plugins may all name it
    for entry in entries:
        conf = entry.conf
        try:
            cluster = cluster_of(decode(registry.modes[conf.type].Config, conf.raw, conf.type))
            if cluster is not None and (conf.name, cluster.store) not in seen:
                seen.add((conf.name, cluster.store))
                yield conf.name, cluster, open_store(cluster.store, registry.stores)
        except (CniError, StoreError) as error:
            print(f"{entry.file}: {error}", file=sys.stderr)


def members(network: str, cluster: ClusterConfig, store: ClusterStore) -> Iterator[dict[str, Any]]:
    """The nodes of a network that live, and those that are away and have blocks."""
    with closing(store):
        nodes, blocks = store.view().nodes, store.blocks(network)
    living = {name: node for name, node in nodes.items() if network in node.networks}
    for name in sorted({*living, *blocks.values()}):
        node = living.get(name)
        claimed = sorted(prefix for prefix, owner in blocks.items() if owner == name)
        yield {
            "network": network,
            "node": name,
            "addresses": list(node.addresses.values()) if node else [],
            "prefixes": list(node.networks[network].prefixes) if node else claimed,
            "blocks": claimed,
            "state": "away" if node is None else "here" if name == cluster.node_name else "lives",
        }


def row(one: dict[str, Any]) -> tuple[str, ...]:
    """A node as a line of the table."""
    addresses, prefixes = ",".join(one["addresses"]), ",".join(one["prefixes"])
    return one["network"], one["node"], addresses or "-", prefixes or "-", one["state"]


def forget(clusters: list[tuple[str, ClusterConfig, ClusterStore]], node: str) -> int:
    """Free a node's blocks.

    Raises:
        InstallError: the node lives, or has no blocks.
        StoreError: a store cannot be written.
    """
    done = []
    for network, _, store in clusters:
        with closing(store):
            if node in store.view().nodes:
                raise InstallError(f"node {node!r} lives; stop its agent and uninstall there first")
            done += [(network, prefix) for prefix in store.release_blocks(network, node)]
    if not done:
        raise InstallError(f"no node {node!r} has blocks in the networks of this node")
    for network, prefix in done:
        print(f"network {network}: {prefix} is free")
    return 0
