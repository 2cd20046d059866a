"""What a runtime adds to a configuration for one attachment: capabilities and ``args.cni``.

Nothing is looked at until it is asked for, and what is for other plugins of the chain (as
``portMappings`` and ``bandwidth``) never is.  Names and shapes: CONVENTIONS.md of the CNI project;
containerd writes the same keys with a capital letter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cnidaria.cni.address import canonical_mac
from cnidaria.cni.codec import folded
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.records import Dns, Malformed, Reader

POD_ANNOTATIONS: Final = "io.kubernetes.cri.pod-annotations"


class RuntimeConfig(msgspec.Struct, frozen=True):
    """``runtimeConfig``: the capability arguments.

    Each property raises :class:`CniError` code 7, naming the key, if its value is malformed.

    Attributes:
        raw: as it came.
    """

    raw: Mapping[str, Any] = {}

    @property
    def ips(self) -> tuple[str, ...]:
        """Requested addresses, with or without prefix length, as written."""
        return _texts(self.raw, "ips", "runtimeConfig")

    @property
    def ip_ranges(self) -> list[Any] | None:
        """Ranges to allocate from: host-local's ``ranges``, not looked into."""
        value = folded(self.raw).get("ipranges")
        if value is not None and not isinstance(value, list):
            raise _error(Malformed("runtimeConfig.ipRanges", value, "must be a list"))
        return value

    @property
    def mac(self) -> str | None:
        """Requested MAC, canonical."""
        return _mac(self.raw, "runtimeConfig")

    @property
    def dns(self) -> Dns | None:
        """The resolver's settings that the runtime wants."""
        value = folded(self.raw).get("dns")
        if value is None:
            return None
        try:
            reader = Reader(value, "runtimeConfig.dns")
            servers, searches = reader.texts("servers"), reader.texts("searches")
            return Dns(servers, search=searches, options=reader.texts("options"))
        except Malformed as error:
            raise _error(error) from None

    @property
    def pod_annotations(self) -> Mapping[str, str]:
        """The annotations of the Kubernetes pod (:data:`POD_ANNOTATIONS`)."""
        return _strings(folded(self.raw).get(POD_ANNOTATIONS), f"runtimeConfig.{POD_ANNOTATIONS}")


class ArgsCni(msgspec.Struct, frozen=True):
    """``args.cni``: optional wishes of the runtime. Properties as in :class:`RuntimeConfig`."""

    raw: Mapping[str, Any] = {}

    @property
    def ips(self) -> tuple[str, ...]:
        """Requested addresses, with or without prefix length, as written."""
        return _texts(self.raw, "ips", "args.cni")

    @property
    def mac(self) -> str | None:
        """Requested MAC, canonical."""
        return _mac(self.raw, "args.cni")

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels, written as a list of ``{"key": ..., "value": ...}`` or as an object."""
        value = folded(self.raw).get("labels")
        if not isinstance(value, list):
            return _strings(value, "args.cni.labels")
        try:
            reader = Reader(self.raw, "args.cni")
            return dict(reader.each("labels", _label))
        except Malformed as error:
            raise _error(error) from None


def _texts(raw: Mapping[str, Any], key: str, path: str) -> tuple[str, ...]:
    try:
        return Reader(raw, path).texts(key)
    except Malformed as error:
        raise _error(error) from None


def _mac(raw: Mapping[str, Any], path: str) -> str | None:
    try:
        return Reader(raw, path).converted("mac", canonical_mac)
    except Malformed as error:
        raise _error(error) from None


def _label(raw: object, path: str) -> tuple[str, str]:
    reader = Reader(raw, path)
    return reader.text("key"), reader.text("value")


def _strings(value: object, path: str) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise _error(Malformed(path, value, "must be an object with strings as values"))
    return value


def _error(error: Malformed) -> CniError:
    return CniError(Code.INVALID_CONFIG, str(error))
