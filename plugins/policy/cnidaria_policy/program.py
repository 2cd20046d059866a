"""Compiled policies as nftables: a table's content, and how it follows each change.

A packet that begins a connection goes this way, whatever the number of pods and policies::

    egress, ingress   established flows leave in the first rule; of others the pod's address leads
                      to the chain of its subject class; an address that is not there passes
    ingress-3         finds the other end's class, in which a map knows where it is decided
    filter-7          by protocol and port
    allow-5, deny-9   one for each rule of a policy that decides: counts, and does it

A packet has no place for notes that nobody else looks at, but nft's language needs one to look
something up by what was looked up before.  ``meta priority`` holds the class of the other end for
the few rules between; it is put back to what packets have there (docs/decisions/0007).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, Final, Literal

from cnidaria_core import PolicyChanges, PolicyDecision, PolicyFilter, PolicyReason, PolicyTables

from cnidaria import NftChain, NftElement, NftRule, NftSet, Object, expr
from cnidaria.kinds import Batch, Ruleset
from cnidaria_policy import names
from cnidaria_policy.numbering import Numbering, Numbers

PRIORITY: Final = -10
"""Of our chains: before what others filter (0), so that our counters say what was decided."""
LOG_GROUP: Final = 67
"""NFLOG group of denied connections."""
LOGGED: Final = 96
"""Bytes of a packet that listeners get: its headers."""
UNKNOWN: Final = "0:0"
"""The class of whom nobody names."""
NEW_ONLY: Final = (0x17, 0x02)
"""TCP: of FIN, SYN, RST and ACK only SYN begins a connection (RFC 9293)."""

ADDRESSES: Final = {4: "ipv4_addr", 6: "ipv6_addr"}
SADDR: Final = {4: expr.IP_SADDR, 6: expr.IP6_SADDR}
DADDR: Final = {4: expr.IP_DADDR, 6: expr.IP6_DADDR}
FAMILIES: Final = (4, 6)

NameOf = Callable[[str], str]
"""Names the pod that has an address."""


class Program:
    """The content of one policy table, kept as the compiled policies are.

    Args:
        table: its name.
        name_of: for comments.
        numbering: what stands for the engine's numbers.
        store: which cluster store the policies are of, if there is one.

    Attributes:
        rules: the content.
    """

    def __init__(
        self,
        table: str,
        name_of: NameOf = str,
        numbering: Numbering | None = None,
        store: str = "",
    ) -> None:
        self.table = table
        self._numbers = numbering or Numbering()
        self.rules = Ruleset()
        self._name_of = name_of
        self._batch = Batch()
        self._subjects: dict[str, int] = {}
        self._members: dict[int, set[str]] = {}
        self._rows: dict[tuple[int, str], dict[int | None, int]] = {}
        self._closed: set[tuple[int, str]] = set()
        self._filters: dict[int, PolicyFilter] = {}
        self._reasons: dict[int, PolicyReason] = {}
        self._used: Counter[str] = Counter()
        for one in frame_sets(table):
            self._set(one)
        for chain in frame_chains(table):
            self._chain(chain)
        if store:
            self._chain(NftChain(table, names.store_chain(store)))

    @property
    def subjects(self) -> list[str]:
        """The addresses of pods that policies select."""
        return list(self._subjects)

    def closed(self, addresses: Iterable[str]) -> frozenset[str]:
        """The ways, of ``egress`` and ``ingress``, in which the pod that has these addresses is
        denied something.
        """
        found = {self._subjects.get(address) for address in addresses} - {None}
        return frozenset(
            way for way in ("egress", "ingress") if any((one, way) in self._closed for one in found)
        )

    def update(self, changes: PolicyTables | PolicyChanges) -> Batch:
        """Follow a change, or take tables as they are at first; what there is to do about it."""
        reasons: Mapping[int, PolicyReason | None] = changes.reasons
        filters: Mapping[int, PolicyFilter | None] = changes.filters
        self._reasons.update((key, one) for key, one in reasons.items() if one is not None)
        for number, one in filters.items():
            if one is not None:
                self._add_filter(number, one)
        self._classes(changes.endpoints, changes.blocks)
        touched = self._take_rows(changes.rows)
        self._take_subjects(changes.subjects, touched)
        for number in [key for key, one in filters.items() if one is None]:
            self._drop_filter(number)
        for key in [key for key, one in reasons.items() if one is None]:
            self._reasons.pop(key, None)
            self._numbers.reasons.drop(key)
        batch, self._batch = self._batch, Batch()
        return batch

    def of(self, addresses: Iterable[str]) -> list[Object]:
        """What must be in the kernel that these addresses' policies are in force."""
        found: list[Object] = []
        for address in addresses:
            version = names.family(address)
            for name in ("subjects", *names.PEERS):
                there = self.rules.elements.get(f"{name}{version}", {})
                for key in ((address,), (address, address)):
                    if element := there.get(key):
                        found.append(self.rules.sets[f"{name}{version}"].elements(element))
            subject = self._subjects.get(address)
            for way in names.PEERS:
                if subject is not None and (subject, way) in self._rows:
                    found.append(self.rules.chains[self._subject_chain_name(way, subject)])
        return list(dict.fromkeys(found))

    # -- peers -----------------------------------------------------------------------------

    def _classes(
        self,
        endpoints: Mapping[str, int | None],
        blocks: Mapping[tuple[str, str], int | None],
    ) -> None:
        for address, number in endpoints.items():
            self._element(f"peers{names.family(address)}", (address,), self._class(number))
        for (first, last), number in blocks.items():
            name = f"blocks{names.family(first)}"
            key = names.span(self.rules.sets[name], first, last)
            self._element(name, (key,), self._class(number))

    def _class(self, number: int | None) -> tuple[str, ...] | None:
        return None if number is None else (self._classid(number),)

    def _classid(self, number: int) -> str:
        return names.classid(self._numbers.peers.of(number))

    def _subject_chain_name(self, way: str, subject: int) -> str:
        return names.subject_chain(way, self._numbers.subjects.of(subject))

    def _rows_map(self, way: str, subject: int) -> str:
        return names.rows_map(way, self._numbers.subjects.of(subject))

    def _decision(self, decision: PolicyDecision) -> str:
        return decision_chain(decision, self._numbers.reasons)

    # -- rows ------------------------------------------------------------------------------

    def _take_rows(
        self, rows: Mapping[tuple[int, Any, int | None], int | None]
    ) -> set[tuple[int, str]]:
        """The subject classes and ways in which there are rows now and were not, or vice
        versa.
        """
        had = set(self._rows)
        changed: dict[tuple[int, str], dict[int | None, int | None]] = {}
        for (subject, way, peer), number in rows.items():
            changed.setdefault((subject, way), {})[peer] = number
        for place, some in changed.items():
            self._change_rows(place, some)
        return had ^ set(self._rows)

    def _change_rows(
        self, place: tuple[int, str], changed: Mapping[int | None, int | None]
    ) -> None:
        subject, way = place
        rows = {**self._rows.get(place, {}), **changed}
        have = {peer: number for peer, number in rows.items() if number is not None}
        there = self._rows_map(way, subject)
        if not have:
            self._rows.pop(place, None)
            self._closed.discard(place)
            self._no_chain(self._subject_chain_name(way, subject))
            self._no_set(there)
            return
        self._rows[place] = have
        if any(not one.allow for n in set(have.values()) for one in decisions(self._filters[n])):
            self._closed.add(place)
        else:
            self._closed.discard(place)
        self._set(NftSet(self.table, there, ("classid",), data=("verdict",)))
        for peer, number in changed.items():
            if peer is not None:
                target = None if number is None else (f"goto {self._target(number)}",)
                self._element(there, (self._classid(peer),), target)
        self._chain(self._subject_chain(subject, way, have.get(None)))

    def _subject_chain(self, subject: int, way: str, default: int | None) -> NftChain:
        """Where rows have no default, all passes: of a pod to its node only exceptions are."""
        rows = self.rules.sets[self._rows_map(way, subject)]
        last = passing() if default is None else (expr.rule(expr.goto(self._target(default))),)
        why = ", ".join(sorted({*self._deciders(subject, way)} - {""}))
        to_itself = [
            expr.rule(
                expr.vmap((SADDR[version], DADDR[version]), self.rules.sets[f"{there}{version}"])
            )
            for version in FAMILIES
            if (there := names.HAIRPINS.get(way))
        ]
        return NftChain(
            self.table,
            self._subject_chain_name(way, subject),
            rules=(
                *to_itself,
                expr.rule(expr.jump(names.PEERS[way]), comment=names.clipped(why)),
                expr.rule(expr.vmap(expr.PRIORITY, rows)),
                *last,
            ),
        )

    def _deciders(self, subject: int, way: str) -> Iterable[str]:
        for number in self._rows[subject, way].values():
            for decision in decisions(self._filters[number]):
                yield names.policy_name(self._reasons[decision.reason])

    # -- subjects --------------------------------------------------------------------------

    def _take_subjects(
        self, subjects: Mapping[str, int | None], touched: Iterable[tuple[int, str]]
    ) -> None:
        again = {one for subject, _ in touched for one in self._members.get(subject, ())}
        for address, number in subjects.items():
            old = self._subjects.pop(address, None)
            if old is not None:
                self._members[old].discard(address)
            if number is not None:
                self._subjects[address] = number
                self._members.setdefault(number, set()).add(address)
        for address in {*subjects, *again}:
            self._subject(address, self._subjects.get(address))

    def _subject(self, address: str, number: int | None) -> None:
        version, name = names.family(address), self._name_of(address)
        self._element(f"subjects{version}", (address,), None if number is None else (), name)
        for way in names.WAYS:
            target = self._way(number, way)
            self._element(f"{way}{version}", (address,), target and (target,), name)
            if hairpin := names.HAIRPINS.get(way):
                target = target and (self._way(number, hairpin) or "accept")
                self._element(f"{hairpin}{version}", (address, address), target and (target,))

    def _way(self, subject: int | None, way: str) -> str:
        """The way to a subject's chain; ``""`` if it has none."""
        if subject is None or (subject, way) not in self._rows:
            return ""
        return f"goto {self._subject_chain_name(way, subject)}"

    # -- filters and decisions -------------------------------------------------------------

    def _target(self, number: int) -> str:
        """Where a filter begins: a filter without ports is its decision."""
        one = self._filters[number]
        if not one.ports:
            return self._decision(one.default)
        return names.filter_chain(self._numbers.filters.of(number))

    def _add_filter(self, number: int, one: PolicyFilter) -> None:
        if number in self._filters:
            return
        self._filters[number] = one
        for decision in decisions(one):
            made = decision_chains(self.table, decision, self._reasons, self._numbers.reasons)
            for chain in made:
                self._used[chain.name] += 1
                self._chain(chain)
        if not one.ports:
            return
        there = self._numbers.filters.of(number)
        by_port = self._ports_set(there, one) if has_set(one) else self._ports_rules(one)
        rest = expr.rule(expr.goto(self._decision(one.default)))
        self._chain(NftChain(self.table, names.filter_chain(there), rules=(*by_port, rest)))

    def _ports_rules(self, one: PolicyFilter) -> Iterator[NftRule]:
        for protocol, first, last, decision in sorted(one.ports, key=itemgetter(0, 1)):
            of_protocol = expr.match(expr.L4PROTO, PROTOCOLS[protocol])
            by_port = expr.match(expr.TH_DPORT, port_range(first, last))
            yield expr.rule(of_protocol, by_port, expr.goto(self._decision(decision)))

    def _ports_set(self, there: int, one: PolicyFilter) -> Iterator[NftRule]:
        ports = NftSet(
            self.table,
            names.ports_map(there),
            ("inet_proto", "inet_service"),
            data=("verdict",),
            interval=any(first != last for _, first, last, _ in one.ports),
        )
        self._set(ports)
        for protocol, first, last, decision in one.ports:
            key = (PROTOCOLS[protocol], port_range(first, last))
            self._element(ports.name, key, (f"goto {self._decision(decision)}",))
        yield expr.rule(expr.vmap((expr.L4PROTO, expr.TH_DPORT), ports))

    def _drop_filter(self, number: int) -> None:
        one = self._filters.pop(number)
        if one.ports:
            there = self._numbers.filters.of(number)
            self._no_chain(names.filter_chain(there))
            if has_set(one):
                self._no_set(names.ports_map(there))
        self._numbers.filters.drop(number)
        for decision in decisions(one):
            for name in {self._decision(decision), plain_chain(decision, self._numbers.reasons)}:
                self._used[name] -= 1
                if not self._used[name]:
                    del self._used[name]
                    self._no_chain(name)

    # -- the content -----------------------------------------------------------------------

    def _chain(self, chain: NftChain) -> None:
        old = self.rules.chains.get(chain.name)
        if old == chain:
            return
        self.rules.chains[chain.name] = chain
        is_new = old is None and self._batch.no_chains.pop(chain.name, None) is None
        batch = self._batch
        (batch.new_chains if is_new or chain.name in batch.new_chains else batch.chains)[
            chain.name
        ] = chain

    def _no_chain(self, name: str) -> None:
        if name in self.rules.chains:
            old = self.rules.chains.pop(name)
            self._batch.chains.pop(name, None)
            if self._batch.new_chains.pop(name, None) is None:
                self._batch.no_chains[name] = old

    def _set(self, one: NftSet) -> None:
        if self.rules.sets.get(one.name) != one:
            self._batch.sets[one.name] = self.rules.sets[one.name] = one

    def _no_set(self, name: str) -> None:
        if name in self.rules.sets:
            self._batch.no_sets[name] = self.rules.sets.pop(name)
            self.rules.elements.pop(name, None)
            self._batch.more.pop(name, None)

    def _element(
        self,
        name: str,
        key: tuple[str, ...],
        data: tuple[str, ...] | Literal[""] | None,
        comment: str = "",
    ) -> None:
        """Without data, not even none: there is to be no such element."""
        there = self.rules.elements.setdefault(name, {})
        old = there.pop(key, None)
        new = None if data is None or data == "" else NftElement(key, data, names.clipped(comment))
        if old is not None and old != new:
            self._batch.remove(name, old)
        if new is not None:
            there[key] = new
            if old != new:
                self._batch.add(name, new)
        if not there:
            del self.rules.elements[name]


