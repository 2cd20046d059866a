"""Numbers that outlive an engine: what is in the kernel already keeps those that it has there.

An engine counts its classes, filters and reasons as they come, so another one of the same policies
has others.  Chains are named by numbers; if those changed, a restart would write everything anew
and counters would begin at 0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from cnidaria_core import PolicyTables
from msgspec.structs import replace

from cnidaria import NftElement
from cnidaria.kinds import Ruleset
from cnidaria_policy import names

_DECISION: Final = re.compile(r"(?:allow|deny)-(?P<number>\d+)(?:-audit-(?P<audit>\d+))?")
_GOTO: Final = re.compile(r"goto (?P<what>.+)-(?P<number>\d+)")

Votes = Counter[tuple[int, int]]
"""How much speaks for it that the engine's number is the kernel's."""


@dataclass
class Numbers:
    """The engine's numbers of one kind, and those that stand for them."""

    _given: dict[int, int] = field(default_factory=dict)
    _used: set[int] = field(default_factory=set)

    def of(self, number: int) -> int:
        """What stands for the engine's number: itself, or the next one that is free."""
        found = self._given.get(number)
        if found is None:
            found = number if number not in self._used else max(self._used) + 1
            self._give(number, found)
        return found

    def _give(self, number: int, stands: int) -> None:
        self._given[number] = stands
        self._used.add(stands)

    def elect(self, votes: Votes) -> None:
        """Give numbers by votes, one to each."""
        for (number, stands), _ in votes.most_common():
            if number not in self._given and stands not in self._used:
                self._give(number, stands)

    def drop(self, number: int) -> None:
        """The engine does not use it any more."""
        self._used.discard(self._given.pop(number, -1))


@dataclass
class Numbering:
    """All kinds of numbers."""

    peers: Numbers = field(default_factory=lambda: Numbers({0: 0}, {0}))
    subjects: Numbers = field(default_factory=Numbers)
    filters: Numbers = field(default_factory=Numbers)
    reasons: Numbers = field(default_factory=Numbers)


def aligned(tables: PolicyTables, have: Ruleset) -> Numbering:
    """Numbers for an engine's tables such that as much as possible is called as in the kernel."""
    made = Numbering()
    made.peers.elect(_peer_votes(tables, have))
    made.subjects.elect(_subject_votes(tables, have))
    made.filters.elect(_filter_votes(tables, have, made))
    made.reasons.elect(_reason_votes(tables, have))
    return made


def in_terms_of(want: Ruleset, have: Ruleset) -> Ruleset:
    """The same content, with the defaults that subjects' chains have in the kernel.

    Which of its rows an engine takes for the default depends on what it saw before; what is meant
    is the same if every peer class is led to the same place. A default that no class is led to may
    be a filter that is of no use any more: it is left as it is.
    """
    everybody = _classes(want) | _classes(have)
    made = Ruleset(dict(want.chains), dict(want.sets), dict(want.elements))
    for chain in want.chains.values():
        rows = f"{chain.name}-peers"
        mine, theirs = (_default(one, chain.name) for one in (want, have))
        if mine == theirs or not all(_GOTO.fullmatch(one) for one in (mine, theirs)):
            continue
        default = theirs.removeprefix("goto ")
        if default not in made.chains:
            if not everybody <= have.elements.get(rows, {}).keys():
                continue
            _leave(made, have, default)
        elements = want.elements.get(rows, {})
        targets = {key: elements[key].data[0] if key in elements else mine for key in everybody}
        made.elements[rows] = {
            key: NftElement(key, (target,)) for key, target in targets.items() if target != theirs
        }
        made.chains[chain.name] = replace(
            chain, rules=(*chain.rules[:-1], have.chains[chain.name].rules[-1])
        )
    made.elements = {name: some for name, some in made.elements.items() if some}
    return made


