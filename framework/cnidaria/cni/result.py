"""The result of ADD (specification, section 5), in every version of the protocol.

The structs have the shape of version 1.1.0; reading and writing other versions converts exactly
as libcni does (:mod:`cnidaria.cni.shapes`).  Addresses are canonical text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cnidaria.cni import shapes
from cnidaria.cni.codec import decode_object
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.records import Dns, Interface, Ip, Malformed, Reader, Route
from cnidaria.cni.versions import CURRENT, SUPPORTED

__all__ = ["Dns", "Interface", "Ip", "Result", "Route"]


class Result(msgspec.Struct, frozen=True):
    """What an ADD set up.

    Attributes:
        cni_version: the version it came in, or was made for.
        interfaces: every interface created, those on the host included.
        ips: the addresses given.
        routes: the routes created in the pod.
        dns: what the pod's resolver shall use.
        extra: keys that the specification does not know; they survive in the same version.
    """

    cni_version: str = CURRENT
    interfaces: tuple[Interface, ...] = ()
    ips: tuple[Ip, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Dns = Dns()
    extra: Mapping[str, Any] = {}

    @classmethod
    def parse(
        cls,
        raw: bytes | Mapping[str, Any],
        version: str,
        *,
        what: str = "prevResult",
        code: int = Code.INVALID_CONFIG,
    ) -> Result:
        """Read a result of any version.

        Args:
            version: the version it has if it does not say so itself (before 1.0.0 it need not).
            what: names the result in errors.
            code: the error code for a malformed result.

        Raises:
            CniError: ``code``, naming key, value and what is allowed; bytes that are no JSON
                object have code 6.
        """
        data = decode_object(raw, what) if isinstance(raw, bytes) else raw
        try:
            found = Reader(data, what).take("cniVersion") or version
            if found not in SUPPORTED:
                allowed = ", ".join(SUPPORTED)
                raise Malformed(f"{what}.cniVersion", found, f"must be one of {allowed}")
            return cls(found, **shapes.read(data, found, what))
        except Malformed as error:
            raise CniError(code, str(error)) from None

    def to_json(self, version: str) -> dict[str, Any]:
        """The result as ``version`` writes it, ready to be encoded.

        Raises:
            CniError: code 1; ``version`` is not spoken, or is 0.2.0 or older and the result has
                no address, which those cannot express.
        """
        if version not in SUPPORTED:
            raise CniError(
                Code.INCOMPATIBLE_VERSION,
                f'a result of version "{version}" is not supported',
                f"supported: {', '.join(SUPPORTED)}",
            )
        return shapes.write(self, version)

    def encode(self, version: str) -> bytes:
        """The bytes for stdout. Raises as :meth:`to_json`."""
        return msgspec.json.encode(self.to_json(version))

    def extended(
        self,
        interfaces: Sequence[Interface] = (),
        ips: Sequence[Ip] = (),
        routes: Sequence[Route] = (),
        dns: Dns | None = None,
    ) -> Result:
        """This result with what a chained plugin added.

        Args:
            ips: their ``interface`` counts from the first of ``interfaces``.
            dns: replaces the present one.
        """
        offset = len(self.interfaces)
        moved = tuple(
            ip
            if ip.interface is None
            else msgspec.structs.replace(ip, interface=ip.interface + offset)
            for ip in ips
        )
        return msgspec.structs.replace(
            self,
            interfaces=(*self.interfaces, *interfaces),
            ips=(*self.ips, *moved),
            routes=(*self.routes, *routes),
            dns=self.dns if dns is None else dns,
        )
