"""The kinds of links: veth, bridge, macvlan, vxlan."""

# ruff: noqa: ARG002, D102  what overrides is documented in driver.py
from __future__ import annotations

from typing import Any

from cnidaria.kernel import codec, uapi
from cnidaria.kernel.codec import attr, nest, number, packed, text, u32, unpacked
from cnidaria.kernel.linkinfo import LinkInfo, find_link, header
from cnidaria.kernel.links import Links, set_link
from cnidaria.kernel.objects import Bridge, Macvlan, Object, Veth, Vxlan
from cnidaria.kernel.session import Session, need_index

_MACVLAN_MODES = {number_: name for name, number_ in uapi.MACVLAN_MODES.items()}


def _common(mac: str | None, mtu: int | None) -> list[bytes]:
    attrs = [attr(uapi.IFLA_ADDRESS, codec.mac(mac))] if mac else []
    return attrs + ([u32(uapi.IFLA_MTU, mtu)] if mtu else [])


def _elsewhere(session: Session, obj: Object, where: str) -> list[bytes]:
    """Puts a link into another namespace."""
    if where == obj.where:
        return []
    other = session.other(where)
    if other is None:
        raise ValueError(f"{obj}: the {where}'s namespace is needed and was not given")
    return [u32(uapi.IFLA_NET_NS_FD, other.namespace.fd)]


class Veths(Links[Veth]):
    """The first end is the declared one; the peer is checked where its namespace is known."""

    kind = "veth"
    quiet = True

    def attrs(self, session: Session, obj: Veth) -> list[bytes]:
        return _common(obj.mac, obj.mtu)

    def data(self, session: Session, obj: Veth) -> list[bytes]:
        peer = [header(), text(uapi.IFLA_IFNAME, obj.peer), *_common(obj.peer_mac, obj.mtu)]
        return [nest(uapi.VETH_INFO_PEER, *peer, *_elsewhere(session, obj, obj.peer_where))]

    def finish(self, session: Session, obj: Veth) -> None:
        peer = self._peer(session, obj)
        if peer is not None:
            session.flush()
            peer.forget()
            peer.queue("add", obj, set_link(obj.peer, up=True))
            peer.flush()

    @staticmethod
    def _peer(session: Session, obj: Veth) -> Session | None:
        return session if obj.peer_where == obj.where else session.other(obj.peer_where)

    def read(self, session: Session, obj: Veth, info: LinkInfo) -> dict[str, Any]:
        there = self._peer(session, obj)
        if there is None:
            return {}
        peer = find_link(there, obj.peer)
        if peer is None or peer.kind != self.kind or peer.index != info.link:
            return {"peer": None}
        return {"peer_mac": peer.mac, "peer mtu": peer.mtu, "peer up": peer.up}


class Bridges(Links[Bridge]):
    """What a bridge has besides is the kernel's default: no spanning tree."""

    kind = "bridge"

    def attrs(self, session: Session, obj: Bridge) -> list[bytes]:
        # A bridge's MTU follows that of its ports unless it was changed once: so it is made with
        # another one.
        return _common(obj.mac, obj.mtu ^ 1)

    def data(self, session: Session, obj: Bridge) -> list[bytes]:
        return []

    def finish(self, session: Session, obj: Bridge) -> None:
        session.queue("add", obj, set_link(obj.name, u32(uapi.IFLA_MTU, obj.mtu)))

    def read(self, session: Session, obj: Bridge, info: LinkInfo) -> dict[str, Any]:
        return {}


class Macvlans(Links[Macvlan]):
    """Made from the host's namespace, where the master is, right into its own."""

    kind = "macvlan"

    def maker(self, session: Session, obj: Macvlan) -> Session:
        if obj.where == "host":
            return session
        maker = session.other("host")
        if maker is None:
            raise ValueError(f"{obj}: the host's namespace is needed and was not given")
        return maker

    def attrs(self, session: Session, obj: Macvlan) -> list[bytes]:
        maker = self.maker(session, obj)
        master = need_index(maker, obj, obj.master)
        attrs = [*_common(obj.mac, obj.mtu), u32(uapi.IFLA_LINK, master)]
        if maker is not session:
            attrs.append(u32(uapi.IFLA_NET_NS_FD, session.namespace.fd))
        return attrs

    def data(self, session: Session, obj: Macvlan) -> list[bytes]:
        return [u32(uapi.IFLA_MACVLAN_MODE, uapi.MACVLAN_MODES[obj.mode])]

    def read(self, session: Session, obj: Macvlan, info: LinkInfo) -> dict[str, Any]:
        mode = number(info.data.get(uapi.IFLA_MACVLAN_MODE, b"\0"))
        maker = session if obj.where == "host" else session.other("host")
        found: dict[str, Any] = {"mode": _MACVLAN_MODES.get(mode)}
        return found if maker is None else {**found, "master": maker.name(info.link)}


class Vxlans(Links[Vxlan]):
    """Without multicast and without learning, unless asked for."""

    kind = "vxlan"
    quiet = True

    def attrs(self, session: Session, obj: Vxlan) -> list[bytes]:
        return _common(obj.mac, obj.mtu)

    def data(self, session: Session, obj: Vxlan) -> list[bytes]:
        attrs = [
            codec.be16(uapi.IFLA_VXLAN_PORT, obj.port),
            codec.u8(uapi.IFLA_VXLAN_LEARNING, obj.learning),
        ]
        if not obj.external:
            attrs.append(u32(uapi.IFLA_VXLAN_ID, obj.vni))
        if obj.local:
            kind = uapi.IFLA_VXLAN_LOCAL6 if ":" in obj.local else uapi.IFLA_VXLAN_LOCAL
            attrs.append(attr(kind, packed(obj.local)))
        if obj.dev:
            attrs.append(u32(uapi.IFLA_VXLAN_LINK, need_index(session, obj, obj.dev)))
        if obj.external:
            attrs.append(codec.u8(uapi.IFLA_VXLAN_COLLECT_METADATA, 1))
        if obj.gpe:
            attrs.append(attr(uapi.IFLA_VXLAN_GPE, b""))
        return attrs

    def read(self, session: Session, obj: Vxlan, info: LinkInfo) -> dict[str, Any]:
        data = info.data

        def value(kind: int) -> int:
            return number(data.get(kind, b"\0"))

        local = data.get(uapi.IFLA_VXLAN_LOCAL6) or data.get(uapi.IFLA_VXLAN_LOCAL)
        lower = value(uapi.IFLA_VXLAN_LINK)
        return {
            "vni": value(uapi.IFLA_VXLAN_ID),
            "local": unpacked(local) if local else None,
            "port": int.from_bytes(data.get(uapi.IFLA_VXLAN_PORT, b""), "big"),
            "dev": session.name(lower) if lower else None,
            "learning": bool(value(uapi.IFLA_VXLAN_LEARNING)),
            "external": bool(value(uapi.IFLA_VXLAN_COLLECT_METADATA)),
            "gpe": uapi.IFLA_VXLAN_GPE in data,
        }
