"""Routes."""

# ruff: noqa: D102  what overrides is documented in driver.py
from __future__ import annotations

import socket
from collections.abc import Iterator
from struct import Struct
from typing import Any

from cnidaria.kernel import codec, uapi
from cnidaria.kernel.codec import Attrs, Part, attr, nest, number, packed, u32, unpacked
from cnidaria.kernel.driver import Entry, Found, by_key, known
from cnidaria.kernel.netlink import Request
from cnidaria.kernel.objects import MAIN, PROTOCOL, SCOPES, Encap, Route
from cnidaria.kernel.session import Session, need_index

# family, dst_len, src_len, tos, table, protocol, scope, type, flags
_RTMSG = Struct("=BBBBBBBBI")
_TYPES = {number: name for name, number in uapi.RTN_TYPES.items()}
_OWN = {number: name for name, number in uapi.RTN_OWN.items()}
_SCOPES = {number: name for name, number in SCOPES.items()}
_LEADING = ("unicast", "local")
_ENCAPS = {4: uapi.LWTUNNEL_ENCAP_IP, 16: uapi.LWTUNNEL_ENCAP_IP6}


class Routes(Entry[Route]):
    """``RTM_NEWROUTE``: in a table a prefix and metric are there once."""

    new, delete = uapi.RTM_NEWROUTE, uapi.RTM_DELROUTE
    sees_ours_only = True

    def body(self, session: Session, obj: Route) -> bytes:
        index = need_index(session, obj, obj.dev) if obj.dev else 0
        return encode(obj, index)

    def key_body(self, session: Session, obj: Route) -> bytes:
        """The kernel removes only what bears the protocol that the message names."""
        index = session.index(obj.dev) if obj.dev else 0
        return encode(obj, index) if index or not obj.dev else b""

    def find(self, session: Session, obj: Route) -> Found | None:
        found = None if session.many else self._match(session, obj)
        if found is None or found.object.key != obj.key:
            found = self._index(session, obj).get(obj.key)
        return found

    def owned(self, session: Session) -> Iterator[Route]:
        for family in (socket.AF_INET, socket.AF_INET6):
            for found in self._dump(session, family, 0):
                if isinstance(found.object, Route):
                    yield found.object

    @staticmethod
    def _match(session: Session, obj: Route) -> Found | None:
        """What the prefix's first address takes: usually the very route, at no search's cost."""
        if obj.table != MAIN or obj.type != "unicast":
            return None
        raw = packed(obj.dst.partition("/")[0])
        flags = uapi.RTM_F_FIB_MATCH
        header = _RTMSG.pack(codec.family(obj.dst), 8 * len(raw), 0, 0, 0, 0, 0, 0, flags)
        request = Request(uapi.RTM_GETROUTE, 0, header + attr(uapi.RTA_DST, raw))
        for part in session.ask(request).parts:
            found = decode(session, part)
            # The kernel keeps both tables in one and says "main" of a local route, too.
            local = found is not None and getattr(found.object, "type", "") == "local"
            return None if local else found
        return None

    def _index(self, session: Session, obj: Route) -> dict[tuple[Any, ...], Found]:
        family, table = codec.family(obj.dst), obj.table
        what = (Routes, family, table)
        return session.once(what, lambda: by_key(self._dump(session, family, table)))

    @staticmethod
    def _dump(session: Session, family: int, table: int) -> Iterator[Found]:
        """Ours only: the kernel leaves out the rest."""
        small = table if table < 256 else 0
        body = _RTMSG.pack(family, 0, 0, 0, small, PROTOCOL, 0, 0, 0)
        body += u32(uapi.RTA_TABLE, table) if table else b""
        for part in session.dump(uapi.RTM_GETROUTE, body):
            found = decode(session, part)
            if found and found.ours:
                yield found


def encode(obj: Route, index: int) -> bytes:
    """The body of a route's message; ``index`` is that of its ``dev``, or 0."""
    dst, _, bits = obj.dst.partition("/")
    attrs = [
        _RTMSG.pack(
            codec.family(dst),
            int(bits),
            0,
            0,
            obj.table if obj.table < 256 else uapi.RT_TABLE_UNSPEC,
            PROTOCOL,
            SCOPES[obj.scope or "global"],
            uapi.RTN_TYPES[obj.type],
            uapi.RTNH_F_ONLINK if obj.onlink else 0,
        )
    ]
    if bits != "0":
        attrs.append(attr(uapi.RTA_DST, packed(dst)))
    if obj.table > 255:
        attrs.append(u32(uapi.RTA_TABLE, obj.table))
    if index:
        attrs.append(u32(uapi.RTA_OIF, index))
    if obj.via:
        attrs.append(attr(uapi.RTA_GATEWAY, packed(obj.via)))
    if obj.metric:
        attrs.append(u32(uapi.RTA_PRIORITY, obj.metric))
    if obj.src:
        attrs.append(attr(uapi.RTA_PREFSRC, packed(obj.src)))
    if obj.mtu or obj.advmss:
        attrs.append(_metrics(obj))
    if obj.encap:
        attrs += _encap(obj.encap)
    return b"".join(attrs)


