"""The agent of one node is killed, and nobody notices."""

from __future__ import annotations

from collections.abc import Sequence

import probes
from fleet import Node, Pod
from stage import Stage


def crash(stage: Stage) -> None:
    """kill -9, life without an agent, and its return."""
    node = stage.pods[-1].node
    stage.screen.section(f"Crash: kill -9 of the agent on {node.name}")
    local = stage.on(node)
    remote = [pod for pod in stage.pods if pod.node is not node]
    talks = [probes.Conversation(a, b) for a, b in zip(local, remote, strict=False)]
    try:
        node.kill_agent()
        _pods_live_on(stage, local, remote[:1], talks)
        _add_without_agent(stage, node, remote[:1])
        _agent_returns(stage, node, talks)
    finally:
        for talk in talks:
            talk.close()


def _pods_live_on(
    stage: Stage, local: Sequence[Pod], remote: Sequence[Pod], talks: Sequence[probes.Conversation]
) -> None:
    screen = stage.screen
    screen.checks([talk.goes_on() for talk in talks], "open TCP connections go on")
    asked = probes.pairs(local, remote) + probes.pairs(remote, local)
    answered = probes.ping(asked)
    screen.checks([pair in answered for pair in asked], "its pods reach and are reached")


def _add_without_agent(stage: Stage, node: Node, remote: Sequence[Pod]) -> None:
    screen = stage.screen
    screen.progress("ADD without an agent")
    pod = stage.new_pod(node)
    pod.add()
    seconds = stage.timings["ADD", f"cnidaria-{stage.mode}"][-1]
    stage.greeters.add(pod)
    screen.check(
        set(pod.addresses) == {4, 6},
        f"ADD works, one-shot: {pod.name} is {pod.addresses.get(4)}, {seconds:.2f} s",
    )
    asked = probes.pairs([pod], remote) + probes.pairs(remote, [pod])
    works = probes.ping(asked) & probes.connect(asked)
    screen.checks([pair in works for pair in asked], f"{pod.name} reaches and is reached")


def _agent_returns(stage: Stage, node: Node, talks: Sequence[probes.Conversation]) -> None:
    screen = stage.screen
    screen.progress("starting the agent again")
    node.start_agent()
    node.wait_for_agent()
    screen.check(node.runs(), "the agent is back, STATUS says ready")
    screen.checks([talk.goes_on() for talk in talks], "open TCP connections still go on")
    # portmap 1.1 looks for the rules of each family in the tables of the other one.
    pods = [pod for pod in stage.on(node) if not pod.host_port]
    for pod in pods:
        pod.check()
    names = ", ".join(pod.name for pod in pods)
    screen.checks([True] * len(pods), f"CHECK finds {names} as declared")