# -- what is always there --------------------------------------------------------------------------


def frame_sets(table: str) -> list[NftSet]:
    """Sets that are there however many pods and policies there are."""
    made: list[NftSet] = []
    for version in FAMILIES:
        kind = (ADDRESSES[version],)
        made += [
            NftSet(table, f"peers{version}", kind, data=("classid",)),
            NftSet(table, f"blocks{version}", kind, data=("classid",), interval=True),
            NftSet(table, f"subjects{version}", kind),
        ]
        made += [
            NftSet(table, f"{way}{version}", kind * 2, data=("verdict",))
            for way in names.HAIRPINS.values()
        ]
        made += [NftSet(table, f"{way}{version}", kind, data=("verdict",)) for way in names.WAYS]
    return made


def frame_chains(table: str) -> list[NftChain]:
    """Chains that are there however many pods and policies there are."""
    sets = {one.name: one for one in frame_sets(table)}
    return [
        NftChain(table, "torn", rules=tuple(torn(sets))),
        *(
            NftChain(table, name, rules=tuple(peer(sets, name)))
            for name in ("source", "destination")
        ),
        base(
            table,
            "egress",
            "forward",
            PRIORITY - 1,
            [torn_rule(), *subjects(sets, "egress", SADDR)],
        ),
        base(table, "ingress", "forward", PRIORITY, [*subjects(sets, "ingress", DADDR)]),
        base(table, "local", "input", PRIORITY, [*subjects(sets, "local", SADDR)]),
    ]


