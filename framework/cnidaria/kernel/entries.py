"""Addresses, neighbours, FDB entries and rules."""

# ruff: noqa: ARG002, ARG004, D102  what overrides is documented in driver.py
from __future__ import annotations

import socket
from collections.abc import Iterator
from struct import Struct

from cnidaria.kernel import codec, uapi
from cnidaria.kernel.codec import Attrs, Part, attr, number, packed, string, unpacked
from cnidaria.kernel.driver import Entry, Found, by_key, known
from cnidaria.kernel.netlink import Request
from cnidaria.kernel.objects import PROTOCOL, SCOPES, Address, Fdb, Neighbour, Object, Rule
from cnidaria.kernel.objects.text import ZERO_MAC
from cnidaria.kernel.session import Session, need_index

_IFADDRMSG = Struct("=BBBBi")  # family, prefix length, flags, scope, index
_NDMSG = Struct("=BxxxiHBB")  # family, index, state, flags, type
_FIB_RULE = Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, 0, 0, action, flags


def protocol_of(attrs: Attrs, kind: int) -> int:
    """Who made it; 0 if nobody said."""
    return number(attrs.get(kind, b"\0"))


def _scope(raw: bytes) -> int:
    """Of IPv4 addresses, as the kernel has it of IPv6 ones: loopback, link-local, all others."""
    if len(raw) == 4 and raw[0] == 127:
        return SCOPES["host"]
    return SCOPES["link" if raw[:2] == b"\xa9\xfe" and len(raw) == 4 else "global"]


class Addresses(Entry[Address]):
    """``RTM_NEWADDR``: in a namespace an address is there once per link and prefix length."""

    new, delete = uapi.RTM_NEWADDR, uapi.RTM_DELADDR

    def body(self, session: Session, obj: Address) -> bytes:
        return self._body(obj, need_index(session, obj, obj.dev))

    def key_body(self, session: Session, obj: Address) -> bytes:
        found = self.find(session, obj)
        return self._body(obj, session.index(obj.dev)) if found and found.ours else b""

    @staticmethod
    def _body(obj: Address, index: int) -> bytes:
        address, _, bits = obj.address.partition("/")
        raw = packed(address)
        return b"".join(
            (
                _IFADDRMSG.pack(codec.family(address), int(bits), 0, _scope(raw), index),
                attr(uapi.IFA_LOCAL, raw),
                attr(uapi.IFA_ADDRESS, raw),
                codec.u32(uapi.IFA_FLAGS, uapi.IFA_F_NODAD if obj.nodad else 0),
                codec.u8(uapi.IFA_PROTO, PROTOCOL),
            )
        )

    def find(self, session: Session, obj: Address) -> Found | None:
        index = session.index(obj.dev)
        family = codec.family(obj.address)
        what = (Addresses, family, index)
        there = session.once(what, lambda: by_key(self._dump(session, family, index)))
        return there.get(obj.key) if index else None

    def owned(self, session: Session) -> Iterator[Address]:
        for family in (socket.AF_INET, socket.AF_INET6):
            for found, ours in self._dump(session, family, 0):
                if ours and isinstance(found, Address):
                    yield found

    def everywhere(self, session: Session) -> list[str]:
        """The addresses of all links, whoever made them, without prefix lengths."""
        found = (
            one
            for family in (socket.AF_INET, socket.AF_INET6)
            for one in self._dump(session, family, 0)
        )
        return [
            one.object.address.partition("/")[0] for one in found if isinstance(one.object, Address)
        ]

    def listed(self, session: Session, dev: str) -> list[str]:
        """Addresses of a link, whoever made them."""
        index = session.index(dev)
        families = (socket.AF_INET, socket.AF_INET6) if index else ()
        found = (one for family in families for one in self._dump(session, family, index))
        return [one.object.address for one in found if isinstance(one.object, Address)]

    def _dump(self, session: Session, family: int, index: int) -> Iterator[Found]:
        body = _IFADDRMSG.pack(family, 0, 0, 0, index)
        for part in session.dump(uapi.RTM_GETADDR, body):
            found = self.decode(session, part)
            if found:
                yield found

    @staticmethod
    @known
    def decode(session: Session, part: Part) -> Found | None:
        """``None``: its link is gone already."""
        _, bits, _, _, index = _IFADDRMSG.unpack_from(part.body)
        attrs = codec.attributes(part.body, _IFADDRMSG.size)
        raw = attrs.get(uapi.IFA_LOCAL) or attrs[uapi.IFA_ADDRESS]
        dev = session.name(index)
        if not dev:
            return None
        found = Address(
            dev,
            f"{unpacked(raw)}/{bits}",
            nodad=bool(number(attrs.get(uapi.IFA_FLAGS, b"\0")) & uapi.IFA_F_NODAD),
        )
        return Found(found, protocol_of(attrs, uapi.IFA_PROTO) == PROTOCOL)


