"""Bad input through the installed executables: what comes back, and that nothing was changed.

The parsers have tests of their own for every detail (``tests/unit/cni``, ``tests/unit/ipam``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from cnidaria.kernel.handle import Kernel
from support.cni import FLAT, NETWORK, CniNode, network
from support.node import wait_for

POD = "victim"


@pytest.fixture(scope="module", params=["agent", "one-shot"])
def node(request: pytest.FixtureRequest) -> Iterator[CniNode]:
    """A node with one pod, ``c0``, which has 10.1.0.2; and the namespace of another one."""
    with CniNode() as node, node.agent() if request.param == "agent" else nullcontext():
        node.add("c0")
        node.pod(POD)
        yield node


AGENT = pytest.mark.parametrize("node", ["agent"], indirect=True)
"""For long tables of what is parsed by the same code with and without an agent."""


def refused(node: CniNode, code: int, *says: str, **call: Any) -> None:
    """An ADD that must be refused, with an error that says all this, and change nothing."""
    with node.unchanged():
        error = node.call("ADD", call.pop("pod", POD), **call).error(code)
    for part in says:
        assert part in error, error


def config(**changes: Any) -> bytes:
    return json.dumps(network(**changes)).encode()


def nested(depth: int) -> bytes:
    return config(deep=0).replace(b"0}", b"[" * depth + b"]" * depth + b"}")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not valid JSON"),
        (config()[:-1], "not valid JSON"),
        (b"[]", "a list; must be a JSON object"),
        (config(name="X").replace(b"X", b"\xff\xfe"), "not UTF-8"),
        (nested(100), "nested deeper than 64 levels"),
        (nested(100_000), "nested deeper than 64 levels"),
        (b" " * (20 << 20), "larger than 1048576 bytes"),
    ],
    ids=["empty", "cut", "list", "not UTF-8", "deep", "very deep", "20 MiB"],
)
def test_what_is_no_json(node: CniNode, data: bytes, says: str) -> None:
    refused(node, 6, says, conf=data)


@AGENT
@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"name": None}, 7, ['missing key "name"']),
        ({"name": "../pods"}, 7, ['name = "../pods"', "must be ASCII letters"]),
        ({"name": 7}, 7, ["name = 7"]),
        ({"name": "n" * 201}, 7, ["name = ", "at most 200 characters, has 201"]),
        ({"type": None}, 7, ['missing key "type"']),
        ({"type": "../../bin/sh"}, 7, ['type = "../../bin/sh"', "without '/'"]),
        ({"type": "cnidaria-flop"}, 7, ['type = "cnidaria-flop"', "cnidaria-flat"]),
        ({"cniVersion": "9.0.0"}, 1, ['cniVersion = "9.0.0"', "1.1.0"]),
        ({"cniVersion": 1.0}, 7, ["cniVersion = 1.0", "must be a string"]),
        ({"cniVersion": "0.3.7"}, 1, ['cniVersion = "0.3.7"']),
    ],
    ids=repr,
)
def test_name_type_and_version(
    node: CniNode, changes: dict[str, Any], code: int, says: list[str]
) -> None:
    refused(node, code, *says, conf=config(**changes))


@AGENT
@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"CNI_COMMAND": "PING"}, ["CNI_COMMAND = 'PING'", "ADD, DEL, CHECK"]),
        ({"CNI_CONTAINERID": None}, ["CNI_CONTAINERID", "missing"]),
        ({"CNI_CONTAINERID": "../../etc"}, ["CNI_CONTAINERID = '../../etc'", "must be"]),
        ({"CNI_CONTAINERID": "a/b"}, ["CNI_CONTAINERID = 'a/b'", "must be"]),
        ({"CNI_CONTAINERID": "-rf"}, ["CNI_CONTAINERID = '-rf'", "must be"]),
        ({"CNI_IFNAME": ""}, ["CNI_IFNAME", "missing"]),
        ({"CNI_IFNAME": ".."}, ["CNI_IFNAME = '..'"]),
        ({"CNI_IFNAME": "../eth0"}, ["CNI_IFNAME = '../eth0'", "'/'"]),
        ({"CNI_IFNAME": "eth%d"}, ["CNI_IFNAME = 'eth%d'", "'%'"]),
        ({"CNI_IFNAME": "a" * 16}, ["CNI_IFNAME", "at most 15 bytes, is 16"]),
        ({"CNI_NETNS": None}, ["CNI_NETNS", "missing"]),
        ({"CNI_NETNS": "run/netns/p"}, ["CNI_NETNS = 'run/netns/p'", "absolute"]),
        ({"CNI_NETNS": "/run/../proc/1/ns/net"}, ["CNI_NETNS", "'..'"]),
        ({"CNI_ARGS": "IP"}, ["CNI_ARGS = 'IP'", "KEY=VALUE"]),
        ({"CNI_ARGS": "COLOUR=red"}, ["CNI_ARGS", "'COLOUR'", "IgnoreUnknown"]),
        ({"CNI_ARGS": "MAC=01:00:5e:00:00:01"}, ["MAC = '01:00:5e:00:00:01'"]),
        ({"CNI_ARGS": "IP=10.1.0.256"}, ["10.1.0.256"]),
    ],
    ids=repr,
)
def test_environment(node: CniNode, env: dict[str, str | None], says: list[str]) -> None:
    refused(node, 4, *says, **env)


def test_netns_that_is_none(node: CniNode) -> None:
    regular, fifo = node.dir / "file", node.dir / "fifo"
    regular.touch()
    if not fifo.exists():
        os.mkfifo(fifo)
    own = f"/proc/{os.getpid()}/ns/mnt"
    for path, says in (
        ("/run/netns/absent", "No such file"),
        (str(regular), "must be a network namespace"),
        (str(fifo), "must be a network namespace"),
        ("/dev/null", "must be a network namespace"),
        (str(node.dir), "must be a network namespace"),
        (own, "another type"),
    ):
        refused(node, 8, f"CNI_NETNS = {path!r}", says, CNI_NETNS=path)


def test_netns_that_is_the_nodes_own(node: CniNode) -> None:
    own = f"/proc/{os.getpid()}/fd/{node.host.fd}"
    refused(node, 8, "the caller's own", "CNI_NETNS_OVERRIDE", CNI_NETNS=own)


def ranges(*sets: Any) -> dict[str, Any]:
    return {"ranges": [[{"subnet": one} if isinstance(one, str) else one] for one in sets]}


@AGENT
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"masqerade": True}, ['"masqerade"', 'did you mean "masquerade"']),
        ({"IPAM": {"subnett": "10.1.0.0/24"}}, ["ipam.subnett", 'did you mean "ipam.subnet"']),
        ({"underlay": "wired"}, ['underlay = "wired"', '"routed"']),
        ({"mtu": 575}, ["mtu = 575", "between 576 and 65535"]),
        ({"mtu": 65536}, ["mtu = 65536", "between 576 and 65535"]),
        ({"mtu": "1500"}, ['mtu = "1500"']),
        ({"mtu": 576}, ["mtu = 576: must be at least 1280: the pods have IPv6"]),
        ({"uplink": "eth0/1"}, ['uplink = "eth0/1"']),
        ({"masquerade": {"except": ["10.0.0.1/8"]}}, ["masquerade.except[0]", '"10.0.0.0/8"']),
        ({"ipam": None}, ['missing key "ipam"']),
        ({"ipam": {}}, ['missing key "ipam"']),
        ({"ipam": {"type": "../host-local"}}, ["ipam.type"]),
        ({"ipam": {"subnet": "10.1.0.0"}}, ["ipam.subnet"]),
        ({"ipam": {"subnet": "10.1.0.5/24"}}, ["ipam.subnet", '"10.1.0.0/24"']),
        ({"ipam": {"subnet": "010.1.0.0/24"}}, ["ipam.subnet"]),
        ({"ipam": {"subnet": "10.1.0.0/31"}}, ["ipam.subnet", "too small", "at most 30"]),
        ({"ipam": {"subnet": "127.1.0.0/24"}}, ["ipam.subnet", "without 127.0.0.0/8", "loopback"]),
        (
            {"ipam": ranges("10.2.0.0/16", "10.2.3.0/24")},
            ["ipam.ranges[1][0].subnet", "overlaps with", "ipam.ranges[0][0]"],
        ),
        (
            {
                "ipam": ranges(
                    {
                        "subnet": "10.2.0.0/24",
                        "rangeStart": "10.2.0.9",
                        "rangeEnd": "10.2.0.3",
                    }
                )
            },
            ["ipam.ranges[0][0].rangeEnd", "10.2.0.3", "must not be below"],
        ),
        (
            {"ipam": ranges({"subnet": "10.2.0.0/24", "rangeStart": "10.3.0.9"})},
            ["ipam.ranges[0][0].rangeStart", "an address of the subnet 10.2.0.0/24"],
        ),
        ({"ipam": {"ranges": [[]]}}, ["ipam.ranges[0]", "at least one range"]),
        (
            {"cluster": {"store": "zookeeper:/pods"}},
            ['cluster.store = "zookeeper:/pods"', "there are: sqlite:"],
        ),
        ({"cluster": {"store": "sqlite:/dev/null"}}, ["cluster.store", "is no regular file"]),
        ({"cluster": {"store": "sqlite:/a\0b"}}, ["cluster.store", "must be a URL such as"]),
        (
            {"runtimeConfig": {"mac": "00:00:00:00:00:00"}},
            ["runtimeConfig.mac", "00:00:00:00:00:00"],
        ),
    ],
    ids=repr,
)
def test_configuration(node: CniNode, changes: dict[str, Any], says: list[str]) -> None:
    raw = {key: value for key, value in NETWORK.items() if key.lower() not in changes}
    if "IPAM" in changes:
        raw.pop("ipam")
    refused(node, 7, *says, conf=json.dumps({**raw, **changes}).encode())


@AGENT
@pytest.mark.parametrize(
    ("wish", "code", "says"),
    [
        ("10.9.0.5", 102, ["10.9.0.5", "10.1.0.1-10.1.0.254"]),
        ("10.1.0.2", 102, ["10.1.0.2", "c0"]),
        ("10.1.0.1", 102, ["10.1.0.1", "gateway"]),
        ("10.1.0.0", 102, ["10.1.0.0", "network address"]),
        ("10.1.0.255", 102, ["10.1.0.255", "broadcast"]),
        ("10.1.0.7", 102, ["10.1.0.7", "left out by ipam.exclude"]),
        ("10.1.0.8", 102, ["10.1.0.8", "default/web"]),
        ("fd00:2::5", 102, ["fd00:2::5"]),
    ],
)
def test_requested_address(node: CniNode, wish: str, code: int, says: list[str]) -> None:
    ipam = {
        **NETWORK["ipam"],
        "exclude": ["10.1.0.7"],
        "reservations": {"10.1.0.8": "default/web"},
    }
    refused(node, code, *says, conf=network(ipam=ipam), CNI_ARGS=f"IP={wish}")


@AGENT
def test_names_that_a_link_has_no_room_for(node: CniNode) -> None:
    """The longest name of a network and long ids of containers: each has a link of its own."""
    conf = network(name="n" * 200, ipam={"subnet": "10.6.0.0/24"})
    ids = ["c" * 128 + "1", "c" * 128 + "2"]
    for container in ids:
        node.pod(container)
        node.add(container, conf)
    aliases = [one.alias for one in Kernel(node.host).links() if one.ours and "~" in one.alias]
    assert len({*aliases}) == 2
    for n, container in enumerate(ids):
        node.delete(container, conf)
        left = [one for one in Kernel(node.host).links() if one.alias in aliases]
        assert len(left) == 1 - n
        node.end(container)


@AGENT
def test_the_nodes_own_addresses_are_no_pods(node: CniNode) -> None:
    """Neither by turn nor on request, from our modes and from ``cnidaria-ipam`` alike."""
    node.ip("link add own type bridge")
    node.ip("link set own up")
    node.ip("address add 10.7.0.2/25 dev own")
    node.ip("address add fd00:7::2/64 dev own nodad")
    sets = ranges({"subnet": "10.7.0.0/24", "gateway": "10.7.0.1"}, "fd00:7::/64")
    for conf, program in (
        (network(name="own", ipam=sets), FLAT),
        (network(name="own2", type="bridge", ipam=sets), "cnidaria-ipam"),
    ):
        given = node.add("own", conf, program=program)["ips"]
        addresses = [one["address"].partition("/")[0] for one in given]
        assert addresses == ["10.7.0.3", "fd00:7::3"]
        node.delete("own", conf, program=program)
        for wish, what in (("10.7.0.2", "an address"), ("fd00:7::2", "an address")):
            says = f"{wish} (CNI_ARGS: IP) is {what} of this node"
            refused(node, 102, says, conf=conf, program=program, CNI_ARGS=f"IP={wish}")
    wish = "10.7.0.127"
    says = f"{wish} (CNI_ARGS: IP) is a broadcast address of this node"
    refused(node, 102, says, conf=conf, program=program, CNI_ARGS=f"IP={wish}")
    node.end("own")
    node.ip("link delete own")


def test_pool_exhausted(node: CniNode) -> None:
    small = network(name="small", ipam={"subnet": "10.8.0.0/29", "exclude": ["10.8.0.4/30"]})
    args = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0"
    before = node.state()
    node.add("s1", small, CNI_ARGS=args)
    node.add("s2", small, CNI_ARGS=args)
    refused(node, 101, "2 of 2", "shop", conf=small)
    error = node.call("STATUS", conf=small).error(50)
    assert "2 of 2" in error
    node.delete("s1", small)
    node.delete("s2", small)
    node.end("s1")
    node.end("s2")
    wait_for("the end of the network", lambda: node.state() == before)


@pytest.mark.parametrize("type_", [FLAT, "cnidaria-overlay"])
def test_uplink_missing(node: CniNode, type_: str) -> None:
    conf = network(name="other", type=type_, uplink="nosuch0")
    says = "uplink 'nosuch0': there is no such interface"
    refused(node, 11, says, conf=conf)
    with node.unchanged():
        assert says in node.call("STATUS", conf=conf).error(50)
    node.delete(POD, conf)


def test_mtu_for_which_the_uplink_has_no_room(node: CniNode) -> None:
    """Status says so, too; where the uplink gets more room all is well."""
    node.ip("link add up0 mtu 1500 type veth peer name up1 mtu 9000")
    node.ip("address add 192.0.2.2/24 dev up0")
    try:
        for link in ("up0", "up1"):
            node.ip(f"link set {link} up")
        apart = {"ranges": [[{"subnet": "10.4.0.0/24"}], [{"subnet": "fd00:4::/64"}]]}
        overlay = network(name="other", type="cnidaria-overlay", uplink="up0", ipam=apart)
        conf = {**overlay, "mtu": 1451}
        says = "mtu = 1451: must be at most 1450: the uplink up0 has 1500, and the encapsulation"
        refused(node, 11, says, conf=conf)
        with node.unchanged():
            assert says in node.call("STATUS", conf=conf).error(50)
            low = network(mtu=576)
            assert "mtu = 576" in node.call("STATUS", conf=low).error(7)
        node.ip("link set up0 mtu 1300")
        says = "pods would have an MTU of 1250 bytes, as the uplink up0 has 1300; IPv6 needs 1280"
        refused(node, 11, says, conf=overlay)
        node.ip("link set up0 mtu 1501")
        node.add("roomy", conf)
        assert "mtu 1451" in node.pod_ip("roomy", "link show eth0")
        node.delete("roomy", conf)
        v4 = network(mtu=576, ipam={"subnet": "10.3.0.0/24"}, name="other")
        node.add("roomy", v4)
        node.delete("roomy", v4)
    finally:
        node.ip("link del up0")


@AGENT
@pytest.mark.parametrize(
    ("prev_result", "says"),
    [
        ([], "prevResult = []"),
        ({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.256/24"}]}, "prevResult.ips[0]"),
        ({"cniVersion": "1.1.0", "interfaces": 7}, "prevResult.interfaces"),
        ({"cniVersion": "0.2.0", "ip4": {"ip": "10.1.0.5/24"}}, "prevResult.cniVersion"),
        ({"cniVersion": "0.4.0", "ips": []}, "prevResult.cniVersion"),
    ],
    ids=repr,
)
def test_prev_result(node: CniNode, prev_result: Any, says: str) -> None:
    conf = network(prevResult=prev_result)
    refused(node, 7, says, conf=conf)
    node.delete(POD, conf)
    with_it = "with-it"
    node.add(with_it)
    node.delete(with_it, conf)
    assert node.call("CHECK", with_it).exit, "it is gone"


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "STATUS", "GC"])
def test_errors_are_in_the_configurations_version(node: CniNode, verb: str) -> None:
    answer = node.call(verb, POD, network(cniVersion="1.0.0", name=""))
    assert json.loads(answer.stdout)["cniVersion"] == "1.0.0"
    answer.error(7)


BROKEN = [
    (b'{"CNIVERSION":"0.4.0","name":"pods","type":"cnidaria-flat","ipam":{"subnet":"x"}}', "0.4.0"),
    (b'{"cniVersion":"0.4.0","name":"pods","type":"cnidaria-flat","ipam":', "0.4.0"),
    (b'{"cniVersion":"0.4.0","ipam":' + b"[" * 1000, "0.4.0"),
    (b'{"cniVersion":"9.0.0","name":"pods","type":"cnidaria-flat"}', "1.1.0"),
    (b"", "1.1.0"),
]


@pytest.mark.parametrize(("data", "version"), BROKEN, ids=lambda data: str(data)[:40])
def test_errors_to_what_is_broken_are_in_its_version(
    node: CniNode, data: bytes, version: str
) -> None:
    """The same from the agent or a one-shot run, and from the executable alone."""
    answer = node.call("ADD", POD, data)
    assert json.loads(answer.stdout)["cniVersion"] == version
    alone = node.call("ADD", POD, data, CNIDARIA_TIMEOUT="x")
    assert "CNIDARIA_TIMEOUT" in alone.error(4)
    assert json.loads(alone.stdout)["cniVersion"] == version
    told = node.call("VERSION", conf=data).result()
    assert told["cniVersion"] == version


def test_errors_of_a_one_shot_run_are_in_the_configurations_version(node: CniNode) -> None:
    """Also those from before the call is looked at: the state cannot be used."""
    broken = {"CNIDARIA_STATE_DIR": "/dev/null", "CNIDARIA_SOCKET": f"{node.dir}/none"}
    answer = node.call("ADD", POD, network(cniVersion="0.4.0"), **broken)
    assert answer.error(107)
    assert json.loads(answer.stdout)["cniVersion"] == "0.4.0"