def base(table: str, name: str, hook: Any, priority: int, rules: list[NftRule]) -> NftChain:
    """A chain that packets enter: what belongs to a connection that was allowed passes."""
    replies = expr.rule(expr.ct_state("established", "related"), expr.accept())
    # Nobody but a neighbour on the link can send these: routers count the hop limit down.
    neighbours = expr.rule(
        expr.match(expr.ICMPV6_TYPE, "133-137"),
        expr.match(expr.IP6_HOPLIMIT, 255),
        expr.accept(),
        comment="IPv6 finds its neighbours on a link (RFC 4861)",
    )
    groups = expr.rule(
        expr.match(expr.ICMPV6_TYPE, "130-132"),
        expr.match(expr.IP6_HOPLIMIT, 1),
        expr.match(expr.IP6_DADDR, "ff00::/8"),
        expr.accept(),
        comment="IPv6 finds its groups on a link (RFC 2710)",
    )
    rules = [replies, neighbours, groups, *rules]
    return NftChain(table, name, hook=hook, priority=priority, rules=tuple(rules))


def subjects(
    sets: Mapping[str, NftSet], way: str, field: Mapping[int, expr.Field]
) -> Iterable[NftRule]:
    """To the chain of the pod's subject class."""
    for version in FAMILIES:
        yield expr.rule(expr.vmap(field[version], sets[f"{way}{version}"]))


