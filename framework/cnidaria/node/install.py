"""Putting the executable under every CNI type's name, and taking it away again.

Each installed file is the static executable with a trailer that holds this installation's
settings, so that it finds the agent and the interpreter wherever the runtime runs it.
"""

from __future__ import annotations

import os
import shutil
import struct
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgpack

from cnidaria.ipam.keys import IPAM_TYPE
from cnidaria.node.settings import Settings

EXECUTABLE = "cnidaria-cni"
MAGIC = b"CNIDARIA"
_LENGTH = struct.Struct("<I")


class InstallError(Exception):
    """Something that stands in the way of installing; the text names it."""


def executable() -> Path:
    """The static executable that came with the wheel ``cnidaria-exec``.

    Raises:
        InstallError: it is not there.
    """
    beside = Path(sysconfig.get_path("scripts"), EXECUTABLE)
    found = beside if beside.exists() else shutil.which(EXECUTABLE)
    if found is None:
        raise InstallError(f"{beside} is missing; `pip install cnidaria-exec` brings it")
    return Path(found)


def trailer(settings: Settings) -> bytes:
    """The settings as the executable reads them from its own end."""
    body: bytes = msgpack.packb(
        {
            "socket": os.fspath(settings.socket),
            "python": sys.executable,
            "state_dir": os.fspath(settings.state_dir),
            "timeout_s": settings.timeout,
        }
    )
    return body + _LENGTH.pack(len(body)) + MAGIC


def is_ours(path: Path) -> bool:
    """Whether ``path`` is an executable that :func:`install` wrote."""
    try:
        with path.open("rb") as file:
            file.seek(-len(MAGIC), os.SEEK_END)
            return file.read() == MAGIC
    except OSError:
        return False


def install(bin_dir: Path, types: Iterable[str], settings: Settings) -> list[Path]:
    """Write the executable under each of ``types``; each file is replaced in one step.

    Raises:
        InstallError: a file of that name is not ours, or the directory cannot be written.
    """
    content = executable().read_bytes() + trailer(settings)
    targets = [bin_dir / name for name in sorted({*types, IPAM_TYPE})]
    for target in targets:
        if target.exists() and not is_ours(target):
            raise InstallError(f"{target} exists and is not ours; move it away first")
    try:
        bin_dir.mkdir(parents=True, exist_ok=True)
        first = _write(targets[0], content)
        for target in targets[1:]:
            _link(first, target)
    except OSError as error:
        raise InstallError(f"cannot write to {bin_dir}: {error.strerror}") from error
    return targets


def uninstall(bin_dir: Path) -> list[Path]:
    """Remove every executable of ours from ``bin_dir``; what is not ours stays."""
    ours = sorted(path for path in bin_dir.glob("*") if path.is_file() and is_ours(path))
    for path in ours:
        path.unlink(missing_ok=True)
    return ours


def _write(target: Path, content: bytes) -> Path:
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
        file.write(content)
    os.chmod(file.name, 0o755)
    os.replace(file.name, target)
    return target


def _link(first: Path, target: Path) -> None:
    """One file under many names: the page cache and the disk hold it once."""
    spare = target.with_name(f".{target.name}.new")
    spare.unlink(missing_ok=True)
    os.link(first, spare)
    os.replace(spare, target)
