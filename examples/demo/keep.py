"""Leaving everything as it is, with the commands to look around."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fleet import CNIDARIA, Node, Pod
from stage import Stage


def look_around(stage: Stage) -> None:
    """Wait for Ctrl-C; then the demo goes on to its end."""
    screen = stage.screen
    screen.section("Look around, in another terminal; Ctrl-C here ends it")
    screen.say(f"  nsenter --target {os.getpid()} {_user()}--mount --net bash")
    screen.say()
    commands = [*_on_node(stage.nodes[0]), *_in_pods(stage.pods)]
    width = max(len(what) for what, _ in commands)
    for what, command in commands:
        screen.say(f"  {screen.paint('dim', what.ljust(width))}  {command}")
    screen.say()
    with suppress(KeyboardInterrupt):
        while True:
            signal.pause()
    screen.say()


def _on_node(node: Node) -> list[tuple[str, str]]:
    """What to see of a node, and the command."""
    enter = f"nsenter --net=/run/netns/{node.name}"
    state = f"--state-dir={node.state_dir}"
    return [
        (f"{node.name} says of itself", f"{enter} {CNIDARIA} status {state}"),
        ("its pods", f"{enter} {CNIDARIA} pods {state}"),
        ("its routes", f"ip -n {node.name} route; ip -n {node.name} -6 route"),
        ("its firewall", f"{enter} nft list ruleset"),
        ("its conflist", f"cat {node.conflist}"),
        ("what its agent says", f"tail -f {node.log}"),
    ]


def _in_pods(pods: Sequence[Pod]) -> list[tuple[str, str]]:
    """What to do in a pod, and the command."""
    if not pods:
        return []
    first, last = f"nsenter --net=/run/netns/{pods[0].name}", pods[-1]
    return [
        (f"{pods[0].name}'s interface", f"{first} ip address"),
        (f"{pods[0].name} to {last.name}", f"{first} ping -c 3 {last.addresses.get(4, '')}"),
    ]


def _user() -> str:
    """The options that enter a user namespace, if the demo runs in one of its own."""
    whole = Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]
    return "" if whole else "--user --preserve-credentials "