def peer(sets: Mapping[str, NftSet], side: str) -> Iterable[NftRule]:
    """``meta priority`` becomes the other end's class."""
    field = SADDR if side == "source" else DADDR
    yield expr.rule(expr.set_priority(UNKNOWN))
    for version in FAMILIES:
        yield expr.rule(expr.priority_from(field[version], sets[f"peers{version}"]))
    for version in FAMILIES:
        yield expr.rule(
            expr.match(expr.PRIORITY, UNKNOWN),
            expr.priority_from(field[version], sets[f"blocks{version}"]),
        )


def torn_rule() -> NftRule:
    """A connection that was cut must not come back from its middle, its ends exchanged."""
    return expr.rule(expr.ct_state("new"), expr.tcp_flags(*NEW_ONLY, "!="), expr.jump("torn"))


def torn(sets: Mapping[str, NftSet]) -> Iterable[NftRule]:
    """Nobody saw it begin, so nobody knows whose policy counts: it ends, if a policy does count."""
    for version in FAMILIES:
        for field in (SADDR, DADDR):
            yield expr.rule(
                expr.in_set(field[version], sets[f"subjects{version}"]),
                expr.counter(),
                expr.reset(),
                comment="a connection that was cut, or that nobody saw begin",
            )


# -- decisions -------------------------------------------------------------------------------------

