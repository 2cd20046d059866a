"""Leaving everything as it is, with the commands to look around."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from fleet import CNIDARIA, ROOT
from stage import Stage

ON = f"""\
#!/bin/sh
# Run a command on a node or in a pod: {ROOT}/on node1 cnidaria status
[ $# -ge 2 ] || {{ echo "usage: $0 NODE|POD COMMAND [ARGUMENT...]" >&2; exit 2; }}
name=$1
shift
export CNIDARIA_STATE_DIR="{ROOT}/$name/state" CNIDARIA_CONF_DIR="{ROOT}/$name/net.d"
export PATH="{CNIDARIA.parent}:$PATH:/usr/sbin:/sbin"
exec nsenter --net="/run/netns/$name" "$@"
"""


def look_around(stage: Stage) -> None:
    """Wait for Ctrl-C; then the demo goes on to its end."""
    screen, node = stage.screen, stage.lab.machines[0].name
    helper = ROOT / "on"
    helper.write_text(ON)
    helper.chmod(0o755)
    screen.section("Look around, in another terminal; Ctrl-C here ends it")
    commands = [
        (f"nsenter --target {os.getpid()} {_user()}--mount --net bash", "enter the demo"),
        (f"cd {ROOT}", ""),
        (f"./on {node} cnidaria status", "what the node says of itself"),
        (f"./on {node} cnidaria pods", "its pods"),
        (f"./on {node} ip route", "its routes; ip -6 route, ip neigh, bridge fdb ..."),
        (f"./on {node} nft list ruleset", "its firewall"),
        (f"./on {node} cnidaria policy matrix", "who can reach whom; write YAML into policies/"),
        (f"cat {node}/net.d/*.conflist", "all the configuration that it has"),
        (f"tail {node}.log", "what its agent says"),
    ]
    if stage.pods:
        first, last = stage.pods[0], stage.pods[-1]
        far = last.addresses.get(4, "")
        commands.append((f"./on {first.name} ping -c 3 {far}", f"from {first.name} to {last.name}"))
    width = max(len(command) for command, _ in commands)
    for command, what in commands:
        screen.say(f"  {command:{width}}  {screen.paint('dim', what)}")
    with suppress(KeyboardInterrupt):
        while True:
            signal.pause()
    screen.say()


def _user() -> str:
    """The options that enter a user namespace, if the demo runs in one of its own."""
    whole = Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]
    return "" if whole else "--user --preserve-credentials "
