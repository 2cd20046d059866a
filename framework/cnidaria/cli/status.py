"""``cnidaria status``: the agent, the networks, the pods, and what is wrong."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import Any

from cnidaria.cli.options import add_paths, settings
from cnidaria.node import report
from cnidaria.node.settings import Settings
from cnidaria.node.state import boottime
from cnidaria.plugins import load

EXAMPLE = """\
examples:
  cnidaria status
  cnidaria status --json | jq .problems

exit code: 0 if nothing is wrong, 1 otherwise.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("--json", action="store_true", help="for programs")
    add_paths(parser)


def run(options: argparse.Namespace) -> int:
    found = gather(settings(options))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(lines(found)))
    return 1 if found["problems"] else 0


def gather(where: Settings) -> dict[str, Any]:
    """Everything that is known about this node."""
    agent = report.ask_agent(where)
    told = alone() if agent == "absent" else report.read(where)
    problems = dict(told.get("problems", {}))
    if agent == "silent":
        problems["agent"] = f"listens on {where.socket} and does not answer"
    pods = Counter(one.network for one in report.attachments(where, boottime()))
    return {
        "agent": agent == "answers",
        "socket": str(where.socket),
        "networks": told.get("networks", {}),
        "pods": dict(pods),
        "repairs": told.get("repairs", {}),
        "problems": problems,
    }


def alone() -> dict[str, Any]:
    """What an agent would tell first, if one ran: plugins that cannot be used."""
    broken = load().broken
    return {"problems": {f"plugin {name}": why for name, why in broken.items()}}


def lines(found: dict[str, Any]) -> list[str]:
    """The same for people."""
    if found["agent"]:
        text = [f"agent     answers on {found['socket']}"]
    elif "agent" in found["problems"]:
        text = [f"agent     hangs on {found['socket']}"]
    else:
        text = [f"agent     none on {found['socket']}: every call runs one-shot"]
    for name, one in sorted(found["networks"].items()):
        prefixes = ", ".join(one["prefixes"]) or "no prefixes of its own"
        types, uplink = ", ".join(one["types"]), one["uplink"] or "no uplink"
        text.append(f"network   {name} ({types}): {prefixes} by {uplink}")
        text += [
            f"  node    {peer['name']}: {', '.join(peer['prefixes'])}" for peer in one["peers"]
        ]
    for name, count in sorted(found["pods"].items()):
        text.append(f"pods      {count} on {name}")
    text += [f"repaired  {what}: {count}" for what, count in sorted(found["repairs"].items())]
    text += [f"PROBLEM   {what}: {why}" for what, why in sorted(found["problems"].items())]
    return text
