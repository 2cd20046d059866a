"""What a change of policies opens and closes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from cnidaria_policy.matrix import ELSEWHERE, Classes, group_name
from cnidaria_policy.policies import Policies
from cnidaria_policy.reach import Ports, Reach

Pods = tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """What changes between two groups of pods.

    Attributes:
        src, dst: the pods of the groups; empty: everybody else.
        family: of the addresses.
        opens, closes: what can be reached only afterwards, and only before.
    """

    src: tuple[str, ...]
    dst: tuple[str, ...]
    family: int
    opens: Ports
    closes: Ports

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "from": list(self.src) or [ELSEWHERE],
            "to": list(self.dst) or [ELSEWHERE],
            "family": self.family,
            "opens": str(self.opens),
            "closes": str(self.closes),
        }


def compare(before: Policies, after: Policies) -> Iterator[Difference]:
    """Every pair of pods between which something changes, grouped.

    Pods that only one side knows are left out.
    """
    old, new = Reach(before.tables()), Reach(after.tables())
    for family in (4, 6):
        groups: dict[tuple[Classes, Classes], list[str]] = {((None, 0), (None, 0)): []}
        for pod, addresses in sorted(before.pods.items()):
            for one in addresses:
                if ip_address(one).version == family and one in after.pods.get(pod, ()):
                    groups.setdefault((old.classes(one), new.classes(one)), []).append(pod)
        for (old_one, new_one), src in groups.items():
            for (old_other, new_other), dst in groups.items():
                was, is_ = old.between(old_one, old_other), new.between(new_one, new_other)
                if was != is_ and (src or dst):
                    yield Difference(tuple(src), tuple(dst), family, is_.less(was), was.less(is_))


def lines(found: list[Difference]) -> Iterator[str]:
    """For people; what is the same for both address families is said once."""
    said: dict[tuple[Pods, Pods, Ports, Ports], set[int]] = {}
    for one in found:
        said.setdefault((one.src, one.dst, one.opens, one.closes), set()).add(one.family)
    for (src, dst, opens, closes), families in said.items():
        ends = " > ".join(group_name(pods) if pods else ELSEWHERE for pods in (src, dst))
        where = "" if len(families) == 2 else f"  (IPv{next(iter(families))})"
        if opens:
            yield f"opens   {ends}  {opens}{where}"
        if closes:
            yield f"closes  {ends}  {closes}{where}"
