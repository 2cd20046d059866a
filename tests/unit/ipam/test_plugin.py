"""The plugin ``cnidaria-ipam``: its verbs on a real journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnidaria.cni.config import NetConf
from cnidaria.cni.env import Invocation
from cnidaria.cni.errors import CniError, Code
from cnidaria.ipam import Pools
from cnidaria.ipam.plugin import IpamPlugin
from cnidaria.kernel.netns import NetNS
from cnidaria.plan.engine import Engine
from cnidaria.plan.journal import Journal
from cnidaria.plan.store import Store

IPAM = {"type": "cnidaria-ipam", "subnet": "10.1.0.0/29", "routes": [{"dst": "0.0.0.0/0"}]}


def no_kernel(namespace: NetNS) -> Any:
    raise AssertionError("addresses alone never need the kernel")


class Machine:
    """The plugin in one life of a process."""

    def __init__(self, directory: Path, host: NetNS) -> None:
        self.host = host
        self.store = Store(Journal(directory, boot="b"), self.clock)
        self.pools = Pools.of(self.store, self.clock)
        self.engine = Engine(self.store, no_kernel, self.clock, released=self.pools.forget)
        self.plugin = IpamPlugin(self.engine, self.pools)

    @staticmethod
    def clock() -> float:
        return 1000.0

    def add(self, container: str, request: bytes = b"", **more: Any) -> dict[str, Any]:
        found = conf(**more)
        result = self.plugin.add(found, call("ADD", container), self.host, self.host, request)
        return result.to_json(found.cni_version)

    def address(self, container: str, request: bytes = b"", **more: Any) -> str:
        return self.add(container, request, **more)["ips"][0]["address"]

    def delete(self, container: str, **more: Any) -> None:
        self.plugin.delete(NetConf.parse(raw(**more), "DEL"), call("DEL", container), self.host)


def raw(**more: Any) -> dict[str, Any]:
    return {"cniVersion": "1.1.0", "name": "net", "type": "bridge", "ipam": IPAM, **more}


def conf(**more: Any) -> NetConf:
    return NetConf.parse(raw(**more))


def call(command: str, container: str, args: str = "") -> Invocation:
    env = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": "/run/netns/x",
        "CNI_ARGS": args,
        "CNI_PATH": "/opt/cni/bin",
    }
    return Invocation.parse(env)


@pytest.fixture
def host() -> Iterator[NetNS]:
    with NetNS.current() as namespace:
        yield namespace


@pytest.fixture
def machine(tmp_path: Path, host: NetNS) -> Machine:
    return Machine(tmp_path, host)


def test_add_answers_with_addresses_routes_and_nothing_else(machine):
    new = machine.add("c1")
    assert not new.pop("dns", None)
    assert new == {
        "cniVersion": "1.1.0",
        "ips": [{"address": "10.1.0.2/29", "gateway": "10.1.0.1"}],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    old = machine.add("c2", cniVersion="0.2.0")
    assert old["ip4"]["ip"] == "10.1.0.3/29"


def test_leases_are_durable_and_del_gives_them_back(machine, tmp_path, host):
    assert machine.address("c1") == "10.1.0.2/29"
    machine.store.close()
    again = Machine(tmp_path, host)
    assert again.address("c2") == "10.1.0.3/29"
    again.delete("c1")
    again.delete("c1")
    assert again.pools.holder("net", "10.1.0.2") is None
    assert [one.container for one in again.store.all()] == ["c2"]


def test_a_repeated_request_gets_the_same_a_second_one_an_error(machine):
    first = machine.add("c1", b"request-1")
    assert machine.add("c1", b"request-1") == first
    with pytest.raises(CniError) as caught:
        machine.add("c1", b"request-2")
    assert caught.value.code == Code.ALREADY_ATTACHED
    assert machine.address("c2") == "10.1.0.3/29"


def test_del_goes_by_what_was_recorded(machine):
    machine.add("c1")
    machine.delete("c1", ipam={"type": "cnidaria-ipam", "subnet": "nonsense"})
    assert machine.store.all() == []
    machine.delete("never-seen")


def test_an_add_that_fails_leaves_nothing(machine):
    for more in (
        {"ipam": {**IPAM, "subnet": "10.1.0.1/29"}},
        {"runtimeConfig": {"ips": ["10.9.9.9"]}},
        {"runtimeConfig": {"ips": ["nonsense"]}},
        {"ipam": {**IPAM, "resolvConf": "/nonexistent"}},
    ):
        with pytest.raises(CniError):
            machine.add("c1", **more)
    assert machine.store.all() == []
    assert machine.address("c1") == "10.1.0.2/29"


def test_nothing_is_taken_where_the_journal_cannot_be_written(machine, monkeypatch):
    def full(record: object) -> None:
        raise CniError(Code.STATE_UNAVAILABLE, "no space left on device")

    monkeypatch.setattr(machine.store, "_write", full)
    with pytest.raises(CniError, match="no space"):
        machine.add("c1")
    assert machine.pools.holder("net", "10.1.0.2") is None


def test_check_compares_with_prev_result(machine):
    result = machine.add("c1")
    machine.plugin.check(conf(), call("CHECK", "c1"))
    machine.plugin.check(conf(prevResult=result), call("CHECK", "c1"))
    result["ips"][0]["address"] = "10.1.0.5/29"
    with pytest.raises(CniError, match=r"holds 10\.1\.0\.2, which prevResult\.ips lacks") as caught:
        machine.plugin.check(conf(prevResult=result), call("CHECK", "c1"))
    assert caught.value.code == Code.CHECK_FAILED
    with pytest.raises(CniError, match="holds no address"):
        machine.plugin.check(conf(), call("CHECK", "c2"))


def test_status_tells_whether_there_are_addresses(machine):
    machine.plugin.status(conf())
    for i in range(5):
        machine.add(f"c{i}")
    with pytest.raises(CniError, match="5 of 5") as caught:
        machine.plugin.status(conf())
    assert caught.value.code == Code.NOT_AVAILABLE
    with pytest.raises(CniError, match=r"cnidaria-ipam: ipam\.subnet"):
        machine.plugin.status(conf(ipam={"type": "cnidaria-ipam", "subnet": "10.1.0.1/29"}))


def test_gc_keeps_what_is_valid(machine):
    for container in ("c1", "c2", "c3"):
        machine.add(container)
    machine.plugin.gc(conf(), machine.host)
    assert len(machine.store.all()) == 3
    valid = [{"containerID": "c2", "ifname": "eth0"}, {"containerID": "c3", "ifname": "eth1"}]
    machine.plugin.gc(conf(**{"cni.dev/valid-attachments": valid}), machine.host)
    assert [one.container for one in machine.store.all()] == ["c2"]
    machine.plugin.gc(conf(**{"cni.dev/attachments": None}), machine.host)
    assert machine.store.all() == []
