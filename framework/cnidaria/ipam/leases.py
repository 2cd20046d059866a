"""What a pod gets, and who it is that gets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from cnidaria.cni.env import Invocation
from cnidaria.cni.records import Dns, Ip, Route
from cnidaria.cni.result import Result
from cnidaria.ipam.routes import settled
from cnidaria.plan.lease import Lease


class Owner(msgspec.Struct, frozen=True):
    """Who holds addresses: an interface of a container.

    Attributes:
        pod: ``namespace/name`` if it is one of Kubernetes and that is known, else ``""``.
    """

    container: str
    ifname: str
    pod: str = ""

    @classmethod
    def of(cls, invocation: Invocation) -> Owner:
        """Who is asked for."""
        return cls(invocation.container_id, invocation.ifname, pod_name(invocation.args))

    @property
    def key(self) -> str:
        """What the owner is known by; neither part may contain a slash."""
        return f"{self.container}/{self.ifname}"

    @property
    def group(self) -> str:
        """Whom to count addresses for: the Kubernetes namespace, else the container."""
        if self.pod:
            return f"namespace {self.pod.partition('/')[0]}"
        return f"container {self.container}"

    def __str__(self) -> str:
        who = f"container {self.container} ({self.ifname})"
        return f"pod {self.pod}, {who}" if self.pod else who


def pod_name(args: Mapping[str, str]) -> str:
    """``namespace/name`` of the Kubernetes pod that ``CNI_ARGS`` names, ``""`` if none."""
    namespace, name = args.get("K8S_POD_NAMESPACE", ""), args.get("K8S_POD_NAME", "")
    return f"{namespace}/{name}" if namespace and name else ""


@dataclass(frozen=True)
class LeaseSet:
    """What an IPAM plugin gives to one pod.

    Attributes:
        addresses: one of each range set, in the order of the configuration.
        routes: for the pod, as configured: without a next hop, the address's gateway is meant.
        dns: for the pod's resolver.
    """

    addresses: tuple[Lease, ...]
    routes: tuple[Route, ...] = ()
    dns: Dns = Dns()

    def families(self) -> frozenset[int]:
        """The address families, 4 and 6."""
        return frozenset(6 if ":" in lease.address else 4 for lease in self.addresses)

    def settled(self, where: str, code: int) -> LeaseSet:
        """The same with routes as the kernel can have them; see :func:`.routes.settled`."""
        return replace(self, routes=settled(self.routes, self.families(), where, code))

    def gateway_for(self, dst: str) -> str | None:
        """The gateway of the first address of the family of ``dst``, if there is one."""
        gateways = (one.gateway for one in self.addresses if (":" in one.address) == (":" in dst))
        return next(gateways, None)

    def result(self, cni_version: str) -> Result:
        """What an IPAM plugin answers (CNI specification, section 5)."""
        ips = tuple(
            Ip(f"{lease.address}/{lease.prefix_len}", gateway=lease.gateway)
            for lease in self.addresses
        )
        return Result(cni_version=cni_version, ips=ips, routes=self.routes, dns=self.dns)

    @classmethod
    def of_result(cls, result: Result, source: str) -> LeaseSet:
        """What another IPAM plugin answered.

        Args:
            source: that plugin; the leases' ``pool``, which is none of ours.
        """
        leases = []
        for ip in result.ips:
            address, _, length = ip.address.partition("/")
            leases.append(Lease(source, address, int(length), ip.gateway, 0.0))
        return cls(tuple(leases), result.routes, result.dns)