FEW: Final = 2
"""Ports of a filter that are told by a rule each."""
PROTOCOLS: Final = {6: "tcp", 17: "udp", 132: "sctp"}


def has_set(one: PolicyFilter) -> bool:
    """Whether its ports are worth a set: the kernel finds sets by going through all of a table."""
    return len(one.ports) > FEW


def port_range(first: int, last: int) -> str:
    """As nft writes it."""
    return str(first) if first == last else f"{first}-{last}"


def decisions(one: PolicyFilter) -> set[PolicyDecision]:
    """All that a filter may decide."""
    return {one.default, *(decision for *_, decision in one.ports)}


def decision_chain(decision: PolicyDecision, reasons: Numbers) -> str:
    """Where it is done."""
    plain = plain_chain(decision, reasons)
    return plain if decision.audit is None else f"{plain}-audit-{reasons.of(decision.audit)}"


def plain_chain(decision: PolicyDecision, reasons: Numbers) -> str:
    """The same without what an audited policy has to say."""
    return f"{'allow' if decision.allow else 'deny'}-{reasons.of(decision.reason)}"


def decision_chains(
    table: str, decision: PolicyDecision, reasons: Mapping[int, PolicyReason], numbers: Numbers
) -> Iterable[NftChain]:
    """The chain that does it; before it one that notes what an audited policy would do."""
    plain = plain_chain(decision, numbers)
    why = str(reasons[decision.reason])
    if decision.allow:
        yield NftChain(table, plain, rules=tuple(passing(expr.counter(), comment=why)))
    else:
        yield NftChain(table, plain, rules=tuple(denying(table, plain, why)))
    if decision.audit is not None:
        name = decision_chain(decision, numbers)
        text = names.audit_text(decision.audit_allow, str(reasons[decision.audit]))
        noted = expr.rule(expr.counter(), comment=text)
        rules = (noted, told(table, name), expr.rule(expr.goto(plain)))
        yield NftChain(table, name, rules=rules)


def passing(*statements: Any, comment: str = "") -> Iterable[NftRule]:
    """Let it pass, without our note."""
    yield expr.rule(
        expr.set_priority(UNKNOWN), *statements, expr.accept(), comment=names.clipped(comment)
    )


def denying(table: str, name: str, why: str) -> Iterable[NftRule]:
    """Drop it, and tell who listens, not too often."""
    yield told(table, name)
    yield expr.rule(expr.counter(), expr.drop(), comment=names.clipped(why))


def told(table: str, name: str) -> NftRule:
    """A packet for who listens to denied connections."""
    return expr.rule(
        expr.limit(100, 100), expr.nflog(LOG_GROUP, f"{names.told(table)} {name}", LOGGED)
    )
