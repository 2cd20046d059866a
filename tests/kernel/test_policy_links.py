"""What passes a pod's interface beside what policies are about: frames that no honest pod sends."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from struct import pack
from typing import Any

import pytest

from cnidaria.kernel.netns import NetNS
from cnidaria_policy.probe import Flow, ethernet, ethernet_header, ipv4, ipv6, transport
from support.cni import CniNode
from support.namespaces import run
from support.needs import needs
from support.node import PLUGIN_DIR, wait_for
from support.policy_examples import network_policy
from support.policy_node import TABLE, Cluster, bridge, flat, namespace, pod

pytestmark = [needs("nft"), needs(f"{PLUGIN_DIR}/bridge"), needs(f"{PLUGIN_DIR}/ptp")]

LINKS = f"{TABLE}/links"
APPS = ("web", "db", "api")
PODS = [f"x/{app}" for app in APPS]
OBJECTS = [namespace("x", {}), *(pod("x", app, {"app": app}) for app in APPS)]
ALL = "ff:ff:ff:ff:ff:ff"
EXPERIMENTAL = 0x88B5
"""EtherType for experiments (IEEE 802)."""


NO_INGRESS = network_policy("{podSelector: {matchLabels: {app: db}}}", "shut", "x")
NO_EGRESS = network_policy(
    "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}", "shut", "x"
)
ALL_INGRESS = network_policy("{podSelector: {matchLabels: {app: db}}, ingress: [{}]}", "shut", "x")


@dataclass
class Pod:
    """A pod and all frames at its interface."""

    namespace: NetNS
    v4: str
    v6: str
    port: socket.socket

    def __post_init__(self) -> None:
        (link,) = json.loads(run(self.namespace, "ip", "-j", "addr", "show", "dev", "eth0"))
        self.mac: str = link["address"]
        self.local = next(
            one["local"] for one in link["addr_info"] if one["local"].startswith("fe80")
        )


Frames = dict[str, bytes]
Is = Callable[[bytes, bytes], bool]


def frames(web: Pod, db: Pod, api: Pod) -> Frames:
    """From web, for db: what policies cannot allow, by name."""
    return {
        "link-local": udp(web, db.mac, web.local, db.local),
        "a group's IPv6": udp(web, "33:33:00:00:00:fb", web.local, "ff02::fb"),
        "everybody's IPv4": udp(web, ALL, web.v4, "255.255.255.255"),
        "a group's IPv4": udp(web, "01:00:5e:00:00:fb", web.v4, "224.0.0.251"),
        "no IP": ethernet_header(db.mac, web.mac, EXPERIMENTAL) + bytes(60),
        "in a VLAN": tagged(udp(web, db.mac, web.v4, db.v4)),
    }


def lies(web: Pod, db: Pod, api: Pod) -> Frames:
    """From web, for db: under false addresses."""
    return {
        "another one's IPv4": udp(web, db.mac, api.v4, db.v4),
        "another one's IPv6": udp(web, db.mac, api.v6, db.v6),
        "a stranger's IPv4": udp(web, db.mac, "203.0.113.7", db.v4),
        "in a VLAN": tagged(udp(web, db.mac, api.v4, db.v4)),
        "for another one's IPv4": udp(web, db.mac, web.v4, api.v4),
        "for another one's IPv6": udp(web, db.mac, web.v6, api.v6),
    }


def needed(web: Pod, db: Pod) -> Frames:
    """Without which nobody finds anybody."""
    who_has = pack(">HHBBH", 1, 0x0800, 6, 4, 1) + bytes.fromhex(web.mac.replace(":", ""))
    arp = who_has + socket.inet_aton(web.v4) + bytes(6) + socket.inet_aton(db.v4)
    return {
        "ARP": ethernet_header(ALL, web.mac, 0x0806) + arp,
        "neighbour solicitation": icmpv6(web, db.mac, (web.local, db.local), 135, 255),
        "an address that may be free": icmpv6(
            web, "33:33:00:00:00:01", ("::", "ff02::1"), 135, 255
        ),
        "groups": icmpv6(web, "33:33:00:00:00:16", (web.local, "ff02::16"), 143, 1),
    }


def udp(sender: Pod, mac: str, src: str, dst: str) -> bytes:
    flow = Flow(src, dst, 17, 5353)
    body = transport(flow, 5353, b"a frame")
    is4 = "." in src
    head = ethernet_header(mac, sender.mac, 0x0800 if is4 else 0x86DD)
    return head + (ipv4 if is4 else ipv6)(flow, len(body)) + body


def icmpv6(sender: Pod, mac: str, ends: tuple[str, str], kind: int, hops: int) -> bytes:
    body = pack(">BBHI", kind, 0, 0, 0) + socket.inet_pton(socket.AF_INET6, ends[1])
    head = bytearray(ipv6(Flow(*ends, 58, 0), len(body)))
    head[7] = hops
    return ethernet_header(mac, sender.mac, 0x86DD) + bytes(head) + body


def tagged(frame: bytes) -> bytes:
    """In VLAN 5 (IEEE 802.1Q)."""
    return frame[:12] + pack(">HH", 0x8100, 5) + frame[12:]


def arrive(sender: Pod, receiver: Pod, sent: Frames, is_it: Is | None = None) -> set[str]:
    """Which of the frames come out at the receiver's interface."""
    found: set[str] = set()
    for name, frame in sent.items():
        drain(receiver.port)
        sender.port.send(frame)
        receiver.port.settimeout(0.1)
        try:
            while not (is_it or is_same)(receiver.port.recv(2048), frame):
                pass
            found.add(name)
        except TimeoutError:
            pass
    return found


