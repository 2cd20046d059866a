"""The runtime in miniature calls plugins exactly as libcni does: cnitool is the twin."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnidaria.cni.errors import CniError
from cnidaria.testing.runtime import Attachment, Runtime
from support.needs import RUNTIMES, needs
from support.node import Node

CNITOOL = str(RUNTIMES / "bin" / "cnitool")

pytestmark = needs(CNITOOL)

RECORDER = """#!/bin/sh
out="$RECORD/$(ls "$RECORD" | wc -l)"
{ echo "${0##*/}"; env | grep ^CNI_ | sort; echo; cat; } >"$out"
[ "$CNI_COMMAND" != ADD ] || echo 'RESULT'
"""
CHAIN: list[dict[str, Any]] = [
    {"type": "first", "name": "other", "CNIVersion": "0.1.0", "own": {"key": [1, None]}},
    {
        "type": "second",
        "capabilities": {"portMappings": True, "ips": False, "mac": True},
        "runtimeConfig": {"replaced": 1},
    },
]
ARGS = {"IgnoreUnknown": "1", "K8S_POD_NAME": "pod"}
CAPABILITIES = {"portMappings": [{"hostPort": 8080, "containerPort": 80}], "ips": ["10.0.0.9"]}


@pytest.fixture
def node() -> Iterator[Node]:
    with Node() as node:
        yield node


def install(node: Node, version: str) -> None:
    for name in ("first", "second"):
        result: dict[str, Any] = {"cniVersion": version, "interfaces": [{"name": name}]}
        result["dns"] = {"nameservers": ["192.0.2.53"]}
        node.write(f"/run/bin/{name}", RECORDER.replace("RESULT", json.dumps(result)))
        path = node.path(f"/run/bin/{name}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


def calls(directory: Path, bin_dir: str) -> list[tuple[str, dict[str, str], Any]]:
    """What was recorded: plugin, environment, stdin. Directories of plugins are made equal."""
    found = []
    for path in sorted(directory.iterdir(), key=lambda path: int(path.name)):
        head, _, stdin = path.read_text().partition("\n\n")
        plugin, *variables = head.splitlines()
        environ = dict(line.split("=", 1) for line in variables)
        environ["CNI_PATH"] = environ["CNI_PATH"].replace(bin_dir, "BIN")
        found.append((plugin, environ, json.loads(stdin)))
    return found


def by_cnitool(node: Node, network: dict[str, Any], verbs: list[str]) -> list[Any]:
    node.path("/run/theirs").mkdir()
    node.write("/etc/cni/net.d/10-net.conflist", json.dumps(network))
    environ = {
        "CNI_PATH": "/run/bin",
        "NETCONFPATH": "/etc/cni/net.d",
        "CNI_ARGS": ";".join(f"{key}={text}" for key, text in ARGS.items()),
        "CNI_IFNAME": "net1",
        "CAP_ARGS": json.dumps(CAPABILITIES),
        "RECORD": "/run/theirs",
    }
    for verb in verbs:
        node.run(CNITOOL, verb, network["name"], "/run/netns/pod", env=environ)
    return calls(node.path("/run/theirs"), "/run/bin")


def by_us(node: Node, network: dict[str, Any], verbs: list[str], container: str) -> list[Any]:
    ours, bin_dir = node.path("/run/ours"), node.path("/run/bin")
    ours.mkdir()
    runtime = Runtime(network, [bin_dir], {"PATH": "/usr/bin:/bin", "RECORD": str(ours)})
    pod = Attachment(container, "/run/netns/pod", "net1", ARGS, CAPABILITIES)
    steps = {
        "add": runtime.add,
        "check": runtime.check,
        "del": runtime.delete,
        "status": lambda _: runtime.status(),
        "gc": lambda pod: runtime.gc([pod]),
    }
    for verb in verbs:
        steps[verb](pod)
    return calls(ours, str(bin_dir))


@pytest.mark.parametrize(
    ("network", "verbs"),
    [
        ({"cniVersion": "1.1.0"}, ["status", "add", "check", "del", "del"]),
        ({"cniVersion": "0.4.0"}, ["status", "add", "check", "del", "del"]),
        ({"cniVersion": "0.3.1"}, ["add", "del"]),
        ({"cniVersion": "1.0.0", "disableCheck": True}, ["add", "check", "del"]),
        ({"cniVersion": "0.4.0", "cniVersions": ["1.0.0", "1.1.0"]}, ["add", "check", "del"]),
    ],
    ids=json.dumps,
)
def test_plugins_are_called_as_libcni_does(
    node: Node, network: dict[str, Any], verbs: list[str]
) -> None:
    install(node, max(network.get("cniVersions", [network["cniVersion"]])))
    conflist = {**network, "name": "net", "plugins": CHAIN}
    theirs = by_cnitool(node, conflist, verbs)
    container = theirs[-1][1]["CNI_CONTAINERID"]
    assert by_us(node, conflist, verbs, container) == theirs
    assert theirs


def test_garbage_collection_names_what_is_valid(node: Node) -> None:
    """cnitool has no way to say what is valid, so this one is against the specification."""
    install(node, "1.1.0")
    conflist = {"cniVersion": "1.1.0", "name": "net", "plugins": CHAIN[:1]}
    recorded = by_us(node, conflist, ["add", "gc"], "kept")
    valid = [{"containerID": "kept", "ifname": "net1"}]
    assert [call[1]["CNI_COMMAND"] for call in recorded] == ["ADD", "GC"]
    assert recorded[1][2]["cni.dev/valid-attachments"] == valid
    assert recorded[1][2]["cni.dev/attachments"] == valid


def test_errors_of_plugins_come_through(tmp_path: Path) -> None:
    pod = Attachment("c", "/n")
    network: dict[str, Any] = {"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "bad"}]}
    runtime = Runtime(network, [tmp_path], timeout=0.5)
    scripts = {
        5: "",
        11: "exec sleep 10",
        6: "echo nonsense",
        100: "echo why >&2; exit 3",
        42: """echo '{"code": 42, "msg": "own"}'; exit 1""",
    }
    for code, script in scripts.items():
        if script:
            (tmp_path / "bad").write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / "bad").chmod(0o755)
        with pytest.raises(CniError) as caught:
            runtime.add(pod)
        assert caught.value.code == code
