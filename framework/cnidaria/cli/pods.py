"""``cnidaria pods``: the attachments of this node."""

from __future__ import annotations

import argparse
import json

from cnidaria.cli.options import add_paths, settings
from cnidaria.cli.text import table
from cnidaria.cni.errors import CniError
from cnidaria.cni.result import Result
from cnidaria.node import report
from cnidaria.node.state import boottime
from cnidaria.plan.attachment import Attachment

HEADINGS = ("NETWORK", "CONTAINER", "INTERFACE", "ADDRESSES", "AGE", "STATE")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "examples:\n  cnidaria pods\n  cnidaria pods --json\n"
    parser.add_argument("--json", action="store_true", help="for programs, with every object")
    add_paths(parser)


def run(options: argparse.Namespace) -> int:
    now = boottime()
    found = report.attachments(settings(options), now)
    if options.json:
        records = [{**one.to_record(), "request_id": one.request_id.hex()} for one in found]
        print(json.dumps(records, indent=2))
        return 0
    print(table(HEADINGS, (row(one, now) for one in found)))
    return 0


def row(one: Attachment, now: float) -> tuple[str, ...]:
    """One attachment as a line of the table."""
    return (
        one.network,
        one.container[:16],
        one.ifname,
        ",".join(addresses(one)) or "-",
        age(now - one.created),
        one.state,
    )


def addresses(one: Attachment) -> list[str]:
    """Of the pod: as leased from us, else as the result of ADD says."""
    if one.leases:
        return [lease.address for lease in one.leases]
    result = one.result or {}
    try:
        found = Result.parse(result, str(result.get("cniVersion")))
    except CniError:
        return []
    return [ip.address.partition("/")[0] for ip in found.ips]


def age(seconds: float) -> str:
    """A duration in the largest unit that it has two of, as ``5m`` or ``3d``."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"
