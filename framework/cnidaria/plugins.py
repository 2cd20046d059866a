"""Finding and loading plugins.

Nothing is imported before :func:`load`, and then only what was asked for.  Two plugins that claim
one CNI type are an error: pluggy would let the later one win in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pluggy

from cnidaria.hookspecs import PROJECT, Hooks

if TYPE_CHECKING:
    from cnidaria.api import Mode
    from cnidaria.cluster import StoreOpener


class PluginError(Exception):
    """A plugin that cannot be loaded, or two that contradict each other."""


@dataclass(frozen=True)
class Registry:
    """What the loaded plugins provide: modes by CNI type, cluster stores by URL scheme."""

    modes: Mapping[str, Mode[Any]]
    stores: Mapping[str, StoreOpener] = field(default_factory=dict)


def entry_points() -> dict[str, metadata.EntryPoint]:
    """All installed plugins by name, nothing imported.

    Raises:
        PluginError: two distributions claim one name.
    """
    found: dict[str, metadata.EntryPoint] = {}
    for point in metadata.entry_points(group=PROJECT):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise PluginError(
                f"two plugins claim the CNI type {point.name!r}: "
                f"{_origin(other)} and {_origin(point)}; uninstall one of them"
            )
    return found


def load(only: str | None = None, extra: Iterable[object] = ()) -> Registry:
    """Import plugins and collect what they provide.

    Args:
        only: the CNI type that is needed; other plugins stay unimported if one has this name.
        extra: plugin objects besides the installed ones (tests, programs that embed cnidaria).

    Raises:
        PluginError: a plugin fails to import, or contradicts another.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    for plugin in extra:
        manager.register(plugin)
    points = entry_points()
    for point in [points[only]] if only in points else points.values():
        manager.register(_import(point), name=point.name)
    return _collect(manager)


def _import(point: metadata.EntryPoint) -> object:
    try:
        return point.load()
    except Exception as error:
        raise PluginError(f"plugin {point.name!r} ({_origin(point)}) fails: {error}") from error


def _collect(manager: pluggy.PluginManager) -> Registry:
    from cnidaria.cluster import builtin_stores
    from cnidaria.plan.objects import register

    modes: dict[str, Mode[Any]] = {}
    for mode in (mode for modes_ in manager.hook.cnidaria_modes() for mode in modes_):
        if mode.type in modes:
            raise PluginError(f"two modes claim the CNI type {mode.type!r}")
        modes[mode.type] = mode()
    for kinds in manager.hook.cnidaria_objects():
        for kind in kinds:
            register(kind)
    stores = dict(builtin_stores())
    for more in manager.hook.cnidaria_stores():
        for scheme, opener in more.items():
            if scheme in stores:
                raise PluginError(f"two plugins claim the cluster store {scheme!r}")
            stores[scheme] = opener
    return Registry(modes, stores)


def _origin(point: metadata.EntryPoint) -> str:
    name = point.dist.name if point.dist else "an unknown distribution"
    return f"{name} ({point.value})"