def _metrics(obj: Route) -> bytes:
    pairs = ((uapi.RTAX_MTU, obj.mtu), (uapi.RTAX_ADVMSS, obj.advmss))
    return nest(uapi.RTA_METRICS, *(u32(kind, value) for kind, value in pairs if value))


def _encap(encap: Encap) -> tuple[bytes, bytes]:
    dst = packed(encap.dst)
    attrs = [codec.be64(uapi.LWTUNNEL_IP_ID, encap.id), attr(uapi.LWTUNNEL_IP_DST, dst)]
    if encap.src:
        attrs.append(attr(uapi.LWTUNNEL_IP_SRC, packed(encap.src)))
    if encap.ttl:
        attrs.append(codec.u8(uapi.LWTUNNEL_IP_TTL, encap.ttl))
    if encap.tos:
        attrs.append(codec.u8(uapi.LWTUNNEL_IP_TOS, encap.tos))
    return codec.u16(uapi.RTA_ENCAP_TYPE, _ENCAPS[len(dst)]), nest(uapi.RTA_ENCAP, *attrs)


@known
def decode(session: Session, part: Part) -> Found | None:
    """``None`` is a route of a kind that we never make, as one to several next hops."""
    family, bits, _, _, table, protocol, scope, kind, flags = _RTMSG.unpack_from(part.body)
    attrs = codec.attributes(part.body, _RTMSG.size)
    leads = _TYPES.get(kind) in _LEADING
    if kind not in _TYPES or (leads and uapi.RTA_OIF not in attrs):
        return None
    zero = unpacked(bytes(4 if family == socket.AF_INET else 16))
    metrics = codec.attributes(attrs.get(uapi.RTA_METRICS, b""))

    def address(attribute: int) -> str | None:
        return unpacked(attrs[attribute]) if attribute in attrs else None

    def metric(number_: int) -> int | None:
        return number(metrics[number_]) if number_ in metrics else None

    route = Route(
        f"{address(uapi.RTA_DST) or zero}/{bits}",
        via=address(uapi.RTA_GATEWAY) if leads else None,
        dev=session.name(number(attrs[uapi.RTA_OIF])) if leads else None,
        src=address(uapi.RTA_PREFSRC),
        onlink=leads and bool(flags & uapi.RTNH_F_ONLINK) and uapi.RTA_GATEWAY in attrs,
        scope=_SCOPES.get(scope, "global"),
        table=number(attrs[uapi.RTA_TABLE]) if uapi.RTA_TABLE in attrs else table,
        metric=number(attrs.get(uapi.RTA_PRIORITY, b"\0")),
        mtu=metric(uapi.RTAX_MTU),
        advmss=metric(uapi.RTAX_ADVMSS),
        encap=_decode_encap(attrs) if leads else None,
        type=_TYPES[kind],  # type: ignore[arg-type]
    )
    return Found(route, protocol == PROTOCOL)


def _decode_encap(attrs: Attrs) -> Encap | None:
    if number(attrs.get(uapi.RTA_ENCAP_TYPE, b"\0")) not in _ENCAPS.values():
        return None
    inner = codec.attributes(attrs[uapi.RTA_ENCAP])
    src = inner.get(uapi.LWTUNNEL_IP_SRC, b"")
    return Encap(
        int.from_bytes(inner.get(uapi.LWTUNNEL_IP_ID, b""), "big"),
        unpacked(inner[uapi.LWTUNNEL_IP_DST]),
        src=unpacked(src) if any(src) else None,
        ttl=number(inner.get(uapi.LWTUNNEL_IP_TTL, b"\0")),
        tos=number(inner.get(uapi.LWTUNNEL_IP_TOS, b"\0")),
    )


def outgoing(session: Session, address: str) -> int:
    """Index of the link that packets to ``address`` leave by; 0 if there is no way."""
    for part in _way(session, address):
        return number(codec.attributes(part.body, _RTMSG.size).get(uapi.RTA_OIF, b""))
    return 0


def own(session: Session, address: str) -> str:
    """What ``address`` is to this namespace itself: a key of ``uapi.RTN_OWN``, or ``""``."""
    for part in _way(session, address):
        return _OWN.get(_RTMSG.unpack_from(part.body)[7], "")
    return ""


def _way(session: Session, address: str) -> tuple[Part, ...]:
    """Where packets to ``address`` would go."""
    raw = packed(address)
    header = _RTMSG.pack(codec.family(address), 8 * len(raw), 0, 0, 0, 0, 0, 0, 0)
    return session.ask(Request(uapi.RTM_GETROUTE, 0, header + attr(uapi.RTA_DST, raw))).parts
