"""Options that several commands share."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from cnidaria.node.settings import BIN_DIR, CONF_DIR, STATE_DIR, Settings


def add_bin_dir(parser: argparse.ArgumentParser) -> None:
    """``--bin-dir``: where the runtime looks for CNI executables."""
    parser.add_argument(
        "--bin-dir", type=Path, default=Path(BIN_DIR), metavar="DIR", help="default: %(default)s"
    )


def add_paths(parser: argparse.ArgumentParser, *, conf_dir: bool = False) -> None:
    """``--state-dir`` and ``--socket``, and ``--conf-dir`` where the conflists are read."""
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help=f"journal and lock; on a tmpfs; default: {STATE_DIR}",
    )
    parser.add_argument(
        "--socket",
        type=Path,
        metavar="FILE",
        help="where the agent listens; default: agent.sock there",
    )
    if conf_dir:
        parser.add_argument(
            "--conf-dir",
            type=Path,
            metavar="DIR",
            help=f"the runtime's conflists; default: {CONF_DIR}",
        )


def settings(options: argparse.Namespace) -> Settings:
    """The environment's settings with the command line's over them."""
    found = Settings.from_env()
    if options.state_dir:
        state = options.state_dir.absolute()
        found = replace(found, state_dir=state, socket=state / "agent.sock")
    if options.socket:
        found = replace(found, socket=options.socket.absolute())
    if getattr(options, "conf_dir", None):
        found = replace(found, conf_dir=options.conf_dir.absolute())
    return found
