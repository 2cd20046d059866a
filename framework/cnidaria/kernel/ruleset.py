"""One nftables table as a whole: read at once, changed element by element in one transaction.

For tables with much in them that changes often and must never be half changed. What is in such a
table belongs to whoever wrote it: the reconciler does not know it (its mark is another).
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field

import msgspec

from cnidaria.kernel import nftuapi as nf
from cnidaria.kernel import uapi
from cnidaria.kernel.codec import be32, string, text
from cnidaria.kernel.drivers import driver_of
from cnidaria.kernel.errors import KernelError
from cnidaria.kernel.netlink import Request
from cnidaria.kernel.netns import NetNS
from cnidaria.kernel.nftchains import (
    delete_chain,
    flush_chain,
    new_chain,
    new_rules,
    read_chains,
    read_counters,
)
from cnidaria.kernel.nftcomments import comment, read_comment
from cnidaria.kernel.nftextras import Extra, delete_extra, read_extras
from cnidaria.kernel.nftmessages import ask, dump, request
from cnidaria.kernel.nftsets import (
    add_elements,
    delete_elements,
    delete_set,
    new_set,
    read_elements,
    read_sets,
)
from cnidaria.kernel.objects import TABLES, NftChain, NftElement, NftSet, NftTable, Object
from cnidaria.kernel.objects.nftexpr import Lookup
from cnidaria.kernel.session import BEGIN, END, Session


@dataclass
class Ruleset:
    """What is in a table: chains and sets by name, and the elements of each set by their key.

    Attributes:
        dormant: nothing of it is in force.
        extras: what else is there, and nobody of us makes.
    """

    chains: dict[str, NftChain] = field(default_factory=dict)
    sets: dict[str, NftSet] = field(default_factory=dict)
    elements: dict[str, dict[tuple[str, ...], NftElement]] = field(default_factory=dict)
    dormant: bool = False
    extras: tuple[Extra, ...] = ()

    def __len__(self) -> int:
        """How many chains, sets and elements there are."""
        return len(self.chains) + len(self.sets) + sum(map(len, self.elements.values()))


@dataclass
class Batch:
    """Changes of one table, done all or not at all.

    Attributes:
        new_chains: to be made; ``chains``: to be given these rules instead of what they have.
        sets: to be made.
        more, less: elements to be added and removed, by the name of their set. A removal comes
            first: an element with other data is in both.
        no_chains, no_sets: to be removed; nothing may use them any more. What has to be hooked
            otherwise, or is of another type, is in both.
        wake: the table is dormant. Any change ends that.
        no_extras: to be removed, when nothing uses them any more.
    """

    new_chains: dict[str, NftChain] = field(default_factory=dict)
    chains: dict[str, NftChain] = field(default_factory=dict)
    sets: dict[str, NftSet] = field(default_factory=dict)
    more: dict[str, list[NftElement]] = field(default_factory=dict)
    less: dict[str, list[NftElement]] = field(default_factory=dict)
    no_chains: dict[str, NftChain] = field(default_factory=dict)
    no_sets: dict[str, NftSet] = field(default_factory=dict)
    wake: bool = False
    no_extras: tuple[Extra, ...] = ()

    def __len__(self) -> int:
        """How many chains, sets, elements and extras change, and one for a dormant table."""
        parts: list[Sized] = [self.new_chains, self.chains, self.sets, self.no_extras]
        parts += [self.no_chains, self.no_sets, *self.more.values(), *self.less.values()]
        return sum(map(len, parts)) + self.wake

    @property
    def hooked_anew(self) -> list[NftChain]:
        """The chains, as they are, that are removed and made again."""
        return [one for name, one in self.no_chains.items() if name in self.new_chains]

    def add(self, name: str, element: NftElement) -> None:
        """Add an element to the set of this name."""
        self.more.setdefault(name, []).append(element)

    def remove(self, name: str, element: NftElement) -> None:
        """Remove an element of the set of this name."""
        self.less.setdefault(name, []).append(element)


def difference(have: Ruleset, want: Ruleset) -> Batch:
    """What has to be done to ``have`` to get ``want``. Sets of another type are made anew."""
    kept = {n for n, one in want.chains.items() if _is_hooked(have.chains.get(n), one)}
    batch = Batch(
        new_chains={n: one for n, one in want.chains.items() if n not in kept},
        chains={n: one for n, one in want.chains.items() if n in kept and have.chains[n] != one},
        sets={n: one for n, one in want.sets.items() if have.sets.get(n) != one},
        no_chains={n: one for n, one in have.chains.items() if n not in kept},
        no_sets={n: one for n, one in have.sets.items() if want.sets.get(n) != one},
        wake=have.dormant and not want.dormant,
        no_extras=tuple(one for one in have.extras if one not in want.extras),
    )
    anew = batch.sets.keys() & batch.no_sets.keys()
    for name, chain in want.chains.items():
        if name in kept and not anew.isdisjoint(_looked_up(chain)):
            batch.chains[name] = chain  # a set goes only when no rule uses it
    for name in want.sets:
        wanted = want.elements.get(name, {})
        there = {} if name in batch.sets else have.elements.get(name, {})
        for key, element in there.items():
            if wanted.get(key) != element:
                batch.remove(name, element)
        for key, element in wanted.items():
            if there.get(key) != element:
                batch.add(name, element)
    return batch


def _is_hooked(have: NftChain | None, want: NftChain) -> bool:
    """Whether packets enter the chain as they should, whatever its rules are."""
    return have is not None and msgspec.structs.replace(have, rules=want.rules) == want


def _looked_up(chain: NftChain) -> Iterator[str]:
    return (expr.set for rule in chain.rules for expr in rule.exprs if isinstance(expr, Lookup))


class WholeTable:
    """One table, all of whose content is its owner's.

    Knows by the kernel's generation number (which every change of any table counts up) whether
    somebody has changed anything since it was last looked at or changed by us. For one thread.

    Args:
        mark: the table's comment; a table without it is somebody else's.

    Attributes:
        beside: tables of the same owner in the same namespace: changes of this one are not taken
            for somebody's changes of those.
    """

    def __init__(self, table: NftTable, mark: str) -> None:
        self.table = table
        self.mark = mark
        self.beside: Sequence[WholeTable] = ()
        self._generation: int | None = None

    def read(self, namespace: NetNS) -> Ruleset | None:
        """What is in it; ``None`` if it is not there.

        Raises:
            KernelError: the kernel does not answer; EEXIST: somebody else's table is there.
        """
        with Session(namespace, many=True) as session:
            before = generation(session)
            found = self._read(session)
            after = generation(session)
        self._generation = after if before == after else None
        return found

    def _read(self, session: Session) -> Ruleset | None:
        table = self.table
        attrs = ask(session, nf.NFT_MSG_GETTABLE, table.family, _name(table))
        if attrs is None:
            return None
        if read_comment(attrs.get(nf.NFTA_TABLE_USERDATA, b"")) != self.mark:
            raise KernelError(errno.EEXIST, f"cannot change {table}", "it is somebody else's")
        sets = {one.name: one for one in read_sets(session, table.family, table.name)}
        elements = {
            name: {element.key: element for element in read_elements(session, one)}
            for name, one in sets.items()
            if one.content is None
        }
        chains = {one.name: one for one in read_chains(session, table.family, table.name)}
        flags = int.from_bytes(attrs.get(nf.NFTA_TABLE_FLAGS, b""), "big")
        elements = {name: some for name, some in elements.items() if some}
        extras = tuple(read_extras(session, table.family, table.name))
        return Ruleset(chains, sets, elements, bool(flags & nf.NFT_TABLE_F_DORMANT), extras)

    def is_untouched(self, namespace: NetNS) -> bool:
        """Whether surely nobody has changed it since it was read, or changed by :meth:`change`.

        Raises:
            KernelError: the kernel does not answer.
        """
        if self._generation is None:
            return False
        with Session(namespace) as session:
            return generation(session) == self._generation

    def counters(self, namespace: NetNS) -> dict[str, int]:
        """How many packets the counters of each chain have counted, where it has any.

        May be called beside the thread that changes the table.

        Raises:
            KernelError: the kernel does not answer.
        """
        with Session(namespace, many=True) as session:
            return read_counters(session, self.table.family, self.table.name)

    def unlike(self, namespace: NetNS, objects: Iterable[Object]) -> list[str]:
        """Those of the table's chains and elements that are not there, or not like this.

        Raises:
            KernelError: the kernel does not answer.
        """
        with Session(namespace) as session:
            return [
                str(difference)
                for obj in objects
                for difference in driver_of(obj).differences(session, obj)
            ]

    def change(self, namespace: NetNS, batch: Batch, sets: Mapping[str, NftSet]) -> None:
        """Do it in one transaction; the table is made if it is not there.

        Args:
            sets: those that are there afterwards, for the types of elements.

        Raises:
            KernelError: the kernel refuses it; then nothing has changed.
        """
        requests = [_new_table(self.table, self.mark), *_requests(batch, sets)]
        with Session(namespace) as session:
            known, self._generation = self._generation, None
            if known is None:
                self._commit(session, requests, 0)
                return
            try:
                self._commit(session, requests, known)
                for one in (self, *self.beside):
                    if one is self or one._generation == known:
                        one._generation = known + 1
            except KernelError as error:
                if error.errno != errno.ERESTART:
                    raise
                self._commit(session, requests, 0)  # others changed something, mostly elsewhere

    def _commit(self, session: Session, requests: list[Request], known: int) -> None:
        expected = be32(nf.NFNL_BATCH_GENID, known) if known else b""
        begin = BEGIN._replace(body=BEGIN.body + expected)
        channel = session.channel(uapi.NETLINK_NETFILTER)
        for answer in channel.transaction(begin, requests, END):
            if answer.errno:
                raise KernelError(answer.errno, f"cannot change {self.table}", answer.reason)

    def delete(self, namespace: NetNS) -> None:
        """Remove the table with all that is in it, if it is there and ours.

        Raises:
            KernelError: the kernel refuses.
        """
        self._generation = None
        gone = request(nf.NFT_MSG_DELTABLE, self.table.family, _name(self.table))
        with Session(namespace) as session:
            attrs = ask(session, nf.NFT_MSG_GETTABLE, self.table.family, _name(self.table))
            mark = read_comment((attrs or {}).get(nf.NFTA_TABLE_USERDATA, b""))
            if mark == self.mark:
                self._commit(session, [gone], 0)


def generation(session: Session) -> int:
    """The number that every change of nftables counts up in this namespace."""
    attrs = ask(session, nf.NFT_MSG_GETGEN, "")
    return int.from_bytes((attrs or {}).get(nf.NFTA_GEN_ID, b""), "big")


def marked_tables(session: Session) -> Iterator[tuple[NftTable, str]]:
    """All tables with their comments."""
    for family, attrs in dump(session, nf.NFT_MSG_GETTABLE, ""):
        if family:
            name = string(attrs[nf.NFTA_TABLE_NAME])
            if name.startswith(TABLES):
                mark = read_comment(attrs.get(nf.NFTA_TABLE_USERDATA, b""))
                yield NftTable(name, family), mark  # type: ignore[arg-type]  # of FAMILIES


def _name(table: NftTable) -> bytes:
    return text(nf.NFTA_TABLE_NAME, table.name)


def _new_table(table: NftTable, mark: str) -> Request:
    userdata = comment(nf.NFTA_TABLE_USERDATA, mark)
    flags = uapi.NLM_F_CREATE
    awake = be32(nf.NFTA_TABLE_FLAGS, 0)
    return request(nf.NFT_MSG_NEWTABLE, table.family, _name(table), userdata, awake, flags=flags)


def _requests(batch: Batch, sets: Mapping[str, NftSet]) -> Iterator[Request]:
    """In an order in which nothing is named before it is there, or removed while it is used."""
    gone = [one for name, one in batch.no_chains.items() if name not in batch.new_chains]
    yield from map(flush_chain, batch.hooked_anew)
    yield from map(delete_chain, batch.hooked_anew)
    yield from map(new_chain, batch.new_chains.values())
    yield from map(flush_chain, (*batch.chains.values(), *gone))
    for name, some in batch.less.items():
        if name not in batch.no_sets:
            yield from delete_elements(sets[name], some)
    replaced = batch.no_sets.keys() & batch.sets.keys()
    yield from (delete_set(batch.no_sets[name]) for name in replaced)
    yield from map(new_set, batch.sets.values())
    for name, some in batch.more.items():
        yield from add_elements(sets[name], some)
    for chain in (*batch.new_chains.values(), *batch.chains.values()):
        yield from new_rules(chain)
    yield from (delete_set(one) for name, one in batch.no_sets.items() if name not in replaced)
    yield from map(delete_chain, gone)
    yield from map(delete_extra, batch.no_extras)
