"""Policy mode: Kubernetes network policies, enforced by nftables for pods of any network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_interface
from typing import Any

import msgspec

from cnidaria import (
    CniError,
    Code,
    Command,
    Mode,
    Network,
    Node,
    Object,
    Plan,
    Request,
    Result,
    Sample,
    hookimpl,
)
from cnidaria.kinds import NetNS
from cnidaria_policy.config import PolicyConfig
from cnidaria_policy.objects import PolicyPod, PolicyTable


class Policy(Mode[PolicyConfig]):
    """Network policies, chained after whatever connects the pods."""

    type = "cnidaria-policy"
    Config = PolicyConfig

    def attach(self, request: Request, net: Network[PolicyConfig]) -> Plan:
        """The pod's policies are in force; its result is that of the plugins before."""
        before = request.prev_result
        if before is None:
            raise CniError(
                Code.INVALID_CONFIG,
                "cnidaria-policy: there is no prevResult",
                "it connects no pods itself: put it into the chain after a plugin that does",
            )
        namespace, name = pod_name(request.args, request.container_id)
        pod = PolicyPod(
            network=net.name,
            id=f"{request.container_id}/{request.ifname}",
            namespace=namespace,
            name=name,
            addresses=addresses(request),
            ifname=request.ifname,
            host_ifname=host_side(before, request.ifname),
            labels=labels(request),
            is_kubernetes=all(request.args.get(one) for one in POD_NAME),
            config=msgspec.to_builtins(net.config),
        )
        return Plan([pod], result=before)

    def node(self, net: Network[PolicyConfig]) -> Iterable[Object]:
        """The network's table."""
        return [PolicyTable(network=net.name, config=msgspec.to_builtins(net.config))]

    def status(self, net: Network[PolicyConfig], host: NetNS) -> Iterable[str]:
        """What is refused and lets the policies of before be in force."""
        from cnidaria_policy.service import status

        return status(net.name, host)

    async def serve(self, net: Network[PolicyConfig], node: Node) -> None:
        """Follow the sources."""
        from cnidaria_policy.service import serve

        await serve(net, node)

    def metrics(self, net: Network[PolicyConfig], host: NetNS) -> Iterable[Sample]:
        """Of the enforcer; before it could be opened only that nothing is known."""
        from cnidaria_policy.drivers import ENFORCERS
        from cnidaria_policy.metrics import IN_FORCE, samples

        enforcer = ENFORCERS.find(host, net.name)
        return samples(enforcer, host) if enforcer else [IN_FORCE.sample(0, net.name)]


POD_NAME = ("K8S_POD_NAMESPACE", "K8S_POD_NAME")
"""Kubernetes gives both; podman gives its container's name alone."""


def pod_name(args: Mapping[str, str], container_id: str) -> tuple[str, str]:
    """Namespace and name of the pod; what is not told is ``default`` and the container's id."""
    namespace, name = (args.get(one) for one in POD_NAME)
    return namespace or "default", name or container_id


def host_side(before: Result, ifname: str) -> str:
    """The node's end of the pod's interface, as far as the result tells: the one before it, as
    bridges come before their ports, and what others add comes last; ``""`` if there is none.
    """
    names = [one.name if one.sandbox else "" for one in before.interfaces]
    mine = names.index(ifname) if ifname in names else 0
    nearest = (*before.interfaces[:mine][::-1], *before.interfaces[mine:])
    return next((one.name for one in nearest if not one.sandbox), "")


LABELS = "cnidaria.io/labels"
"""The annotation that tells a pod's labels, as ``app=web,tier=1``, where no source does."""


def labels(request: Request) -> dict[str, str]:
    """What the runtime says of the pod's labels: by ``args.cni``, and by an annotation.

    Raises:
        CniError: code 7, the annotation is malformed.
    """
    found = dict(request.conf.args_cni.labels)
    text = request.conf.runtime.pod_annotations.get(LABELS, "")
    for part in filter(None, map(str.strip, text.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            problem = f'cnidaria-policy: annotation {LABELS}: "{part}": must be KEY=VALUE'
            raise CniError(Code.INVALID_CONFIG, problem)
        found[key] = value
    return found


def addresses(request: Request) -> tuple[str, ...]:
    """The addresses of the pod's interface, as the plugins before say.

    Raises:
        CniError: code 7, there are none.
    """
    before = request.prev_result
    assert before is not None
    mine = {
        place
        for place, one in enumerate(before.interfaces)
        if one.name == request.ifname and one.sandbox
    }
    found = [
        str(ip_interface(one.address).ip)
        for one in before.ips
        if not mine or one.interface is None or one.interface in mine
    ]
    if not found:
        raise CniError(
            Code.INVALID_CONFIG,
            f"cnidaria-policy: prevResult has no address of {request.ifname}",
            "policies are about addresses: the plugin before must give the pod one",
        )
    return tuple(found)


@hookimpl
def cnidaria_modes() -> Sequence[type[Mode[Any]]]:
    """The one mode of this package."""
    return [Policy]


@hookimpl
def cnidaria_commands() -> Sequence[Command]:
    """``cnidaria policy``."""
    from cnidaria_policy import commands

    summary = "network policies: explain, verify, matrix, diff, lint, watch"
    return [Command("policy", summary, commands.arguments, commands.run)]


@hookimpl
def cnidaria_objects() -> Sequence[type[Object]]:
    """What its plans are made of."""
    return [PolicyTable, PolicyPod]
