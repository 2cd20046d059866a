"""``cnidaria metrics``: what the running agent has measured."""

from __future__ import annotations

import argparse
import json

from cnidaria.cli.options import add_paths, settings
from cnidaria.node import report

EXAMPLE = """\
examples:
  cnidaria metrics
  cnidaria metrics --json | jq '.[] | select(.name == "cnidaria_problems")'

The text is Prometheus' exposition format 0.0.4. An agent with `--metrics ADDRESS:PORT` tells a
scraper the same over HTTP.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("--json", action="store_true", help="for programs")
    add_paths(parser)


def run(options: argparse.Namespace) -> int:
    where = settings(options)
    if options.json:
        print(json.dumps(json.loads(report.metrics(where, "json")), indent=2))
    else:
        print(report.metrics(where, "text").decode(), end="")
    return 0
