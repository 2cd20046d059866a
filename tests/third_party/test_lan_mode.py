"""A mode in a distribution of its own: installed by pip, found by its entry point, then used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "examples" / "lan-mode"

DECLARE = """
import json
from cnidaria.api import Network, NodeInfo, Request
from cnidaria.cni.netconf import NetConf
from cnidaria.ipam import LeaseSet
from cnidaria.cni.result import Route
from cnidaria.plan.lease import Lease
from cnidaria.plan.objects import to_wire
from cnidaria.plugins import load

[mode] = [mode for name, mode in load(only="lan").modes.items() if name == "lan"]
conf = NetConf.parse(
    b'{"cniVersion": "1.1.0", "name": "pods", "type": "lan", "master": "eth0"}', "ADD"
)
request = Request(
    network="pods", container_id="c1", ifname="eth0", netns="/run/netns/pod", args={}, conf=conf
)
leases = LeaseSet(
    (Lease("pods", "10.1.0.5", 24, "10.1.0.1"), Lease("pods", "fd00::5", 64, "fd00::1")),
    (
        Route("0.0.0.0/0"),
        Route("::/0"),
        Route("10.9.0.0/16", gw="10.1.0.9", mtu=1400, priority=7, table=100),
    ),
)
net = Network("pods", mode.Config(master="eth0"), NodeInfo("n1"), take=lambda request: leases)
print(json.dumps([to_wire(obj) for obj in mode.attach(request, net)], default=str))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed the example's distribution into."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "--no-index", "--no-deps", "--no-build-isolation", "--target", folder, SOURCE],
        check=True,
        timeout=120,
    )
    return folder


def _declared(installed: Path) -> list[dict[str, Any]]:
    run = subprocess.run(
        [sys.executable, "-c", DECLARE],
        env={**os.environ, "PYTHONPATH": str(installed)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return json.loads(run.stdout)


def test_it_is_found_and_declares_what_a_pod_gets(installed: Path) -> None:
    declared = _declared(installed)
    assert [obj["kind"] for obj in declared] == [
        "macvlan", "sysctl", "address", "address", "route", "route", "route",
    ]  # fmt: skip
    assert {obj.get("where") for obj in declared} <= {"pod", None}
    assert declared[0]["master"] == "eth0"
    assert [obj["address"] for obj in declared[2:4]] == ["10.1.0.5/24", "fd00::5/64"]
    assert [obj["via"] for obj in declared[4:]] == ["10.1.0.1", "fd00::1", "10.1.0.9"]
    assert declared[6].items() >= {"mtu": 1400, "metric": 7, "table": 100}.items()


def test_the_readme_shows_the_mode_that_is_tested() -> None:
    source = SOURCE.joinpath("cnidaria_lan.py").read_text()
    assert f"```python\n{source}```" in ROOT.joinpath("README.md").read_text()
