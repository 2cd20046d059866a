"""``cnidaria agent``: the node agent, in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from dataclasses import replace

from cnidaria.cli.options import add_paths, settings

EXAMPLE = """\
examples:
  cnidaria agent
  cnidaria agent --metrics 127.0.0.1:9469
  cnidaria agent --conf-dir /etc/cni/net.d --log-level debug

signals: TERM and INT finish the calls under way and end; HUP reads the conflists again.
When the agent stops, pods keep their network and calls run one-shot.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    add_paths(parser, conf_dir=True)
    parser.add_argument(
        "--metrics",
        metavar="ADDRESS:PORT",
        help="where a scraper gets metrics by HTTP, at /metrics; default: CNIDARIA_METRICS",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="default: %(default)s",
    )


def run(options: argparse.Namespace) -> int:
    from cnidaria.node.agent import Agent
    from cnidaria.node.settings import listen
    from cnidaria.plugins import load

    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    name, place = "--metrics", options.metrics
    if place is None:  # read here alone: what is wrong with it concerns no other command
        name, place = "CNIDARIA_METRICS", os.environ.get("CNIDARIA_METRICS", "")
    found = replace(settings(options), metrics=listen(name, place))
    asyncio.run(Agent(found, load()).run())
    return 0
