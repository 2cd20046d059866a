"""Every verb through the installed executables, against an agent and one-shot."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from typing import Any

import pytest

from cnidaria.cni.versions import SUPPORTED
from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.objects import NftTable
from support.cni import NETWORK, CniNode, network
from support.namespaces import new_namespace, run
from support.needs import needs
from support.node import wait_for

OLD = ("0.1.0", "0.2.0")
AGENT = pytest.mark.parametrize("node", ["agent"], indirect=True)
OTHER = {"name": "other", "ipam": {"subnet": "10.2.0.0/24"}}


@pytest.fixture(params=["agent", "one-shot"])
def node(request: pytest.FixtureRequest) -> Iterator[CniNode]:
    with CniNode() as node, node.agent() if request.param == "agent" else nullcontext():
        yield node


@pytest.fixture
def lonely() -> Iterator[CniNode]:
    """A node without an agent, where nothing is repaired."""
    with CniNode() as node:
        yield node


def assert_empty(node: CniNode) -> None:
    """Nothing of ours is there, but for the pods' namespaces."""
    nothing = {
        "host links": set(),
        "host objects": [],
        "pod links": {pod: set() for pod in node.pods},
        "journal": [],
    }
    with suppress(TimeoutError):  # an agent may have looked at the networks just before
        wait_for("nothing", lambda: node.state() == nothing, 5)
    assert node.state() == nothing


# -- versions --------------------------------------------------------------------------------


def addresses(result: dict[str, Any]) -> list[str]:
    """A result's addresses, whatever its version."""
    if result["cniVersion"] in OLD:
        return [result[key]["ip"] for key in ("ip4", "ip6")]
    return [ip["address"] for ip in result["ips"]]


@pytest.mark.parametrize(
    ("node", "versions"),
    [("agent", SUPPORTED), ("one-shot", SUPPORTED[::6])],
    indirect=["node"],
    ids=["agent", "one-shot"],
)
def test_every_version(node: CniNode, versions: Sequence[str]) -> None:
    node.add("other")
    for n, version in enumerate(versions, start=3):
        conf = network(cniVersion=version)
        result = node.add("p1", conf)
        assert result["cniVersion"] == version
        assert addresses(result) == [f"10.1.0.{n}/32", f"fd00:1::{n:x}/128"]
        assert ("version" in result.get("ips", [{}])[0]) == (version in ("0.3.0", "0.3.1", "0.4.0"))
        conf |= {"prevResult": result}
        for verb, since in (("CHECK", "0.4.0"), ("STATUS", "1.1.0"), ("GC", "1.1.0")):
            answer = node.call(verb, "p1", conf)
            if SUPPORTED.index(version) >= SUPPORTED.index(since):
                assert answer.result() is None
            else:
                assert f'cniVersion = "{version}" does not know {verb}' in answer.error(1)
        node.delete("p1", conf)
    node.delete("other")
    assert_empty(node)


def test_version(node: CniNode) -> None:
    for version in SUPPORTED:
        told = node.call("VERSION", conf={"cniVersion": version}).result()
        assert told == {"cniVersion": version, "supportedVersions": list(SUPPORTED)}
    assert node.call("VERSION", conf=b"").result()["supportedVersions"] == list(SUPPORTED)


def test_without_a_command_it_says_what_it_is(lonely: CniNode) -> None:
    answer = lonely.call("", conf=b"", CNI_COMMAND=None)
    assert answer.exit == 0
    assert not answer.stdout
    for part in ("cnidaria", "1.1.0", str(lonely.settings.socket)):
        assert part in answer.stderr


# -- ADD -------------------------------------------------------------------------------------


def test_pods_reach_one_another(node: CniNode) -> None:
    first, second = node.add("p1"), node.add("p2")
    assert addresses(first) == ["10.1.0.2/32", "fd00:1::2/128"]
    assert first["interfaces"][1]["sandbox"] == node.netns("p1")
    for address in addresses(second):
        run(node.pods["p1"], "ping", "-c1", "-W5", address.partition("/")[0])
    node.assert_consistent()
    node.delete("p1")
    node.delete("p2")
    assert_empty(node)


