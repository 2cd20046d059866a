"""nftables: tables, and the comment by which ours are known."""

# ruff: noqa: D102  what overrides is documented in driver.py

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from cnidaria.kernel import nftuapi as nf
from cnidaria.kernel import uapi
from cnidaria.kernel.codec import Attrs, string, text
from cnidaria.kernel.driver import Driver, Found, not_there
from cnidaria.kernel.nftcomments import comment, read_comment
from cnidaria.kernel.nftmessages import ask, dump, request
from cnidaria.kernel.objects import NftTable
from cnidaria.kernel.session import Session, taken

OURS: Final = "made by cnidaria"
"""The comment of every table of ours; a table of such a name without it is somebody else's."""


class Tables(Driver[NftTable]):
    """Whatever is in a table of ours is ours."""

    def apply(self, session: Session, obj: NftTable) -> None:
        found = self.find(session, obj)
        if found and not found.ours:
            raise taken(obj, "somebody else's table of this name is there")
        name = text(nf.NFTA_TABLE_NAME, obj.name)
        mark = comment(nf.NFTA_TABLE_USERDATA, OURS)
        new = request(nf.NFT_MSG_NEWTABLE, obj.family, name, mark, flags=uapi.NLM_F_CREATE)
        session.queue_change("add", obj, [new])

    def withdraw(self, session: Session, obj: NftTable) -> None:
        if (found := self.find(session, obj)) and found.ours:
            delete = request(nf.NFT_MSG_DELTABLE, obj.family, text(nf.NFTA_TABLE_NAME, obj.name))
            session.queue_change("remove", obj, [delete], partial(not_there, obj))

    def find(self, session: Session, obj: NftTable) -> Found | None:
        name = text(nf.NFTA_TABLE_NAME, obj.name)
        attrs = ask(session, nf.NFT_MSG_GETTABLE, obj.family, name)
        return None if attrs is None else Found(obj, _is_ours(attrs))

    def owned(self, session: Session) -> Iterator[NftTable]:
        for family, name in our_tables(session):
            yield NftTable(name, family)  # type: ignore[arg-type]  # of FAMILIES


def our_tables(session: Session) -> frozenset[tuple[str, str]]:
    """Family and name of all tables that bear our mark."""
    return session.once(our_tables, lambda: frozenset(_our_tables(session)))


def _our_tables(session: Session) -> Iterator[tuple[str, str]]:
    for family, attrs in dump(session, nf.NFT_MSG_GETTABLE, ""):
        if family and _is_ours(attrs):
            yield family, string(attrs[nf.NFTA_TABLE_NAME])


def _is_ours(attrs: Attrs) -> bool:
    return read_comment(attrs.get(nf.NFTA_TABLE_USERDATA, b"")) == OURS
