"""nftables: what a table may have besides chains and sets, and no table of ours has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cnidaria.kernel import nftuapi as nf
from cnidaria.kernel.codec import be32, string, text
from cnidaria.kernel.netlink import Request
from cnidaria.kernel.nftmessages import dump, request
from cnidaria.kernel.session import Session

_NAMES = {number: name for name, number in nf.OBJECTS.items()}


class Extra(NamedTuple):
    """A named object, as a quota, or a flowtable.

    Attributes:
        number: of an object's type; 0: a flowtable.
    """

    family: str
    table: str
    number: int
    name: str

    def __str__(self) -> str:
        kind = _NAMES.get(self.number, f"object of type {self.number}")
        return f"{kind if self.number else 'flowtable'} {self.name}"


def read_extras(session: Session, family: str, table: str) -> Iterator[Extra]:
    """Those of a table."""
    for found, attrs in dump(session, nf.NFT_MSG_GETOBJ, family, text(nf.NFTA_OBJ_TABLE, table)):
        if (found, string(attrs[nf.NFTA_OBJ_TABLE])) == (family, table):
            number = int.from_bytes(attrs[nf.NFTA_OBJ_TYPE], "big")
            yield Extra(family, table, number, string(attrs[nf.NFTA_OBJ_NAME]))
    for found, attrs in dump(
        session, nf.NFT_MSG_GETFLOWTABLE, family, text(nf.NFTA_FLOWTABLE_TABLE, table)
    ):
        if (found, string(attrs[nf.NFTA_FLOWTABLE_TABLE])) == (family, table):
            yield Extra(family, table, 0, string(attrs[nf.NFTA_FLOWTABLE_NAME]))


def delete_extra(extra: Extra) -> Request:
    """Removes one, if nothing uses it."""
    names = text(nf.NFTA_OBJ_TABLE, extra.table), text(nf.NFTA_OBJ_NAME, extra.name)
    if not extra.number:  # the same two attributes
        return request(nf.NFT_MSG_DELFLOWTABLE, extra.family, *names)
    return request(nf.NFT_MSG_DELOBJ, extra.family, *names, be32(nf.NFTA_OBJ_TYPE, extra.number))