def test_repeated(node: CniNode) -> None:
    node.add("p1")
    with node.unchanged():
        error = node.call("ADD", "p1").error(103)
        assert "'p1' is attached to network 'pods' by 'eth0' already" in error
    node.add("p1", CNI_IFNAME="net1", conf=network(defaultRoute=False))
    node.add("p1", CNI_IFNAME="net2", conf=network(**OTHER, defaultRoute=False))
    node.assert_consistent()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ipam": {"subnet": "10.1.0.0/25"}}, "route 10.1.0.2/32"),
        ({"ipam": {"subnet": "10.2.0.0/24"}}, "route 0.0.0.0/0"),
    ],
    ids=["address", "default route"],
)
def test_second_network_that_overlaps(node: CniNode, changes: dict[str, Any], says: str) -> None:
    node.add("p1")
    with node.unchanged():
        error = node.call("ADD", "p1", network(name="more", **changes), CNI_IFNAME="net1").error(
            109
        )
        assert says in error
        assert "pods/p1/eth0/cnidaria-flat has it in use" in error
    node.assert_consistent()


def test_interface_name_is_taken(node: CniNode) -> None:
    node.pod("p1")
    node.pod_ip("p1", "link add eth0 type veth peer name eth9")
    with node.unchanged():
        assert "CNI_IFNAME = 'eth0'" in node.call("ADD", "p1").error(104)
        node.delete("p1")
    assert "10.1.0." in str(node.add("p1", CNI_IFNAME="eth1"))
    node.delete("p1", CNI_IFNAME="eth1")
    assert node.state()["pod links"]["p1"] == {"eth0", "eth9"}, "not ours"


def test_container_that_came_back_without_a_del(node: CniNode) -> None:
    first = node.add("p1")
    node.end("p1")
    wait_for("the end of its link", lambda: not node.state()["host links"])
    again = node.add("p1")
    assert addresses(again) != addresses(first), "the old ones rest"
    node.assert_consistent()
    node.delete("p1")
    assert_empty(node)


def test_requested_address_and_mac(node: CniNode) -> None:
    by_capability = {"runtimeConfig": {"ips": ["10.1.0.77/24"], "mac": "02:00:00:00:00:77"}}
    result = node.add("p1", network(**by_capability))
    assert addresses(result)[0] == "10.1.0.77/32"
    assert result["interfaces"][1]["mac"] == "02:00:00:00:00:77"
    by_args = "IgnoreUnknown=1;IP=10.1.0.78;MAC=02:00:00:00:00:78;COLOUR=red"
    result = node.add("p2", CNI_ARGS=by_args)
    assert addresses(result)[0] == "10.1.0.78/32"
    assert "02:00:00:00:00:78" in node.pod_ip("p2", "link show eth0")


BY_RUNTIME = {"runtimeConfig": {"dns": {"servers": ["9.9.9.9"], "searches": ["run"]}}}
BY_NETWORK = {"dns": {"nameservers": ["1.1.1.1"], "domain": "net"}}


def test_the_runtime_s_dns_comes_first_then_the_networks_then_that_of_the_addresses(
    lonely: CniNode,
) -> None:
    resolv = lonely.dir / "resolv.conf"
    resolv.write_text("nameserver 8.8.8.8\nsearch ipam\n")
    leased = {"ipam": {**NETWORK["ipam"], "resolvConf": str(resolv)}}
    for changes, dns in (
        ({**leased, **BY_NETWORK, **BY_RUNTIME}, {"nameservers": ["9.9.9.9"], "search": ["run"]}),
        ({**leased, **BY_NETWORK}, {"nameservers": ["1.1.1.1"], "domain": "net"}),
        ({**leased, "dns": {}}, {"nameservers": ["8.8.8.8"], "search": ["ipam"]}),
    ):
        assert lonely.add("p1", network(**changes))["dns"] == dns
        lonely.delete("p1", network(**changes))
    malformed = network(runtimeConfig={"dns": {"servers": "9.9.9.9"}})
    with lonely.unchanged():
        assert "runtimeConfig.dns.servers" in lonely.call("ADD", "p1", malformed).error(7)


@needs("nft")
def test_ip_masq(node: CniNode) -> None:
    """The specification's key; the agent sees it come and go."""
    for changes in ({"ipMasq": True}, {}, {"masquerade": True, "ipMasq": True}, {"ipMasq": False}):
        node.add("p1", network(**changes))
        table = run(node.host, "nft", "list", "table", "inet", "cnidaria/pods")
        assert ("chain leaving" in table) == changes.get("ipMasq", False)
        node.delete("p1", network(**changes))
    assert_empty(node)
    for masquerade in (False, {"except": ["10.0.0.0/8"]}):
        conf = network(masquerade=masquerade, ipMasq=not masquerade)
        with node.unchanged():
            assert "ipMasq" in node.call("ADD", "p1", conf).error(7)


