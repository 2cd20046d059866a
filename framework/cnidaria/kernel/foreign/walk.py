"""What becomes of packets on their way through foreign rules, as far as it can be told.

Packets that are alike are followed together. Where a rule asks something that is not known of them,
some may go one way and some the other: both are followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Final, Literal, NamedTuple

from cnidaria.kernel.foreign.reader import Conditions, Outcome, Reader
from cnidaria.kernel.foreign.tables import Chain, Does, Effect, Queue, Table
from cnidaria.kernel.foreign.traffic import NONE, Traffic

DEPTH: Final = 64
"""Chains deep: nftables lets 16 call each other, iptables-legacy as many as there are."""


Fate = Literal["on", "gone", "left"]
"""Packets go on to the next rule, are accepted or dropped, or have left the chain."""


class Place(NamedTuple):
    """Where packets are dropped, or something else becomes of them.

    Attributes:
        by: ``nftables`` or ``iptables-legacy``.
        rule: the rule's handle, or its number; 0: the chain's policy.
    """

    by: str
    family: str
    table: str
    chain: str
    rule: int
    does: Does = "drop"


class Drop(NamedTuple):
    """That packets are dropped, or what else becomes of them; ``certain``: of all of them."""

    place: Place
    certain: bool

    @property
    def ends(self) -> bool:
        """Whether no packet goes on."""
        return self.certain and self.place.does in ("drop", "redirect")


def drops(tables: Sequence[Table], traffic: Traffic) -> list[Drop]:
    """Where this traffic is dropped: the one place where all of it is, or those where some may be.

    Args:
        tables: without base chains that lead to no drop (:func:`~.tables.dropping_only`).
    """
    found: list[Drop] = []
    for family, hook in traffic.hooks:
        seen = _seen(traffic, family, hook)
        for table, name, chain in _hooked(tables, seen, family, hook):
            found += _Walk(table, seen).run(name, chain)
            if found and found[-1].ends:
                return found[-1:]
    return found


def _seen(traffic: Traffic, family: str, hook: str) -> Traffic:
    """With the interfaces that rules of this hook see."""
    iif, oif = traffic.ports if family in ("bridge", "netdev") else (traffic.iif, traffic.oif)
    if hook in ("ingress", "prerouting", "input"):
        oif = NONE
    return replace(traffic, iif=NONE if hook == "output" else iif, oif=oif)


def _hooked(
    tables: Sequence[Table], traffic: Traffic, family: str, hook: str
) -> list[tuple[Table, str, Chain]]:
    """The base chains of a hook in their order."""
    families = {"inet", "ip" if traffic.version == 4 else "ip6"} if family == "ip" else {family}
    device = (traffic.oif if hook == "egress" else traffic.iif).name
    found = [
        (chain.hook.priority, (table, name, chain))
        for table in tables
        if table.family in families
        for name, chain in table.chains.items()
        if chain.hook and chain.hook.name == hook
        if not chain.hook.devices or device in chain.hook.devices
    ]
    return [one for _, one in sorted(found, key=itemgetter(0))]


class Visit(NamedTuple):
    """That packets come to a chain.

    Attributes:
        whole: all of the traffic does that was neither accepted nor dropped before.
        path: what is true of them.
        depth: how many chains lead here.
    """

    chain: str
    whole: bool = True
    path: Conditions = frozenset()
    depth: int = 0


class _Walk:
    """The way through one base chain.

    What was accepted or dropped for certain is known by its conditions: whatever fulfils them, too,
    comes to no later rule.
    """

    def __init__(self, table: Table, traffic: Traffic) -> None:
        self._table = table
        self._reader = Reader(table.sets, traffic)
        self._found: list[Drop] = []
        self._accepted = False
        self._gone: list[Conditions] = []

    def run(self, name: str, chain: Chain) -> list[Drop]:
        """Where packets are dropped; where all of them are it is the last one."""
        rest = self._enter(Visit(name))
        if rest and chain.hook and chain.hook.policy == "drop":
            self._drop(name, 0, certain=not self._accepted)
        return self._found

    def _drop(self, chain: str, rule: int, *, certain: bool, does: Does = "drop") -> None:
        table = self._table
        drop = Drop(Place(table.by, table.family, table.name, chain, rule, does), certain)
        if certain or drop not in self._found:
            self._found.append(drop)

    def _enter(self, visit: Visit) -> bool:
        """Follow a chain; whether any packet comes back from it."""
        left = False
        chain = self._table.chains.get(visit.chain)
        if chain is None or visit.depth > DEPTH:
            return True
        for rule in chain.rules:
            for outcome in self._reader.outcomes(rule):
                path = visit.path | outcome.conditions
                if any(gone <= path for gone in self._gone):
                    continue
                on = self._decide(visit, rule.place, outcome, whole=visit.whole and not left)
                left = left or on == "left"
                if on == "gone" and not left and path:
                    self._gone.append(path)
                if on != "on" and not outcome.conditions:
                    return left
        return True

    def _decide(self, visit: Visit, rule: int, outcome: Outcome, *, whole: bool) -> Fate:
        """What becomes of packets that come to a verdict.

        Args:
            whole: all of the traffic comes to the rule that was neither accepted nor dropped.
        """
        verdict = outcome.verdict
        certain = whole and not outcome.conditions
        if isinstance(verdict, Queue):
            self._drop(visit.chain, rule, certain=False)
            self._accepted = True
        elif isinstance(verdict, Effect):
            sure = certain and not self._accepted
            self._drop(visit.chain, rule, certain=sure, does=verdict.does)
            return "gone" if verdict.does == "redirect" else "on"
        elif verdict.code == "drop":
            self._drop(visit.chain, rule, certain=certain and not self._accepted)
        elif verdict.code == "accept":
            self._accepted = True
        elif verdict.chain:
            path = visit.path | outcome.conditions
            if self._enter(Visit(verdict.chain, certain, path, visit.depth + 1)):
                return "left" if verdict.code == "goto" else "on"
        else:
            return "left" if verdict.code == "return" else "on"
        return "gone"
