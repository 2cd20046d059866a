"""Links as the kernel shows them, and the messages that ask for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct

from cnidaria.kernel import codec, uapi
from cnidaria.kernel.codec import Attrs, Part, number, string
from cnidaria.kernel.netlink import Request
from cnidaria.kernel.objects import MARK
from cnidaria.kernel.session import Session

_IFINFOMSG = Struct("=BxHiII")  # family, type, index, flags, change
ATTRS_AT = _IFINFOMSG.size
MAKING = 0x636E6964
"""Group of a link between its creation and its alias: ours, though it does not say so yet."""

_SKIP = codec.u32(uapi.IFLA_EXT_MASK, uapi.RTEXT_FILTER_SKIP_STATS)


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """A link as it is.

    Attributes:
        master: index of the bridge or other link that it belongs to, 0 if none.
        kind: as ``veth``; ``""`` for hardware.
        link: index of the link that it hangs on; of a veth the peer's, in the peer's namespace.
        link_netnsid: id of the namespace of ``link``, -1 if it is its own.
        data, slave_data: attributes of its kind, and of its place in its master.
    """

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    master: int = 0
    kind: str = ""
    alias: str = ""
    group: int = 0
    link: int = 0
    link_netnsid: int = -1
    slave_kind: str = ""
    data: Attrs = field(default_factory=dict)
    slave_data: Attrs = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        """Whether it bears our mark."""
        return self.alias.startswith(MARK) or (not self.alias and self.group == MAKING)


def header(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    """``struct ifinfomsg``."""
    return _IFINFOMSG.pack(0, 0, index, flags, change)


def by_name(name: str) -> Request:
    """Asks for one link, without its counters."""
    return Request(uapi.RTM_GETLINK, 0, header() + codec.text(uapi.IFLA_IFNAME, name) + _SKIP)


def find_link(session: Session, name: str) -> LinkInfo | None:
    """The link of this name."""
    for part in session.ask(by_name(name)).parts:
        return decode(part)
    return None


def with_alias(session: Session, alias: str) -> list[LinkInfo]:
    """Links of ours whatever their names are: others may have renamed them."""
    return [link for link in our_links(session) if link.alias == alias]


def all_links(session: Session) -> Iterator[LinkInfo]:
    """Every link of the namespace."""
    for part in session.dump(uapi.RTM_GETLINK, header() + _SKIP):
        yield decode(part)


def our_links(session: Session) -> Iterator[LinkInfo]:
    """Those that bear our mark."""
    return (link for link in all_links(session) if link.ours)


def decode(part: Part) -> LinkInfo:
    """Of ``RTM_NEWLINK`` and ``RTM_DELLINK``."""
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(part.body)
    attrs = codec.attributes(part.body, _IFINFOMSG.size)
    info = codec.attributes(attrs.get(uapi.IFLA_LINKINFO, b""))
    netnsid = attrs.get(uapi.IFLA_LINK_NETNSID)
    return LinkInfo(
        index=index,
        name=string(attrs.get(uapi.IFLA_IFNAME, b"")),
        mac=attrs.get(uapi.IFLA_ADDRESS, b"").hex(":"),
        mtu=number(attrs.get(uapi.IFLA_MTU, b"")),
        up=bool(flags & uapi.IFF_UP),
        master=number(attrs.get(uapi.IFLA_MASTER, b"")),
        kind=string(info.get(uapi.IFLA_INFO_KIND, b"")),
        alias=string(attrs.get(uapi.IFLA_IFALIAS, b"")),
        group=number(attrs.get(uapi.IFLA_GROUP, b"")),
        link=number(attrs.get(uapi.IFLA_LINK, b"")),
        link_netnsid=-1 if netnsid is None else number(netnsid),
        slave_kind=string(info.get(uapi.IFLA_INFO_SLAVE_KIND, b"")),
        data=codec.attributes(info.get(uapi.IFLA_INFO_DATA, b"")),
        slave_data=codec.attributes(info.get(uapi.IFLA_INFO_SLAVE_DATA, b"")),
    )
