"""Whatever is in a directory of policies, nobody waits for it, and what was good stays in force."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from cnidaria_policy.folder import Folders
from cnidaria_policy.manifests import LARGEST, Refused, line_in, read
from cnidaria_policy.policies import manifests

GOOD = """\
apiVersion: v1
kind: Namespace
metadata: {name: one}
"""
IRREGULAR = ": is no regular file"


def whole(path: Path, size: int, text: str) -> None:
    path.write_text(text * (size // len(text)))


def sized(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


def loop(path: Path) -> None:
    path.symlink_to("loop")
    path.with_name("loop").symlink_to("loop")


def socket_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def secret(path: Path) -> None:
    path.write_text(GOOD)
    path.chmod(0)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "FIFO": (os.mkfifo, IRREGULAR),
    "socket": (socket_at, IRREGULAR),
    "device without end": (lambda path: path.symlink_to("/dev/zero"), IRREGULAR),
    "directory": (Path.mkdir, IRREGULAR),
    "link to a directory": (lambda path: path.symlink_to("."), IRREGULAR),
    "link to nothing": (lambda path: path.symlink_to("nothing"), ": No such file or directory"),
    "links in a circle": (loop, ": Too many levels of symbolic links"),
    "not for us": (secret, ": Permission denied"),
    "cannot be read": (lambda path: path.symlink_to("/proc/self/mem"), ": Input/output error"),
    "noise": (lambda path: path.write_bytes(os.urandom(10 << 20)), ":1: "),
    "brackets": (lambda path: whole(path, 10 << 20, "["), ":1: is nested too deeply"),
    "one line": (lambda path: whole(path, 10 << 20, "x"), ":1: "),
    "too large": (lambda path: sized(path, LARGEST + 1), ":1: is larger than 64 MiB"),
    "much too large": (lambda path: sized(path, 1 << 40), ":1: is larger than 64 MiB"),
}


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's right to read everything."""
    before = os.geteuid()
    os.seteuid(65534) if before == 0 else None
    try:
        yield
    finally:
        os.seteuid(before)


def names(folders: Folders) -> set[str]:
    return {name for _, _, name in folders.look()}


@pytest.fixture(params=HOSTILE)
def kind(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Of a hostile file, in a directory where also nobody may write, whatever is above it."""
    inside = tmp_path / "policies"
    inside.mkdir()
    inside.chmod(0o777)
    monkeypatch.chdir(inside)
    with as_nobody() if request.param == "not for us" else nullcontext():
        yield request.param


def test_what_was_good_stays(kind: str) -> None:
    """Beside a good file, and then in its place."""
    make, problem = HOSTILE[kind]
    good, bad = Path("a.yaml"), Path("b.yaml")
    good.write_text(GOOD)
    folders = Folders(["."])
    assert names(folders) == {"one"}
    make(bad)
    assert names(folders) == {"one"}
    (said,) = folders.problems
    assert said.startswith(f"{bad}{problem}")
    bad.replace(good) if kind != "directory" else (good.unlink(), bad.replace(good))
    assert names(folders) == {"one"}
    assert folders.problems == [said.replace(str(bad), str(good))]
    assert (folders.is_whole, folders.refused) == (True, 1)
    good.rmdir() if kind == "directory" else good.unlink()
    assert names(folders) == set()
    assert folders.problems == []


def test_what_was_never_good_is_no_policy(kind: str) -> None:
    make, problem = HOSTILE[kind]
    make(Path("a.yaml"))
    folders = Folders(["."])
    opened = os.listdir("/proc/self/fd")
    assert names(folders) == set()
    assert os.listdir("/proc/self/fd") == opened
    assert folders.problems[0].startswith(f"a.yaml{problem}")
    assert not folders.is_whole


def test_a_name_that_cannot_be_printed(tmp_path: Path) -> None:
    """Who is told of it gets neither an error nor his terminal's colours changed."""
    names = (b"\xff.yaml", b"a\n\x1b[31mb.yaml", "ä c.yaml".encode())
    for name in names:
        (tmp_path / os.fsdecode(name)).write_text("kind: Nonsense")
    folders = Folders([str(tmp_path), str(tmp_path / "\t")])
    folders.look()
    said = [one.partition(": ")[0].removeprefix(f"{tmp_path}/") for one in folders.problems]
    assert said == [r"\t", r"a\n\x1b[31mb.yaml:1", "ä c.yaml:1", r"\udcff.yaml:1"]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_text(GOOD)
    folders.look()
    assert not [one for one in folders.problems if not one.isprintable()]


def test_what_is_being_written(tmp_path: Path) -> None:
    """Half of it would be right, too, as would be none of it."""
    good, late = tmp_path / "a.yaml", tmp_path / "b.yaml"
    good.write_text(GOOD)
    folders = Folders([str(tmp_path)])
    assert names(folders) == {"one"}
    with good.open("w") as first, late.open("w") as second:
        second.write(GOOD.replace("one", "two"))
        second.flush()
        for text in ("", GOOD.replace("one", "three"), "---\n"):
            first.write(text)
            first.flush()
            assert names(folders) == {"one"}
            assert folders.problems == [f"{one}: is being written" for one in (good, late)]
        assert not Folders([str(tmp_path)]).is_whole
        first.write(GOOD)
    assert names(folders) == {"one", "two", "three"}
    assert folders.problems == []


def test_nobody_writes_what_is_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(GOOD)
    really, tried = os.read, 0

    def read_slowly(fd: int, size: int) -> bytes:
        nonlocal tried
        tried += 1
        with pytest.raises(BlockingIOError):
            os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK)
        return really(fd, size)

    with monkeypatch.context() as slow:
        slow.setattr(os, "read", read_slowly)
        (one,) = read(path)
    assert tried
    assert one.key[2] == "one"
    path.write_text("")  # and nobody waits any more


def test_what_becomes_a_pipe_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(GOOD)
    regular = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(Path, "stat", lambda _: regular)
    with pytest.raises(OSError, match="is no regular file") as caught:
        read(path)
    assert caught.value.filename == str(path)


def test_a_line_is_not_looked_up_in_what_became_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"# a comment\n{GOOD}")
    (one,) = read(path)
    path.unlink()
    os.mkfifo(path)
    assert line_in(one, "metadata.name") == 2


def test_a_pipe_that_somebody_names_is_read(tmp_path: Path) -> None:
    """As a shell's ``<(kubectl get -o yaml netpol)``, but not one of a directory that is named."""
    path = tmp_path / "a.yaml"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(GOOD,))
    writer.start()
    assert [name for _, _, name in manifests([path])] == ["one"]
    writer.join()
    with pytest.raises(OSError, match="is no regular file"):
        manifests([tmp_path])


def test_a_pipe_without_end(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is larger than 64 MiB"):
        read(Path("/dev/zero"), waits=True)
