"""The connections of a node's pods that foreign rules are asked about: few that stand for all."""

from __future__ import annotations

import socket
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from struct import Struct
from typing import Final, NamedTuple

from cnidaria.kernel import codec, uapi
from cnidaria.kernel.codec import number, packed
from cnidaria.kernel.foreign.tables import Step, Table
from cnidaria.kernel.foreign.traffic import NONE, PROTOCOLS, Link, Traffic
from cnidaria.kernel.linkinfo import find_link
from cnidaria.kernel.objects import nftexpr as ex
from cnidaria.kernel.routes import outgoing
from cnidaria.kernel.session import Session

_RTMSG = Struct("=BBBBBBBBI")
MOST_PODS: Final = 16
"""Of one address family, that stand for all of them."""
MOST_UPLINKS: Final = 4
FORWARDED: Final = (
    ("netdev", "ingress"), ("bridge", "prerouting"), ("bridge", "input"), ("inet", "ingress"),
    ("ip", "prerouting"), ("ip", "forward"), ("bridge", "forward"), ("bridge", "output"),
    ("bridge", "postrouting"), ("ip", "postrouting"), ("netdev", "egress"),
)  # fmt: skip
RECEIVED: Final = (*FORWARDED[:5], ("ip", "input"))
SENT: Final = (("ip", "output"), *FORWARDED[7:])


class Pod(NamedTuple):
    """An address of a pod, and how it is reached.

    Attributes:
        address: ``None``: one that no rule names.
        link: where IP sends its packets; ``port``: of the bridge that this is.
    """

    address: str | None = None
    link: Link = Link()
    port: Link | None = None

    @property
    def ends(self) -> Link:
        """Where frames come from and go to."""
        return self.port or self.link


Connection = tuple[Traffic, Traffic]
"""Its first packet, and the answer."""


def connections(
    pods: Sequence[Pod], uplinks: Sequence[Link], version: int, *, marked: bool
) -> Iterator[Connection]:
    """What pods do: among each other, with strangers behind the uplinks, with the node."""
    for way, src, dst in _ends(pods, uplinks):
        for protocol in PROTOCOLS:
            yield _connection(way, src, dst, version, protocol, marked=marked)


def _ends(pods: Sequence[Pod], uplinks: Sequence[Link]) -> Iterator[tuple[str, Pod, Pod]]:
    for one in pods:
        for uplink in uplinks or [Link()]:
            stranger = Pod(None, uplink)
            yield "from pods to elsewhere", one, stranger
            yield "to pods from elsewhere", stranger, one
        yield "from the node to pods", Pod(None, NONE), one
    for one, other in _pairs(pods):
        yield "between pods", one, other


def _pairs(pods: Sequence[Pod]) -> list[tuple[Pod, Pod]]:
    """Each with the next one, both ways."""
    turned = [*pods[1:], *pods[:1]] if len(pods) > 1 else []
    pairs = list(zip(pods, turned, strict=False))
    return list(dict.fromkeys([*pairs, *((b, a) for a, b in pairs)]))


def _connection(
    way: str, src: Pod, dst: Pod, version: int, protocol: str, *, marked: bool
) -> Connection:
    node = way == "from the node to pods"
    back = "from pods to the node" if node else way
    there, here = (SENT, RECEIVED) if node else (FORWARDED, FORWARDED)
    new, answer = (
        Traffic(
            name, version, protocol, a.address, b.address, a.link, b.link, state,
            (a.ends, b.ends), _hooks(hooks, a, b), marked,
        )
        for name, a, b, state, hooks in (
            (way, src, dst, "new", there),
            (back, dst, src, "established", here),
        )
    )  # fmt: skip
    return new, answer


def _hooks(hooks: Sequence[tuple[str, str]], src: Pod, dst: Pod) -> tuple[tuple[str, str], ...]:
    """Without those of bridges that packets do not pass."""
    left: set[str] = set()
    if not src.port:
        left |= {"prerouting", "input"}
    if not dst.port:
        left |= {"output", "postrouting"}
    same = src.port and dst.port and src.link == dst.link
    left |= {"input", "output"} if same else {"forward"}
    return tuple((family, hook) for family, hook in hooks if family != "bridge" or hook not in left)


