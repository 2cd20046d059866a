"""``cnidaria uninstall``: the executables, the node's kernel state, the journal."""

from __future__ import annotations

import argparse
import errno
import sys
from contextlib import suppress
from pathlib import Path

from cnidaria.api import NotReady
from cnidaria.cli.options import add_bin_dir, add_paths, settings
from cnidaria.cluster import StoreError
from cnidaria.cni.errors import CniError
from cnidaria.kernel.netns import NetNS
from cnidaria.node import confdir, report
from cnidaria.node.install import InstallError, uninstall
from cnidaria.node.settings import Settings
from cnidaria.node.state import State, open_state
from cnidaria.plan import journal, statelock
from cnidaria.plan.journal import StateError
from cnidaria.plugins import load

EXAMPLE = """\
examples:
  cnidaria uninstall                    # refuses while pods are attached
  cnidaria uninstall --force            # takes the network away from running pods, too

Conflists stay where they are, and so do settings that others may rely on by now, such as
net.ipv4.ip_forward.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    add_bin_dir(parser)
    parser.add_argument("--force", action="store_true", help="although pods are attached")
    add_paths(parser, conf_dir=True)


def run(options: argparse.Namespace) -> int:
    found = settings(options)
    clean(found, force=options.force)
    for path in uninstall(options.bin_dir):
        print(f"removed {path}")
    for left in forget(found):
        print(f"left {left}: it is not ours")
    return 0


def forget(found: Settings) -> list[Path]:
    """Remove the state directory, but for what others keep in it, which is returned."""
    known = {journal.NAME, journal.NEW, statelock.NAME, report.NAME, report.NEW}
    for path in (found.socket, *(found.state_dir / name for name in known)):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        found.state_dir.rmdir()
    return sorted(found.state_dir.iterdir()) if found.state_dir.exists() else []


def leave_clusters(found: Settings, state: State, host: NetNS) -> None:
    """Tell the other nodes that this one is gone."""
    entries, _ = confdir.read(found.conf_dir, state.networks.types)
    for entry in entries:
        try:
            opened = state.networks.open(entry.conf, host)
            if opened.cluster:
                state.membership.leave(opened.cluster, opened.net.node)
        except (CniError, NotReady, StoreError) as error:
            print(f"{entry.file}: {error}", file=sys.stderr)


def clean(found: Settings, *, force: bool) -> None:
    """Withdraw everything of ours from the kernel of this node.

    Raises:
        InstallError: the agent runs, pods are attached, or something cannot be withdrawn.
    """
    try:
        registry = load()
        for why in registry.broken.values():
            print(why, file=sys.stderr)
        with open_state(found, registry, 1.0) as state, NetNS.current() as host:
            pods = [one.id for one in state.store.all()]
            if pods and not force:
                raise InstallError(
                    f"{len(pods)} pods are attached (first: {pods[0]}); delete them, or --force"
                )
            for one in state.store.all():
                state.engine.detach(one.key, host)
            leave_clusters(found, state, host)
            kernel = state.kernel_for(host)
            failures = kernel.withdraw(kernel.owned())
            if failures:
                raise InstallError("; ".join(map(str, failures)))
    except StateError as error:
        if error.errno == errno.EAGAIN:
            raise InstallError("the agent runs; stop it first") from error
        raise
