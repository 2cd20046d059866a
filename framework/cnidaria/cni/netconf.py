"""The configuration on stdin (specification, sections 1 and 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from cnidaria.cni.codec import MAX_BYTES, decode_object, fold, folded, kind, show
from cnidaria.cni.env import IDENTIFIER, Invocation
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.records import Dns, Malformed, Reader, read_dns
from cnidaria.cni.result import Result
from cnidaria.cni.runtime import ArgsCni, RuntimeConfig
from cnidaria.cni.versions import OLDEST, SUPPORTED, same_family

WELL_KNOWN: Final = (
    "cniVersion",
    "cniVersions",
    "name",
    "type",
    "args",
    "capabilities",
    "dns",
    "ipam",
    "ipMasq",
    "prevResult",
    "runtimeConfig",
)
"""The keys that the specification gives a meaning; a mode's own keys are all others."""

MAX_NAME: Final = 200
"""Characters of a network's name: the kernel has 255 for a table that is named after it."""

_WELL_KNOWN_FOLDED: Final = frozenset(fold(key) for key in WELL_KNOWN)
_VALID_ATTACHMENTS: Final = ("cni.dev/valid-attachments", "cni.dev/attachments")

_NOTHING: Final[Mapping[str, Any]] = {}

T = TypeVar("T")


class ValidAttachment(msgspec.Struct, frozen=True):
    """An attachment that GC must keep."""

    container_id: str
    ifname: str


class NetConf(msgspec.Struct, frozen=True, kw_only=True):
    """One plugin's configuration, as a runtime hands it over.

    Attributes:
        name: the network.
        type: the CNI type, i.e. the executable's name.
        cni_version: ``"0.1.0"`` where the configuration does not say.
        prev_result: the result of the plugins before in the chain (at DEL and CHECK: of the whole
            ADD), ``None`` if there is none.
        dns: the network's resolver settings.
        ip_masq: the well-known ``ipMasq``, ``None`` if not given.
        ipam: as it came, ``{}`` if there is none.
        runtime: the capability arguments.
        args_cni: ``args.cni``.
        capabilities: which capability arguments the network wants.
        valid_attachments: at GC, what to keep; ``None`` if the runtime does not say, and then
            nothing may be collected.
        own: the mode's own keys, in their own spelling.
        raw: everything as it came; what a delegated plugin gets.
        tolerated: at DEL, everything that was wrong; the fields in question are empty.
    """

    name: str
    type: str
    cni_version: str = OLDEST
    prev_result: Result | None = None
    dns: Dns = Dns()
    ip_masq: bool | None = None
    ipam: Mapping[str, Any] = {}
    runtime: RuntimeConfig = RuntimeConfig()
    args_cni: ArgsCni = ArgsCni()
    capabilities: Mapping[str, bool] = {}
    valid_attachments: frozenset[ValidAttachment] | None = None
    own: Mapping[str, Any] = {}
    raw: Mapping[str, Any] = {}
    tolerated: tuple[CniError, ...] = ()

    @classmethod
    def parse(
        cls, data: bytes | Mapping[str, Any], verb: str = "ADD", max_bytes: int = MAX_BYTES
    ) -> NetConf:
        """Read and validate a configuration.

        For DEL only what identifies the attachment must be right (``name``, ``type``,
        ``cniVersion``): a DEL must always be able to go on.

        Args:
            data: JSON, or what was decoded from it.
            verb: what the configuration is for.
            max_bytes: longest JSON that is read.

        Raises:
            CniError: 6 if it is not JSON (or too long, too deep, not UTF-8), 1 for a version
                that is not spoken, 7 for anything else; each names key, value and what is allowed.
        """
        what = "network configuration"
        raw = decode_object(data, what, max_bytes) if isinstance(data, bytes) else data
        parser = _Parser(raw, tolerate=verb == "DEL")
        return cls(**parser.fields())

    def describes_same(self, other: NetConf) -> bool:
        """Whether ``other`` wants the same network, for whichever pod."""

        def network(conf: NetConf) -> tuple[object, ...]:
            return conf.own, conf.ipam, conf.ip_masq, conf.dns

        return network(self) == network(other)

    def requested_mac(self, invocation: Invocation) -> str | None:
        """The MAC that the pod's interface shall have, canonical; ``None`` leaves it to us.

        ``runtimeConfig.mac`` comes before ``args.cni.mac``, this before ``MAC`` of ``CNI_ARGS``.

        Raises:
            CniError: 7 or 4; the one that counts is none that an interface can have.
        """
        return self.runtime.mac or self.args_cni.mac or invocation.requested_mac()

    def resolver(self, leased: Dns) -> Dns:
        """What the pod's resolver shall use: of the first that says anything, all.

        ``runtimeConfig.dns`` comes before the network's ``dns``, this before ``leased``, which
        came with the addresses.

        Raises:
            CniError: 7; ``runtimeConfig.dns`` is malformed.
        """
        return next((dns for dns in (self.runtime.dns, self.dns) if dns and dns != Dns()), leased)


