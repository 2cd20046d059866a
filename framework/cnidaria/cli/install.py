"""``cnidaria install``: the executables."""

from __future__ import annotations

import argparse

from cnidaria.cli.options import add_bin_dir, add_paths, settings
from cnidaria.node.install import install
from cnidaria.plugins import entry_points

EXAMPLE = """\
examples:
  cnidaria install
  cnidaria install --bin-dir /usr/lib/cni --socket /run/cnidaria/agent.sock
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    add_bin_dir(parser)
    add_paths(parser)


def run(options: argparse.Namespace) -> int:
    for path in install(options.bin_dir, entry_points(), settings(options)):
        print(path)
    return 0
