"""Finding and loading plugins.

Nothing is imported before :func:`load`, and then only what was asked for.  A plugin that fails, or
contradicts another, is left out as a whole, and what it is called says why: pluggy would raise for
all of them, or let the later of two win in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pluggy

from cnidaria.hookspecs import PROJECT, Hooks

if TYPE_CHECKING:
    from cnidaria.api import Command, Mode
    from cnidaria.cluster import StoreOpener
    from cnidaria.plan.objects import Object


class PluginError(Exception):
    """A plugin that cannot be loaded, or contradicts another; the text says which."""


@dataclass(frozen=True)
class Registry:
    """What the loaded plugins provide.

    Attributes:
        modes: by CNI type.
        stores: cluster stores, by URL scheme.
        commands: of the command line, by name.
        broken: names of plugins that were left out, usually CNI types, to what is wrong with them.
    """

    modes: Mapping[str, Mode[Any]]
    stores: Mapping[str, StoreOpener] = field(default_factory=dict)
    commands: Mapping[str, Command] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    _more: Callable[[str], None] = field(default=lambda _: None, repr=False)

    def mode(self, type_: str) -> Mode[Any] | None:
        """The mode of a CNI type; imported now if only another one was needed so far."""
        if type_ not in self.modes:
            self._more(type_)
        return self.modes.get(type_)


def entry_points() -> dict[str, metadata.EntryPoint]:
    """All installed plugins by name, nothing imported. Of two with one name, the first."""
    return {name: points[0] for name, points in _claims().items()}


def load(only: str | None = None, extra: Iterable[object] = ()) -> Registry:
    """Import plugins and collect what they provide.

    Args:
        only: the CNI type that is needed; other plugins stay unimported if one has this name.
        extra: plugin objects besides the installed ones (tests, programs that embed cnidaria).

    Raises:
        PluginError: one of ``extra`` fails, or contradicts another. An installed one that does is
            in the registry's ``broken``.
    """
    from cnidaria.cluster import builtin_stores

    found = _Found(dict(builtin_stores()))
    claims = _claims()
    found.names = frozenset(claims)
    for plugin in extra:
        found.take(_provided(plugin, "an embedded plugin"))

    def take(name: str) -> None:
        try:
            if points := claims.pop(name, None):
                found.take(_provided(_import(points), name))
        except PluginError as error:
            found.broken[name] = str(error)

    for name in [only] if only in claims else sorted(claims):
        take(name)
    return Registry(found.modes, found.stores, found.commands, found.broken, take)


def _claims() -> dict[str, list[metadata.EntryPoint]]:
    """The entry points by name; a distribution that is found twice counts once."""
    claims: dict[str, list[metadata.EntryPoint]] = {}
    for point in metadata.entry_points(group=PROJECT):
        claimed = claims.setdefault(point.name, [])
        if point.value not in [other.value for other in claimed]:
            claimed.append(point)
    return claims


def _import(points: list[metadata.EntryPoint]) -> object:
    point = points[0]
    if points[1:]:
        raise PluginError(
            f"two plugins claim the CNI type {point.name!r}: "
            f"{' and '.join(map(_origin, points))}; uninstall one of them"
        )
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        origin = _origin(point)
        raise PluginError(f"plugin {point.name!r} ({origin}) fails: {_say(error)}") from error


@dataclass(frozen=True)
class _Provided:
    """What one plugin provides."""

    name: str
    modes: tuple[type[Mode[Any]], ...]
    kinds: tuple[type[Object], ...]
    stores: Mapping[str, StoreOpener]
    commands: Mapping[str, Command]


def _provided(plugin: object, name: str) -> _Provided:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    try:
        manager.register(plugin, name=name)
        manager.check_pending()
        hook = manager.hook
        return _Provided(
            name,
            tuple(mode for modes in hook.cnidaria_modes() for mode in modes),
            tuple(kind for kinds in hook.cnidaria_objects() for kind in kinds),
            {scheme: opener for more in hook.cnidaria_stores() for scheme, opener in more.items()},
            {command.name: command for some in hook.cnidaria_commands() for command in some},
        )
    except (Exception, SystemExit) as error:
        raise PluginError(f"plugin {name!r} fails: {_say(error)}") from error


@dataclass
class _Found:
    """What was collected so far; a plugin is taken whole or not at all.

    Attributes:
        names: of all installed plugins: a CNI type of this name is theirs.
    """

    stores: dict[str, StoreOpener]
    modes: dict[str, Mode[Any]] = field(default_factory=dict)
    commands: dict[str, Command] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    names: frozenset[str] = frozenset()

    def take(self, given: _Provided) -> None:
        """Add what a plugin provides.

        Raises:
            PluginError: it contradicts another, or what it provides is of no use.
        """
        from cnidaria.plan.objects import register

        try:
            modes = {mode.type: mode() for mode in given.modes}
        except Exception as error:
            raise PluginError(f"plugin {given.name!r} fails: {_say(error)}") from error
        for type_ in modes:
            if type_ in self.modes or (type_ in self.names and type_ != given.name):
                raise PluginError(
                    f"plugin {given.name!r} claims the CNI type {type_!r}, which another has"
                )
        for scheme in given.stores:
            if scheme in self.stores:
                raise PluginError(
                    f"plugin {given.name!r} claims the cluster store {scheme!r}, which another has"
                )
        for name in given.commands:
            if name in self.commands:
                raise PluginError(
                    f"plugin {given.name!r} claims the command {name!r}, which another has"
                )
        try:
            for kind in given.kinds:
                register(kind)
        except (ValueError, TypeError) as error:
            raise PluginError(f"plugin {given.name!r}: {_say(error)}") from error
        self.modes |= modes
        self.stores |= given.stores
        self.commands |= given.commands


def _say(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _origin(point: metadata.EntryPoint) -> str:
    name = point.dist.name if point.dist else "an unknown distribution"
    return f"{name} ({point.value})"
