"""Making, changing and removing links."""

# ruff: noqa: ARG002, D102  what overrides is documented in driver.py
from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from cnidaria.kernel import codec, uapi
from cnidaria.kernel.codec import nest, number, text, u32
from cnidaria.kernel.driver import Driver, Found
from cnidaria.kernel.errors import Difference, KernelError
from cnidaria.kernel.linkinfo import (
    MAKING,
    LinkInfo,
    by_name,
    decode,
    find_link,
    header,
    our_links,
    with_alias,
)
from cnidaria.kernel.netlink import Answer, Request
from cnidaria.kernel.objects import MARK, AnyLink, BridgePort, Link, LinkUp, Object
from cnidaria.kernel.session import GONE, Session, need_index, refused, taken

L = TypeVar("L", bound=Link)

_NO_ADDRESSES = nest(
    uapi.IFLA_AF_SPEC,
    nest(
        socket.AF_INET6,
        codec.u8(uapi.IFLA_INET6_ADDR_GEN_MODE, uapi.IN6_ADDR_GEN_MODE_NONE),
    ),
)
_NOT_ZERO = 0x40000000


_CHANGED: Mapping[str, Callable[[Any], bytes]] = {
    "mac": lambda mac: codec.attr(uapi.IFLA_ADDRESS, codec.mac(mac)),
    "mtu": lambda mtu: u32(uapi.IFLA_MTU, mtu),
}
"""What can be changed on a link that is there."""

_LEFT = ("alias", "up", "peer up", "peer_mac")
"""What is set anyway, or is the other namespace's to change: a later plugin may give it a MAC."""


def set_link(name: str, *attrs: bytes, up: bool = False) -> Request:
    """Change a link."""
    flags = uapi.IFF_UP if up else 0
    body = header(0, flags, flags) + text(uapi.IFLA_IFNAME, name) + b"".join(attrs)
    return Request(uapi.RTM_SETLINK, 0, body)


class Links(Driver[L]):
    """Links of one kind: what a kind adds is its data, and reading that back."""

    kind: str
    quiet = False
    """Whether it makes no IPv6 link-local address of its own."""

    def attrs(self, session: Session, obj: L) -> list[bytes]:
        """Attributes besides name, kind and data for its creation."""
        raise NotImplementedError

    def data(self, session: Session, obj: L) -> list[bytes]:
        """What is particular to its kind."""
        raise NotImplementedError

    def read(self, session: Session, obj: L, info: LinkInfo) -> dict[str, Any]:
        """What it has of the fields of ``obj``, and whatever else should be compared."""
        raise NotImplementedError

    def maker(self, session: Session, obj: L) -> Session:
        """The conversation with the namespace that it is made from."""
        return session

    def finish(self, session: Session, obj: L) -> None:
        """Set up what else belongs to it."""

    def apply(self, session: Session, obj: L) -> None:
        info = nest(
            uapi.IFLA_LINKINFO,
            text(uapi.IFLA_INFO_KIND, self.kind),
            nest(uapi.IFLA_INFO_DATA, *self.data(session, obj)),
        )
        name = text(uapi.IFLA_IFNAME, obj.name)
        # The group marks it as ours from its first moment, whenever we die; the alias comes later.
        attrs = (name, u32(uapi.IFLA_GROUP, MAKING), *self.attrs(session, obj), info)
        flags = uapi.NLM_F_CREATE | uapi.NLM_F_EXCL
        request = Request(uapi.RTM_NEWLINK, flags, header() + b"".join(attrs))
        maker = self.maker(session, obj)
        # Nothing is changed on a link by its name before it is known to be ours.
        maker.queue("add", obj, request, partial(self._settle, session, obj))
        maker.flush()
        session.forget()
        if self.quiet:
            session.queue("add", obj, set_link(obj.name, _NO_ADDRESSES), partial(_no_ipv6, obj))
        mark = (text(uapi.IFLA_IFALIAS, obj.alias), u32(uapi.IFLA_GROUP, 0))
        session.queue("add", obj, set_link(obj.name, *mark, up=True))
        self.finish(session, obj)

    def _settle(self, session: Session, obj: L, answer: Answer) -> None:
        """A link of this name is there: go on only with the same one of ours."""
        if answer.errno != errno.EEXIST:
            raise refused("add", obj, answer)
        info = find_link(session, obj.name) or self._rename_back(session, obj)
        if info is None:
            other = obj.ends()[-1][1]
            raise taken(obj, f"somebody else's interface {other} is there", other)
        if not info.ours or (info.alias and info.alias != obj.alias):
            raise taken(obj, f"somebody else's interface {obj.name} is there", obj.name)
        for difference in self.differences(session, obj):
            if difference.field in _CHANGED:
                change = set_link(obj.name, _CHANGED[difference.field](difference.expected))
                session.queue("add", obj, change)
            elif difference.field not in _LEFT:
                raise taken(obj, f"another is there: {difference}", obj.name)

    def _rename_back(self, session: Session, obj: L) -> LinkInfo | None:
        """The same link under its own name again, if somebody gave it another one."""
        for info in with_alias(session, obj.alias):
            if info.kind == self.kind and info.mac == getattr(obj, "mac", None):
                answer = _rename(session, info.index, obj.name)
                if answer.errno:
                    raise refused("add", obj, answer)
                session.forget()
                return find_link(session, obj.name)
        return None

    def withdraw(self, session: Session, obj: L) -> None:
        _withdraw(session, obj)

    def find(self, session: Session, obj: L) -> Found | None:
        info = find_link(session, obj.name)
        return Found(AnyLink(obj.name, where=obj.where), info.ours) if info else None

    def owned(self, session: Session) -> Iterable[Object]:
        """They are listed all kinds at once: :class:`AnyLinks`."""
        return ()

    def differences(self, session: Session, obj: L) -> Iterator[Difference]:
        info = find_link(session, obj.name)
        if info is None:
            yield Difference(obj)
        elif info.kind != self.kind:
            yield Difference(obj, "kind", self.kind, info.kind)
        elif not info.ours:
            yield Difference(obj, "owner", "cnidaria", "somebody else")
        else:
            found = {"mac": info.mac, "mtu": info.mtu, "alias": info.alias, "up": info.up}
            yield from _compare(obj, {**found, **self.read(session, obj, info)})


