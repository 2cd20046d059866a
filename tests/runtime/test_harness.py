"""The harness itself: it sees what is left over, and leaves nothing over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.leftovers import assert_nothing_left, differences, snapshot
from support.needs import needs
from support.node import Node, wait_for

pytestmark = needs("iptables", "nft", "tc")

LEFT_OVER = {
    "links": "ip link add left type bridge",
    "addresses": "ip address add 10.9.9.9/32 dev eth0",
    "routes": "ip route add 10.9.9.0/24 via 192.0.2.1",
    "rules": "ip rule add fwmark 5 lookup 5",
    "neighbours": "ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent",
    "qdiscs": "tc qdisc add dev eth0 ingress",
    "nftables": "nft add table inet left",
    "iptables": "iptables -t nat -N CNI-0123456789abcdef01234567",
    "mounts": "mount -t tmpfs left /mnt",
    "files": "mkdir -p /var/lib/cni/networks/pods && touch /var/lib/cni/networks/pods/10.22.0.2",
    "processes": "sleep 300 >/dev/null 2>&1 & true",
}


@pytest.fixture
def node() -> Iterator[Node]:
    with Node() as private:
        yield private


@pytest.mark.parametrize("kind", LEFT_OVER)
def test_sees_what_is_left_over(node: Node, kind: str) -> None:
    before = snapshot(node)
    assert_nothing_left(node, before)
    node.run("sh", "-c", LEFT_OVER[kind])
    assert any(
        line.startswith(f"left over: {kind}: ") for line in differences(before, snapshot(node))
    )


def test_sees_what_is_missing(node: Node) -> None:
    before = snapshot(node)
    node.run("ip", "route", "delete", "default")
    (line,) = differences(before, snapshot(node))
    assert line.startswith("missing: routes: default via 192.0.2.1")


def test_a_closed_node_leaves_nothing() -> None:
    with Node() as node:
        cgroup = Path("/sys/fs/cgroup/pids", node.cgroup, "pod")
        if cgroup.parent.parent.is_dir():
            cgroup.mkdir(parents=True)
        node.start("daemon", "sleep", "300")
        process, directory = node.pid, node.dir
    assert not Path(f"/proc/{process}").exists()
    assert not directory.exists()
    assert not cgroup.exists()


def test_a_node_ends_with_the_test_process() -> None:
    """Even when that is killed and can clean up nothing."""
    script = "from support.node import Node; n = Node(); print(n.pid, n.dir, flush=True); input()"
    tests = Path(__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tests,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        pid, directory = process.stdout.readline().split()
        assert Path("/proc", pid).exists()
        os.kill(process.pid, signal.SIGKILL)
    wait_for("the end of the node", lambda: not Path("/proc", pid).exists())
    Path(directory).rmdir()