def test_a_pod_whose_namespace_has_ipv6_turned_off(node: CniNode) -> None:
    """Its interface has it nevertheless, as with the reference plugins; others do not."""
    node.pod("p1")
    for scope in ("all", "default"):
        run(node.pods["p1"], "sysctl", "-qw", f"net.ipv6.conf.{scope}.disable_ipv6=1")
    result = node.add("p1")
    node.add("p2")
    run(node.pods["p2"], "ping", "-c1", "-W5", addresses(result)[1].partition("/")[0])
    disabled = "net.ipv6.conf.{}.disable_ipv6"
    assert run(node.pods["p1"], "sysctl", "-n", disabled.format("default")).strip() == "1"
    assert node.call("CHECK", "p1").result() is None
    run(node.pods["p1"], "sysctl", "-qw", f"{disabled.format('eth0')}=1")
    assert disabled.format("eth0") in node.call("CHECK", "p1").error(105)


def test_the_nodes_own_namespace(node: CniNode) -> None:
    """Two pods share the node's namespace: only if the runtime says that this is meant."""
    node.pods["p1"] = node.host
    conf = network(defaultRoute=False)
    try:
        node.call("ADD", "p1", conf).error(8)
        node.add("p1", conf, CNI_NETNS_OVERRIDE="1")
        assert "10.1.0.2/32" in node.ip("address show eth0")
        assert node.call("CHECK", "p1", conf, CNI_NETNS_OVERRIDE="1").result() is None
        node.delete("p1", conf, CNI_NETNS_OVERRIDE="1")
    finally:
        del node.pods["p1"]
    assert_empty(node)


# -- DEL -------------------------------------------------------------------------------------

CORRUPT = {"prevResult": {"cniVersion": "1.1.0", "ips": "corrupt"}}


@AGENT
@pytest.mark.parametrize(
    ("changes", "env"),
    [
        ({}, {}),
        ({}, {"CNI_NETNS": ""}),
        ({}, {"CNI_NETNS": None}),
        ({}, {"CNI_NETNS": "/run/netns/not-there"}),
        ({}, {"CNI_NETNS": "relative/../path"}),
        ({}, {"CNI_NETNS": "/dev/null"}),
        ({}, {"CNI_ARGS": "nonsense"}),
        (CORRUPT, {}),
        ({"prevResult": 7}, {}),
        ({"ipam": 7}, {}),
        ({"ipam": {"type": "no-such-ipam"}}, {}),
        ({"masqerade": True, "mtu": -1, "uplink": "nosuch0"}, {}),
    ],
    ids=repr,
)
def test_delete_whatever_it_comes_with(
    node: CniNode, changes: dict[str, Any], env: dict[str, Any]
) -> None:
    node.add("p1")
    node.delete("p1", network(**changes), **env)
    node.delete("p1", network(**changes), **env)
    assert_empty(node)


def test_delete_is_idempotent(node: CniNode) -> None:
    node.delete("unknown")
    node.add("p1")
    node.add("p2")
    path = node.netns("p2")
    node.end("p2")
    node.delete("p2", CNI_NETNS=path)
    node.delete("p2", CNI_NETNS=path)
    for changes, env in (({}, {"CNI_NETNS": ""}), (CORRUPT, {}), ({}, {})):
        node.delete("p1", network(**changes), **env)
        assert_empty(node)


def test_delete_of_what_is_unknown_whatever_another_ipam_plugin_says(node: CniNode) -> None:
    refuses = node.bin / "refuses"
    refuses.write_text("""#!/bin/sh
cat >/dev/null
echo '{"cniVersion": "1.0.0", "code": 999, "msg": "no"}'
exit 1
""")
    refuses.chmod(0o755)
    conf = network(cniVersion="1.0.0", ipam={"type": "refuses"})
    node.pod("p1")
    assert "refuses: no" in node.call("ADD", "p1", conf).error(999)
    node.delete("p1", conf)
    node.delete("p1", conf, CNI_NETNS="")
    node.delete("unknown", network(ipam={"type": "not-there"}))
    assert_empty(node)


def test_delete_does_not_touch_a_namespace_that_took_the_path(node: CniNode) -> None:
    """The runtime's path may lead to another pod by now."""
    node.add("p1")
    node.add("p2")
    node.delete("p1", CNI_NETNS=node.netns("p2"))
    assert node.state()["pod links"] == {"p1": set(), "p2": {"eth0"}}
    node.assert_consistent()