class Neighbours(Entry[Neighbour]):
    """``RTM_NEWNEIGH``, permanent."""

    new, delete = uapi.RTM_NEWNEIGH, uapi.RTM_DELNEIGH

    def body(self, session: Session, obj: Neighbour) -> bytes:
        return b"".join(
            (
                self._head(obj, need_index(session, obj, obj.dev), uapi.NUD_PERMANENT),
                attr(uapi.NDA_LLADDR, codec.mac(obj.mac)),
                codec.u8(uapi.NDA_PROTOCOL, PROTOCOL),
            )
        )

    @staticmethod
    def _head(obj: Neighbour, index: int, state: int = 0) -> bytes:
        family = codec.family(obj.address)
        header = _NDMSG.pack(family, index, state, 0, 0)
        return header + attr(uapi.NDA_DST, packed(obj.address))

    def key_body(self, session: Session, obj: Neighbour) -> bytes:
        found = self.find(session, obj)
        return self._head(obj, session.index(obj.dev)) if found and found.ours else b""

    def find(self, session: Session, obj: Neighbour) -> Found | None:
        index = session.index(obj.dev)
        if not index:
            return None
        answer = session.ask(Request(uapi.RTM_GETNEIGH, 0, self._head(obj, index)))
        for part in answer.parts:
            return self.decode(session, part)
        return None

    def owned(self, session: Session) -> Iterator[Neighbour]:
        for family in (socket.AF_INET, socket.AF_INET6):
            for part in session.dump(uapi.RTM_GETNEIGH, _NDMSG.pack(family, 0, 0, 0, 0)):
                found = self.decode(session, part)
                if found and found.ours and isinstance(found.object, Neighbour):
                    yield found.object

    @staticmethod
    @known
    def decode(session: Session, part: Part) -> Found | None:
        """An entry that was learned is nobody's: as if it were not there."""
        _, index, state, _, _ = _NDMSG.unpack_from(part.body)
        attrs = codec.attributes(part.body, _NDMSG.size)
        lladdr = attrs.get(uapi.NDA_LLADDR, b"")
        if not state & uapi.NUD_PERMANENT or len(lladdr) != 6 or lladdr[0] & 1 or not any(lladdr):
            return None
        address = unpacked(attrs[uapi.NDA_DST])
        found = Neighbour(session.name(index), address, lladdr.hex(":"))
        return Found(found, protocol_of(attrs, uapi.NDA_PROTOCOL) == PROTOCOL)

    @staticmethod
    def place(session: Session, part: Part) -> tuple[tuple[str, str, str], bool]:
        """Key of the entry, and whether it is ours; also of one that is gone or not permanent."""
        index = _NDMSG.unpack_from(part.body)[1]
        attrs = codec.attributes(part.body, _NDMSG.size)
        address = unpacked(attrs[uapi.NDA_DST])
        ours = protocol_of(attrs, uapi.NDA_PROTOCOL) == PROTOCOL
        return ("neighbour", session.name(index), address), ours


class FdbEntries(Entry[Fdb]):
    """``RTM_NEWNEIGH`` of family bridge. The kernel has no mark for them: their device's tells."""

    new, delete = uapi.RTM_NEWNEIGH, uapi.RTM_DELNEIGH

    def apply(self, session: Session, obj: Fdb) -> None:
        if obj.mac != ZERO_MAC:
            super().apply(session, obj)
            return
        # Of the all-zero MAC there are many; adding one again is no error.
        flags = uapi.NLM_F_CREATE | uapi.NLM_F_APPEND
        session.queue("add", obj, Request(self.new, flags, self.body(session, obj)))

    def body(self, session: Session, obj: Fdb) -> bytes:
        return self._body(obj, need_index(session, obj, obj.dev))

    def key_body(self, session: Session, obj: Fdb) -> bytes:
        index = session.index(obj.dev)
        return self._body(obj, index) if index else b""

    @staticmethod
    def _body(obj: Fdb, index: int) -> bytes:
        # A tunnel's entry is the device's own, a bridge's is its master's.
        flags = uapi.NTF_SELF if obj.dst else uapi.NTF_MASTER
        state = uapi.NUD_PERMANENT if obj.dst else uapi.NUD_NOARP
        body = _NDMSG.pack(socket.AF_BRIDGE, index, state, flags, 0)
        body += attr(uapi.NDA_LLADDR, codec.mac(obj.mac))
        return body + (attr(uapi.NDA_DST, packed(obj.dst)) if obj.dst else b"")

    def find(self, session: Session, obj: Fdb) -> Found | None:
        index = session.index(obj.dev)
        there = session.once((Fdb, index), lambda: by_key(self._dump(session, index)))
        return there.get(obj.key) if index else None

    @staticmethod
    def place(session: Session, part: Part) -> tuple[str, str, str, str | None]:
        """Key of the entry, also of one that is gone."""
        index = _NDMSG.unpack_from(part.body)[1]
        attrs = codec.attributes(part.body, _NDMSG.size)
        mac, dst = attrs[uapi.NDA_LLADDR].hex(":"), attrs.get(uapi.NDA_DST)
        several = mac == ZERO_MAC and dst is not None
        return "fdb", session.name(index), mac, unpacked(dst) if dst and several else None

    def owned(self, session: Session) -> Iterator[Object]:
        from cnidaria.kernel.linkinfo import our_links

        for link in our_links(session):
            if link.kind == "vxlan" or link.slave_kind == "bridge":
                for found in self._dump(session, link.index):
                    yield found.object

    @staticmethod
    def _dump(session: Session, index: int) -> Iterator[Found]:
        body = _NDMSG.pack(socket.AF_BRIDGE, index, 0, 0, 0)
        for part in session.dump(uapi.RTM_GETNEIGH, body):
            _, link, state, _, _ = _NDMSG.unpack_from(part.body)
            attrs = codec.attributes(part.body, _NDMSG.size)
            dst = attrs.get(uapi.NDA_DST)
            # What is on an interface's own list, or is a port's own MAC, nobody declared.
            static = dst is not None or (state & uapi.NUD_NOARP and uapi.NDA_MASTER in attrs)
            if link == index and static:
                mac = attrs[uapi.NDA_LLADDR].hex(":")
                yield Found(Fdb(session.name(link), mac, unpacked(dst) if dst else None), True)


