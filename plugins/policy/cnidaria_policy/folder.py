"""Directories of manifests: what is in force when some of it is wrong."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cnidaria_policy.kept import Kept
from cnidaria_policy.manifests import SUFFIXES, Json, Key, Manifest, Refused, content, parse, shown

log = logging.getLogger(__name__)

Stamp = tuple[int, ...]

RECENT: Final = 50_000_000
"""Nanoseconds in which a file may change again and bear the same times: clocks of files tick."""


class Folders:
    """The objects in all files of some directories.

    A file that is refused, or cannot be read, keeps what it last said; so does a directory.

    Args:
        kept: what they said to an agent that is no more.

    Attributes:
        problems: what is wrong, one text for each file or directory.
        is_whole: whether all files were good at least once: before that it is not known what the
            policies are.
        is_reachable: whether all directories could be read at the last look.
        places: where the objects are from.
    """

    def __init__(self, directories: Iterable[str], kept: Kept | None = None) -> None:
        self.problems: list[str] = []
        self._kept = kept or Kept()
        self.is_reachable = True
        self.places: dict[Key, Manifest] = {}
        self._directories = [Path(one) for one in directories]
        before = self._kept.files(self._directories)
        self.is_whole = before is not None
        self._recallable = before or set()
        self._stamps: dict[Path, Stamp] = {}
        self._texts: dict[Path, bytes] = {}
        self._good: dict[Path, list[Manifest]] = {}
        self._wrong: dict[Path, str] = {}
        self._files: list[Path] | None = None
        self._found: dict[Key, Json] = {}
        self._twice: list[str] = []
        self._read = 0

    @property
    def directories(self) -> list[Path]:
        """Where the files are."""
        return list(self._directories)

    @property
    def refused(self) -> int:
        """How many files cannot be used as they are."""
        return len(self._wrong)

    def look(self) -> dict[Key, Json]:
        """Read what has changed; everything that is in force now.

        The same dictionary again, where nothing has changed.
        """
        before = self._read
        problems: list[str] = []
        files: list[Path] = []
        for directory in self._directories:
            try:
                files += sorted(one for one in directory.iterdir() if one.suffix in SUFFIXES)
            except OSError as error:
                problems.append(f"{shown(directory)}: {error.strerror}")
                files += self._known(directory)
        self._drop({*self._good, *self._wrong, *self._recallable} - {*files})
        for file in files:
            self._look_at(file)
        self.is_reachable = not problems
        self.is_whole |= not problems and all(file in self._good for file in files)
        is_new = self._read != before or self._files != files
        if self.is_whole and (is_new or not self._kept.is_whole):
            self._kept.set_whole(self._directories, files)
        if is_new:
            self._files = files
            self._found, self._twice = self._together(files)
        self.problems = [*problems, *self._wrong.values(), *self._twice]
        return self._found

    def _look_at(self, file: Path) -> None:
        try:
            stamp = _stamp(file.stat())
            if stamp and self._stamps.get(file) == stamp and not self._kept.lacks(file):
                return
            self._stamps[file] = stamp
            self._take(file, content(file))
        except Refused as error:
            self._wrong[file] = str(error)
            self._recall(file)
        except OSError as error:
            self._wrong[file] = f"{shown(file)}: {error.strerror}"
            self._stamps.pop(file, None)  # it may come back as it was
            self._recall(file)

    def _take(self, file: Path, text: bytes) -> None:
        digest = hashlib.sha256(text).digest()
        if self._texts.get(file) != digest:
            self._good[file] = parse(file, text)
            self._texts[file] = digest
            self._read += 1
            self._recallable.discard(file)
            self._kept.keep(file, text)
        elif self._kept.lacks(file):
            self._kept.keep(file, text)
        self._wrong.pop(file, None)

    def _known(self, directory: Path) -> list[Path]:
        """The files of a directory that cannot be read."""
        good = {one for one in self._good if one.parent == directory}
        return sorted(good | {one for one in self._recallable if one.parent == directory})

    def _recall(self, file: Path) -> None:
        """What it said before this process began, which was in force then."""
        if file not in self._recallable:
            return
        self._recallable.discard(file)
        try:
            self._good[file] = self._kept.recall(file)
            self._read += 1
        except (Refused, OSError) as error:
            self._wrong[file] += f"; what it said before is lost: {error}"
            self.is_whole = False

    def _drop(self, gone: Iterable[Path]) -> None:
        for file in gone:
            self._good.pop(file, None)
            self._wrong.pop(file, None)
            self._stamps.pop(file, None)
            self._texts.pop(file, None)
            self._recallable.discard(file)

    def _together(self, files: Iterable[Path]) -> tuple[dict[Key, Json], list[str]]:
        """Of two objects of one name the first in order counts."""
        found: dict[Key, Manifest] = {}
        twice: list[str] = []
        for file in files:
            for one in self._good.get(file, ()):
                first = found.setdefault(one.key, one)
                if first is not one:
                    kind, namespace, name = one.key
                    place = f"{namespace}/{name}" if namespace else name
                    twice.append(
                        f"{shown(file)}:{one.line}: {kind} {place} is there already: "
                        f"{shown(first.file)}:{first.line}"
                    )
        self.places = found
        return {key: one.obj for key, one in found.items()}, twice


def _stamp(found: os.stat_result) -> Stamp:
    """Another one after each change; none where the next change might not be seen by it."""
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    if 0 <= time.time_ns() - changed < RECENT:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