# -- CHECK -----------------------------------------------------------------------------------


RA = "/proc/sys/net/ipv6/conf/eth0/accept_ra"
DAMAGE = [
    # where, what is done, what CHECK says first
    ("pod", "ip address add 10.9.9.9/32 dev eth0; ip address del V4 dev eth0", "address V4/32"),
    ("pod", "ip address del V6/128 dev eth0", "address V6/128"),
    ("pod", "ip route del default", "route 0.0.0.0/0"),
    ("pod", "ip -6 route del default", "route ::/0"),
    ("pod", "ip neigh del 169.254.1.1 dev eth0", "neighbour 169.254.1.1"),
    ("pod", f"echo 1 >{RA}", "net.ipv6.conf.eth0.accept_ra"),
    ("pod", "ip link set eth0 mtu 1400", "veth LINK (host): peer mtu is 1400, must be 1500"),
    ("pod", "ip link set eth0 down", "veth LINK (host): peer up is False"),
    ("pod", "ip link set eth0 down name eth7", "veth LINK (host): peer is None, must be 'eth0'"),
    ("pod", "ip link del eth0", "veth LINK (host): missing"),
    ("host", "ip route del V4", "route V4/32 dev LINK (host): missing"),
    ("host", "ip -6 route del V6", "route V6/128 dev LINK (host): missing"),
    ("host", "ip address del 169.254.1.1/32 dev LINK", "address 169.254.1.1/32 on LINK (host)"),
    ("host", "ip address del fe80::1/128 dev LINK", "address fe80::1/128 on LINK (host): missing"),
    ("host", "ip link set LINK address 02:00:00:00:00:99", "veth LINK (host): mac is"),
    ("host", "ip link set LINK down", "veth LINK (host): up is False"),
    ("host", "ip link del LINK", "veth LINK (host): missing"),
]


def fill(text: str, known: dict[str, str]) -> str:
    """``text`` with the placeholders of :data:`DAMAGE` filled in."""
    for name, value in known.items():
        text = text.replace(name, value)
    return text


def test_check_names_what_is_gone_and_delete_does_not_mind(lonely: CniNode) -> None:
    pods = [f"p{n}" for n, _ in enumerate(DAMAGE)]
    with lonely.agent():
        results = [lonely.add(pod) for pod in pods]
    lonely.assert_consistent()
    for pod, result, (where, command, expected) in zip(pods, results, DAMAGE, strict=True):
        link = result["interfaces"][0]["name"]
        v4, v6 = (address.partition("/")[0] for address in addresses(result))
        known = {"LINK": link, "V4": v4, "V6": v6}
        run(lonely.host if where == "host" else lonely.pods[pod], "sh", "-c", fill(command, known))
        assert fill(expected, known) in lonely.call("CHECK", pod).error(105)
    with lonely.agent():
        for pod in pods:
            lonely.delete(pod)
        assert_empty(lonely)


def test_check_of_what_the_network_has_on_the_node(lonely: CniNode) -> None:
    """A pod without it is not as ADD left it: others' sources would pass, or nothing would."""
    lonely.add("p1")
    lonely.ip("route del unreachable 10.1.0.0/24")
    assert "route unreachable 10.1.0.0/24" in lonely.call("CHECK", "p1").error(105)
    assert lonely.call("STATUS").result() is None
    assert lonely.call("CHECK", "p1").result() is None, "STATUS has put it back"
    for table in (one for one in lonely.owned() if one.startswith("nft table")):
        Kernel(lonely.host).withdraw([NftTable(table.split()[-1])])
    assert "nft " in lonely.call("CHECK", "p1").error(105)
    lonely.delete("p1")
    assert_empty(lonely)


def test_check_of_another_namespace(node: CniNode) -> None:
    node.add("p1")
    node.pod("p2")
    error = node.call("CHECK", "p1", CNI_NETNS=node.netns("p2")).error(105)
    assert "is not the namespace that pods/p1/eth0/cnidaria-flat is attached to" in error
    assert node.call("CHECK", "p1").result() is None