class _Parser:
    """Reads a configuration key by key; collects errors instead of raising where told to."""

    def __init__(self, raw: Mapping[str, Any], tolerate: bool) -> None:
        self.raw = raw
        self.tolerate = tolerate
        self.tolerated: list[CniError] = []
        self.values = folded(raw)

    def fields(self) -> dict[str, Any]:
        version = _version(self.values.get("cniversion"))
        args = self.attempt("args", _mapping, _NOTHING)
        found: dict[str, Any] = {
            "name": network_name(self.values.get("name")),
            "type": plugin_type(self.values.get("type")),
            "cni_version": version,
            "dns": self.attempt("dns", read_dns, Dns()),
            "ip_masq": self.attempt("ipMasq", _boolean, None),
            "ipam": self.attempt("ipam", _mapping, _NOTHING),
            "runtime": RuntimeConfig(self.attempt("runtimeConfig", _mapping, _NOTHING)),
            "args_cni": ArgsCni(
                self.attempt("args.cni", _mapping, _NOTHING, folded(args).get("cni"))
            ),
            "capabilities": self.attempt("capabilities", _capabilities, _NOTHING),
            "valid_attachments": _valid_attachments(self.values),
            "own": {key: value for key, value in self.raw.items() if not is_well_known(key)},
            "raw": self.raw,
        }
        found["prev_result"] = self.attempt(
            "prevResult", lambda raw, path: _prev_result(raw, version, path), None
        )
        return {**found, "tolerated": tuple(self.tolerated)}

    def attempt(
        self, key: str, read: Callable[[Any, str], T], default: T, value: Any = msgspec.UNSET
    ) -> T:
        """``read(value, key)``; ``default`` if there is no value, or its error is tolerated."""
        if value is msgspec.UNSET:
            value = self.values.get(fold(key))
        if value is None:
            return default
        try:
            try:
                return read(value, key)
            except Malformed as error:
                raise CniError(Code.INVALID_CONFIG, str(error)) from None
        except CniError as error:
            if not self.tolerate:
                raise
            self.tolerated.append(error)
            return default


def is_well_known(key: str) -> bool:
    """Whether ``key`` is the protocol's, or somebody's by a prefix such as ``cni.dev/``."""
    return fold(key) in _WELL_KNOWN_FOLDED or "/" in key or "." in key


def network_name(value: object) -> str:
    """``value`` if it may be a network's name. Raises :class:`CniError` code 7."""
    if value is None or value == "":
        raise _invalid('missing key "name": the network\'s name')
    if not isinstance(value, str) or not IDENTIFIER.fullmatch(value):
        raise _invalid(
            f"name = {show(value)}: must be ASCII letters, digits, '_', '.' or '-', "
            "the first one a letter or digit"
        )
    if len(value) > MAX_NAME:
        raise _invalid(
            f"name = {show(value)}: must have at most {MAX_NAME} characters, has {len(value)}"
        )
    return value


def plugin_type(value: object, key: str = "type") -> str:
    """``value`` if it may be a plugin's file name. Raises :class:`CniError` code 7."""
    if value is None or value == "":
        raise _invalid(f'missing key "{key}": the file name of the plugin')
    if (
        not isinstance(value, str)
        or value in (".", "..")
        or any(char in value for char in "/\\\0")
        or not value.isprintable()
    ):
        raise _invalid(f"{key} = {show(value)}: must be a file name without '/' and '\\'")
    return value


def _version(value: object) -> str:
    if value is None or value == "":
        return OLDEST
    if not isinstance(value, str):
        raise _invalid(f"cniVersion = {show(value)}: must be a string, not {kind(value)}")
    if value not in SUPPORTED:
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            f"cniVersion = {show(value)} is not supported",
            f"supported: {', '.join(SUPPORTED)}",
        )
    return value


def _prev_result(raw: Any, version: str, path: str) -> Result:
    result = Result.parse(_mapping(raw, path), version, what=path)
    if not same_family(result.cni_version, version):
        raise _invalid(
            f'{path}.cniVersion = "{result.cni_version}": must be the shape of the '
            f'configuration\'s cniVersion, "{version}"'
        )
    return result


def _valid_attachments(values: Mapping[str, Any]) -> frozenset[ValidAttachment] | None:
    for key in _VALID_ATTACHMENTS:
        if key in values:
            break
    else:
        return None
    items = [] if values[key] is None else values[key]
    if not isinstance(items, list):
        raise _invalid(f"{key} = {show(items)}: must be a list or null, not {kind(items)}")
    try:
        return frozenset(_valid_attachment(item, f"{key}[{i}]") for i, item in enumerate(items))
    except Malformed as error:
        raise _invalid(str(error)) from None


def _valid_attachment(raw: object, path: str) -> ValidAttachment:
    reader = Reader(raw, path)
    found = ValidAttachment(reader.text("containerID"), reader.text("ifname"))
    if not found.container_id or not found.ifname:
        raise Malformed(path, raw, 'must have the keys "containerID" and "ifname"')
    return found


def _mapping(raw: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise Malformed(path, raw, f"must be an object, not {kind(raw)}")
    return raw


def _capabilities(raw: Any, path: str) -> Mapping[str, bool]:
    return {key: _boolean(value, f"{path}.{key}") for key, value in _mapping(raw, path).items()}


def _boolean(raw: Any, path: str) -> bool:
    if not isinstance(raw, bool):
        raise Malformed(path, raw, "must be true or false")
    return raw


def _invalid(msg: str) -> CniError:
    return CniError(Code.INVALID_CONFIG, msg)