# -- what the kernel knows of pods and of the way to strangers -------------------------------------


def pod(session: Session, address: str, host_ifname: str) -> Pod:
    """How a pod is reached.

    Raises:
        KernelError: the kernel does not answer.
    """
    index = outgoing(session, address)
    name = session.name(index) if index else ""
    found = find_link(session, name) if name else None
    if found is None:
        return Pod(address)
    port = Link(host_ifname, session.index(host_ifname)) if host_ifname else Link()
    return Pod(address, Link(name, index), port if found.kind == "bridge" else None)


def uplinks(session: Session, version: int) -> list[Link]:
    """The interfaces behind which there are next hops.

    Raises:
        KernelError: the kernel does not answer.
    """
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    body = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    found = set()
    for part in session.dump(uapi.RTM_GETROUTE, body):
        attrs = codec.attributes(part.body, _RTMSG.size)
        if uapi.RTA_GATEWAY in attrs and uapi.RTA_OIF in attrs:
            found.add(number(attrs[uapi.RTA_OIF]))
    links = [Link(session.name(index), index) for index in sorted(found)[:MOST_UPLINKS]]
    return [link for link in links if link.name]


# -- which pods stand for all ----------------------------------------------------------------------


def standing_for_all(pods: Mapping[str, str], tables: Iterable[Table]) -> list[tuple[str, str]]:
    """Two of each kind of pods that rules may tell from each other, by address and interface.

    Args:
        pods: interfaces on the node's side by address; ``""``: it is not known.
    """
    if not pods:
        return []
    edges = _edges(tables)
    kinds: dict[tuple[int, int, int], list[tuple[str, str]]] = {}
    for address, ifname in pods.items():
        raw = packed(address)
        link = ifname.encode().ljust(16, b"\0")
        kind = len(raw), bisect(edges[len(raw)], raw), bisect(edges[16], link)
        some = kinds.setdefault(kind, [])
        if len(some) < 2:
            some.append((address, ifname))
    firsts = [some[0] for some in kinds.values()]
    seconds = [some[1] for some in kinds.values() if len(some) > 1]
    found: list[tuple[str, str]] = []
    for version in (4, 6):
        one = [each for each in (*firsts, *seconds) if (":" in each[0]) == (version == 6)]
        found += one[:MOST_PODS]
    return found


def _edges(tables: Iterable[Table]) -> dict[int, list[bytes]]:
    """Where values begin, and end, that rules compare with; of 4 and of 16 bytes."""
    found: dict[int, set[bytes]] = {4: set(), 16: set()}
    for table in tables:
        for low, high in _bounds(table):
            for size in (4, 16):
                for at in range(0, len(low), size):
                    first, last = low[at : at + size], high[at : at + size]
                    if len(first) < size and len(low) > size:
                        continue
                    found[size].add(first.ljust(size, b"\0"))
                    after = int.from_bytes(last.ljust(size, b"\xff"), "big") + 1
                    if after < 1 << 8 * size:
                        found[size].add(after.to_bytes(size, "big"))
    return {size: sorted(some) for size, some in found.items()}


def _bounds(table: Table) -> Iterator[tuple[bytes, bytes]]:
    for chain in table.chains.values():
        for rule in chain.rules:
            mask = b""
            for step in rule.steps:
                yield from _bounds_of(step, mask)
                mask = step.mask if isinstance(step, ex.Bitwise) else b""
    for there in table.sets.values():
        yield from ((one.low, one.high) for one in there.elements if one.low)


def _bounds_of(step: Step, mask: bytes) -> Iterator[tuple[bytes, bytes]]:
    if isinstance(step, ex.Cmp):
        last = step.data
        if len(mask) == len(last):
            last = bytes(a | b ^ 255 for a, b in zip(last, mask, strict=True))
        yield step.data, last
    elif isinstance(step, ex.Range):
        yield step.first, step.last
