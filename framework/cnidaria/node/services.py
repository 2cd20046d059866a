"""What modes keep running in the agent: :meth:`Mode.serve` of each network that has it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cnidaria.api import Mode, Node
from cnidaria.kernel.netns import NetNS
from cnidaria.node.networks import Opened
from cnidaria.plan.attachment import NetworkId

log = logging.getLogger(__name__)

AGAIN = 5.0
"""Seconds until a service that failed is started again."""


@dataclass
class Services:
    """Starts, restarts and stops the services of the networks that are up.

    Attributes:
        is_entered: see :class:`~cnidaria.api.Node`.
        problems: what they say is wrong, by network.
    """

    host: NetNS
    wake: Callable[[], None]
    is_entered: Callable[[Opened], bool]
    problems: dict[str, str] = field(default_factory=dict)
    _running: dict[NetworkId, tuple[object, asyncio.Task[None]]] = field(default_factory=dict)

    def follow(self, opened: Iterable[Opened]) -> None:
        """Have exactly the services of these networks running."""
        wanted = {one.id: one for one in opened if type(one.mode).serve is not Mode.serve}
        for network, (config, task) in list(self._running.items()):
            one = wanted.get(network)
            if one is None or one.net.config != config:
                task.cancel()
                del self._running[network]
                self.problems.pop(_name(network), None)
        for network, one in wanted.items():
            if network not in self._running:
                task = asyncio.create_task(self._serve(one))
                self._running[network] = one.net.config, task

    def stop(self) -> None:
        """Cancel all."""
        for _, task in self._running.values():
            task.cancel()

    async def _serve(self, one: Opened) -> None:
        name = _name(one.id)
        node = Node(
            self.host,
            self.wake,
            lambda text: self._problem(name, text),
            lambda: self.is_entered(one),
        )
        while True:
            try:
                await one.mode.serve(one.net, node)
                return
            except Exception as error:
                log.exception("%s", name)
                self._problem(name, f"{type(error).__name__}: {error}")
                await asyncio.sleep(AGAIN)

    def _problem(self, name: str, text: str) -> None:
        if text == self.problems.get(name, ""):
            return
        self.problems.pop(name, None)
        if text:
            self.problems[name] = text
        self.wake()  # what status tells is told by who is woken


def _name(network: NetworkId) -> str:
    return f"service of network {network[0]} ({network[1]})"
