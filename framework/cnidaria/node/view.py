"""This node as commands of plugins see it: read, never changed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from cnidaria.cni.fields import ModeConfig, decode
from cnidaria.kernel.netns import NetNS
from cnidaria.node import confdir, report
from cnidaria.node.settings import Settings
from cnidaria.node.state import boottime
from cnidaria.plan.objects import Object

C = TypeVar("C", bound=ModeConfig)
O = TypeVar("O", bound=Object)  # noqa: E741


@dataclass(frozen=True)
class View:
    """See :class:`cnidaria.NodeView`."""

    settings: Settings

    @cached_property
    def namespace(self) -> NetNS:
        """See :attr:`cnidaria.NodeView.namespace`."""
        return NetNS.current()

    @property
    def state_dir(self) -> Path:
        """See :attr:`cnidaria.NodeView.state_dir`."""
        return self.settings.state_dir

    def networks(self, mode: str, config: type[C]) -> dict[str, C]:
        """See :meth:`cnidaria.NodeView.networks`."""
        entries, errors = confdir.read(self.settings.conf_dir, frozenset({mode}))
        for error in errors.values():
            raise error
        return {one.conf.name: decode(config, one.conf.raw, mode) for one in reversed(entries)}

    def declared(self, kind: type[O]) -> list[O]:
        """See :meth:`cnidaria.NodeView.declared`."""
        here = self.namespace.cookie
        return [
            obj
            for one in report.attachments(self.settings, boottime())
            for obj in one.objects
            if isinstance(obj, kind) and one.host_cookie == here
        ]
