"""Ending connections that began when they were allowed, and are not any more."""

from __future__ import annotations

from collections.abc import Collection

from cnidaria_core import PolicyEngine, PolicyReason

from cnidaria.kinds import Flow, NetNS, addresses, flows, forget


def cut_denied(namespace: NetNS, engine: PolicyEngine, subjects: Collection[str]) -> int:
    """Have the kernel forget the connections of these pods that are not allowed; how many.

    Their next packet is judged as if it began a connection.

    Raises:
        KernelError: the kernel does not answer.
    """
    if not subjects:
        return 0
    node = set(addresses(namespace))
    denied = [one for one in flows(namespace, subjects) if is_denied(engine, one, node)]
    return forget(namespace, denied)


def is_denied(engine: PolicyEngine, flow: Flow, node: Collection[str]) -> bool:
    """Whether the connection would not be allowed to begin now.

    Args:
        node: the node's own addresses: it reaches its pods, and only policies of the whole
            cluster keep its pods from it.
    """
    flow = flow.master or flow  # what belongs to an allowed connection is allowed with it
    if flow.src in node:
        return False
    port = flow.port if flow.protocol in (6, 17, 132) else None
    verdict = engine.verdict(flow.src, flow.dst, flow.protocol, port)
    if flow.dst in node:
        return denies(verdict.egress) and verdict.egress.tier != "NetworkPolicy"
    return denies(verdict.egress) or denies(verdict.ingress)


def denies(reason: PolicyReason) -> bool:
    """Whether that side does not allow it."""
    return not reason.allow


def forget_addresses(namespace: NetNS, gone: Collection[str]) -> int:
    """Have the kernel forget all connections of pods that are gone: others get their addresses.

    Raises:
        KernelError: the kernel does not answer.
    """
    return forget(namespace, list(flows(namespace, gone))) if gone else 0
