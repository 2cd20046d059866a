"""One nftables table as a whole: read at once, changed element by element in one transaction.

For tables with much in them that changes often and must never be half changed. What is in such a
table belongs to whoever wrote it: the reconciler does not know it (its mark is another).
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from cnidaria.kernel import nftuapi as nf
from cnidaria.kernel import uapi
from cnidaria.kernel.codec import text
from cnidaria.kernel.errors import KernelError
from cnidaria.kernel.netlink import Request
from cnidaria.kernel.netns import NetNS
from cnidaria.kernel.nftchains import delete_chain, flush_chain, new_chain, new_rules, read_chains
from cnidaria.kernel.nftcomments import comment, read_comment
from cnidaria.kernel.nftmessages import ask, request
from cnidaria.kernel.nftsets import (
    add_elements,
    delete_elements,
    delete_set,
    new_set,
    read_elements,
    read_sets,
)
from cnidaria.kernel.objects import NftChain, NftElement, NftSet, NftTable
from cnidaria.kernel.session import BEGIN, END, Session

Elements = Mapping[str, Iterable[NftElement]]
"""By the name of the set."""


@dataclass
class Ruleset:
    """What is in a table: chains and sets by name, and the elements of each set by their key."""

    chains: dict[str, NftChain] = field(default_factory=dict)
    sets: dict[str, NftSet] = field(default_factory=dict)
    elements: dict[str, dict[tuple[str, ...], NftElement]] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many chains, sets and elements there are."""
        return len(self.chains) + len(self.sets) + sum(map(len, self.elements.values()))


@dataclass
class Batch:
    """Changes of one table, done all or not at all.

    Attributes:
        chains: to be made, or to be given these rules; what hooks them never changes.
        sets: to be made.
        more, less: elements to be added and removed; a removal needs their key only, and comes
            first: an element with other data is in both.
        no_chains, no_sets: to be removed; nothing may use them any more.
    """

    chains: dict[str, NftChain] = field(default_factory=dict)
    sets: dict[str, NftSet] = field(default_factory=dict)
    more: dict[str, list[NftElement]] = field(default_factory=dict)
    less: dict[str, list[NftElement]] = field(default_factory=dict)
    no_chains: dict[str, NftChain] = field(default_factory=dict)
    no_sets: dict[str, NftSet] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any((self.chains, self.sets, self.more, self.less, self.no_chains, self.no_sets))

    def add(self, name: str, element: NftElement) -> None:
        """Add an element to the set of this name."""
        self.more.setdefault(name, []).append(element)

    def remove(self, name: str, element: NftElement) -> None:
        """Remove an element of the set of this name."""
        self.less.setdefault(name, []).append(element)


def difference(have: Ruleset, want: Ruleset) -> Batch:
    """What has to be done to ``have`` to get ``want``. Sets of another type are made anew."""
    batch = Batch(
        chains={name: one for name, one in want.chains.items() if have.chains.get(name) != one},
        no_chains={n: one for n, one in have.chains.items() if n not in want.chains},
        no_sets={n: one for n, one in have.sets.items() if want.sets.get(n) != one},
    )
    for name, one in want.sets.items():
        wanted = want.elements.get(name, {})
        there = have.elements.get(name, {}) if have.sets.get(name) == one else {}
        if have.sets.get(name) != one:
            batch.sets[name] = one
        for key, element in there.items():
            if wanted.get(key) != element:
                batch.remove(name, element)
        for key, element in wanted.items():
            if there.get(key) != element:
                batch.add(name, element)
    return batch


def read(namespace: NetNS, table: NftTable) -> tuple[Ruleset, str] | None:
    """Everything in the table and the table's comment; ``None`` if there is no such table.

    Raises:
        KernelError: the kernel does not answer.
    """
    with Session(namespace, many=True) as session:
        name = text(nf.NFTA_TABLE_NAME, table.name)
        attrs = ask(session, nf.NFT_MSG_GETTABLE, table.family, name)
        if attrs is None:
            return None
        sets = {one.name: one for one in read_sets(session, table.family, table.name)}
        elements = {
            name: {element.key: element for element in read_elements(session, one)}
            for name, one in sets.items()
        }
        chains = {one.name: one for one in read_chains(session, table.family, table.name)}
        found = Ruleset(chains, sets, {name: some for name, some in elements.items() if some})
        return found, read_comment(attrs.get(nf.NFTA_TABLE_USERDATA, b""))


def commit(namespace: NetNS, table: NftTable, mark: str, batch: Batch, known: Ruleset) -> None:
    """Do it in one transaction; the table is made if it is not there.

    Args:
        mark: the table's comment, where it is made.
        known: what is there, for the types of sets and for which chains are new.

    Raises:
        KernelError: the kernel refuses it; then nothing has changed.
    """
    requests = [_table(table, mark), *_requests(batch, known)]
    with Session(namespace) as session:
        channel = session.channel(uapi.NETLINK_NETFILTER)
        for answer in channel.transaction(BEGIN, requests, END):
            if answer.errno:
                raise KernelError(answer.errno, f"cannot change {table}", answer.reason)


def delete(namespace: NetNS, table: NftTable) -> None:
    """Remove the table with all that is in it; none is as well.

    Raises:
        KernelError: the kernel refuses.
    """
    gone = request(nf.NFT_MSG_DELTABLE, table.family, text(nf.NFTA_TABLE_NAME, table.name))
    with Session(namespace) as session:
        channel = session.channel(uapi.NETLINK_NETFILTER)
        for answer in channel.transaction(BEGIN, [gone], END):
            if answer.errno not in (0, errno.ENOENT):
                raise KernelError(answer.errno, f"cannot remove {table}", answer.reason)


def _table(table: NftTable, mark: str) -> Request:
    name = text(nf.NFTA_TABLE_NAME, table.name)
    userdata = comment(nf.NFTA_TABLE_USERDATA, mark)
    return request(nf.NFT_MSG_NEWTABLE, table.family, name, userdata, flags=uapi.NLM_F_CREATE)


def _requests(batch: Batch, known: Ruleset) -> Iterator[Request]:
    """In an order in which nothing is named before it is there, or removed while it is used."""
    for chain in batch.chains.values():
        if chain.name in known.chains:
            yield flush_chain(chain)
        else:
            yield new_chain(chain)
    for chain in batch.no_chains.values():
        yield flush_chain(chain)
    sets = {**known.sets, **batch.sets}
    for name, some in batch.less.items():
        yield from delete_elements(sets[name], some)
    replaced = [one for name, one in batch.no_sets.items() if name in batch.sets]
    yield from map(delete_set, replaced)
    for one in batch.sets.values():
        yield new_set(one)
    for name, some in batch.more.items():
        yield from add_elements(sets[name], some)
    for chain in batch.chains.values():
        yield from new_rules(chain)
    yield from map(
        delete_set, (one for name, one in batch.no_sets.items() if name not in batch.sets)
    )
    yield from map(delete_chain, batch.no_chains.values())