def _leave(made: Ruleset, have: Ruleset, chain: str) -> None:
    """Have a chain, and what it leads to, as they are in the kernel."""
    if chain in made.chains or chain not in have.chains:
        return
    made.chains[chain] = have.chains[chain]
    ports = f"{chain}-ports"
    if ports in have.sets:
        made.sets[ports] = have.sets[ports]
        made.elements[ports] = have.elements.get(ports, {})
    elements = made.elements.get(ports, {}).values()
    targets = [element.data[0] for element in elements]
    targets += [str(rule.exprs[-1]) for rule in have.chains[chain].rules if rule.exprs]
    for found in filter(None, map(_GOTO.fullmatch, targets)):
        _leave(made, have, found[0].removeprefix("goto "))


def _classes(rules: Ruleset) -> set[tuple[str, ...]]:
    """All peer classes, as keys."""
    named: set[tuple[str, ...]] = {(names.classid(0),)}
    for name, elements in rules.elements.items():
        if name.startswith(("peers", "blocks")):
            named.update(element.data for element in elements.values())
        elif name.endswith("-peers"):
            named.update(elements)
    return named


def _peer_votes(tables: PolicyTables, have: Ruleset) -> Votes:
    votes: Votes = Counter()
    for address, number in tables.endpoints.items():
        votes.update(_vote(have, f"peers{names.family(address)}", address, number))
    for (first, last), number in tables.blocks.items():
        name = f"blocks{names.family(first)}"
        if name in have.sets:
            votes.update(_vote(have, name, names.span(have.sets[name], first, last), number))
    return votes


def _vote(have: Ruleset, name: str, key: str, number: int) -> Iterator[tuple[int, int]]:
    element = have.elements.get(name, {}).get((key,))
    if element is not None and element.data:
        yield number, names.number_of(element.data[0])


def _subject_votes(tables: PolicyTables, have: Ruleset) -> Votes:
    votes: Votes = Counter()
    for address, number in tables.subjects.items():
        for way in names.WAYS:
            element = have.elements.get(f"{way}{names.family(address)}", {}).get((address,))
            found = _GOTO.fullmatch(element.data[0]) if element and element.data else None
            if found:
                votes[number, int(found["number"])] += 1
    return votes


def _filter_votes(tables: PolicyTables, have: Ruleset, made: Numbering) -> Votes:
    """A filter is what the same peers are led to, by rows or by default. One that is its decision
    has no number there.
    """
    peers = (0, *tables.endpoints.values(), *tables.blocks.values())
    everybody = {_key(made, peer) for peer in peers}
    sides: dict[tuple[int, str], dict[int | None, int]] = {}
    for (subject, way, peer), number in tables.rows.items():
        sides.setdefault((subject, way), {})[peer] = number
    votes: Votes = Counter()
    for (subject, way), rows in sides.items():
        there = made.subjects.of(subject)
        mine = {_key(made, peer): number for peer, number in rows.items() if peer is not None}
        elements = have.elements.get(names.rows_map(way, there), {})
        theirs = {key: element.data[0] for key, element in elements.items()}
        default = _default(have, names.subject_chain(way, there))
        rest = everybody.difference(mine, theirs)
        for key in {*mine, *theirs, *list(rest)[:1]}:
            one = mine[key] if key in mine else rows.get(None)
            found = _GOTO.fullmatch(theirs.get(key, default))
            if one is not None and found and found["what"] == "filter":
                votes[one, int(found["number"])] += 1
    return votes


def _key(made: Numbering, peer: int) -> tuple[str, ...]:
    return (names.classid(made.peers.of(peer)),)


def _default(have: Ruleset, chain: str) -> str:
    """Where the last rule of a chain leads."""
    found = have.chains.get(chain)
    last = found.rules[-1].exprs[-1] if found and found.rules and found.rules[-1].exprs else ""
    return str(last)


def _reason_votes(tables: PolicyTables, have: Ruleset) -> Votes:
    known: dict[str, int] = {}
    for name, chain in have.chains.items():
        found = _DECISION.fullmatch(name)
        if found and chain.rules:
            audit = found["audit"]
            rule = chain.rules[0 if audit else -1]
            known.setdefault(rule.comment, int(audit or found["number"]))
    votes: Votes = Counter()
    for number, one in tables.reasons.items():
        texts = (names.clipped(str(one)), names.audit_text(one.allow, str(one)))
        votes.update((number, known[text]) for text in texts if text in known)
    return votes
