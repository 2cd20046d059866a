"""The runtime's configuration directory, read the way libcni reads it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from cnidaria.cni.codec import folded
from cnidaria.cni.config import ConfList, NetConf, parse_conflist, plugin_config
from cnidaria.cni.errors import CniError, Code

log = logging.getLogger(__name__)

LIST = ".conflist"
SUFFIXES = (LIST, ".conf", ".json")
PLUGINS = (".conf",)
"""Of the directory with a network's plugins, since CNI 1.1."""


@dataclass(frozen=True)
class Entry:
    """One of our plugins in one conflist: the file, and the configuration it would be given."""

    file: Path
    conf: NetConf


def read(directory: Path, types: frozenset[str]) -> tuple[list[Entry], dict[Path, CniError]]:
    """All entries of ``types`` below ``directory``, and the files that could not be read.

    A file that does not parse costs only its own networks.
    """
    entries: list[Entry] = []
    errors: dict[Path, CniError] = {}
    for file in _files(directory):
        try:
            entries += _entries(file, types)
        except CniError as error:
            errors[file] = error
        except OSError as error:
            log.warning("%s: %s", file, error.strerror)
    return entries, errors


def _entries(file: Path, types: frozenset[str]) -> Iterator[Entry]:
    network = conflist(file)
    for index, plugin in enumerate(network.plugins):
        if folded(plugin).get("type") in types:
            yield Entry(file, plugin_config(network, index))


def conflist(file: Path) -> ConfList:
    """A network as a runtime reads it: a list, with the plugins of the directory named after it.

    Raises:
        CniError: 6 or 7, naming the file unless it is this one.
        OSError: one of the files cannot be read.
    """
    network = parse_conflist(file.read_bytes())
    if file.suffix != LIST:
        return network
    if not network.load_only_inlined_plugins:
        for more in _files(file.parent / network.name, PLUGINS):
            try:
                network = network.extended([more.read_bytes()])
            except CniError as error:
                where = f"{network.name}/{more.name}"
                raise CniError(error.code, f"{where}: {error.msg}", error.details) from None
    if not network.plugins:
        text = f'there are no plugins, neither in "plugins" nor in {network.name}/*.conf'
        raise CniError(Code.INVALID_CONFIG, text)
    return network


def _files(directory: Path, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.suffix in suffixes)
    except (FileNotFoundError, NotADirectoryError):
        return []
