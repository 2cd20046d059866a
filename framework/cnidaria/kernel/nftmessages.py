"""nftables' messages: what tables, chains and rules have in common, asked and answered."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from struct import Struct

from cnidaria.kernel import codec, nftuapi, uapi
from cnidaria.kernel.codec import Attrs
from cnidaria.kernel.netlink import Request
from cnidaria.kernel.session import Session

NFGENMSG = Struct(">BBH")  # family, version, resource
FAMILY_NAMES = {number: name for name, number in nftuapi.FAMILIES.items()}


@lru_cache(64)
def _head(family: str) -> bytes:
    return NFGENMSG.pack(nftuapi.FAMILIES.get(family, 0), 0, 0)


def request(kind: int, family: str, *attrs: bytes, flags: int = 0) -> Request:
    """A message of nftables."""
    return Request(nftuapi.NFNL_SUBSYS_NFTABLES << 8 | kind, flags, _head(family) + b"".join(attrs))


def ask(session: Session, kind: int, family: str, *attrs: bytes) -> Attrs | None:
    """The one thing that is asked for; ``None`` if it is not there."""
    answer = session.ask(request(kind, family, *attrs), uapi.NETLINK_NETFILTER)
    for part in answer.parts:
        return codec.attributes(part.body, NFGENMSG.size)
    return None


def dump(session: Session, kind: int, family: str, *attrs: bytes) -> Iterator[tuple[str, Attrs]]:
    """All that matches, each with its family."""
    message = request(kind, family, *attrs)
    for part in session.dump(message.kind, message.body, uapi.NETLINK_NETFILTER):
        number = part.body[0]
        yield FAMILY_NAMES.get(number, ""), codec.attributes(part.body, NFGENMSG.size)
