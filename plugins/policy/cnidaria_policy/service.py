"""In the agent: the sources are followed, and what they say is in the kernel at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from cnidaria import Network, Node, NotReady
from cnidaria.kinds import KernelError, NetNS, Session, dropping
from cnidaria_policy import bridges
from cnidaria_policy.config import PolicyConfig
from cnidaria_policy.drivers import ENFORCERS
from cnidaria_policy.enforcer import Enforcer
from cnidaria_policy.inotify import News, changes
from cnidaria_policy.objects import PolicyPod

LOOK_FOR_SHADOWS_EVERY: Final = 10.0
"""Seconds."""
REST_FROM_LOOKING: Final = 20.0
"""Times as long as the last look took: of many rules it takes long."""
MOST_SHADOWS: Final = 8

log = logging.getLogger(__name__)


async def serve(net: Network[PolicyConfig], node: Node) -> None:
    """Follow the sources of a network's policies, until cancelled."""
    told = ""
    shadows, watch = Shadows(), bridges.Watch()
    loop, happened = asyncio.get_running_loop(), News()
    followed: Enforcer | None = None

    def changed() -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(happened.set)

    try:
        async for _ in changes([Path(one) for one in net.config.directories], happened):
            enforcer = ENFORCERS.find(node.namespace, net.name)
            if enforcer is None:
                node.wake()  # it could not be opened yet: perhaps it can now
                continue
            followed, since = enforcer, happened.take()
            enforcer.is_followed = True
            try:
                await asyncio.to_thread(enforcer.sources.start, changed)
                await asyncio.to_thread(follow, enforcer, node.namespace, since)
                if node.is_entered():
                    await asyncio.to_thread(enforcer.reconcile)
                pods = enforcer.world.pods()
                blind = await asyncio.to_thread(watch.look, node.namespace, pods)
                foreign = await asyncio.to_thread(shadows.look, node.namespace, enforcer)
                problems = "; ".join([*enforcer.problems, *blind, *foreign])
            except KernelError as error:
                problems = str(error)
                happened.since = since  # it is not in force yet
            if problems != told:
                node.problem(problems)
                told = problems
    finally:
        if followed:
            followed.is_followed = False
            followed.sources.stop()


def status(network: str, namespace: NetNS) -> list[str]:
    """What is wrong with a network's policies although pods can be added.

    Raises:
        NotReady: none can.
        KernelError: the kernel does not answer.
    """
    enforcer = ENFORCERS.find(namespace, network)
    if enforcer is None:
        return []
    if why := enforcer.sources.why_closed:
        raise NotReady(f"network {network}: other nodes cannot be told of pods: {why}")
    with Session(namespace) as session:
        blind = [bridges.NEEDED] if None in bridges.values(session) else []
    return [*enforcer.problems, *blind]


def shadows(namespace: NetNS, pods: Iterable[PolicyPod]) -> list[str]:
    """What there is to say about the firewalls of others.

    Raises:
        KernelError: the kernel does not answer.
    """
    ends = {address: pod.host_ifname for pod in pods for address in pod.addresses}
    found = dropping(namespace, ends)
    more = len(found) - MOST_SHADOWS
    return [*map(str, found[:MOST_SHADOWS]), *([f"{more} more foreign chains"] if more > 0 else [])]


class Shadows:
    """Firewalls of others that get in the way of policies; looked for now and then."""

    def __init__(self) -> None:
        self._again_at = 0.0
        self._found: list[str] = []

    def look(self, namespace: NetNS, enforcer: Enforcer) -> list[str]:
        """What there is to say about each.

        Raises:
            KernelError: the kernel does not answer.
        """
        began = time.monotonic()
        if began >= self._again_at:
            self._found = shadows(namespace, enforcer.world.pods())
            took = time.monotonic() - began
            self._again_at = began + max(LOOK_FOR_SHADOWS_EVERY, REST_FROM_LOOKING * took)
        return self._found


def follow(enforcer: Enforcer, namespace: NetNS, since: float | None = None) -> None:
    """What the sources say now is in force when this returns, for old connections too.

    Args:
        since: when they first told of it, ``time.monotonic()``.

    Raises:
        KernelError: the kernel refuses.
    """
    if enforcer.refresh(namespace) and since is not None:
        enforcer.counts.news.observe(time.monotonic() - since)
    cut = enforcer.cut(namespace)
    if cut:
        log.info("network %s: ended %d connections", enforcer.network, cut)
    enforcer.tidy(namespace)