def test_check_with_the_result_of_the_chain(node: CniNode) -> None:
    """It is the result of this pod, and later plugins may have changed its MAC (as tuning does)."""
    result, other = node.add("p1"), node.add("p2")

    def check(told: dict[str, Any], says: str = "") -> None:
        answer = node.call("CHECK", "p1", network(prevResult=told))
        assert says in answer.error(105) if says else answer.result() is None

    check(result)
    check(other, "prevResult.ips lacks 10.1.0.2/32, which pods/p1/eth0/cnidaria-flat has")
    check({**result, "ips": result["ips"][:1]}, "prevResult.ips lacks fd00:1::2/128")
    mac = "02:00:00:00:00:77"
    host, pod = result["interfaces"]
    later = {**result, "interfaces": [host, {**pod, "mac": mac.upper()}]}
    check(later, f"peer_mac is '{pod['mac']}', must be '{mac}'")
    node.pod_ip("p1", f"link set eth0 address {mac}")
    check(later)
    check(result, f"peer_mac is '{mac}', must be '{pod['mac']}'")
    check({**result, "interfaces": [{**host, "mac": mac}, {**pod, "mac": "none"}]}, "peer_mac is")


def test_check_of_what_is_not_attached(node: CniNode) -> None:
    node.pod("p1")
    assert "pods/p1/eth0" in node.call("CHECK", "p1").error(105)
    node.add("p1")
    path = node.netns("p1")
    node.end("p1")
    assert node.call("CHECK", "p1", CNI_NETNS=path).exit != 0


# -- STATUS and GC ---------------------------------------------------------------------------


def test_status_leaves_nothing(node: CniNode) -> None:
    with node.unchanged():
        assert node.call("STATUS").result() is None


def valid(*pods: str) -> list[dict[str, str]]:
    return [{"containerID": pod, "ifname": "eth0"} for pod in pods]


@pytest.mark.parametrize(
    ("node", "key"),
    [
        ("agent", "cni.dev/valid-attachments"),
        ("agent", "cni.dev/attachments"),
        ("one-shot", "cni.dev/valid-attachments"),
    ],
    indirect=["node"],
)
def test_gc(node: CniNode, key: str) -> None:
    pods = ("p1", "p2", "p3")
    other = network(**OTHER)
    for pod in pods:
        node.add(pod)
    node.add("q1", other)

    def collect(keep: Sequence[Any] | None) -> list[str]:
        assert node.call("GC", conf=network() | {key: keep}).result() is None
        return [one.container for one in node.attachments() if one.network == "pods"]

    with node.unchanged():
        assert node.call("GC").result() is None, "nobody says what is valid"
        collect(valid(*pods))
        assert key in node.call("GC", conf=NETWORK | {key: ["p1"]}).error(7)
    assert collect(valid("p1", "p3", "unknown")) == ["p1", "p3"]
    node.assert_consistent()
    assert collect(None) == []
    assert [one.network for one in node.attachments()] == ["other"]
    node.delete("q1", other)
    assert_empty(node)


# -- where it acts ---------------------------------------------------------------------------


def test_caller_in_a_namespace_of_its_own(node: CniNode) -> None:
    """As cnitool in a throw-away namespace: the node's side of a pod is where the caller is."""
    with new_namespace() as caller:
        link = node.add("p1", host=caller)["interfaces"][0]["name"]
        assert link in run(caller, "ip", "link")
        assert "10.1.0.2" in run(caller, "ip", "route")
        assert link not in node.ip("link")
        assert node.call("CHECK", "p1", host=caller).result() is None
        node.add("p2")
        node.call("GC", conf=network() | {"cni.dev/valid-attachments": valid("p2")}).result()
        assert link in run(caller, "ip", "link"), "valid is what the caller's runtime says"
        node.delete("p1", host=caller)
        assert "cnd" not in run(caller, "ip", "link")
        assert "10.1.0" not in run(caller, "ip", "route")
        node.add("p3", host=caller)
    node.delete("p3")
    node.delete("p2")
    assert_empty(node)


def test_clock_that_was_set_back(lonely: CniNode) -> None:
    """Boot time is the only clock: wall time does not count, and here even boot time goes back."""
    if not os.path.exists("/proc/self/ns/time"):
        pytest.skip("needs a kernel with time namespaces")
    later = ("unshare", "--time", "--boottime", "1000000")
    conf = network(ipam={"subnet": "10.1.0.0/29", "rangeEnd": "10.1.0.4"})
    pool = [f"10.1.0.{n}/32" for n in range(2, 5)]
    for n in range(3):
        assert addresses(lonely.add(f"p{n}", conf, under=later)) == [pool[n]]
    for n in range(2):
        lonely.delete(f"p{n}", conf, under=later)
    assert lonely.call("CHECK", "p2", conf).result() is None
    assert [addresses(lonely.add(f"q{n}", conf))[0] for n in range(2)] == pool[:2]
    lonely.assert_consistent()
