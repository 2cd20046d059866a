"""Matches and targets of xtables (``linux/netfilter/xt_*.h``), as far as they can be told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from struct import error, unpack_from
from typing import Final

from cnidaria.kernel.foreign.tables import Effect, Match, Queue, Step
from cnidaria.kernel.foreign.traffic import Traffic
from cnidaria.kernel.foreign.values import compare, masked, within
from cnidaria.kernel.objects import nftexpr as ex

NAT: Final = frozenset({"SNAT", "DNAT", "MASQUERADE", "REDIRECT", "NETMAP"})
MARKS: Final = {"MARK": ex.MetaSet("mark"), "CONNMARK": ex.CtSet("mark")}
STATELESS: Final = frozenset(
    {"tcp", "udp", "sctp", "icmp", "icmp6", "multiport", "iprange", "mac", "dscp", "tos", "ttl",
     "hl", "mark", "connmark", "addrtype"}
)  # fmt: skip
"""Matches that say the same of a packet each time."""
BY_STATE, BY_ALIAS = 1, 1 << 13


CT_NOTRACK, CT_ZONES = 3, 28
"""``XT_CT_NOTRACK``, ``_ALIAS``; ``XT_CT_ZONE_DIR_ORIG``, ``_REPL``, ``XT_CT_ZONE_MARK``."""
EFFECTS: Final = {"NOTRACK": Effect("notrack"), "TEE": Effect("copy")}


def target(name: str, data: bytes) -> Iterator[Step]:
    """What becomes of a packet that comes to a target. Nothing: it goes on."""
    if name in ("REJECT", "DROP"):
        yield ex.Verdict("drop")
    elif name in NAT:
        yield ex.Verdict("accept")
    elif name == "NFQUEUE":
        yield Queue()
    elif name in MARKS:
        yield MARKS[name]
    elif name in EFFECTS:
        yield EFFECTS[name]
    elif name == "CT":  # struct xt_ct_target_info
        flags, zone = unpack_from("=HH", data)
        if flags & CT_NOTRACK:
            yield Effect("notrack")
        elif zone or flags & CT_ZONES:
            yield Effect("zone")


def matches(match: Match, traffic: Traffic) -> bool | None:
    """Whether a match holds; ``None``: that cannot be told."""
    ask = _ASK.get(match.name)
    try:
        return ask(match, traffic) if ask else None
    except (IndexError, error):  # another revision than those that are known
        return None


def _always(_: Match, __: Traffic) -> bool | None:
    return True


def _conntrack(match: Match, traffic: Traffic) -> bool | None:
    """``struct xt_conntrack_mtinfo1`` to ``3``: only by state."""
    flags, inverted = unpack_from("=HH", match.data, 146)
    states = unpack_from("=B" if match.revision == 1 else "=H", match.data, 150)[0]
    if flags & ~BY_ALIAS != BY_STATE:
        return None
    return bool(states & traffic.state_bit) != bool(inverted & 1)


def _state(match: Match, traffic: Traffic) -> bool | None:
    return bool(unpack_from("=I", match.data)[0] & traffic.state_bit)


def _ports(match: Match, traffic: Traffic, inverted: int) -> bool | None:
    """Whether both ports are in their ranges."""
    bounds = unpack_from("=4H", match.data)
    told: list[bool | None] = []
    for at in (0, 2):
        low, high = (bound.to_bytes(2, "big") for bound in bounds[at : at + 2])
        held = within(traffic.payload("transport", at, 2), low, high)
        told.append(held if held is None else held != bool(inverted & 1 + at // 2))
    return False if False in told else None if None in told else True


def _udp(match: Match, traffic: Traffic) -> bool | None:
    """``struct xt_udp``."""
    return _ports(match, traffic, match.data[8])


def _tcp(match: Match, traffic: Traffic) -> bool | None:
    """``struct xt_tcp``."""
    option, mask, wanted, inverted = unpack_from("=4B", match.data, 8)
    flags = masked(traffic.payload("transport", 13, 1), bytes([mask]), b"\0")
    held = compare("neq" if inverted & 4 else "eq", flags, bytes([wanted]))
    ports = _ports(match, traffic, inverted)
    if False in (held, ports):
        return False
    return None if option or held is None else ports


def _icmp(match: Match, traffic: Traffic) -> bool | None:
    """``struct ipt_icmp``, ``ip6t_icmp``."""
    wanted, low, high, inverted = unpack_from("=4B", match.data)
    if wanted == 255 and match.name == "icmp":
        return True
    kind = compare("eq", traffic.payload("transport", 0, 1), bytes([wanted]))
    code = within(traffic.payload("transport", 1, 1), bytes([low]), bytes([high]))
    held = False if False in (kind, code) else None if None in (kind, code) else True
    return held if held is None else held != bool(inverted & 1)


def _mark(match: Match, traffic: Traffic) -> bool | None:
    """``struct xt_mark_mtinfo1``; that of connmark is alike."""
    wanted, mask, inverted = unpack_from("=IIB", match.data)
    order = sys.byteorder
    value = masked(traffic.mark, mask.to_bytes(4, order), bytes(4))
    return compare("neq" if inverted else "eq", value, wanted.to_bytes(4, order))


def _addrtype(match: Match, traffic: Traffic) -> bool | None:
    """``struct xt_addrtype_info_v1``."""
    if match.revision != 1:
        return None
    source, destination, flags = unpack_from("=HHI", match.data)
    if flags & ~3:
        return None
    for wanted, which, inverted in (
        (source, "saddr", flags & 1),
        (destination, "daddr", flags & 2),
    ):
        there = bool(wanted & 1 << traffic.address_type(which))
        if wanted and there == bool(inverted):
            return False
    return True


def _reverse_path(match: Match, _: Traffic) -> bool | None:
    """Packets of pods come from where their answers go."""
    return not match.data[0] & 8  # XT_RPFILTER_INVERT


_ASK: Final[dict[str, Callable[[Match, Traffic], bool | None]]] = {
    "comment": _always,
    "nfacct": _always,
    "conntrack": _conntrack,
    "state": _state,
    "tcp": _tcp,
    "udp": _udp,
    "icmp": _icmp,
    "icmp6": _icmp,
    "mark": _mark,
    "connmark": _mark,
    "addrtype": _addrtype,
    "rpfilter": _reverse_path,
}
