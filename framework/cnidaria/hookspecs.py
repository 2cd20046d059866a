"""Every extension point of cnidaria, on one page.

A plugin is a module (or object) with functions marked :data:`hookimpl`.  It is found by an entry
point of the group ``cnidaria``, **named after the CNI type** that it provides::

    [project.entry-points.cnidaria]
    vlan-tag = "my_package"

Only the plugin whose name is asked for is imported, so a node pays for what it uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from cnidaria.api import Command, Mode
    from cnidaria.cluster import StoreOpener
    from cnidaria.plan.objects import Object

PROJECT = "cnidaria"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Hooks:
    """The specifications that :func:`cnidaria.plugins.load` registers."""

    @hookspec
    def cnidaria_modes(self) -> Sequence[type[Mode[Any]]]:
        """Called once at load: return the network modes of this plugin. Do not touch the kernel."""
        raise AssertionError("a specification is never called")

    @hookspec
    def cnidaria_objects(self) -> Sequence[type[Object]]:
        """Called once at load: return kinds of kernel objects of your own, so that plans that
        hold them survive a restart. Do not return the built-in kinds again.
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def cnidaria_commands(self) -> Sequence[Command]:
        """Called once at load: return commands of the command line. Do not parse or print."""
        raise AssertionError("a specification is never called")

    @hookspec
    def cnidaria_stores(self) -> Mapping[str, StoreOpener]:
        """Called once at load: return cluster stores, URL scheme to opener. Do not connect yet."""
        raise AssertionError("a specification is never called")
