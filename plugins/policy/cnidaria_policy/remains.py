"""Taking a pod out of the kernel without knowing what the policies are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from cnidaria.kinds import Batch, NetNS, Ruleset, WholeTable
from cnidaria_policy.cut import forget_addresses

if TYPE_CHECKING:
    from cnidaria_policy.links import Family
    from cnidaria_policy.objects import PolicyPod

Tables = tuple[WholeTable, dict["Family", WholeTable]]
"""Of a network's policies, and of its pods' links."""


def remove_remains(
    namespace: NetNS, tables: Tables, pod: PolicyPod, others: Iterable[PolicyPod]
) -> None:
    """Remove every element that is about the pod's addresses, as subjects and as peers, and about
    its link.

    Their connections go, too, also of a pod that no policy is about: the next one that gets an
    address of it may have policies.

    Args:
        others: which live on, perhaps with an address of this one.

    Raises:
        KernelError: the kernel refuses.
    """
    policies, links = tables
    others = list(others)
    gone = set(pod.addresses).difference(*(one.addresses for one in others))
    _remove(namespace, policies, lambda key: key[0] in gone)
    forget_addresses(namespace, gone)
    if all(one.host_ifname != pod.host_ifname for one in others):
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
