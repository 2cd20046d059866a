"""Other IPAM plugins: the real ones, and some of bad manners."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from cnidaria.cni.config import NetConf
from cnidaria.cni.env import Invocation
from cnidaria.cni.errors import CniError, Code
from cnidaria.ipam.delegate import Delegation, execute, find
from cnidaria.kernel.netns import NetNS
from support.needs import needs
from support.node import PLUGIN_DIR

ANSWER = {"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}]}


def delegation(
    ipam: dict[str, Any],
    *path: object,
    command: str = "ADD",
    container: str = "c1",
    args: str = "",
    **more: Any,
) -> Delegation:
    env = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": "/run/netns/pod",
        "CNI_ARGS": args,
        "CNI_PATH": ":".join(map(str, path)),
    }
    raw = {"cniVersion": "1.0.0", "name": "net", "type": "cnidaria-flat", "ipam": ipam, **more}
    return Delegation.of(NetConf.parse(raw), Invocation.parse(env))


def script(directory: Path, body: str, name: str = "own-ipam") -> Path:
    """A plugin that is a shell script; what it is called with goes to the file ``log``."""
    file = directory / name
    text = f"""\
        #!/bin/sh
        cat >{directory}/stdin
        echo "$CNI_COMMAND" >>{directory}/log
        """
    file.write_text(textwrap.dedent(text) + textwrap.dedent(body))
    file.chmod(0o755)
    return file


def answering(directory: Path, answer: Any = ANSWER) -> Path:
    return script(directory, f"cat <<'EOF'\n{json.dumps(answer)}\nEOF\n")


def called(directory: Path) -> list[str]:
    return (directory / "log").read_text().split()


def failure(function: Any, *args: Any, **kwargs: Any) -> CniError:
    with pytest.raises(CniError) as caught:
        function(*args, **kwargs)
    return caught.value


@needs(f"{PLUGIN_DIR}/host-local")
def test_host_local(host, tmp_path):
    ipam = {
        "type": "host-local",
        "dataDir": str(tmp_path),
        "ranges": [[{"subnet": "10.1.0.0/30"}], [{"subnet": "fd00::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    asked = delegation(ipam, "/nonexistent", PLUGIN_DIR)
    given = asked.add(host)
    assert [(one.address, one.prefix_len, one.gateway) for one in given.addresses] == [
        ("10.1.0.2", 30, "10.1.0.1"),
        ("fd00::2", 64, "fd00::1"),
    ]
    assert given.routes[0].dst == "0.0.0.0/0"
    asked.check(host)

    other = delegation(ipam, PLUGIN_DIR, container="c2")
    error = failure(other.add, host)
    assert error.msg.startswith("host-local: ") and "no IP addresses available" in error.msg

    again = Delegation.from_record(json.loads(json.dumps(asked.to_record())))
    assert again == asked
    again.delete(host)
    assert other.add(host).addresses[0].address == "10.1.0.2"
    other.delete(host)
    other.delete(host)
    assert not list(tmp_path.glob("net/10.*"))


@needs(f"{PLUGIN_DIR}/host-local")
def test_host_local_gets_the_arguments(host, tmp_path):
    ipam = {"type": "host-local", "dataDir": str(tmp_path), "subnet": "10.1.0.0/24"}
    asked = delegation(ipam, PLUGIN_DIR, args="IgnoreUnknown=1;IP=10.1.0.77;K8S_POD_NAME=x;A=b")
    assert asked.add(host).addresses[0].address == "10.1.0.77"
    asked.delete(host)


@needs(f"{PLUGIN_DIR}/static")
def test_static_with_its_own_version_of_results(host):
    ipam = {"type": "static", "addresses": [{"address": "10.1.0.9/24", "gateway": "10.1.0.1"}]}
    asked = delegation(ipam, PLUGIN_DIR, cniVersion="0.3.1")
    (lease,) = asked.add(host).addresses
    assert (lease.address, lease.prefix_len, lease.gateway) == ("10.1.0.9", 24, "10.1.0.1")
    asked.delete(host)


@needs(f"{PLUGIN_DIR}/static")
def test_check_goes_with_the_prev_result_of_the_call(host):
    ipam = {"type": "static", "addresses": [{"address": "10.1.0.9/24"}]}
    asked = delegation(ipam, PLUGIN_DIR)
    prev = asked.add(host).result("1.0.0").to_json("1.0.0")
    prev["interfaces"] = [{"name": "eth0", "sandbox": "/run/netns/pod"}]
    prev["ips"][0]["interface"] = 0
    now = NetConf.parse({**asked.config, "prevResult": prev})
    asked.check(host, now)
    error = failure(asked.check, host)
    assert error.msg.startswith("static: ") and "prevResult" in error.msg


def test_it_runs_in_the_callers_namespace_with_its_environment(host, tmp_path, monkeypatch):
    monkeypatch.setenv("CNI_IFNAME", "of-another-call")
    script(
        tmp_path,
        f"""\
        stat -Lc %i /proc/self/ns/net >{tmp_path}/inode
        env | grep ^CNI_ | sort >{tmp_path}/env
        echo '{json.dumps(ANSWER)}'
        """,
    )
    asked = delegation({"type": "own-ipam"}, tmp_path, args="IP=10.1.0.5;K8S_POD_NAME=x")
    assert asked.add(host).addresses[0].address == "10.1.0.5"
    inode = int((tmp_path / "inode").read_text())
    assert inode == os.fstat(host.fd).st_ino
    with NetNS.current() as mine:
        assert inode != os.fstat(mine.fd).st_ino
    assert (tmp_path / "env").read_text().splitlines() == [
        "CNI_ARGS=IgnoreUnknown=1;IP=10.1.0.5;K8S_POD_NAME=x",
        "CNI_COMMAND=ADD",
        "CNI_CONTAINERID=c1",
        "CNI_IFNAME=eth0",
        "CNI_NETNS=/run/netns/pod",
        f"CNI_PATH={tmp_path}",
    ]
    assert json.loads((tmp_path / "stdin").read_text()) == asked.config


def test_an_error_is_passed_on_with_the_plugins_name_and_add_is_undone(host, tmp_path):
    error = {"cniVersion": "1.0.0", "code": 11, "msg": "try later", "details": "busy"}
    script(tmp_path, f"echo '{json.dumps(error)}'\nexit 1\n")
    found = failure(delegation({"type": "own-ipam"}, tmp_path).add, host)
    assert (found.code, found.msg, found.details) == (11, "own-ipam: try later", "busy")
    assert called(tmp_path) == ["ADD", "DEL"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("echo no json", "the answer is not a JSON object"),
        ("echo '[]'", "the answer is not a JSON object"),
        ("true", "the answer is not a JSON object"),
        ("""echo '{"cniVersion": "1.0.0"}'""", "has no address"),
        ("""echo '{"cniVersion": "9.9.9", "ips": []}'""", "9.9.9"),
        ("""echo '{"ips": [{"address": "nonsense"}]}'""", "nonsense"),
        ("echo it is broken >&2; exit 3", "failed with exit code 3; it is broken"),
        ("echo '{\"code\": 0}'; exit 3", "failed with exit code 3"),
        ("kill -9 $$", "was killed by signal 9"),
    ],
)
def test_what_is_no_answer_is_said(host, tmp_path, body, problem):
    script(tmp_path, f"{body}\n")
    error = failure(delegation({"type": "own-ipam"}, tmp_path).add, host)
    assert error.code == Code.DELEGATE_FAILED
    assert "own-ipam" in error.msg and problem in str(error)
    assert called(tmp_path) == ["ADD", "DEL"]


def test_one_that_hangs_is_killed_with_its_children(host, tmp_path):
    file = script(tmp_path, f"sleep 1000 &\necho $! >{tmp_path}/child\nwait\n")
    asked = delegation({"type": "own-ipam"}, tmp_path)
    error = failure(asked.delete, host, timeout=1.0)
    assert error.code == Code.TRY_AGAIN_LATER
    assert error.msg == f"{file.name}: DEL did not end within 1 s"
    child = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    for _ in range(200):
        if not child.exists() or child.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the plugin's child lives on")


def test_status_and_gc_of_a_plugin_that_has_none(host, tmp_path):
    no_verb = {"code": 4, "msg": "unknown CNI_COMMAND: STATUS"}
    script(tmp_path, f"echo '{json.dumps(no_verb)}'\nexit 1\n")
    asked = delegation({"type": "own-ipam"}, tmp_path)
    asked.status(host)
    asked.gc(host)
    unavailable = {"code": 50, "msg": "no addresses left"}
    script(tmp_path, f"echo '{json.dumps(unavailable)}'\nexit 1\n")
    assert failure(asked.status, host).code == Code.NOT_AVAILABLE


def test_the_first_executable_file_on_the_path_is_it(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    (first / "own-ipam").write_text("not executable")
    answering(second)
    path = [str(tmp_path / "none"), str(first), str(second)]
    assert find("own-ipam", path) == str(second / "own-ipam")
    error = failure(find, "own-ipam", path[:2])
    assert error.code == Code.IO_FAILURE
    assert "'own-ipam'" in error.msg and str(first) in error.details
    assert "CNI_PATH is empty" in failure(find, "own-ipam", []).details


def test_a_file_that_cannot_be_executed(tmp_path):
    file = tmp_path / "own-ipam"
    file.write_bytes(b"\0")
    file.chmod(0o755)
    error = failure(execute, str(file), b"", {}, 5.0)
    assert error.code == Code.IO_FAILURE
    assert str(file) in error.msg


def test_one_that_is_just_being_written_is_waited_for(tmp_path):
    file = tmp_path / "own-ipam"
    file.write_bytes(Path("/bin/true").read_bytes())
    file.chmod(0o755)
    writer = subprocess.Popen(["sh", "-c", f"exec 3>>{file}; echo open; sleep 0.4"], stdout=-1)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"open\n"
    try:
        assert execute(str(file), b"", {}, 5.0) == b""
    finally:
        writer.stdout.close()
        writer.wait()


def test_a_name_with_a_path_in_it_is_refused():
    assert failure(delegation, {"type": "../bin/sh"}, "/bin").code == Code.INVALID_CONFIG