class Rules(Entry[Rule]):
    """``RTM_NEWRULE``: the kernel finds a rule by everything it says."""

    new, delete = uapi.RTM_NEWRULE, uapi.RTM_DELRULE

    def body(self, session: Session, obj: Rule) -> bytes:
        lengths = [int(p.partition("/")[2]) if p else 0 for p in (obj.dst, obj.src)]
        family = socket.AF_INET if obj.family == 4 else socket.AF_INET6
        looks_up = obj.action == "lookup"
        table = obj.table if looks_up and obj.table < 256 else 0
        action = uapi.FR_ACTIONS[obj.action]
        attrs = [_FIB_RULE.pack(family, *lengths, 0, table, 0, 0, action, 0)]
        for kind, prefix in ((uapi.FRA_DST, obj.dst), (uapi.FRA_SRC, obj.src)):
            attrs += [attr(kind, packed(prefix.partition("/")[0]))] if prefix else []
        for kind, name in ((uapi.FRA_IIFNAME, obj.iif), (uapi.FRA_OIFNAME, obj.oif)):
            attrs += [codec.text(kind, name)] if name else []
        attrs += [codec.u32(uapi.FRA_PRIORITY, obj.priority)]
        attrs += [codec.u32(uapi.FRA_TABLE, obj.table)] if looks_up else []
        for kind, value in ((uapi.FRA_FWMARK, obj.mark), (uapi.FRA_FWMASK, obj.mask)):
            attrs += [codec.u32(kind, value)] if value is not None else []
        return b"".join((*attrs, codec.u8(uapi.FRA_PROTOCOL, PROTOCOL)))

    def find(self, session: Session, obj: Rule) -> Found | None:
        family = socket.AF_INET if obj.family == 4 else socket.AF_INET6
        there = session.once((Rules, family), lambda: by_key(self._dump(session, family)))
        return there.get(obj.key)

    def owned(self, session: Session) -> Iterator[Rule]:
        for family in (socket.AF_INET, socket.AF_INET6):
            for found, ours in self._dump(session, family):
                if ours and isinstance(found, Rule):
                    yield found

    def _dump(self, session: Session, family: int) -> Iterator[Found]:
        body = _FIB_RULE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        for part in session.dump(uapi.RTM_GETRULE, body):
            found = self.decode(session, part)
            if found:
                yield found

    @staticmethod
    @known
    def decode(session: Session, part: Part) -> Found | None:
        """``None`` is a rule of a kind that we never make."""
        family, dst_len, src_len, _, table, _, _, action, _ = _FIB_RULE.unpack_from(part.body)
        attrs = codec.attributes(part.body, _FIB_RULE.size)
        actions = {value: name for name, value in uapi.FR_ACTIONS.items()}
        if action not in actions:
            return None

        def prefix(kind: int, bits: int) -> str | None:
            return f"{unpacked(attrs[kind])}/{bits}" if kind in attrs else None

        def u32(kind: int) -> int | None:
            return number(attrs[kind]) if kind in attrs else None

        rule = Rule(
            4 if family == socket.AF_INET else 6,
            u32(uapi.FRA_PRIORITY) or 0,
            table=u32(uapi.FRA_TABLE) or table,
            src=prefix(uapi.FRA_SRC, src_len),
            dst=prefix(uapi.FRA_DST, dst_len),
            iif=string(attrs[uapi.FRA_IIFNAME]) if uapi.FRA_IIFNAME in attrs else None,
            oif=string(attrs[uapi.FRA_OIFNAME]) if uapi.FRA_OIFNAME in attrs else None,
            mark=u32(uapi.FRA_FWMARK),
            mask=u32(uapi.FRA_FWMASK) if uapi.FRA_FWMARK in attrs else None,
            action=actions[action],  # type: ignore[arg-type]  # the names that Rule knows
        )
        return Found(rule, protocol_of(attrs, uapi.FRA_PROTOCOL) == PROTOCOL)
