"""Comments of nftables objects, as nft itself keeps them in user data (libnftnl)."""

from __future__ import annotations

from cnidaria.kernel import nftuapi as nf
from cnidaria.kernel.codec import attr, string

_COMMENT = nf.NFTNL_UDATA_RULE_COMMENT
"""That of tables, chains and elements is the same; only sets have another."""


def comment(kind: int, value: str) -> bytes:
    """An attribute with a comment; nothing for none."""
    if not value:
        return b""
    raw = value.encode() + b"\0"
    return attr(kind, bytes((_COMMENT, len(raw))) + raw)


def read_comment(raw: bytes) -> str:
    """The comment of such an attribute's value, ``""`` if there is none."""
    commented = raw[:1] == bytes((_COMMENT,)) and len(raw) > 1
    return string(raw[2 : 2 + raw[1]]) if commented else ""
