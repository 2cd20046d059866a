"""nftables: sets, maps and their elements."""

# ruff: noqa: ARG002, D102  what overrides is documented in driver.py

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from cnidaria.kernel import codec, uapi
from cnidaria.kernel import nftuapi as nf
from cnidaria.kernel.codec import Attrs, attr, be32, nest, string, text
from cnidaria.kernel.driver import Driver, Found, compare, not_there
from cnidaria.kernel.errors import Difference, KernelError
from cnidaria.kernel.netlink import Answer, Request
from cnidaria.kernel.nftelements import Layout, decode_all, encode
from cnidaria.kernel.nftmessages import ask, dump, request
from cnidaria.kernel.nfttables import our_tables
from cnidaria.kernel.objects import NftElement, NftElements, NftSet, Object
from cnidaria.kernel.objects.nft import VERDICT, found_as
from cnidaria.kernel.objects.nfttypes import TYPES
from cnidaria.kernel.session import GONE, Session, refused, taken

_PER_MESSAGE = 400
"""Elements in one message: an attribute has at most 64 KiB."""

_DUMPS = 20
_REST = 0.01
"""Seconds between them."""

_TYPE_BITS = 6
_BY_NUMBER = {kind.number: kind.name for kind in TYPES.values()}


class Sets(Driver[NftSet]):
    """Sets and maps; with their content where that is declared with them."""

    def apply(self, session: Session, obj: NftSet) -> None:
        found = self.find(session, obj)
        if found is None:
            session.queue_change("add", obj, [new_set(obj), *add_elements(obj, obj.content or ())])
            return
        have = found.object
        for difference in compare(obj, have):
            if difference.field != "content":
                raise taken(obj, f"another is there: {difference}")
        if isinstance(have, NftSet) and obj.content is not None:
            want, there = set(obj.content), set(have.content or ())
            gone = sorted(there - want, key=lambda one: one.key)
            more = sorted(want - there, key=lambda one: one.key)
            if gone or more:
                session.queue_change(
                    "add", obj, [*delete_elements(obj, gone), *add_elements(obj, more)]
                )

    def withdraw(self, session: Session, obj: NftSet) -> None:
        session.queue_change("remove", obj, [delete_set(obj)], partial(not_there, obj))

    def find(self, session: Session, obj: NftSet) -> Found | None:
        found = _ask(session, obj.family, obj.table, obj.name)
        if found is None:
            return None
        if obj.content is not None and found.type == obj.type and found.data == obj.data:
            found = found.holding(*read_elements(session, found))
        return Found(found, True)

    def owned(self, session: Session) -> Iterator[NftSet]:
        """Without their elements: who owns a table owns them."""
        for family, attrs in dump(session, nf.NFT_MSG_GETSET, ""):
            if (family, string(attrs[nf.NFTA_SET_TABLE])) in our_tables(session):
                found = _set(family, attrs)
                if found:
                    yield found


class Elements(Driver[NftElements]):
    """Some elements of a set that may hold others."""

    def apply(self, session: Session, obj: NftElements) -> None:
        if obj.elements:
            adding = add_elements(obj, obj.elements)
            session.queue_change("add", obj, adding, partial(self._settle, session, obj))

    def _settle(self, session: Session, obj: NftElements, answer: Answer) -> None:
        """A key may be there with other data: then it is replaced."""
        if answer.errno not in (errno.EEXIST, errno.EBUSY):
            raise refused("add", obj, answer)
        keys = {element.key for element in obj.elements}
        old = [one for one in read_elements(session, obj) if one.key in keys]
        again = [*delete_elements(obj, old), *add_elements(obj, obj.elements)]
        session.queue_change("add", obj, again)
        session.flush()

    def withdraw(self, session: Session, obj: NftElements) -> None:
        if obj.elements:
            deleting = delete_elements(obj, obj.elements)
            session.queue_change("remove", obj, deleting, partial(self._rest, session, obj))

    def _rest(self, session: Session, obj: NftElements, answer: Answer) -> None:
        """Where one is not there none is removed: remove those that are."""
        if answer.errno not in GONE:
            raise refused("remove", obj, answer)
        left = set(read_elements(session, obj)) & set(obj.elements)
        if left:
            session.queue_change(
                "remove", obj, delete_elements(obj, sorted(left, key=lambda e: e.key))
            )
            session.flush()

    def find(self, session: Session, obj: NftElements) -> Found | None:
        for _ in self.differences(session, obj):
            return None
        return Found(obj, True)

    def owned(self, session: Session) -> Iterable[Object]:
        """They belong to their set."""
        return ()

    def differences(self, session: Session, obj: NftElements) -> Iterator[Difference]:
        there = self._there(session, obj)
        for element in obj.elements:
            if element.key not in there:
                yield Difference(obj, "elements", str(element), None)
            elif there[element.key] != element.data:
                found = NftElement(element.key, there[element.key])
                yield Difference(obj, "elements", str(element), str(found))

    def _there(self, session: Session, obj: NftElements) -> dict[tuple[str, ...], tuple[str, ...]]:
        """Of a set without ranges only what is asked for is read; one of another type has none."""
        place = (obj.family, obj.table, obj.set)
        made = session.once((Sets, *place), lambda: _ask(session, *place))
        same = made and (made.type, made.data, made.interval) == (obj.type, obj.data, obj.interval)
        if not same:
            return {}
        if obj.interval or session.many:
            return session.once((Elements, *place), lambda: _by_key(read_elements(session, obj)))
        return _by_key(_get(session, obj))