def is_same(got: bytes, frame: bytes) -> bool:
    """The kernel keeps a tag to itself."""
    return got[12:] in (frame[12:], frame[16:])


def drain(port: socket.socket) -> None:
    port.setblocking(False)
    try:
        while True:
            port.recv(2048)
    except BlockingIOError:
        return


@contextmanager
def node(main: str) -> Iterator[Cluster]:
    """A node with an agent and three pods, as the reference plugins connect them."""
    with CniNode() as one:
        plugin = bridge(one) if main == "bridge" else ptp(one) if main == "ptp" else flat(1)
        cluster = Cluster(one, plugin)
        try:
            cluster.write("pods.yaml", *OBJECTS)
            cluster.publish()
            with cluster.agents():
                for name in PODS:
                    cluster.add(name)
                yield cluster
        finally:
            cluster.close()


def ptp(one: CniNode) -> dict[str, Any]:
    """The reference plugin of routed pods."""
    return {**{key: value for key, value in bridge(one).items() if key == "ipam"}, "type": "ptp"}


@contextmanager
def ports(cluster: Cluster) -> Iterator[Sequence[Pod]]:
    """The pods of the cluster, their links up in all families."""
    with ExitStack() as stack:
        found: list[Pod] = []
        for name in PODS:
            inside = cluster.node.pods[name.replace("/", "-")]
            wait_for("no address is tentative", lambda at=inside: "tentative" not in state(at))
            port = stack.enter_context(ethernet(inside))
            found.append(Pod(inside, *cluster.addresses(name), port))
        yield found


def state(inside: NetNS) -> str:
    return run(inside, "ip", "addr", "show", "dev", "eth0")


@pytest.fixture(scope="module")
def bridged() -> Iterator[Cluster]:
    with node("bridge") as made:
        yield made


@pytest.fixture
def cluster(bridged: Cluster) -> Iterator[Cluster]:
    yield bridged
    (bridged.policies / "policy.yaml").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("policy", "passes"),
    [
        pytest.param("", True, id="open"),
        pytest.param(NO_INGRESS, False, id="nothing to the receiver"),
        pytest.param(NO_EGRESS, False, id="nothing from the sender"),
        pytest.param(ALL_INGRESS, True, id="everything to the receiver"),
    ],
)
def test_what_names_no_pod_passes_where_nothing_is_restricted(
    cluster: Cluster, policy: str, passes: bool
) -> None:
    if policy:
        cluster.write("policy.yaml", policy)
    with ports(cluster) as (web, db, api):
        sent = frames(web, db, api)
        wanted = set(sent) if passes else set()
        wait_for("frames are treated so", lambda: arrive(web, db, sent) == wanted)
        assert arrive(web, db, needed(web, db)) == set(needed(web, db))
        # Between others nothing has changed.
        free = web if policy == NO_INGRESS else db
        assert arrive(api, free, frames(api, free, db)) == set(sent)


def test_nobody_is_taken_for_another_one(cluster: Cluster) -> None:
    """No policy says anything: a pod's addresses are its own all the same."""
    with ports(cluster) as (web, db, api):
        sent = lies(web, db, api)
        assert arrive(web, db, sent) == set()
        true = {"IPv4": udp(web, db.mac, web.v4, db.v4), "IPv6": udp(web, db.mac, web.v6, db.v6)}
        assert arrive(web, db, true) == set(true)


def test_a_client_asks_for_an_address(cluster: Cluster) -> None:
    with ports(cluster) as (web, db, _):
        flow = Flow("0.0.0.0", "255.255.255.255", 17, 67)
        body = transport(flow, 68, b"discover")
        frame = ethernet_header(ALL, web.mac, 0x0800) + ipv4(flow, len(body)) + body
        assert arrive(web, db, {"DHCP": frame}) == {"DHCP"}


