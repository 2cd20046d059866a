"""cnidaria at work on this machine: nodes, agents and pods made of network namespaces.

Run it by `make demo`, or `.venv/bin/python examples/demo [--mode overlay] [--keep]`.  Root is not
needed; nothing of the machine is touched, since all of it happens in private namespaces.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

NAMESPACES = Path(__file__).resolve().parents[2] / "scripts" / "in-namespaces"
OUTSIDE = "CNIDARIA_DEMO_OUTSIDE"
"""Environment variable: the network namespace that the demo was started in."""
OWN = "/proc/self/ns/net"
MAX_NODES, MAX_PODS = 8, 40

EPILOG = """\
examples:
  make demo                               # pods on three nodes of one LAN
  make demo ARGS="--mode overlay"         # each node on a LAN of its own, across a router
  make demo ARGS="--keep --pods 4"        # leave it running to look around
"""


def number(least: int, most: int) -> Callable[[str], int]:
    """An argument's type: a whole number between two others, both included."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text}: must be a number from {least} to {most}")
        return int(text)

    return parse


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="examples/demo",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--mode", choices=("flat", "overlay"), default="flat", help="default: flat")
    for name, default, most in (("--nodes", 3, MAX_NODES), ("--pods", 12, MAX_PODS)):
        parser.add_argument(
            name,
            type=number(2, most),
            default=default,
            metavar="N",
            help=f"2 to {most}; default: {default}",
        )
    parser.add_argument(
        "--keep", action="store_true", help="leave all running, with commands to look around"
    )
    return parser.parse_args()


def enter_namespaces() -> None:
    """Replace this process by the same in network and mount namespaces of its own."""
    os.environ[OUTSIDE] = os.readlink(OWN)
    command = [str(NAMESPACES), sys.executable, str(Path(__file__).parent), *sys.argv[1:]]
    sys.stdout.flush()
    os.execv(command[0], command)


def main() -> int:
    options = arguments()
    if os.environ.get(OUTSIDE, os.readlink(OWN)) == os.readlink(OWN):
        enter_namespaces()
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.default_int_handler)  # end as by Ctrl-C, all cleaned up
    try:
        from story import tell

        return tell(options.mode, options.nodes, options.pods, keep=options.keep)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
