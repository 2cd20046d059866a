"""A network's configuration on disk (specification, section 1), read as libcni reads it.

The list's own keys are matched exactly and a plugin's in any letter case: so a file means the same
to us as to the runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cnidaria.cni.codec import MAX_BYTES, decode_object, fold, folded, kind, show
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.netconf import NetConf, network_name, plugin_type
from cnidaria.cni.versions import CURRENT, OLDEST, parse


class ConfList(msgspec.Struct, frozen=True, kw_only=True):
    """A network: plugins that are called one after the other.

    Attributes:
        cni_version: what the plugins are called with: the highest of ``cniVersion`` and
            ``cniVersions`` that is not newer than 1.1.0.
        plugins: each plugin's configuration, as it came.
        disable_check: runtimes must not call CHECK.
        disable_gc: runtimes must not call GC.
        load_only_inlined_plugins: plugins in the directory named after the network do not count.
    """

    name: str
    cni_version: str = OLDEST
    plugins: tuple[Mapping[str, Any], ...] = ()
    disable_check: bool = False
    disable_gc: bool = False
    load_only_inlined_plugins: bool = False

    def extended(self, plugins: Sequence[bytes]) -> ConfList:
        """This network with the plugin configurations of the directory named after it.

        Raises:
            CniError: 6 or 7; one of them is malformed.
        """
        what = "plugin configuration"
        more = [_plugin(decode_object(data, what), what) for data in plugins]
        return msgspec.structs.replace(self, plugins=(*self.plugins, *more))


def parse_conflist(data: bytes, max_bytes: int = MAX_BYTES) -> ConfList:
    """Read a ``.conflist``, or a ``.conf`` with a single plugin (which libcni still takes).

    Raises:
        CniError: 6 if it is not JSON (or too long, too deep, not UTF-8), else 7; each names key,
            value and what is allowed.
    """
    raw = decode_object(data, "network configuration list", max_bytes)
    if "plugins" not in raw and any(fold(key) == "type" for key in raw):
        raw = _upconverted(raw)
    inlined = _boolean(raw, "loadOnlyInlinedPlugins")
    if inlined and "plugins" not in raw:
        raise _invalid('missing key "plugins", which loadOnlyInlinedPlugins needs')
    return ConfList(
        name=network_name(raw.get("name")),
        cni_version=_selected(raw.get("cniVersion"), raw.get("cniVersions")),
        plugins=_plugins(raw["plugins"]) if "plugins" in raw else (),
        disable_check=_boolean(raw, "disableCheck"),
        disable_gc=_boolean(raw, "disableGC"),
        load_only_inlined_plugins=inlined,
    )


def plugin_config(conflist: ConfList, index: int) -> NetConf:
    """What a runtime hands to the plugin ``index`` for STATUS: its configuration, with the
    network's name and version put in (specification, section 3, "Deriving request configuration").

    Raises:
        CniError: as :meth:`NetConf.parse`.
    """
    inserted = {"name": conflist.name, "cniVersion": conflist.cni_version}
    names = {fold(key) for key in inserted}
    rest = {k: v for k, v in conflist.plugins[index].items() if fold(k) not in names}
    return NetConf.parse({**rest, **inserted}, "STATUS")


def _upconverted(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A network with one plugin of a plugin's own configuration."""
    found = folded(raw)
    top = {"name": found.get("name"), "cniVersion": found.get("cniversion"), "plugins": [raw]}
    return {key: value for key, value in top.items() if value is not None}


def _plugins(raw: object) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(raw, list):
        raise _invalid(f"plugins = {show(raw)}: must be a list, not {kind(raw)}")
    if not raw:
        raise _invalid("plugins = []: must have at least one plugin")
    return tuple(_plugin(item, f"plugins[{i}]") for i, item in enumerate(raw))


def _plugin(raw: object, path: str) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise _invalid(f"{path} = {show(raw)}: must be an object, not {kind(raw)}")
    plugin_type(folded(raw).get("type"), f"{path}.type")
    return raw


def _selected(version: object, versions: object) -> str:
    """The version that libcni calls the plugins with."""
    if not isinstance(version, str | None):
        raise _invalid(f"cniVersion = {show(version)}: must be a string, not {kind(version)}")
    if versions is None:
        return version or OLDEST
    if not isinstance(versions, list) or not all(isinstance(item, str) for item in versions):
        raise _invalid(f"cniVersions = {show(versions)}: must be a list of strings")
    try:
        known = [item for item in (*versions, *filter(None, [version])) if _not_newer(item)]
    except ValueError as error:
        raise _invalid(f"cniVersions = {show(versions)}: {error}") from None
    return max(known, key=parse, default=version or OLDEST)


def _not_newer(version: str) -> bool:
    return parse(version) <= parse(CURRENT)


def _boolean(raw: Mapping[str, Any], key: str) -> bool:
    """A boolean, or the word for it."""
    value = raw.get(key, False)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise _invalid(f"{key} = {show(value)}: must be true or false")
    return value


def _invalid(msg: str) -> CniError:
    return CniError(Code.INVALID_CONFIG, msg)
