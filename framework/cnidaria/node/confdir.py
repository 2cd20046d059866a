"""The runtime's configuration directory, read the way libcni reads it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cnidaria.cni.codec import folded
from cnidaria.cni.config import ConfList, NetConf, parse_conflist, plugin_config
from cnidaria.cni.errors import CniError

log = logging.getLogger(__name__)

SUFFIXES = (".conflist", ".conf", ".json")


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
    conflist: ConfList = parse_conflist(file.read_bytes())
    for index, plugin in enumerate(conflist.plugins):
        if folded(plugin).get("type") in types:
            yield Entry(file, plugin_config(conflist, index))


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.suffix in SUFFIXES)
    except FileNotFoundError:
        return []