def _by_key(elements: Iterable[NftElement]) -> dict[tuple[str, ...], tuple[str, ...]]:
    return {element.key: element.data for element in elements}


def _ask(session: Session, family: str, table: str, name: str) -> NftSet | None:
    attrs = ask(session, nf.NFT_MSG_GETSET, family, *_names(table, name))
    return _set(family, attrs) if attrs else None


class Place(NamedTuple):
    """Where elements are, and how they are laid out."""

    family: str
    table: str
    name: str
    layout: Layout


def _place(obj: NftSet | NftElements) -> Place:
    name = obj.name if isinstance(obj, NftSet) else obj.set
    return Place(obj.family, obj.table, name, Layout(obj.type, obj.data, obj.interval))


def _names(table: str, name: str) -> tuple[bytes, bytes]:
    return text(nf.NFTA_SET_TABLE, table), text(nf.NFTA_SET_NAME, name)


def delete_set(obj: NftSet) -> Request:
    """Removes a set with its elements, if nothing uses it."""
    return request(nf.NFT_MSG_DELSET, obj.family, *_names(obj.table, obj.name))


_MORE = {nf.NFTA_SET_EXPR, nf.NFTA_SET_EXPRESSIONS}
_OURS = nf.NFT_SET_INTERVAL | nf.NFT_SET_MAP | nf.NFT_SET_CONCAT


def new_set(obj: NftSet) -> Request:
    """Makes a set, without elements."""
    layout = Layout(obj.type, obj.data, obj.interval)
    flags = nf.NFT_SET_INTERVAL * obj.interval | nf.NFT_SET_MAP * bool(obj.data)
    flags |= nf.NFT_SET_CONCAT * (len(obj.type) > 1)
    attrs = [
        *_names(obj.table, obj.name),
        be32(nf.NFTA_SET_FLAGS, flags),
        be32(nf.NFTA_SET_KEY_TYPE, type_number(obj.type)),
        be32(nf.NFTA_SET_KEY_LEN, sum(layout.key_lengths)),
        be32(nf.NFTA_SET_ID, 1),
        attr(nf.NFTA_SET_USERDATA, _byte_orders(obj)),
    ]
    if obj.data == (VERDICT,):
        attrs.append(be32(nf.NFTA_SET_DATA_TYPE, nf.NFT_DATA_VERDICT))
    elif obj.data:
        attrs.append(be32(nf.NFTA_SET_DATA_TYPE, type_number(obj.data)))
        attrs.append(be32(nf.NFTA_SET_DATA_LEN, sum(layout.data_lengths)))
    if len(obj.type) > 1:
        fields = (
            nest(nf.NFTA_LIST_ELEM, be32(nf.NFTA_SET_FIELD_LEN, TYPES[name].length))
            for name in obj.type
        )
        attrs.append(nest(nf.NFTA_SET_DESC, nest(nf.NFTA_SET_DESC_CONCAT, *fields)))
    return request(nf.NFT_MSG_NEWSET, obj.family, *attrs, flags=uapi.NLM_F_CREATE)


def _byte_orders(obj: NftSet) -> bytes:
    """What nft needs to know to list keys and values as people read them."""
    data = b""
    for kind, names in (
        (nf.NFTNL_UDATA_SET_KEYBYTEORDER, obj.type),
        (nf.NFTNL_UDATA_SET_DATABYTEORDER, obj.data),
    ):
        if names and names != (VERDICT,):
            ranged = obj.interval and kind == nf.NFTNL_UDATA_SET_KEYBYTEORDER
            # A name is text, which nft writes as a number of this machine's order.
            host_order = TYPES[names[0]].host_order or names[0] == "ifname"
            host = len(names) == 1 and host_order and not ranged
            order = nf.BYTEORDER_HOST_ENDIAN if host else nf.BYTEORDER_BIG_ENDIAN
            data += bytes((kind, 4)) + codec.U32.pack(order)
    return data


def type_number(names: Sequence[str]) -> int:
    """nft's number of a type or concatenation: 6 bits for each."""
    number = 0
    for name in names:
        number = number << _TYPE_BITS | TYPES[name].number
    return number


def _type_names(number: int) -> tuple[str, ...] | None:
    names: list[str] = []
    while number:
        name = _BY_NUMBER.get(number & (1 << _TYPE_BITS) - 1)
        if name is None:
            return None
        names.insert(0, name)
        number >>= _TYPE_BITS
    return tuple(names)


