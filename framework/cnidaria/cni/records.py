"""The parts of a result, and how their JSON is read: with Go's leniency, and clear errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from cnidaria.cni.address import canonical_cidr, canonical_ip
from cnidaria.cni.codec import fold, folded, kind, show

_INT_LIMIT: Final = 1 << 63

T = TypeVar("T")


class Dns(msgspec.Struct, frozen=True):
    """Settings of a resolver.

    Attributes:
        nameservers: addresses in order of preference.
        domain: the local domain for short names.
        search: domains to search, in order; preferred over ``domain``.
        options: passed to the resolver.
    """

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    extra: Mapping[str, Any] = {}


class Interface(msgspec.Struct, frozen=True):
    """One network interface.

    Attributes:
        mac: hardware address, ``""`` if there is none.
        mtu: bytes, 0 if not told.
        sandbox: path of the network namespace, ``""`` on the host.
        socket_path: absolute path of a socket that belongs to it.
        pci_id: of the device behind it.
    """

    name: str
    mac: str = ""
    mtu: int = 0
    sandbox: str = ""
    socket_path: str = ""
    pci_id: str = ""
    extra: Mapping[str, Any] = {}


class Ip(msgspec.Struct, frozen=True):
    """One address.

    Attributes:
        address: with prefix length, ``10.1.0.5/16``.
        gateway: the subnet's default gateway.
        interface: index into the result's interfaces.
        version: ``"4"`` or ``"6"`` as a result of 0.3.0 to 0.4.0 said; ``None``: by the address.
    """

    address: str
    gateway: str | None = None
    interface: int | None = None
    version: str | None = None
    extra: Mapping[str, Any] = {}


class Route(msgspec.Struct, frozen=True):
    """One route.

    Attributes:
        dst: destination, CIDR.
        gw: next hop; none means the gateway of the address.
        mtu: of the path, bytes; 0 if not set.
        advmss: segment size to advertise, bytes; 0 if not set.
        priority: lower wins; 0 if not set.
        table: number of the routing table.
        scope: 0 global, 253 link, 254 host.
        group: ``"4"`` or ``"6"``, under which a result of 0.2.0 or older listed it.
    """

    dst: str
    gw: str | None = None
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None
    group: str | None = None
    extra: Mapping[str, Any] = {}


class Malformed(ValueError):
    """A value is not what its key needs. The text names key, value and what is allowed."""

    def __init__(self, path: str, value: object, problem: str) -> None:
        super().__init__(f"{path} = {show(value)}: {problem}")


class Reader:
    """Takes the known keys out of one JSON object; what is left over is ``extra``.

    As in Go, keys match in any letter case, the last one wins, and ``null`` is as good as absent.
    """

    def __init__(self, raw: object, path: str) -> None:
        if not isinstance(raw, Mapping):
            raise Malformed(path, raw, f"must be an object, not {kind(raw)}")
        self.path = path
        self._raw = raw
        self._values = folded(raw)
        self._taken: set[str] = set()

    def take(self, key: str) -> Any:
        """The value of ``key``, ``None`` if there is none."""
        name = fold(key)
        self._taken.add(name)
        return self._values.get(name)

    @property
    def extra(self) -> dict[str, Any]:
        """What was not taken, in its own spelling."""
        if self._values.keys() <= self._taken:
            return {}
        return {key: value for key, value in self._raw.items() if fold(key) not in self._taken}

    def text(self, key: str) -> str:
        """A string, ``""`` if there is none."""
        value = self.take(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._bad(key, value, "must be a string")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self.take(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._bad(key, value, "must be a list of strings")
        return tuple(value)

    def integer(self, key: str) -> int | None:
        """An integer that Go's ``int`` can hold."""
        value = self.take(key)
        if value is None:
            return None
        if type(value) is not int or not -_INT_LIMIT <= value < _INT_LIMIT:
            raise self._bad(key, value, "must be an integer of 64 bits")
        return value

    def cidr(self, key: str) -> str:
        """An address with prefix length; it must be there."""
        found = self.converted(key, canonical_cidr)
        if found is None:
            raise self._bad(key, found, "must be an address with a prefix length")
        return found

    def ip(self, key: str) -> str | None:
        """An address without prefix length."""
        return self.converted(key, canonical_ip)

    def converted(self, key: str, convert: Callable[[str], str]) -> str | None:
        """``convert(text)``, which raises ``ValueError``; an empty text is as good as none."""
        text = self.text(key)
        try:
            return convert(text) if text else None
        except ValueError as error:
            raise self._bad(key, text, str(error)) from None

    def each(self, key: str, read: Callable[[Any, str], T]) -> tuple[T, ...]:
        """``read(item, path)`` of every item of a list."""
        value = self.take(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise self._bad(key, value, "must be a list")
        return tuple(read(item, f"{self.path}.{key}[{i}]") for i, item in enumerate(value))

    def _bad(self, key: str, value: object, problem: str) -> Malformed:
        return Malformed(f"{self.path}.{key}", value, problem)


def read_dns(raw: object, path: str) -> Dns:
    """Read a ``dns`` dictionary; ``None`` gives an empty one."""
    if raw is None:
        return Dns()
    reader = Reader(raw, path)
    return Dns(
        nameservers=reader.texts("nameservers"),
        domain=reader.text("domain"),
        search=reader.texts("search"),
        options=reader.texts("options"),
        extra=reader.extra,
    )
