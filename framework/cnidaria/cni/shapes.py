"""The three shapes that a result had in the history of the specification.

* up to 0.2.0: at most one address a family, ``ip4`` and ``ip6``, with its routes inside;
* 0.3.0 to 0.4.0: ``interfaces``, ``ips`` (each with its ``version``), ``routes``;
* from 1.0.0: ``ips`` without ``version``; 1.1.0 adds an interface's ``mtu``, ``socketPath``,
  ``pciID``, which libcni writes for 1.0.0 too.

Keys that a shape does not know are kept aside (``extra``) and written for the same version only.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.records import Dns, Interface, Ip, Reader, Route, read_dns
from cnidaria.cni.versions import parse

if TYPE_CHECKING:
    from cnidaria.cni.result import Result

_LISTS = (0, 3, 0)
_PLAIN_IPS = (1, 0, 0)


def read(raw: Mapping[str, Any], version: str, path: str) -> dict[str, Any]:
    """The fields of a :class:`Result` of ``version``, without its ``cni_version``.

    Raises:
        records.Malformed: a value is not what its key needs.
    """
    reader = Reader(raw, path)
    reader.take("cniVersion")
    read_lists = _read_families if parse(version) < _LISTS else _read_lists
    fields = read_lists(reader, parse(version))
    fields["dns"] = read_dns(reader.take("dns"), f"{path}.dns")
    fields["extra"] = reader.extra
    return fields


def write(result: Result, version: str) -> dict[str, Any]:
    """``result`` in the shape of ``version``, with the keys that Go writes.

    Raises:
        CniError: code 1; a result without address cannot be written up to 0.2.0.
    """
    number = parse(version)
    keep = result.cni_version == version
    shaped = (
        _write_families(result, keep) if number < _LISTS else _write_lists(result, number, keep)
    )
    dns = _write_dns(result.dns, keep)
    return {
        **(result.extra if keep else {}),
        "cniVersion": version,
        **shaped,
        **({"dns": dns} if dns or number < _PLAIN_IPS else {}),
    }


def _read_lists(reader: Reader, number: tuple[int, int, int]) -> dict[str, Any]:
    plain = number >= _PLAIN_IPS
    return {
        "interfaces": reader.each(
            "interfaces", lambda raw, path: _read_interface(raw, path, plain)
        ),
        "ips": reader.each("ips", lambda raw, path: _read_ip(raw, path, plain)),
        "routes": reader.each("routes", _read_route),
    }


def _read_families(reader: Reader, _: tuple[int, int, int]) -> dict[str, Any]:
    ips: list[Ip] = []
    routes: list[Route] = []
    for group in ("4", "6"):
        raw = reader.take(f"ip{group}")
        if raw is None:
            continue
        inner = Reader(raw, f"{reader.path}.ip{group}")
        routes += inner.each("routes", partial(_read_route, group=group))
        address, gateway = inner.cidr("ip"), inner.ip("gateway")
        ips.append(Ip(address, gateway, version=group, extra=inner.extra))
    return {"ips": tuple(ips), "routes": tuple(routes)}


def _read_interface(raw: object, path: str, plain: bool) -> Interface:
    reader = Reader(raw, path)
    name, mac, sandbox = (reader.text(key) for key in ("name", "mac", "sandbox"))
    if not plain:
        return Interface(name, mac, sandbox=sandbox, extra=reader.extra)
    mtu = reader.integer("mtu") or 0
    socket_path, pci_id = reader.text("socketPath"), reader.text("pciID")
    return Interface(name, mac, mtu, sandbox, socket_path, pci_id, reader.extra)


def _read_ip(raw: object, path: str, plain: bool) -> Ip:
    reader = Reader(raw, path)
    address, gateway = reader.cidr("address"), reader.ip("gateway")
    interface = reader.integer("interface")
    version = None if plain else reader.text("version")
    return Ip(address, gateway, interface, version, reader.extra)


def _read_route(raw: object, path: str, group: str | None = None) -> Route:
    reader = Reader(raw, path)
    return Route(
        dst=reader.cidr("dst"),
        gw=reader.ip("gw"),
        mtu=reader.integer("mtu") or 0,
        advmss=reader.integer("advmss") or 0,
        priority=reader.integer("priority") or 0,
        table=reader.integer("table"),
        scope=reader.integer("scope"),
        group=group,
        extra=reader.extra,
    )


def _write_lists(result: Result, number: tuple[int, int, int], keep: bool) -> dict[str, Any]:
    plain = number >= _PLAIN_IPS
    return _present(
        interfaces=[_write_interface(item, plain, keep) for item in result.interfaces],
        ips=[_write_ip(item, plain, keep) for item in result.ips],
        routes=[_write_route(item, keep) for item in result.routes],
    )


def _write_families(result: Result, keep: bool) -> dict[str, Any]:
    same_shape = parse(result.cni_version) < _LISTS
    families: dict[str, dict[str, Any]] = {}
    for ip in result.ips:
        group = _family(ip.address) if ip.version is None else ip.version
        if group in ("4", "6") and f"ip{group}" not in families:
            present = _present(ip=ip.address, gateway=ip.gateway)
            families[f"ip{group}"] = {**(ip.extra if keep else {}), **present}
    for route in result.routes:
        group = (route.group if same_shape else None) or _family(route.dst)
        if f"ip{group}" in families:
            whole = (
                _write_route(route, keep) if same_shape else _present(dst=route.dst, gw=route.gw)
            )
            families[f"ip{group}"].setdefault("routes", []).append(whole)
    if not families and not same_shape:
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            "the result has no address, which a cniVersion of 0.2.0 or older cannot express",
        )
    return families


def _write_interface(item: Interface, plain: bool, keep: bool) -> dict[str, Any]:
    newer = {"mtu": item.mtu, "socketPath": item.socket_path, "pciID": item.pci_id} if plain else {}
    return {
        **(item.extra if keep else {}),
        "name": item.name,
        **_present(mac=item.mac, sandbox=item.sandbox, **newer),
    }


def _write_ip(item: Ip, plain: bool, keep: bool) -> dict[str, Any]:
    version = {} if plain else {"version": item.version}
    if not plain and item.version is None:
        version = {"version": _family(item.address)}
    interface = {} if item.interface is None else {"interface": item.interface}
    return {
        **(item.extra if keep else {}),
        **version,
        **interface,
        **_present(address=item.address, gateway=item.gateway),
    }


def _write_route(item: Route, keep: bool) -> dict[str, Any]:
    numbers = {"table": item.table, "scope": item.scope}
    return {
        **(item.extra if keep else {}),
        **_present(
            dst=item.dst, gw=item.gw, mtu=item.mtu, advmss=item.advmss, priority=item.priority
        ),
        **{key: value for key, value in numbers.items() if value is not None},
    }


def _write_dns(dns: Dns, keep: bool) -> dict[str, Any]:
    return {
        **(dns.extra if keep else {}),
        **_present(
            nameservers=list(dns.nameservers),
            domain=dns.domain,
            search=list(dns.search),
            options=list(dns.options),
        ),
    }


def _present(**values: Any) -> dict[str, Any]:
    """``values`` without the empty ones, as Go's ``omitempty``."""
    return {key: value for key, value in values.items() if value}


def _family(cidr: str) -> str:
    return "6" if ":" in cidr else "4"