def _rename(session: Session, index: int, name: str) -> Answer:
    rename = Request(uapi.RTM_SETLINK, 0, header(index) + text(uapi.IFLA_IFNAME, name))
    answer = session.step(rename)
    if answer.errno == errno.EBUSY:  # before Linux 6.2 only a link that is down can be renamed
        session.step(Request(uapi.RTM_SETLINK, 0, header(index, 0, uapi.IFF_UP)))
        answer = session.step(rename)
    return answer


def _compare(obj: Link, found: dict[str, Any]) -> Iterator[Difference]:
    """Fields that differ; what is no field of the object is a fact that must be true.

    A peer's are the same as those of the link itself.
    """
    for field, have in found.items():
        want = getattr(obj, field.removeprefix("peer "), True)
        if want != have and not (want is None and field in obj.LOOSE):
            yield Difference(obj, field, want, have)


class AnyLinks(Driver[AnyLink]):
    """Links of ours, whatever their kind: for finding and removing them."""

    def apply(self, session: Session, obj: AnyLink) -> None:
        raise taken(obj, "its kind is not known")

    def withdraw(self, session: Session, obj: AnyLink) -> None:
        _withdraw(session, obj)

    def find(self, session: Session, obj: AnyLink) -> Found | None:
        info = find_link(session, obj.name)
        return Found(obj, info.ours) if info else None

    def owned(self, session: Session) -> Iterable[Object]:
        return [AnyLink(link.name, alias=link.alias or MARK) for link in our_links(session)]


def _withdraw(session: Session, obj: Link) -> None:
    session.flush()
    for error in delete_links(session, [obj]):
        what = f"cannot remove {obj} ({obj.where})"
        raise KernelError(error.errno, what, error.reason, object=obj)


def _no_ipv6(obj: Object, answer: Answer) -> None:
    """A kernel without IPv6, or an MTU too small for it, makes no addresses anyway."""
    if answer.errno != errno.EAFNOSUPPORT:
        raise refused("add", obj, answer)


