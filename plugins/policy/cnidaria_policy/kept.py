"""Files of policies as they were last accepted, for an agent that starts and finds them refused."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from cnidaria.kinds import NetNS
from cnidaria_policy.manifests import SUFFIXES, Manifest, read

WHOLE: Final = ".whole"
"""That all files of a directory were good at once: what is kept is a state that was in force."""

log = logging.getLogger(__name__)


def place(state_dir: Path, network: str, namespace: NetNS) -> Path:
    """Where a network's files are kept."""
    return state_dir / "policies" / f"{network}@{namespace.cookie}"


def forget(state_dir: Path, network: str, namespace: NetNS) -> None:
    """Keep nothing of a network any more."""
    where = place(state_dir, network, namespace)
    shutil.rmtree(where, ignore_errors=True)
    with suppress(OSError):
        where.parent.rmdir()


class Kept:
    """Copies of files, in a directory for each of theirs.

    Args:
        where: see :func:`place`; ``None``: nothing is kept.
        is_fixed: what is kept is looked at, and stays as it is.

    Attributes:
        is_whole: whether what is kept is what was told last; a disk may have been full.
    """

    def __init__(self, where: Path | None = None, *, is_fixed: bool = False) -> None:
        self._where = where
        self._is_fixed = is_fixed or where is None
        self._lost: set[Path] = set()
        self.is_whole = self._is_fixed

    def files(self, directories: Iterable[Path]) -> set[Path] | None:
        """The files of these directories that were in force; ``None``: not all of them are kept."""
        found: set[Path] = set()
        for one in directories:
            names = self._names(one)
            if WHOLE not in names:
                return None
            found |= {one / name for name in names if Path(name).suffix in SUFFIXES}
        return found

    def recall(self, file: Path) -> list[Manifest]:
        """What a file said that was accepted. Raises as :func:`~.manifests.read`."""
        return [Manifest(one.obj, file, one.line) for one in read(self._copy(file))]

    def lacks(self, file: Path) -> bool:
        """Whether it could not be kept when it was told, and is to be told again."""
        return file in self._lost

    def keep(self, file: Path, data: bytes) -> None:
        """It is accepted."""
        if self._is_fixed:
            return
        copy = self._copy(file)
        spare = copy.with_name(".new")
        with self._changing(file):
            if not copy.parent.is_dir():
                copy.parent.mkdir(mode=0o700, parents=True)
            spare.write_bytes(data)
            spare.replace(copy)

    def set_whole(self, directories: Iterable[Path], files: Collection[Path]) -> None:
        """These files, and no others, are what is in force."""
        if self._is_fixed or any(one.name != WHOLE for one in self._lost):
            return
        for one in directories:
            copies, wanted = self._copies(one), {file.name for file in files if file.parent == one}
            with self._changing(one / WHOLE):
                copies.mkdir(mode=0o700, parents=True, exist_ok=True)
                for name in self._names(one) - wanted - {WHOLE}:
                    (copies / name).unlink()
                (copies / WHOLE).touch()
        self.is_whole = not self._lost

    @contextmanager
    def _changing(self, file: Path) -> Iterator[None]:
        """Where that fails, what is kept is older than what is in force, and must not count."""
        try:
            yield
            self._lost.discard(file)
        except OSError as error:
            if file not in self._lost:
                log.warning("%s is not kept for the next start: %s", file, error)
            self._lost.add(file)
            self.is_whole = False
            with suppress(OSError):
                self._copy(file.with_name(WHOLE)).unlink()

    def _names(self, directory: Path) -> set[str]:
        if self._where is None:
            return set()
        try:
            return {one.name for one in self._copies(directory).iterdir()}
        except OSError:
            return set()

    def _copies(self, directory: Path) -> Path:
        assert self._where is not None
        return self._where / hashlib.sha256(bytes(directory)).hexdigest()[:32]

    def _copy(self, file: Path) -> Path:
        return self._copies(file.parent) / file.name
