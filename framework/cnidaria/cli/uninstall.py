"""``cnidaria uninstall``: the executables, the node's kernel state, the journal."""

from __future__ import annotations

import argparse
import errno
import shutil
from pathlib import Path

from cnidaria.cli.options import add_paths, settings
from cnidaria.node.install import InstallError, uninstall
from cnidaria.node.settings import BIN_DIR, Settings

EXAMPLE = """\
examples:
  cnidaria uninstall                    # refuses while pods are attached
  cnidaria uninstall --force            # takes the network away from running pods, too

Conflists stay where they are, and so do settings that others may rely on by now, such as
net.ipv4.ip_forward.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument(
        "--bin-dir", type=Path, default=Path(BIN_DIR), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--force", action="store_true", help="although pods are attached")
    add_paths(parser)


def run(options: argparse.Namespace) -> int:
    found = settings(options)
    clean(found, force=options.force)
    for path in uninstall(options.bin_dir):
        print(f"removed {path}")
    shutil.rmtree(found.state_dir, ignore_errors=True)
    return 0


def clean(found: Settings, *, force: bool) -> None:
    """Withdraw everything of ours from the kernel of this node.

    Raises:
        InstallError: the agent runs, pods are attached, or something cannot be withdrawn.
    """
    from cnidaria.kernel.handle import Kernel
    from cnidaria.kernel.netns import NetNS
    from cnidaria.node.state import open_state
    from cnidaria.plan.journal import StateError
    from cnidaria.plugins import load

    try:
        with open_state(found, load(), 1.0) as state, NetNS.current() as host:
            pods = [one.id for one in state.store.all()]
            if pods and not force:
                raise InstallError(
                    f"{len(pods)} pods are attached (first: {pods[0]}); delete them, or --force"
                )
            for one in state.store.all():
                state.engine.detach(one.key, host)
            kernel = Kernel(host)
            failures = kernel.withdraw(kernel.owned())
            if failures:
                raise InstallError("; ".join(map(str, failures)))
    except StateError as error:
        if error.errno == errno.EAGAIN:
            raise InstallError("the agent runs; stop it first") from error
        raise
