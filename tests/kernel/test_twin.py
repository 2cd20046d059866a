"""All that is sent to the kernel, as pyroute2 reads it: every attribute has its name there."""

from __future__ import annotations

import pytest
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from cnidaria.kernel import codec, uapi
from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.objects import Bridge, Encap, Macvlan, Route, Rule, Veth, Vxlan
from support.namespaces import run

KINDS = {4: ifinfmsg, 5: ifaddrmsg, 6: rtmsg, 7: ndmsg, 8: fibmsg}
"""By message type / 4."""

MAC, PEER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"


def read(data):
    kind = codec.parts(data).__next__().kind
    message = KINDS[kind // 4](data)
    message.decode()
    return message


def names(message):
    """Of all attributes, also inside others."""
    for name, value in message["attrs"]:
        yield name
        if isinstance(value, dict) and "attrs" in value:
            yield from names(value)


def sent(host, pod, objects):
    taken = []
    kernel = Kernel(host, taken.append)
    kernel.apply(objects, pod=pod)
    assert kernel.withdraw(objects) == []
    return taken


OBJECTS = {
    "veth": [Veth("cnd1", peer="eth0", mac=MAC, peer_mac=PEER_MAC, mtu=1400)],
    "bridge": [Bridge("br1", mac=MAC)],
    "macvlan": [Macvlan("mv1", master="up0", where="host")],
    "vxlan": [Vxlan("vx1", 5, "10.0.0.1", dev="up0", mac=MAC)],
    "vxlan v6": [Vxlan("vx1", 5, "fd00::1")],
    "gpe": [Vxlan("vx1", external=True, gpe=True)],
    "encap": [
        Vxlan("vx1", external=True),
        Route("10.2.0.0/24", dev="vx1", encap=Encap(5, "10.0.0.2")),
    ],
    "rule": [Rule(4, 9, 4711, src="10.0.0.0/8", iif="up0", oif="up0", mark=1)],
}


@pytest.mark.parametrize("name", OBJECTS)
def test_pyroute2_writes_the_same_bytes(host, pod, name):
    run(host, "ip", "link", "add", "up0", "type", "bridge")
    for data in sent(host, pod, OBJECTS[name]):
        message = read(data)
        assert not [one for one in names(message) if one.startswith("UNKNOWN")]
        if name == "encap" and message["header"]["type"] in (24, 25):
            continue  # it reads RTA_ENCAP of IP and cannot write it
        message.reset()
        message.encode()
        theirs = bytes(message.data)
        assert len(theirs) == len(data)
        for mine, other in zip(data, theirs, strict=True):
            assert mine in (other, other | uapi.NLA_F_NESTED >> 8)


def test_a_veth_as_pyroute2_reads_it(host, pod):
    making = read(sent(host, pod, OBJECTS["veth"])[0])
    assert making.get_attr("IFLA_IFNAME") == "cnd1"
    assert making.get_attr("IFLA_ADDRESS") == MAC
    info = making.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "veth"
    peer = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert peer.get_attr("IFLA_IFNAME") == "eth0"
    assert peer.get_attr("IFLA_ADDRESS") == PEER_MAC
    assert peer.get_attr("IFLA_MTU") == 1400
    assert peer.get_attr("IFLA_NET_NS_FD") == pod.fd
