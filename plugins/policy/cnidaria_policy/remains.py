"""Taking a pod out of the kernel without knowing what the policies are."""

from __future__ import annotations

from collections.abc import Collection

from cnidaria.kinds import Batch, NetNS, Ruleset, WholeTable
from cnidaria_policy.cut import forget_addresses


def remove_remains(namespace: NetNS, table: WholeTable, addresses: Collection[str]) -> None:
    """Remove every element that is about these addresses, as subjects and as peers.

    Their connections go, too, also of a pod that no policy is about: the next one that gets an
    address of it may have policies.

    Raises:
        KernelError: the kernel refuses.
    """
    found = table.read(namespace) or Ruleset()
    batch = Batch()
    for name, elements in found.elements.items():
        for key, element in elements.items():
            if not found.sets[name].interval and key[0] in addresses:
                batch.remove(name, element)
    if len(batch):
        table.change(namespace, batch, found.sets)
    forget_addresses(namespace, addresses)
