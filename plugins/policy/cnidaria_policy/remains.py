"""Taking a pod out of the kernel without knowing what the policies are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cnidaria.kinds import Batch, NetNS, Ruleset, WholeTable
from cnidaria_policy.cut import forget_addresses
from cnidaria_policy.enforcer import tables_of

if TYPE_CHECKING:
    from cnidaria_policy.objects import PolicyPod


def remove_remains(namespace: NetNS, pod: PolicyPod) -> None:
    """Remove every element that is about the pod's addresses, as subjects and as peers, and about
    its link.

    Their connections go, too, also of a pod that no policy is about: the next one that gets an
    address of it may have policies.

    Raises:
        KernelError: the kernel refuses.
    """
    policies, links = tables_of(pod.network)
    _remove(namespace, policies, lambda key: key[0] in pod.addresses)
    forget_addresses(namespace, pod.addresses)
    for table in links.values():
        _remove(namespace, table, lambda key: key[0] == pod.host_ifname)


def _remove(
    namespace: NetNS, table: WholeTable, concerns: Callable[[tuple[str, ...]], bool]
) -> None:
    found = table.read(namespace) or Ruleset()
    batch = Batch()
    for name, elements in found.elements.items():
        for key, element in elements.items():
            if not found.sets[name].interval and concerns(key):
                batch.remove(name, element)
    if len(batch):
        table.change(namespace, batch, found.sets)
