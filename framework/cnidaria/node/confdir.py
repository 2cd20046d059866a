"""The runtime's configuration directory, read the way libcni reads it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from cnidaria.cni.codec import MAX_BYTES, folded
from cnidaria.cni.config import ConfList, NetConf, parse_conflist, plugin_config
from cnidaria.cni.errors import CniError, Code

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
    """All entries of ``types`` below ``directory``, and what could not be read.

    A file that cannot be read, or does not parse, costs only its own networks.
    """
    entries: list[Entry] = []
    errors: dict[Path, CniError] = {}
    try:
        files = _files(directory)
    except OSError as error:
        return [], {directory: _unreadable(error)}
    for file in files:
        try:
            entries += _entries(file, types)
        except CniError as error:
            errors[file] = error
        except OSError as error:
            errors[file] = _unreadable(error)
    return entries, errors


def _entries(file: Path, types: frozenset[str]) -> Iterator[Entry]:
    network = conflist(file)
    for index, plugin in enumerate(network.plugins):
        if folded(plugin).get("type") in types:
            yield Entry(file, plugin_config(network, index))


def conflist(file: Path) -> ConfList:
    """A network as a runtime reads it: a list, with the plugins of the directory named after it.

    Raises:
        CniError: 6 or 7, naming the file unless it is this one; 7 if it is no regular file.
        OSError: one of the files cannot be read.
    """
    network = parse_conflist(_content(file))
    if file.suffix != LIST:
        return network
    if not network.load_only_inlined_plugins:
        for more in _files(file.parent / network.name, PLUGINS):
            try:
                network = network.extended([_content(more)])
            except CniError as error:
                where = f"{network.name}/{more.name}"
                raise CniError(error.code, f"{where}: {error.msg}", error.details) from None
    if not network.plugins:
        text = f'there are no plugins, neither in "plugins" nor in {network.name}/*.conf'
        raise CniError(Code.INVALID_CONFIG, text)
    return network


def _content(file: Path) -> bytes:
    """No more than can be right, and of nothing that a reader might have to wait for."""
    if not S_ISREG(file.stat().st_mode):
        raise CniError(Code.INVALID_CONFIG, "must be a regular file")
    with file.open("rb") as opened:
        return opened.read(MAX_BYTES + 1)


def _unreadable(error: OSError) -> CniError:
    where = f"{error.filename}: " if error.filename else ""
    return CniError(Code.IO_FAILURE, f"{where}cannot be read: {error.strerror}")


def _files(directory: Path, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.suffix in suffixes)
    except (FileNotFoundError, NotADirectoryError):
        return []
