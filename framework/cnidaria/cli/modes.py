"""``cnidaria modes``: what is installed, and the keys each mode understands."""

from __future__ import annotations

import argparse
import json
import sys

from cnidaria.cni.fields import json_schema
from cnidaria.plugins import load

EXAMPLE = """\
examples:
  cnidaria modes                        # names and what they are for
  cnidaria modes cnidaria-flat          # its keys, as a JSON schema
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("type", nargs="?", help="a CNI type: print the schema of its keys")
    parser.add_argument("--json", action="store_true", help="every mode with its schema")


def run(options: argparse.Namespace) -> int:
    found = load(options.type)
    modes = found.modes
    if options.json or options.type:
        for why in found.broken.values():
            print(why, file=sys.stderr)
    if options.type and options.type not in modes:
        if options.type not in found.broken:
            known = ", ".join(sorted(modes)) or "none"
            print(f"no mode {options.type!r} is installed; there are: {known}", file=sys.stderr)
        return 1
    if options.type:
        print(json.dumps(json_schema(modes[options.type].Config), indent=2))
    elif options.json:
        print(
            json.dumps({name: json_schema(mode.Config) for name, mode in modes.items()}, indent=2)
        )
    else:
        lines = {name: (mode.__doc__ or "").strip() for name, mode in modes.items()} | {
            name: f"cannot be used: {why}" for name, why in found.broken.items()
        }
        for name, text in sorted(lines.items()):
            print(f"{name:20} {''.join(text.splitlines()[:1])}")
    return 0
