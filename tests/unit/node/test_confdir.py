"""The runtime's directory, read as libcni reads it."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from cnidaria.node.confdir import read

TYPES = frozenset({"ours", "other"})


def write(directory: Path, files: dict[str, Any]) -> None:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))


def entries(directory: Path) -> list[tuple[str, str, str, Any]]:
    found, errors = read(directory, TYPES)
    assert not errors
    return [(one.file.name, one.conf.name, one.conf.type, one.conf.own.get("n")) for one in found]


def errors(directory: Path) -> dict[str, str]:
    return {file.name: str(error) for file, error in read(directory, TYPES)[1].items()}


def test_plugins_of_the_directory_named_after_the_network(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "10-a.conflist": {"cniVersion": "1.1.0", "name": "pods"},
            "20-b.conflist": {"cniVersion": "1.1.0", "name": "more", "plugins": [{"type": "ours"}]},
            "30-c.conf": {"cniVersion": "1.1.0", "name": "more", "type": "ours"},
            "pods/20.conf": {"type": "ours", "n": 2},
            "pods/10.conf": {"type": "other", "n": 1, "name": "not this", "cniVersion": "0.4.0"},
            "pods/15.conf": {"type": "strange"},
            "pods/30.conflist": "not looked at",
            "more/10.conf": {"type": "other", "n": 3},
        },
    )
    assert entries(tmp_path) == [
        ("10-a.conflist", "pods", "other", 1),
        ("10-a.conflist", "pods", "ours", 2),
        ("20-b.conflist", "more", "ours", None),
        ("20-b.conflist", "more", "other", 3),
        ("30-c.conf", "more", "ours", None),
    ]
    assert {one.conf.cni_version for one in read(tmp_path, TYPES)[0]} == {"1.1.0"}


def test_a_list_may_refuse_the_directory(tmp_path: Path) -> None:
    inlined = {"name": "pods", "loadOnlyInlinedPlugins": True, "plugins": [{"type": "ours"}]}
    write(tmp_path, {"10.conflist": inlined, "pods/10.conf": "not looked at"})
    assert entries(tmp_path) == [("10.conflist", "pods", "ours", None)]


def test_what_is_wrong_costs_one_network(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "10.conflist": {"name": "pods"},
            "pods/10.conf": {"type": 7},
            "20.conflist": {"name": "empty"},
            "30.conflist": {"name": "good", "plugins": [{"type": "ours"}]},
            "good": "a file where a directory might be",
        },
    )
    found, _ = read(tmp_path, TYPES)
    assert [one.conf.name for one in found] == ["good"]
    said = errors(tmp_path)
    assert said.keys() == {"10.conflist", "20.conflist"}
    assert "pods/10.conf: " in said["10.conflist"] and "type = 7" in said["10.conflist"]
    assert "there are no plugins" in said["20.conflist"]


def test_what_is_no_file_is_said_and_waited_for_by_nobody(tmp_path: Path) -> None:
    good = {"name": "good", "plugins": [{"type": "ours"}]}
    write(tmp_path, {"90.conflist": good, "80.conflist": {"name": "pods"}})
    (tmp_path / "10.conflist").mkdir()
    os.mkfifo(tmp_path / "20.conflist")
    (tmp_path / "30.conflist").symlink_to("/dev/zero")
    (tmp_path / "40.conflist").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "50.conflist"))
    (tmp_path / "pods").mkdir()
    os.mkfifo(tmp_path / "pods" / "10.conf")
    found, _ = read(tmp_path, TYPES)
    assert [one.conf.name for one in found] == ["good"]
    said = errors(tmp_path)
    assert {name for name, why in said.items() if why == "must be a regular file"} == {
        "10.conflist",
        "20.conflist",
        "30.conflist",
        "50.conflist",
    }
    assert said["40.conflist"].endswith("cannot be read: No such file or directory")
    assert said["80.conflist"] == "pods/10.conf: must be a regular file"


def test_a_directory_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    assert "symbolic links" in errors(loop)["loop"]
    assert errors(tmp_path / "nowhere") == {}
