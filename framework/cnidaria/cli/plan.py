"""``cnidaria plan``: what a network would be here, without making it so."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cnidaria.cli.options import add_paths, settings
from cnidaria.cni.config import ConfList, parse_conflist
from cnidaria.cni.env import Invocation, check_container_id, check_ifname
from cnidaria.cni.errors import CniError, Code
from cnidaria.ipam import Pools
from cnidaria.kernel.netns import NetNS
from cnidaria.node import confdir, report
from cnidaria.node.dryrun import DryRun, Preview
from cnidaria.node.state import boottime
from cnidaria.plan.journal import Journal
from cnidaria.plan.objects import Object, to_wire
from cnidaria.plan.store import Store
from cnidaria.plugins import load

EXAMPLE = """\
examples:
  cnidaria plan /etc/cni/net.d/10-pods.conflist
  cnidaria plan /etc/cni/net.d/10-pods.conflist --pod shop/web-0 --json
  cnidaria init flat --subnet 10.1.0.0/24 | cnidaria plan -

Kernel and state are read, and nothing is changed: not even a lease is taken. Addresses are those
that would be handed out next; where another plugin would have to be asked they are examples.
"""
_SHORT = 60  # characters of a value that are shown to people


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("conflist", help="a file as the runtime reads it; -: standard input")
    parser.add_argument(
        "--pod", default="default/example", metavar="NS/NAME", help="default: %(default)s"
    )
    parser.add_argument("--ifname", default="eth0", help="in the pod; default: %(default)s")
    parser.add_argument(
        "--container", default="example", metavar="ID", help="its container; default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="for programs, with every field")
    add_paths(parser)


def run(options: argparse.Namespace) -> int:
    where = settings(options)
    store = Store(Journal(where.state_dir), boottime)
    with NetNS.current() as host:
        told = report.read(where).get("networks", {})
        dry = DryRun(load(), Pools.of(store, boottime), host, told)
        preview = dry.run(conflist(options.conflist), invocation(options))
    if options.json:
        print(json.dumps(record(preview), indent=2, default=bytes.hex))
    else:
        print("\n".join(lines(preview)))
    return 0


def conflist(name: str) -> ConfList:
    """The network of a file, or of standard input.

    Raises:
        CniError: 6 or 7; there is something wrong with it.
        OSError: it cannot be read.
    """
    if name == "-":
        return parse_conflist(sys.stdin.buffer.read())
    path = Path(name)
    if path.is_fifo():  # as a shell's <(command) is
        return parse_conflist(path.read_bytes())
    return confdir.conflist(path)


def invocation(options: argparse.Namespace) -> Invocation:
    """The ADD of the pod that the options name.

    Raises:
        CniError: 4 or 7; there can be no such pod.
    """
    namespace, slash, name = options.pod.partition("/")
    if not slash or not namespace or not name:
        text = f"--pod {options.pod}: must be a namespace and a name such as default/web-0"
        raise CniError(Code.INVALID_CONFIG, text)
    return Invocation(
        command="ADD",
        container_id=check_container_id(options.container),
        netns="/run/netns/example",
        ifname=check_ifname(options.ifname),
        args={"K8S_POD_NAMESPACE": namespace, "K8S_POD_NAME": name},
    )


def record(preview: Preview) -> dict[str, Any]:
    """Everything, as plain data."""

    def wire(obj: Object) -> dict[str, Any]:
        return {"where": obj.where, **to_wire(obj)}

    return {
        "network": preview.network,
        "plugins": [
            {
                "type": step.type,
                "node": [wire(obj) for obj in step.node],
                "pod": [wire(obj) for obj in step.pod],
                "notes": step.notes,
            }
            for step in preview.steps
        ],
        "result": preview.result and preview.result.to_json(preview.cni_version),
    }


def lines(preview: Preview) -> Iterator[str]:
    """The same for people."""
    for step in preview.steps:
        yield f"{step.type} of network {preview.network}"
        yield from (f"  note: {note}" for note in step.notes)
        for title, objects in (("the node", step.node), ("the pod", step.pod)):
            if objects:
                yield f"  {title}:"
                yield from (f"    {obj.where:4}  {described(obj)}" for obj in objects)
    if preview.result:
        yield "result"
        yield from (
            "  " + line for line in json.dumps(record(preview)["result"], indent=2).split("\n")
        )


def described(obj: Object) -> str:
    """An object, with those of its fields that its name does not tell."""
    name = str(obj)
    fields = {
        key: value
        for key, value in to_wire(obj).items()
        if key not in ("kind", "where") and isinstance(value, str | int | float)
    }
    more = [
        f"{key}={value}"
        for key, value in fields.items()
        if str(value) not in name.split() and len(str(value)) <= _SHORT
    ]
    return "  ".join([name, *([" ".join(more)] if more else [])])
