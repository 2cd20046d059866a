"""The warm process of a node: answers calls, keeps the node's state, repairs, sweeps.

The conflists in the runtime's directory are its only configuration.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from cnidaria.kernel.netns import NetNS
from cnidaria.node.calls import Calls
from cnidaria.node.endpoint import Endpoint
from cnidaria.node.keeper import Keeper
from cnidaria.node.metrics import Metrics
from cnidaria.node.server import Server
from cnidaria.node.settings import Settings
from cnidaria.node.state import LOCK_WAIT, State, open_state
from cnidaria.plugins import Registry

log = logging.getLogger(__name__)

GUARD_EVERY = 1.0
"""Seconds between two looks whether the state directory is still there."""
SWEEP_EVERY = 10.0
SWEEP_GRACE = 10.0


class Agent:
    """One agent of one node.

    Args:
        ready: called once it listens.
    """

    def __init__(
        self, settings: Settings, registry: Registry, ready: Callable[[], None] = lambda: None
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._ready = ready
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Finish the calls under way, then end."""
        self._stopping.set()

    async def run(self) -> None:
        """Run until :meth:`stop`, SIGTERM or SIGINT.

        Raises:
            StateError: another agent runs, or the state cannot be used.
            OSError: the socket cannot be made.
        """
        with (
            open_state(self._settings, self._registry, LOCK_WAIT) as state,
            NetNS.current() as host,
        ):
            await asyncio.to_thread(state.recover, host)
            await asyncio.to_thread(state.networks.retire_forgotten, but=host.cookie)
            keeper = Keeper(self._settings, state, host)
            await keeper.refresh()
            calls = Calls(state.service(keeper.tends, keeper.clash).answer)
            metrics = Metrics(state, keeper, host, calls)
            server = Server(self._settings.socket, metrics.answer)
            self._handle_signals(keeper)
            server.listen()
            gc.collect()
            gc.freeze()
            log.info("listening on %s", self._settings.socket)
            self._ready()
            with keeper.repairer:
                jobs = [keeper.run(), sweep(state, host), guard(state, host, server)]
                if self._settings.metrics:
                    tell = partial(keeper.note, "metrics")
                    jobs.append(Endpoint(self._settings.metrics, metrics.text, tell).run())
                await self._work(*jobs)
            log.info("stopping")
            await asyncio.to_thread(keeper.stop)
            await server.stop()

    async def _work(self, *endless: Coroutine[Any, Any, None]) -> None:
        """Run the agent's jobs until it is stopped; a job that fails ends the agent."""
        jobs: list[asyncio.Task[Any]] = [asyncio.create_task(job) for job in endless]
        jobs.append(asyncio.create_task(self._stopping.wait()))
        done, rest = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        for job in rest:
            job.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        for job in done:
            job.result()

    def _handle_signals(self, keeper: Keeper) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, keeper.wake)


async def sweep(state: State, host: NetNS) -> None:
    """Withdraw, now and then, what belonged to pods that died without a DEL."""
    while True:
        await asyncio.sleep(SWEEP_EVERY)
        await asyncio.to_thread(state.engine.sweep, host, SWEEP_GRACE)


async def guard(state: State, host: NetNS, server: Server) -> None:
    """Bring back the state directory when somebody has removed it.

    Raises:
        StateError: another process has taken our place, or the directory cannot be made.
        OSError: the socket cannot be made.
    """
    while True:
        await asyncio.sleep(GUARD_EVERY)
        if state.lock.lost():
            await asyncio.to_thread(state.write_anew, host)
        if server.lost():
            server.listen()