def _set(family: str, attrs: Attrs) -> NftSet | None:
    """``None`` is one of a kind that we never make."""

    def value(kind: int) -> int:
        return int.from_bytes(attrs.get(kind, b""), "big")

    flags = value(nf.NFTA_SET_FLAGS)
    data_type = value(nf.NFTA_SET_DATA_TYPE)
    key = _type_names(value(nf.NFTA_SET_KEY_TYPE))
    data = (VERDICT,) if data_type == nf.NFT_DATA_VERDICT else _type_names(data_type)
    if flags & nf.NFT_SET_ANONYMOUS or not key or data is None:
        return None
    return found_as(
        NftSet,
        string(attrs[nf.NFTA_SET_TABLE]),
        string(attrs[nf.NFTA_SET_NAME]),
        type=key,
        data=data,
        interval=bool(flags & nf.NFT_SET_INTERVAL),
        family=family,
    )


def _messages(
    kind: int, obj: NftSet | NftElements, elements: Sequence[NftElement], flags: int
) -> list[Request]:
    place = _place(obj)
    encoded = [raw for element in elements for raw in encode(place.layout, element)]
    return [
        request(
            kind,
            place.family,
            text(nf.NFTA_SET_ELEM_LIST_TABLE, place.table),
            text(nf.NFTA_SET_ELEM_LIST_SET, place.name),
            nest(nf.NFTA_SET_ELEM_LIST_ELEMENTS, *encoded[at : at + _PER_MESSAGE]),
            flags=flags,
        )
        for at in range(0, len(encoded), _PER_MESSAGE)
    ]


def add_elements(obj: NftSet | NftElements, elements: Sequence[NftElement]) -> list[Request]:
    """Adds elements; refused where a key is there with other data."""
    return _messages(nf.NFT_MSG_NEWSETELEM, obj, elements, uapi.NLM_F_CREATE)


def delete_elements(obj: NftSet | NftElements, elements: Sequence[NftElement]) -> list[Request]:
    """Removes elements by their keys; refused where one is not there."""
    keys = [NftElement(element.key) for element in elements]
    return _messages(nf.NFT_MSG_DELSETELEM, obj, keys, 0)


def read_sets(session: Session, family: str, table: str) -> Iterator[NftSet]:
    """The sets of a table, without their elements; for one that is more than a set that we make,
    or something else, stands one with ``content``, which is none that is declared.
    """
    names = text(nf.NFTA_SET_TABLE, table)
    for found_family, attrs in dump(session, nf.NFT_MSG_GETSET, family, names):
        flags = int.from_bytes(attrs.get(nf.NFTA_SET_FLAGS, b""), "big")
        if found_family != family or flags & nf.NFT_SET_ANONYMOUS:
            continue
        found = _set(family, attrs)
        sized = nf.NFTA_SET_DESC_SIZE in codec.attributes(attrs.get(nf.NFTA_SET_DESC, b""))
        if found is None or flags & ~_OURS or _MORE & attrs.keys() or sized:
            name = string(attrs[nf.NFTA_SET_NAME])
            found = found_as(NftSet, table, name, type=("mark",), content=(), family=family)
        yield found


def read_elements(session: Session, obj: NftSet | NftElements) -> list[NftElement]:
    """All elements of a set; none if there is no such set.

    The kernel finds its place again by counting; while it makes a hash table larger, that skips
    some elements, shows others twice, and is not said (``NLM_F_DUMP_INTR``).

    Raises:
        KernelError: the kernel refuses, or the set does not come to rest.
    """
    place = _place(obj)
    names = (
        text(nf.NFTA_SET_ELEM_LIST_TABLE, place.table),
        text(nf.NFTA_SET_ELEM_LIST_SET, place.name),
    )
    for _ in range(_DUMPS):
        lists = dump(session, nf.NFT_MSG_GETSETELEM, place.family, *names)
        raw = [raw for _, attrs in lists for raw in _elements(attrs)]
        if len(raw) == len(set(raw)):
            return decode_all(place.layout, raw)
        time.sleep(_REST)
    raise KernelError(errno.EINTR, f"cannot read set {place.name}", "it changes too fast")


def _get(session: Session, obj: NftElements) -> Iterator[NftElement]:
    """Each by itself: of several, one that is not there hides the others."""
    place = _place(obj)
    for element in obj.elements:
        messages = _messages(nf.NFT_MSG_GETSETELEM, obj, [NftElement(element.key)], 0)
        answer = session.ask(messages[0], uapi.NETLINK_NETFILTER)
        for part in answer.parts:
            attrs = codec.attributes(part.body, 4)
            yield from decode_all(place.layout, list(_elements(attrs)))


def _elements(attrs: Attrs) -> Iterator[bytes]:
    for _, raw in codec.attribute_list(attrs.get(nf.NFTA_SET_ELEM_LIST_ELEMENTS, b"")):
        yield raw