def test_no_routed_pod_has_another_ones_address() -> None:
    """As the reference plugin connects them, the kernel itself lets false sources in."""
    with node("ptp") as cluster, ports(cluster) as (web, db, api):
        for name in ("all", "default", *host_links(cluster)):
            setting = f"net.ipv4.conf.{name.replace('.', '/')}.rp_filter=0"
            run(cluster.node.host, "sysctl", "-q", "-w", setting)
        gateway = router_mac(cluster, web)
        sent = {
            "another one's IPv4": udp(web, gateway, api.v4, db.v4),
            "another one's IPv6": udp(web, gateway, api.v6, db.v6),
        }
        true = {"IPv4": udp(web, gateway, web.v4, db.v4), "IPv6": udp(web, gateway, web.v6, db.v6)}
        assert forwarded(web, db, sent) == set()
        assert forwarded(web, db, true) == set(true)
        run(cluster.node.host, "nft", "delete", "table", "inet", LINKS)
        assert forwarded(web, db, sent) == set(sent)
        wait_for("the agent guards them again", lambda: not forwarded(web, db, sent))


def host_links(cluster: Cluster) -> list[str]:
    return [one["ifname"] for one in json.loads(cluster.node.ip("-j link"))]


def router_mac(cluster: Cluster, of: Pod) -> str:
    """The MAC of the node's end of a pod's link."""
    (link,) = json.loads(run(of.namespace, "ip", "-j", "link", "show", "dev", "eth0"))
    found = json.loads(cluster.node.ip("-j link"))
    return next(str(one["address"]) for one in found if one["ifindex"] == link["link_index"])


def forwarded(sender: Pod, receiver: Pod, sent: Frames) -> set[str]:
    """The same through a router, which sends new frames of what was in them."""
    return arrive(sender, receiver, sent, lambda got, frame: frame[-15:] in got)


def test_modes_that_guard_their_pods_need_no_more() -> None:
    with node("flat") as cluster:
        assert LINKS not in run(cluster.node.host, "nft", "list", "tables")


def test_what_others_break_is_told_and_put_right(cluster: Cluster) -> None:
    host = cluster.node.host
    whole = listed(host)
    assert "x/web" in whole
    with ports(cluster) as (web, db, api):
        link = whole.split('elements = { "')[1].split('"')[0]
        run(host, "nft", "delete", "element", "bridge", LINKS, "ports", f'{{ "{link}" }}')
        wait_for("the agent puts it back", lambda: listed(host) == whole)
        run(host, "nft", "delete", "table", "bridge", LINKS)
        wait_for("the agent makes it again", lambda: listed(host) == whole)
        assert arrive(web, db, lies(web, db, api)) == set()
    assert "all agree" in cluster.node.cnidaria("policy", "verify", "--flows", "20")


def listed(host: NetNS) -> str:
    """The table without what was counted; ``""`` if it is not there."""
    try:
        return run(host, "nft", "--stateless", "list", "table", "bridge", LINKS)
    except AssertionError:
        return ""


def test_what_is_gone_leaves_nothing() -> None:
    with node("bridge") as cluster:
        host = cluster.node.host
        cluster.delete("x/web")
        assert "x/web" not in listed(host)
        assert "x/db" in listed(host)
        for name in ("x/db", "x/api"):
            cluster.delete(name)
        assert not listed(host)


def test_pods_are_guarded_without_an_agent() -> None:
    with CniNode() as one:
        cluster = Cluster(one, bridge(one))
        try:
            cluster.write("all.yaml", *OBJECTS, NO_INGRESS)
            for name in PODS:
                cluster.add(name)
            with ports(cluster) as (web, db, api):
                assert arrive(web, db, {**frames(web, db, api), **lies(web, db, api)}) == set()
                assert arrive(web, db, needed(web, db)) == set(needed(web, db))
                others = frames(web, api, db)
                assert arrive(web, api, others) == set(others)
            cluster.publish()
            assert "all agree" in one.cnidaria("policy", "verify", "--flows", "0")
            run(one.host, "nft", "flush", "chain", "bridge", LINKS, "between")
            told = one.cnidaria("policy", "verify", "--flows", "0", exit=1)
            assert "differs  links of family bridge: chain between: other rules" in told
            member = cluster.members[0]
            one.host.run(member.runtime.check, member.attachment("x/db"))
            assert "all agree" in one.cnidaria("policy", "verify", "--flows", "0")
            for name in PODS:
                cluster.delete(name)
        finally:
            cluster.close()
