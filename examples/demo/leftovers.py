"""What there is on a node, by kind, to compare before with after."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from fleet import Node
from lab import sh

from cnidaria.kernel.handle import Kernel

State = dict[str, frozenset[str]]
"""One line of text for each thing there is, by kind."""

COMMANDS = {
    "links": "ip -o link",
    "addresses": "ip -o address",
    "routes": "ip -o -4 route show table all; ip -o -6 route show table all",
    "rules": "ip -4 rule; ip -6 rule",
    "neighbours": "ip -o neigh show nud permanent; ip -o neigh show nud noarp",
}
KINDS = (*COMMANDS, "nftables", "processes", "files")

# The kernel's own: multicast groups, and the anycast addresses of everyone who forwards IPv6.
_KERNELS_OWN = re.compile(r"(anycast|multicast) |(ff[0-9a-f]*:|224\.)\S* ")
_VOLATILE = re.compile(r"valid_lft.*")
# Chains that the reference portmap shares among its pods, and keeps.
_PORTMAPS_OWN = re.compile(r"table ip6? (nat|filter|mangle|raw) (?!.*CNI-[DS]N-)")


def snapshot(node: Node) -> State:
    """Everything on a node that attaching pods could change."""
    state = {}
    for kind, command in COMMANDS.items():
        lines = sh("sh", "-c", command, netns=node.name).splitlines()
        kept = (_VOLATILE.sub("", line).strip() for line in lines)
        state[kind] = frozenset(line for line in kept if not _KERNELS_OWN.match(line))
    if shutil.which("nft"):
        state["nftables"] = frozenset(_nftables(node))
    state["processes"] = frozenset(_processes(node))
    files = (path for path in node.directory.glob("**/*") if not path.is_dir())
    state["files"] = frozenset(map(str, files))
    return state


def differences(before: State, after: State) -> dict[str, list[str]]:
    """What came and what went, as text, by kind; nothing for kinds that are the same."""
    found = {}
    for kind in before:
        came = [f"left over: {line}" for line in sorted(after[kind] - before[kind])]
        went = [f"missing: {line}" for line in sorted(before[kind] - after[kind])]
        if came or went:
            found[kind] = came + went
    return found


def ours(node: Node) -> list[str]:
    """What bears cnidaria's mark in the node's kernel."""
    return [str(obj) for obj in Kernel(node.netns).owned()]


def _nftables(node: Node) -> Iterable[str]:
    """The ruleset's lines with their table in front."""
    table = ""
    for line in sh("nft", "-s", "list", "ruleset", netns=node.name).splitlines():
        table = line.rstrip(" {") if line.startswith("table ") else table
        text = f"{table} {line.strip()}"
        if line.strip() not in ("", "}") and not _PORTMAPS_OWN.match(text):
            yield text


def _processes(node: Node) -> Iterable[str]:
    """Whoever is in the node's network namespace, but for the demo itself."""
    there = os.stat(f"/run/netns/{node.name}").st_ino
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.stat(process / "ns/net").st_ino == there:
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                yield f"{process.name} {command.decode(errors='replace')}"
        except OSError:
            continue  # it has just ended, or is somebody else's
