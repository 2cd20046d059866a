"""Tables of other firewalls as they are walked: of nftables and of iptables-legacy alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from cnidaria.kernel.objects.nftexpr import CtSet, Expr, Lookup, MetaSet, Verdict


class Match(NamedTuple):
    """A match of xtables, as iptables-nft and iptables-legacy have them."""

    name: str
    revision: int
    data: bytes


class Maybe(NamedTuple):
    """Lets packets on, or not: what it asks cannot be told. What was loaded is forgotten."""

    what: str


class Never(NamedTuple):
    """Lets no packet of a pod on."""


class Queue(NamedTuple):
    """A program decides."""


Does = Literal["drop", "notrack", "zone", "offload", "redirect", "copy"]
"""What becomes of packets that keeps policies from what they are for."""


class Effect(NamedTuple):
    """Does that to packets. Only those that are sent to another link at once do not go on."""

    does: Does


Step = Expr | Match | Maybe | Never | Queue | Effect
"""What rules are made of; what lets all packets on is left out."""


class Rule(NamedTuple):
    """One rule.

    Attributes:
        place: its handle; of iptables-legacy its number in the chain, from 1.
    """

    place: int
    steps: tuple[Step, ...]


class Element(NamedTuple):
    """One of a set.

    Attributes:
        low, high: bounds of the key, both included; empty: whatever has no other one.
        data: of a map.
    """

    low: bytes
    high: bytes
    data: Verdict | bytes | None = None


class Set(NamedTuple):
    """A set or map.

    Attributes:
        fields: bytes of the parts of a key, each padded to 4.
    """

    fields: tuple[int, ...]
    elements: tuple[Element, ...]


class Hook(NamedTuple):
    """Where a base chain is called from.

    Attributes:
        devices: it is called for these only; empty: for all.
    """

    name: str
    priority: int
    policy: str
    devices: tuple[str, ...] = ()


class Chain(NamedTuple):
    """Rules, and where they are called from if a packet comes here by itself."""

    rules: tuple[Rule, ...]
    hook: Hook | None = None


class Table(NamedTuple):
    """One table.

    Attributes:
        by: ``nftables`` or ``iptables-legacy``.
    """

    by: str
    family: str
    name: str
    chains: Mapping[str, Chain]
    sets: Mapping[str, Set]


def led_to(rule: Rule, table: Table) -> list[Verdict]:
    """All verdicts that a rule may come to."""
    found: list[Verdict] = []
    for step in rule.steps:
        if isinstance(step, Verdict):
            found.append(step)
        elif isinstance(step, Lookup) and (there := table.sets.get(step.set)):
            found += [one.data for one in there.elements if isinstance(one.data, Verdict)]
    return found


def dropping_only(table: Table) -> Table:
    """Without the base chains from which no packet comes to a drop or another effect."""
    leads = _leading_to_drops(table)
    some = {name: one for name, one in table.chains.items() if not one.hook or name in leads}
    return table._replace(chains=some)


def _leading_to_drops(table: Table) -> set[str]:
    ends: set[str] = set()
    leads: dict[str, set[str]] = {}
    for name, chain in table.chains.items():
        verdicts = [one for rule in chain.rules for one in led_to(rule, table)]
        steps = (step for rule in chain.rules for step in rule.steps)
        affects = any(isinstance(step, Queue | Effect) for step in steps)
        if affects or (chain.hook and chain.hook.policy == "drop"):
            ends.add(name)
        if any(one.code == "drop" for one in verdicts):
            ends.add(name)
        leads[name] = {one.chain for one in verdicts if one.chain}
    while more := {name for name, to in leads.items() if name not in ends and to & ends}:
        ends |= more
    return ends


def sets_marks(tables: list[Table]) -> bool:
    """Whether any rule gives packets or connections a mark: then nobody knows which they have."""
    return any(
        isinstance(step, (MetaSet, CtSet)) and step.key == "mark"
        for table in tables
        for chain in table.chains.values()
        for rule in chain.rules
        for step in rule.steps
    )
