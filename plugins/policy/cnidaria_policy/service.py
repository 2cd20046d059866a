"""In the agent: the sources are followed, and what they say is in the kernel at once."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from cnidaria import Network, Node
from cnidaria.kinds import KernelError
from cnidaria_policy.config import PolicyConfig
from cnidaria_policy.drivers import ENFORCERS
from cnidaria_policy.watch import changes

log = logging.getLogger(__name__)

AGAIN = 1.0
"""Seconds until what the kernel refused is tried again."""


async def serve(net: Network[PolicyConfig], node: Node) -> None:
    """Follow the directories of a network's policies, until cancelled."""
    told = ""
    async for _ in changes([Path(one) for one in net.config.policies]):
        enforcer = ENFORCERS.find(node.namespace, net.name)
        if enforcer is None:
            node.wake()  # it could not be opened yet: perhaps it can now
            continue
        try:
            await asyncio.to_thread(enforcer.refresh, node.namespace)
            problems = "; ".join(enforcer.problems)
        except KernelError as error:
            problems = str(error)
        if problems != told:
            node.problem(problems)
            told = problems
