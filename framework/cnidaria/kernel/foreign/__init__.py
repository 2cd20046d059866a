"""Firewalls of others that drop what pods say, or keep policies from judging it: of nftables, and
of iptables-legacy.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from cnidaria.kernel.errors import KernelError
from cnidaria.kernel.foreign import connections as conn
from cnidaria.kernel.foreign import legacy, nft
from cnidaria.kernel.foreign.connections import Connection, Pod, connections
from cnidaria.kernel.foreign.tables import Does, Table, dropping_only, sets_marks
from cnidaria.kernel.foreign.traffic import PROTOCOLS
from cnidaria.kernel.foreign.walk import Drop, Place, drops
from cnidaria.kernel.netns import NetNS
from cnidaria.kernel.session import Session

__all__ = ["Dropping", "dropping"]

MOST_RULES: Final = 5
"""That are named of one chain."""


Alike = tuple[str, str, int]
"""Connections of the same way, protocol and IP version."""


MEANS: Final[dict[Does, tuple[str, str, str]]] = {
    "drop": ("drops", "may drop", ", whatever policies allow"),
    "notrack": (
        "keeps connection tracking off",
        "may keep connection tracking off",
        ": policies judge each packet by itself, those of answers, too",
    ),
    "zone": (
        "gives another zone of connection tracking to",
        "may give another zone of connection tracking to",
        ": policies know answers only of the same zone",
    ),
    "offload": (
        "has a flow table forward",
        "may have a flow table forward",
        ": what policies come to forbid goes on until that forgets it",
    ),
    "redirect": ("sends on", "may send on", " past all policies"),
    "copy": ("copies", "may copy", " past all policies"),
}
"""What a rule does, or may do, to connections; and what follows of that."""


class Dropping(NamedTuple):
    """A chain of somebody else's that drops what pods say, or may; or keeps policies from judging.

    Attributes:
        by: ``nftables`` or ``iptables-legacy``.
        family: of its table, as ``inet`` or ``ip``.
        rules: handles (iptables-legacy: numbers) of rules that do; 0: the chain's policy.
        certain: all connections are dropped; else some may be, as those of one pod.
        what: as ``TCP, UDP connections between pods``.
        does: what happens to them, of MEANS.
    """

    by: str
    family: str
    table: str
    chain: str
    rules: tuple[int, ...]
    certain: bool
    what: str
    does: Does = "drop"

    def __str__(self) -> str:
        surely, perhaps, so = MEANS[self.does]
        verb = surely if self.certain else perhaps
        return f"{self.by}: {self._where()} (`{self.command}`) {verb} {self.what}{so}"

    def _where(self) -> str:
        named = [f"{rule}" for rule in self.rules if rule]
        most = ", ".join(named[:MOST_RULES]) + ", …" * (len(named) > MOST_RULES)
        word = "rule" if self.by == "iptables-legacy" else "rule handle"
        parts = ["policy"] * (0 in self.rules) + [f"{word} {most}"] * bool(named)
        place = f"chain {self.chain} of table {self.family} {self.table}"
        return f"{' and '.join(parts)} of {place}"

    @property
    def command(self) -> str:
        """What shows the rules."""
        if self.by == "iptables-legacy":
            program = "iptables-legacy" if self.family == "ip" else "ip6tables-legacy"
            return f"{program} -t {self.table} -L {self.chain} --line-numbers -nv"
        return f"nft -a list chain {self.family} {self.table} {self.chain}"


def dropping(namespace: NetNS, pods: Mapping[str, str]) -> list[Dropping]:
    """The chains of others that drop what policies of pods decide about, or keep them from that.

    Args:
        pods: their addresses, each with the interface on the node's side; ``""``: not known.
            Without any only what drops everything is told.

    Raises:
        KernelError: the kernel does not answer.
    """
    with Session(namespace) as session:
        try:
            read = [*nft.tables(session), *legacy.tables(namespace)]
        except OSError as error:
            raise KernelError(error.errno or 5, "cannot read foreign rules") from error
        tables = [dropping_only(table) for table in read]
        if not any(chain.hook for table in tables for chain in table.chains.values()):
            return []
        asked = list(_asked(session, pods, tables, marked=sets_marks(read)))
    return judge(tables, asked, certain_only=not pods)


def _asked(
    session: Session, pods: Mapping[str, str], tables: Sequence[Table], *, marked: bool
) -> Iterable[Connection]:
    some = conn.standing_for_all(pods, tables)
    for version in (4, 6):
        ours = [conn.pod(session, *one) for one in some if (":" in one[0]) == (version == 6)] or (
            [] if pods else [Pod()]
        )
        links = conn.uplinks(session, version)
        yield from connections(ours, links, version, marked=marked)


def judge(
    tables: Sequence[Table], asked: Iterable[Connection], *, certain_only: bool = False
) -> list[Dropping]:
    """What is said of connections, chain by chain."""
    alike = Counter[Alike]()
    counts = Counter[tuple[Place, bool, Alike]]()
    for connection in asked:
        first = connection[0]
        kind = first.way, first.protocol, first.version
        alike[kind] += 1
        counts.update((*drop, kind) for drop in set(verdict(tables, connection)))
    found: dict[tuple[Place, bool], dict[str, set[str]]] = {}
    for (place, certain, kind), count in counts.items():
        of_all = certain and count == alike[kind]
        if of_all or not certain_only:
            found.setdefault((place, of_all), defaultdict(set))[kind[0]].add(kind[1])
    return _gathered(found)


def verdict(tables: Sequence[Table], connection: Connection) -> list[Drop]:
    """Where a connection is dropped: the one place where it is, or those where it may be."""
    found: list[Drop] = []
    for traffic in connection:
        found += drops(tables, traffic)
        if found and found[-1].ends:
            return found[-1:]
    return found


def _gathered(found: Mapping[tuple[Place, bool], Mapping[str, set[str]]]) -> list[Dropping]:
    """One line for all rules of a chain that do the same."""
    rules: dict[tuple[Place, bool, str], list[int]] = defaultdict(list)
    for (place, certain), by_way in found.items():
        rules[place._replace(rule=0), certain, _what(by_way, certain=certain)].append(place.rule)
    return [
        Dropping(*place[:4], tuple(sorted(some)), certain, what, place.does)
        for (place, certain, what), some in sorted(rules.items(), key=lambda one: not one[0][1])
    ]


def _what(by_way: Mapping[str, set[str]], *, certain: bool) -> str:
    """As ``TCP, UDP connections between pods``: ways with the same protocols are one."""
    ways: dict[str, list[str]] = defaultdict(list)
    for way, protocols in by_way.items():
        named = [one for one in PROTOCOLS if one in protocols]
        ways["" if len(named) == len(PROTOCOLS) else ", ".join(named)].append(way)
    every = "all connections" if certain else "connections"
    return " and ".join(
        f"{protocols} connections {', '.join(some)}" if protocols else f"{every} {', '.join(some)}"
        for protocols, some in ways.items()
    )
