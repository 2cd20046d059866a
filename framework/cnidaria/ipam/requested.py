"""The addresses that a runtime asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cnidaria.cni.address import parse_cidr, parse_ip
from cnidaria.cni.config import NetConf
from cnidaria.cni.env import Invocation
from cnidaria.cni.errors import CniError, Code
from cnidaria.ipam.ranges import IpAddress


@dataclass(frozen=True)
class Requested:
    """One address, and where it was asked for."""

    address: IpAddress
    source: str

    def __str__(self) -> str:
        return f"requested address {self.address} ({self.source})"


def requested(conf: NetConf, invocation: Invocation) -> tuple[Requested, ...]:
    """All addresses asked for: ``IP`` of ``CNI_ARGS``, ``args.cni.ips``, ``runtimeConfig.ips``.

    As in host-local a prefix length may follow and does not count, and an address that is asked
    for twice is one.

    Raises:
        CniError: 4 or 7; the text is no address.
    """
    found: dict[IpAddress, Requested] = {}
    for text, source, code in _texts(conf, invocation):
        try:
            address = parse_cidr(text)[0] if "/" in text else parse_ip(text)
        except ValueError as error:
            raise CniError(code, f"{source} = {text!a}: {error}") from None
        found.setdefault(address, Requested(address, source))
    return tuple(found.values())


def _texts(conf: NetConf, invocation: Invocation) -> Iterator[tuple[str, str, Code]]:
    single = invocation.args.get("IP")
    if single:
        yield single, "CNI_ARGS: IP", Code.INVALID_ENVIRONMENT
    for text in conf.args_cni.ips:
        yield text, "args.cni.ips", Code.INVALID_CONFIG
    for text in conf.runtime.ips:
        yield text, "runtimeConfig.ips", Code.INVALID_CONFIG