class LinkUps(Driver[LinkUp]):
    """A link that somebody else made."""

    def apply(self, session: Session, obj: LinkUp) -> None:
        session.queue("add", obj, set_link(obj.dev, up=True))

    def withdraw(self, session: Session, obj: LinkUp) -> None:
        """It was not ours to set down."""

    def find(self, session: Session, obj: LinkUp) -> Found | None:
        info = find_link(session, obj.dev)
        return Found(obj, True) if info and info.up else None

    def owned(self, session: Session) -> Iterable[Object]:
        return ()


class BridgePorts(Driver[BridgePort]):
    """Links in a bridge."""

    def apply(self, session: Session, obj: BridgePort) -> None:
        master = need_index(session, obj, obj.bridge)
        info = find_link(session, obj.dev)
        if info and info.master not in (0, master):
            raise taken(obj, f"it belongs to {session.name(info.master)}")
        session.queue("add", obj, set_link(obj.dev, u32(uapi.IFLA_MASTER, master)))
        port = nest(
            uapi.IFLA_LINKINFO,
            text(uapi.IFLA_INFO_SLAVE_KIND, "bridge"),
            nest(
                uapi.IFLA_INFO_SLAVE_DATA,
                codec.u8(uapi.IFLA_BRPORT_MODE, obj.hairpin),
                codec.u8(uapi.IFLA_BRPORT_ISOLATED, obj.isolated),
            ),
        )
        # Only RTM_NEWLINK passes a port's settings on to its bridge.
        body = header() + text(uapi.IFLA_IFNAME, obj.dev) + port
        session.queue("add", obj, Request(uapi.RTM_NEWLINK, 0, body))

    def withdraw(self, session: Session, obj: BridgePort) -> None:
        found = self.find(session, obj)
        if found and found.ours:
            session.queue("remove", obj, set_link(obj.dev, u32(uapi.IFLA_MASTER, 0)))

    def find(self, session: Session, obj: BridgePort) -> Found | None:
        info = find_link(session, obj.dev)
        if info is None or info.slave_kind != "bridge":
            return None
        bridge = session.name(info.master)
        found = BridgePort(
            obj.dev,
            bridge,
            hairpin=bool(number(info.slave_data.get(uapi.IFLA_BRPORT_MODE, b"\0"))),
            isolated=bool(number(info.slave_data.get(uapi.IFLA_BRPORT_ISOLATED, b"\0"))),
        )
        return Found(found, bridge == obj.bridge)

    def owned(self, session: Session) -> Iterable[Object]:
        return ()


def delete_links(session: Session, links: Sequence[Link]) -> list[KernelError]:
    """Delete those of the links that are there and ours, all in one grace period.

    A veth's deletion waits for one (16 to 24 ms); links of one group are deleted together.

    Returns:
        An error for each link that could not be deleted, with the ``name`` it was declared by.
    """
    answers = session.ask_all([by_name(link.name) for link in links])
    found: dict[int, tuple[LinkInfo, str]] = {}
    for link, answer in zip(links, answers, strict=True):
        for info in [*map(decode, answer.parts)] or _of_attachment(session, link):
            found[info.index] = info, link.name
    ours = [(info, name) for info, name in found.values() if info.ours]
    session.forget()
    if len(ours) > 1 and _delete_group(session, [info.index for info, _ in ours]):
        return []
    return [error for info, name in ours if (error := _delete(session, info.index, name))]


def _of_attachment(session: Session, obj: Link) -> list[LinkInfo]:
    """What an attachment's link may be called now: only its alias names one container."""
    return with_alias(session, obj.alias) if "/" in obj.alias else []


def _delete_group(session: Session, indices: Sequence[int]) -> bool:
    """Whether all of them are gone."""
    group = int.from_bytes(os.urandom(4), "little") | _NOT_ZERO
    for index in indices:
        change = Request(uapi.RTM_SETLINK, 0, header(index) + u32(uapi.IFLA_GROUP, group))
        if session.step(change).errno not in (0, *GONE):
            return False
    delete = Request(uapi.RTM_DELLINK, 0, header() + u32(uapi.IFLA_GROUP, group))
    return session.step(delete).errno in (0, *GONE)


def _delete(session: Session, index: int, name: str) -> KernelError | None:
    answer = session.step(Request(uapi.RTM_DELLINK, 0, header(index)))
    if answer.errno in (0, *GONE):
        return None
    what = f"cannot remove interface {name}"
    return KernelError(answer.errno, what, answer.reason, name=name)
