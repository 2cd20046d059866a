"""Layer 3 and what resolves it: addresses, routes, rules, neighbours, FDB entries, sysctls."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

import msgspec

from cnidaria.kernel.objects import text
from cnidaria.kernel.objects.base import Object, Where, register

PROTOCOL = 67
"""Our mark where the kernel has a field for it (``rtm_protocol``, ``FRA_PROTOCOL``,
``IFA_PROTO``, ``NDA_PROTOCOL``): 'C', unused by iproute2's ``rt_protos``."""

MAIN = 254
V6_METRIC = 1024
"""What the kernel takes for an IPv6 route's metric of 0 (``IP6_RT_PRIO_USER``)."""

RouteType = Literal["unicast", "local", "blackhole", "unreachable", "prohibit", "throw"]
Scope = Literal["global", "site", "link", "host"]
SCOPES: Final[dict[Scope, int]] = {"global": 0, "site": 200, "link": 253, "host": 254}
"""``rtm_scope`` and ``ifa_scope`` (rtnetlink(7))."""


def _u32(where: str, value: int) -> int:
    return text.in_range(where, value, 0, 2**32 - 1)


@register
class Address(Object, frozen=True):
    """An address on a link.

    Attributes:
        address: with prefix length, as ``10.1.1.5/32``.
        nodad: IPv6 only: usable at once, without duplicate address detection (1 to 2 s).
    """

    dev: str
    address: str
    nodad: bool = False

    def __post_init__(self) -> None:
        self._canonical("dev", text.ifname)
        self._canonical("address", text.prefixed)
        if self.nodad and text.version(self.address) != 6:
            self._set("nodad", False)

    @property
    def key(self) -> tuple[Any, ...]:
        """Link and address."""
        return ("address", self.dev, self.address)

    def on(self) -> tuple[str, ...]:
        """Its link."""
        return (self.dev,)

    def __str__(self) -> str:
        return f"address {self.address} on {self.dev}"


