"""A mode's own configuration: declared once, as a class, and checked by it.

Declare the keys as typed fields of a :class:`ModeConfig`::

    class Except(Section):
        except_: list[Cidr] = msgspec.field(name="except")

    class Config(ModeConfig):
        master: Annotated[InterfaceName, Doc("the interface that carries the VLAN")]
        vlan: Annotated[int, Range(1, 4094, "VLAN id")]
        rules: Literal["strict", "loose"] = "strict"
        mtu: Annotated[int, Range(576, 65535, "bytes")] | None = None
        masquerade: bool | Except = False        # true, false or {"except": [...]}

* A field without default is a required key; ``snake_case`` becomes ``camelCase`` in JSON; the
  object is immutable.
* Keys match in any letter case, ``null`` is as good as absent, the last of equal keys wins: as in
  Go, which runtimes are written in.
* Unknown keys are errors, except those of the specification and those with ``/`` or ``.`` in them.
* Constraints: :func:`Range`, :data:`Cidr`, :data:`IpAddress`, :data:`MacAddress`,
  :data:`InterfaceName`, ``msgspec.Meta``, your own by :func:`Check`; what concerns several fields
  goes into ``__post_init__`` and raises ``ValueError``.
* An object within is a :class:`Section`.

What is wrong is said with key, value and what is allowed, e.g.
``cnidaria-overlay: vni = 16777300: must be between 1 and 16777215``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_network
from typing import Annotated, Any, TypeVar, dataclass_transform

import msgspec

from cnidaria.cni.address import canonical_cidr, canonical_ip, canonical_mac
from cnidaria.cni.codec import fold
from cnidaria.cni.env import ifname_problem
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.netconf import WELL_KNOWN, is_well_known
from cnidaria.cni.validate import FORM, PROBLEM, Bad, check_struct, encoded_names


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class _SectionMeta(msgspec.StructMeta):
    """Makes subclasses frozen, keyword-only and camelCase without their saying so.

    Type checkers learn it from ``dataclass_transform``: mypy needs it here for :class:`Section`
    itself and there for what derives from it.
    """

    def __new__(
        mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> Any:
        defaults = {"frozen": True, "kw_only": True, "rename": "camel"}
        return super().__new__(mcls, name, bases, namespace, **{**defaults, **options})


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class Section(msgspec.Struct, metaclass=_SectionMeta):
    """Base of an object inside a configuration; immutable, made with keyword arguments."""


class ModeConfig(Section):
    """Base of a mode's configuration."""


C = TypeVar("C", bound=msgspec.Struct)


def Doc(text: str) -> msgspec.Meta:  # noqa: N802
    """What a key means; shown in errors and in the JSON schema."""
    return msgspec.Meta(description=text)


def Range(low: int, high: int, doc: str = "") -> msgspec.Meta:  # noqa: N802
    """A number from ``low`` to ``high``, both allowed."""
    return msgspec.Meta(ge=low, le=high, description=doc or None)


def Check(problem: Callable[[Any], str], doc: str = "") -> msgspec.Meta:  # noqa: N802
    """A condition of your own.

    Args:
        problem: says what is wrong with a value ("must be ..."), ``""`` if nothing is.
        doc: what is allowed, to follow "must be".
    """
    extra = {PROBLEM: problem, FORM: doc} if doc else {PROBLEM: problem}
    return msgspec.Meta(extra=extra, description=doc or None)


def _by(convert: Callable[[str], str]) -> Callable[[str], str]:
    """The problem that ``convert`` has with a text, or that it is not the form it gives."""

    def problem(text: str) -> str:
        try:
            right = convert(text)
        except ValueError as error:
            return str(error)
        return "" if right == text else f'must be written "{right}"'

    return problem


def _network(text: str) -> str:
    return str(ip_network(canonical_cidr(text), strict=False))


def _mac_problem(text: str) -> str:
    try:
        canonical_mac(text)
    except ValueError as error:
        return str(error)
    return ""


Cidr = Annotated[str, Check(_by(_network), 'a network such as "10.1.0.0/16", no host bits set')]
"""A network in canonical form."""

IpAddress = Annotated[str, Check(_by(canonical_ip), 'an address such as "10.1.0.5"')]
"""An IPv4 or IPv6 address in canonical form."""

MacAddress = Annotated[str, Check(_mac_problem, 'a MAC address such as "c2:11:22:33:44:55"')]
"""An individual, non-zero MAC address, in any of the forms that Go takes."""

InterfaceName = Annotated[str, Check(ifname_problem, "the name of a network interface")]
"""A name that Linux takes for an interface."""


def decode(config_type: type[C], raw: Mapping[str, Any], where: str) -> C:
    """Make a ``config_type`` of a plugin's configuration.

    Args:
        config_type: a :class:`ModeConfig`, or another struct of msgspec.
        raw: the mode's own keys, or the whole configuration.
        where: the plugin's name, the first word of every error.

    Raises:
        CniError: code 7, naming the key, its value and what is allowed.
    """
    declared = {fold(name) for name in encoded_names(config_type)}
    own = {k: v for k, v in raw.items() if fold(k) in declared or not is_well_known(k)}
    try:
        return msgspec.convert(check_struct(config_type, own, also=WELL_KNOWN), config_type)
    except Bad as error:
        raise CniError(Code.INVALID_CONFIG, f"{where}: {error}", error.details) from None
    except msgspec.ValidationError as error:
        raise CniError(Code.INVALID_CONFIG, f"{where}: {_relocated(error)}") from None


def json_schema(config_type: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON schema (2020-12) of a configuration's own keys."""
    schema = msgspec.json.schema(config_type)
    for name, definition in schema.get("$defs", {}).items():
        if name != config_type.__name__ and "properties" in definition:
            definition["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _relocated(error: msgspec.ValidationError) -> str:
    """msgspec's message with the key in front instead of behind."""
    text, at, path = str(error).partition(" - at `$")
    return f"{path.strip('.`')}: {text}" if at and path.strip(".`") else text
