"""Which pods' packets the node does not see, told by their links."""

from __future__ import annotations

import pytest

from cnidaria.kernel import codec, linkinfo, uapi
from cnidaria.kernel.codec import Part
from cnidaria_policy.drivers import unseen


def link(name: str, kind: str, slave_kind: str = "") -> linkinfo.LinkInfo:
    """As the kernel tells of it (``rtnl_link_info_fill``)."""
    info = codec.text(uapi.IFLA_INFO_KIND, kind)
    if slave_kind:
        info += codec.text(uapi.IFLA_INFO_SLAVE_KIND, slave_kind)
    attrs = codec.text(uapi.IFLA_IFNAME, name) + codec.nest(uapi.IFLA_LINKINFO, info)
    return linkinfo.decode(Part(uapi.RTM_NEWLINK, 0, 0, linkinfo.header() + attrs))


@pytest.mark.parametrize(
    ("kind", "master", "why"),
    [
        ("veth", "", ""),
        ("veth", "bridge", ""),
        ("veth", "vrf", ""),
        ("veth", "openvswitch", "port of Open vSwitch (veth1)"),
        ("macvlan", "", "macvlan"),
        ("ipvlan", "", "ipvlan"),
    ],
)
def test_what_the_node_does_not_see(kind: str, master: str, why: str) -> None:
    outside = link("veth1", "veth", master) if kind == "veth" else None
    assert unseen(link("eth0", kind), outside) == why


def test_nothing_is_said_of_links_that_are_not_there() -> None:
    assert unseen(None, None) == ""
