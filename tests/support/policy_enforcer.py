"""One node of the lab whose pods' policies are files of a directory, without an agent around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cnidaria.kernel.netns import NetNS
from cnidaria_policy.config import PolicyConfig
from cnidaria_policy.enforcer import Enforcer
from cnidaria_policy.objects import PolicyPod
from cnidaria_policy.service import follow
from support.policy_examples import network_policy

Ends = tuple[str, str]
"""The addresses of a pod: IPv4 and IPv6."""


def pod(name: str, addresses: Ends) -> PolicyPod:
    """Pod ``x/NAME`` with the label ``app: NAME``."""
    return PolicyPod("pods", f"{name}-1/eth0", "x", name, addresses, "eth0", labels={"app": name})


@contextmanager
def enforcing(host: NetNS, policies: Path, pods: Mapping[str, Ends]) -> Iterator[Enforcer]:
    """What the files say is in force; :func:`write` says something else."""
    made = Enforcer("pods", PolicyConfig(policies=(str(policies),), node="n1"))
    made.open(host, [pod(*one) for one in pods.items()])
    try:
        follow(made, host)
        yield made
    finally:
        made.table.delete(host)


def write(policies: Path, name: str, spec: str) -> None:
    """A file with one policy of namespace ``x``; the spec as YAML in one line."""
    (policies / f"{name}.yaml").write_text(network_policy(spec, name, "x"))
