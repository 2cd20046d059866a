"""The command ``cnidaria``: one module for each of its commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from typing import TYPE_CHECKING

COMMANDS = {
    "agent": "run the node agent in the foreground",
    "install": "put the CNI executables into the runtime's directory",
    "uninstall": "take them away again, and everything we put into the kernel",
    "init": "write a conflist to start from",
    "plan": "what a network would be on this node, and what a pod would get: a dry run",
    "status": "what this node's networks do, and what is wrong",
    "metrics": "what the agent has measured, as Prometheus reads it",
    "pods": "the attachments of this node",
    "cluster": "the other nodes, and what addresses they have",
    "modes": "the installed network modes and their keys",
}

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

EXAMPLES = """\
examples:
  cnidaria install                      # executables into /opt/cni/bin
  cnidaria init flat --subnet 10.1.0.0/24 > /etc/cni/net.d/10-pods.conflist
  cnidaria plan /etc/cni/net.d/10-pods.conflist
  cnidaria agent                        # warm and fast; without it every call runs one-shot
  cnidaria status --json
"""


def parser(wanted: str = "") -> argparse.ArgumentParser:
    """The parser of the command line; with ``wanted`` only that command's arguments are known.

    Plugins are loaded for their commands only where ``wanted`` is none of our own.
    """
    root = argparse.ArgumentParser(
        prog="cnidaria",
        description="Pod networks that you extend in Python.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=metadata.version("cnidaria"))
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = _add(commands, name, summary)
        if name == wanted:
            module = import_module(f"cnidaria.cli.{name}")
            module.arguments(command)
            command.set_defaults(run=module.run)
    if wanted not in COMMANDS:
        _add_plugins(commands, wanted)
    return root


def _add(commands: Subparsers, name: str, summary: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_plugins(commands: Subparsers, wanted: str) -> None:
    from cnidaria.cli.options import add_paths, settings
    from cnidaria.node.view import View
    from cnidaria.plugins import load

    common = argparse.ArgumentParser(add_help=False)
    add_paths(common, conf_dir=True)
    found = load().commands
    parsers = {name: _add(commands, name, one.summary) for name, one in sorted(found.items())}
    if wanted in found:
        plugin = found[wanted]
        plugin.arguments(parsers[wanted], common)
        run = plugin.run
        parsers[wanted].set_defaults(run=lambda options: run(options, View(settings(options))))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 if it did what it was asked, 1 if not, 2 if the asking was wrong."""
    words = sys.argv[1:] if argv is None else argv
    arguments = parser(next(iter(words), "")).parse_args(words)
    try:
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except expected_errors() as error:
        print(f"cnidaria {arguments.command}: {printable(in_words(error))}", file=sys.stderr)
        return 1


def in_words(error: Exception) -> str:
    """An error for people: the system's own say which file first, and have no number."""
    if type(error).__str__ is OSError.__str__ and isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return str(error)


def printable(text: str) -> str:
    """For people's terminals: what would change their colours is escaped, lines stay lines."""
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode()
        for one in text
    )


def expected_errors() -> tuple[type[Exception], ...]:
    """What is reported in a line; anything else is a fault of ours and shows its traceback."""
    from cnidaria.api import NotReady
    from cnidaria.cluster import StoreError
    from cnidaria.cni.errors import CniError
    from cnidaria.node.install import InstallError
    from cnidaria.node.report import NoAnswerError
    from cnidaria.node.settings import SettingsError
    from cnidaria.plugins import PluginError

    return (
        OSError,
        CniError,
        InstallError,
        NoAnswerError,
        NotReady,
        PluginError,
        SettingsError,
        StoreError,
    )