class Encap(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Tunnel metadata of a route (``encap ip``): for devices that are ``external``.

    Attributes:
        id: tunnel identifier, as the VNI.
        dst: the remote tunnel end.
        src: ours; ``None``: the device's.
        ttl: of the outer packet; 0: the device's.
        tos: of the outer packet.
    """

    id: int
    dst: str
    src: str | None = None
    ttl: int = 0
    tos: int = 0
    kind: Literal["ip"] = "ip"

    def __post_init__(self) -> None:
        text.in_range("Encap.id", self.id, 0, 2**64 - 1)
        text.in_range("Encap.ttl", self.ttl, 0, 255)
        text.in_range("Encap.tos", self.tos, 0, 255)
        msgspec.structs.force_setattr(self, "dst", text.address("Encap.dst", self.dst))
        if self.src is not None:
            msgspec.structs.force_setattr(self, "src", text.address("Encap.src", self.src))
            text.same_family("Encap.src", self.src, self.dst)

    def __str__(self) -> str:
        return f"encap ip id {self.id} dst {self.dst}"


@register
class Route(Object, frozen=True):
    """A route, bearing protocol number 67.

    Attributes:
        dst: prefix; the default route is ``0.0.0.0/0`` or ``::/0``.
        via: next hop, of the same family. Without ``dev`` the kernel finds the link.
        src: preferred source address.
        onlink: the next hop is on ``dev`` whatever the addresses there say.
        scope: ``None`` becomes what ``ip route`` takes: link without a next hop, else global.
        metric: lower wins; IPv6: 0 becomes 1024, as in the kernel.
        mtu: of the path, bytes; ``advmss`` of a segment. More than 65520 and 65495 the kernel
            would cut down to these.
        encap: tunnel metadata.
        type: all but unicast and local are without ``via`` and ``dev``.
    """

    dst: str
    via: str | None = None
    dev: str | None = None
    src: str | None = None
    onlink: bool = False
    scope: Scope | None = None
    table: int = MAIN
    metric: int = 0
    mtu: int | None = None
    advmss: int | None = None
    encap: Encap | None = None
    type: RouteType = "unicast"

    LOOSE: ClassVar[frozenset[str]] = frozenset({"dev"})

    def __post_init__(self) -> None:
        self._canonical("dst", text.prefix)
        self._canonical("dev", text.ifname)
        for field in ("via", "src"):
            self._canonical(field, text.address)
            if (value := getattr(self, field)) is not None:
                text.same_family(f"Route.{field}", value, self.dst)
        self._canonical("metric", _u32)
        self._canonical("table", lambda where, value: text.in_range(where, value, 1, 2**32 - 1))
        self._canonical("mtu", lambda where, value: text.in_range(where, value, 1, 65520))
        self._canonical("advmss", lambda where, value: text.in_range(where, value, 1, 65495))
        self._check_target()
        v6 = text.version(self.dst) == 6
        if self.scope is None or v6:
            self._set("scope", self._default_scope(v6))
        if v6 and self.metric == 0:
            self._set("metric", V6_METRIC)

    def _check_target(self) -> None:
        leads = self.type in ("unicast", "local")
        for field in ("via", "dev", "encap"):
            if not leads and getattr(self, field) is not None:
                raise text.refuse(f"Route.{field}", getattr(self, field), f"None ({self.type})")
        if leads and self.via is None and self.dev is None:
            raise text.refuse("Route.dev", self.dev, "set where via is not")
        if self.onlink and (self.via is None or self.dev is None):
            raise text.refuse("Route.onlink", self.onlink, "False unless via and dev are set")

    def _default_scope(self, v6: bool) -> Scope:
        if v6 or self.via is not None or self.type not in ("unicast", "local"):
            return "global"
        return "host" if self.type == "local" else "link"

    @property
    def key(self) -> tuple[Any, ...]:
        """Table, prefix and metric."""
        return ("route", self.table, self.dst, self.metric)

    def on(self) -> tuple[str, ...]:
        """The link that it leaves by."""
        return () if self.dev is None else (self.dev,)

    def __str__(self) -> str:
        parts: list[str] = [] if self.type == "unicast" else [self.type]
        parts += [self.dst, *([str(self.encap)] if self.encap else [])]
        for word, value in (("via", self.via), ("dev", self.dev)):
            parts += [word, value] if value else []
        parts += ["table", str(self.table)] if self.table != MAIN else []
        return "route " + " ".join(parts)


@register
class Rule(Object, frozen=True):
    """A routing policy rule, bearing protocol number 67.

    Attributes:
        family: 4 or 6.
        priority: lower is asked first.
        table: looked up where all of the rest match, for ``action`` ``lookup``.
        src, dst: prefixes.
        iif, oif: interface names (they need not exist).
        mark: packet mark, compared under ``mask``.
    """

    family: Literal[4, 6]
    priority: int
    table: int = MAIN
    src: str | None = None
    dst: str | None = None
    iif: str | None = None
    oif: str | None = None
    mark: int | None = None
    mask: int | None = None
    action: Literal["lookup", "blackhole", "unreachable", "prohibit"] = "lookup"

    def __post_init__(self) -> None:
        for field in ("src", "dst"):
            self._canonical(field, text.prefix)
            value = getattr(self, field)
            if value is not None and text.version(value) != self.family:
                raise text.refuse(f"Rule.{field}", value, f"of address family {self.family}")
        for field in ("iif", "oif"):
            self._canonical(field, text.ifname)
        for field in ("priority", "table", "mark", "mask"):
            self._canonical(field, _u32)
        if self.mask is not None and self.mark is None:
            raise text.refuse("Rule.mask", self.mask, "None where mark is None")
        if self.mark is not None and self.mask is None:
            self._set("mask", 2**32 - 1)
        if self.action != "lookup":
            self._set("table", MAIN)

    @property
    def key(self) -> tuple[Any, ...]:
        """All of it: rules are told apart by everything they say."""
        fields = (getattr(self, name) for name in self.__struct_fields__ if name != "where")
        return ("rule", *fields)

    def __str__(self) -> str:
        words = [f"rule {self.priority}:"]
        for word, value in (("from", self.src), ("to", self.dst), ("iif", self.iif)):
            words += [word, value] if value else []
        words += ["oif", self.oif] if self.oif else []
        words += [f"fwmark {self.mark:#x}/{self.mask:#x}"] if self.mark is not None else []
        words += [f"lookup {self.table}" if self.action == "lookup" else self.action]
        return " ".join(words)


@register
class Neighbour(Object, frozen=True):
    """A permanent neighbour entry (ARP, NDP): nobody has to be asked for this address's MAC."""

    dev: str
    address: str
    mac: str

    def __post_init__(self) -> None:
        self._canonical("dev", text.ifname)
        self._canonical("address", text.address)
        self._canonical("mac", text.mac)

    @property
    def key(self) -> tuple[Any, ...]:
        """Link and address."""
        return ("neighbour", self.dev, self.address)

    def on(self) -> tuple[str, ...]:
        """Its link."""
        return (self.dev,)

    def __str__(self) -> str:
        return f"neighbour {self.address} on {self.dev}"


@register
class Fdb(Object, frozen=True):
    """A permanent forwarding entry: of a vxlan device, or of the bridge that ``dev`` is port of.

    Attributes:
        mac: all zero is the vxlan's default: flooding and unknown MACs; several may be there.
        dst: the remote tunnel end; ``None`` for a bridge's entry.
    """

    dev: str
    mac: str
    dst: str | None = None

    def __post_init__(self) -> None:
        self._canonical("dev", text.ifname)
        self._canonical("mac", lambda where, value: text.mac(where, value, unicast=False))
        self._canonical("dst", text.address)

    @property
    def key(self) -> tuple[Any, ...]:
        """Link and MAC; for the all-zero MAC also the remote end."""
        return ("fdb", self.dev, self.mac, self.dst if self.mac == text.ZERO_MAC else None)

    def on(self) -> tuple[str, ...]:
        """Its link."""
        return (self.dev,)

    def __str__(self) -> str:
        return f"fdb entry {self.mac} on {self.dev}" + (f" to {self.dst}" if self.dst else "")


@register
class Sysctl(Object, frozen=True):
    """A kernel setting below ``net``. It keeps its value when this is withdrawn.

    Attributes:
        name: as ``net.ipv4.ip_forward``. Where a part has a dot, as an interface may, write
            ``net/ipv6/conf/eth0.5/accept_ra`` (sysctl(8)); :meth:`of_link` does that.
        value: as the kernel prints it.
    """

    name: str
    value: str

    @classmethod
    def of_link(
        cls,
        dev: str,
        family: Literal["ipv4", "ipv6"],
        setting: str,
        value: str,
        where: Where = "host",
    ) -> Sysctl:
        """A setting of one interface, whatever its name."""
        return cls(f"net/{family}/conf/{dev}/{setting}", value, where=where)

    def __post_init__(self) -> None:
        parts = self.parts
        if len(parts) < 3 or parts[0] != "net" or any(p in ("", ".", "..") for p in parts):
            raise text.refuse("Sysctl.name", self.name, "a setting as net.ipv4.ip_forward")
        dotted = any("." in part for part in parts)
        self._set("name", ("/" if dotted else ".").join(parts))
        self._set("value", " ".join(str(self.value).split()))
        if not self.value:
            raise text.refuse("Sysctl.value", self.value, "a value as the kernel prints it")

    @property
    def parts(self) -> list[str]:
        """Path below ``/proc/sys``."""
        return self.name.split("/" if "/" in self.name else ".")

    @property
    def key(self) -> tuple[Any, ...]:
        """Its name."""
        return ("sysctl", self.name)

    def on(self) -> tuple[str, ...]:
        """The link whose setting it is."""
        parts = self.parts
        per_link = len(parts) > 4 and parts[2] in ("conf", "neigh")
        return (parts[3],) if per_link and parts[3] not in ("all", "default") else ()

    def __str__(self) -> str:
        return f"sysctl {self.name}"
