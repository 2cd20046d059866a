"""Links: veth, bridge, macvlan, vxlan; and what is set on a link that is there."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from cnidaria.kernel.objects import text
from cnidaria.kernel.objects.base import End, Object, Where, register

MARK = "cnidaria:"
"""Our links' aliases begin with this (``IFLA_IFALIAS``); what has no such alias is not ours."""

_ALIAS_LIMIT = 255  # IFALIASZ less the terminating zero
_MTU = (68, 65535)


def _alias(where: str, value: str) -> str:
    if not value.startswith(MARK) or len(value.encode()) > _ALIAS_LIMIT:
        raise text.refuse(where, value, f"a text of up to 255 bytes that begins with {MARK!r}")
    return value


def _mtu(where: str, value: int) -> int:
    return text.in_range(where, value, *_MTU)


class _Marked(Object, frozen=True, kw_only=True):
    alias: str = MARK


class Link(_Marked, frozen=True):
    """What makes a link. It is set up (``IFF_UP``) and deleted with everything on it.

    Attributes:
        alias: marks it as ours; must begin with ``cnidaria:``.
    """

    name: str

    @property
    def key(self) -> tuple[Any, ...]:
        """Links of all kinds share one space of names."""
        return ("link", self.name)

    def ends(self) -> tuple[End, ...]:
        """Itself."""
        return ((self.where, self.name),)

    def __post_init__(self) -> None:
        for field, check in (("name", text.ifname), ("mac", text.mac)):
            if field in self.__struct_fields__:
                self._canonical(field, check)
        if "mtu" in self.__struct_fields__:
            self._canonical("mtu", _mtu)
        self._canonical("alias", _alias)


@register
class Veth(Link, frozen=True):
    """A pair of Ethernet ends. The peer is made right inside its namespace, under its name.

    The host's end makes no IPv6 link-local address of its own (``addr_gen_mode none``).

    Attributes:
        mac: of the end in ``where``; ``peer_mac`` of the other. Explicit: udev rewrites random
            ones.
        mtu: of both, bytes.
    """

    peer: str
    mac: str
    peer_mac: str
    mtu: int = 1500
    peer_where: Where = "pod"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._canonical("peer", text.ifname)
        self._canonical("peer_mac", text.mac)
        if self.ends()[0] == self.ends()[1]:
            raise text.refuse("Veth.peer", self.peer, "another name than that of the first end")

    def ends(self) -> tuple[End, ...]:
        """Both."""
        return ((self.where, self.name), (self.peer_where, self.peer))

    def __str__(self) -> str:
        return f"veth {self.name}"


@register
class Bridge(Link, frozen=True):
    """An Ethernet bridge, without spanning tree.

    Attributes:
        mac: ``None`` leaves the choice to the kernel.
    """

    mtu: int = 1500
    mac: str | None = None

    LOOSE: ClassVar[frozenset[str]] = frozenset({"mac"})

    def __str__(self) -> str:
        return f"bridge {self.name}"


@register
class Macvlan(Link, frozen=True, kw_only=True):
    """A further MAC on a link of the host's, made right inside its namespace.

    Attributes:
        master: a link of the host's namespace.
        mac: ``None`` leaves the choice to the kernel, ``mtu`` likewise (it takes the master's).
    """

    master: str
    mode: Literal["private", "vepa", "bridge", "passthru"] = "bridge"
    mac: str | None = None
    mtu: int | None = None
    where: Where = "pod"

    LOOSE: ClassVar[frozenset[str]] = frozenset({"mac", "mtu"})

    def __post_init__(self) -> None:
        super().__post_init__()
        self._canonical("master", text.ifname)

    def __str__(self) -> str:
        return f"macvlan {self.name}"


@register
class Vxlan(Link, frozen=True):
    """A VXLAN tunnel end (RFC 7348) without a multicast group: its remote ends are declared.

    Attributes:
        vni: 24 bits; 0 with ``external``, where each route says it (:class:`Encap`).
        local: source address of the tunnel's packets.
        port: UDP destination.
        dev: the link that tunnel packets leave by; ``None``: by the routes.
        learning: whether MACs are learned from packets; off: only what :class:`Fdb` declares.
        gpe: without inner Ethernet (VXLAN-GPE); needs ``external``.
    """

    vni: int = 0
    local: str | None = None
    port: int = 4789
    dev: str | None = None
    mtu: int = 1450
    mac: str | None = None
    learning: bool = False
    external: bool = False
    gpe: bool = False

    LOOSE: ClassVar[frozenset[str]] = frozenset({"mac"})

    def __post_init__(self) -> None:
        super().__post_init__()
        self._canonical("local", text.address)
        self._canonical("dev", text.ifname)
        text.in_range("Vxlan.port", self.port, 1, 65535)
        if self.external:
            text.in_range("Vxlan.vni (external)", self.vni, 0, 0)
        else:
            text.in_range("Vxlan.vni", self.vni, 1, 2**24 - 1)
        if self.gpe and not self.external:
            raise text.refuse("Vxlan.gpe", self.gpe, "False unless external is True")

    def __str__(self) -> str:
        return f"vxlan {self.name}"


@register
class AnyLink(Link, frozen=True):
    """A link of ours of whatever kind, as it is found: to be compared by key and removed."""

    def __str__(self) -> str:
        return f"interface {self.name}"


class _OnLink(Object, frozen=True):
    dev: str

    @property
    def key(self) -> tuple[Any, ...]:
        """One of each kind on a link."""
        return (self.kind, self.dev)

    def on(self) -> tuple[str, ...]:
        """Its link."""
        return (self.dev,)

    def __post_init__(self) -> None:
        self._canonical("dev", text.ifname)


@register
class LinkUp(_OnLink, frozen=True):
    """A link that somebody else made is up. It stays up when this is withdrawn."""

    def __str__(self) -> str:
        return f"link {self.dev} up"


@register
class BridgePort(_OnLink, frozen=True):
    """A link is a port of a bridge.

    Attributes:
        hairpin: a packet may leave by the port that it came in by.
        isolated: no packets between isolated ports.
    """

    bridge: str
    hairpin: bool = False
    isolated: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._canonical("bridge", text.ifname)

    def on(self) -> tuple[str, ...]:
        """Both: with either of them gone it is no port any more."""
        return (self.dev, self.bridge)

    def __str__(self) -> str:
        return f"port {self.dev} of bridge {self.bridge}"
