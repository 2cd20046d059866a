"""What a table does to a packet, told from its content: the way through its chains, step by step.

Knows the expressions that decide by addresses, protocol, ports, connection state and marks; what
else a rule has (counters, limits, logs) does not decide.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cnidaria.kernel import codec
from cnidaria.kernel.nftelements import Layout, key_of
from cnidaria.kernel.objects import NftChain, NftElement, NftRule
from cnidaria.kernel.objects import nftexpr as ex
from cnidaria.kernel.objects.nft import VERDICT, as_verdict
from cnidaria.kernel.objects.nfttypes import TYPES
from cnidaria.kernel.ruleset import Ruleset

_NFPROTO = {4: b"\x02", 6: b"\x0a"}
_CT_STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
_DEPTH = 16  # as in the kernel (NFT_JUMP_STACK_SIZE)


@dataclass(frozen=True)
class Packet:
    """The first packet of a connection.

    Attributes:
        protocol: IP protocol number.
        transport: its header, from the ports on.
        state: of the connection (``ct state``).
    """

    src: str
    dst: str
    protocol: int
    transport: bytes
    state: str = "new"

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.src else 4

    def header(self) -> bytes:
        """The IP header, as far as addresses are concerned."""
        ends = codec.packed(self.src) + codec.packed(self.dst)
        return bytes(12 if self.version == 4 else 8) + ends


@dataclass(frozen=True)
class Step:
    """One thing that happened on the way.

    Attributes:
        chain: where; ``rule``: its place there.
        text: what, as ``10.1.0.5 in peers4: 0:3``.
    """

    chain: str
    rule: int
    text: str


@dataclass
class Way:
    """The way of a packet through the chains of one hook.

    Attributes:
        verdict: ``accept`` or ``drop``.
        chain, comment: of the rule that decided; empty where a base chain's policy did.
    """

    verdict: str = "accept"
    chain: str = ""
    comment: str = ""
    steps: list[Step] = field(default_factory=list)


def walk(rules: Ruleset, base: str, packet: Packet) -> Way:
    """Follow a packet from a base chain on.

    Raises:
        ValueError: a chain leads to one that is not there, or in a circle.
    """
    return _Walk(rules, packet).run(base)


class _Stop(Exception):
    """A rule does not match: the next one."""


class _Walk:
    def __init__(self, rules: Ruleset, packet: Packet) -> None:
        self._rules = rules
        self._packet = packet
        self._header = packet.header()
        self._priority = bytes(4)
        self._mark = bytes(4)
        self._registers = bytearray(64)
        self._way = Way()
        self._at = ("", 0)

    def run(self, base: str) -> Way:
        chain = self._chain(base)
        decided = self._enter(chain, 0)
        self._way.verdict = decided or chain.policy
        return self._way

    def _chain(self, name: str) -> NftChain:
        if name not in self._rules.chains:
            raise ValueError(f"there is no chain {name}")
        return self._rules.chains[name]

    def _enter(self, chain: NftChain, depth: int) -> str:
        """The final verdict; ``""``: none, back to where it was called from."""
        if depth > _DEPTH:
            raise ValueError(f"chain {chain.name} leads in a circle")
        for place, rule in enumerate(chain.rules):
            self._at = chain.name, place
            verdict = self._verdict(rule)
            if verdict is None or verdict.code == "continue":
                continue
            if verdict.code in ("accept", "drop"):
                self._way.chain, self._way.comment = chain.name, rule.comment
                return verdict.code
            if verdict.code == "return":
                return ""
            self._say(str(verdict))
            final = self._enter(self._chain(verdict.chain or ""), depth + 1)
            if final or verdict.code == "goto":
                return final
        return ""

    def _say(self, text: str) -> None:
        self._way.steps.append(Step(*self._at, text))

    def _verdict(self, rule: NftRule) -> ex.Verdict | None:
        try:
            for one in rule.exprs:
                verdict = self._do(one)
                if verdict is not None:
                    return verdict
        except _Stop:
            pass
        return None

    def _do(self, one: ex.Expr) -> ex.Verdict | None:
        match one:
            case ex.Verdict():
                return one
            case ex.Reject():
                return ex.Verdict("drop")
            case ex.Lookup():
                return self._look_up(one)
            case ex.Cmp():
                self._require(_compare(one.op, self._load(one.slot, len(one.data)), one.data))
            case ex.Range():
                inside = one.first <= self._load(one.slot, len(one.first)) <= one.last
                self._require(inside == (one.op == "eq"))
            case ex.MetaSet():
                self._set(one)
            case ex.Counter() | ex.Limit() | ex.Log():
                pass
            case _:
                self._store(getattr(one, "slot", 0), self._value(one))
        return None

    def _value(self, one: ex.Expr) -> bytes:
        """What an expression leaves in its slot."""
        match one:
            case ex.Meta():
                return self._meta(one.key)
            case ex.Payload():
                return self._payload(one)
            case ex.Ct(key="state"):
                return _CT_STATES[self._packet.state].to_bytes(4, sys.byteorder)
            case ex.Immediate():
                return one.data
            case ex.Byteorder():
                return self._load(one.slot, one.length)[::-1]
            case ex.Bitwise():
                raw = self._load(one.slot, len(one.mask))
                bits = zip(raw, one.mask, one.xor, strict=True)
                return bytes(a & mask ^ xor for a, mask, xor in bits)
        raise ValueError(f"{self._at[0]}: {one} is not understood")

    def _set(self, one: ex.MetaSet) -> None:
        value = self._load(one.slot, 4)
        if one.key == "priority":
            self._priority = value
        elif one.key == "mark":
            self._mark = value
        else:
            raise ValueError(f"{self._at[0]}: {one} is not understood")

    def _require(self, holds: bool) -> None:
        if not holds:
            raise _Stop

    def _load(self, slot: int, length: int) -> bytes:
        return bytes(self._registers[4 * slot : 4 * slot + length])

    def _store(self, slot: int, data: bytes) -> None:
        padded = data + bytes(-len(data) % 4)
        self._registers[4 * slot : 4 * slot + len(padded)] = padded

    def _meta(self, key: str) -> bytes:
        packet = self._packet
        known = {
            "nfproto": _NFPROTO[packet.version],
            "l4proto": bytes((packet.protocol,)),
            "priority": self._priority,
            "mark": self._mark,
        }
        if key not in known:
            raise ValueError(f"{self._at[0]}: meta {key} is not understood")
        return known[key]

    def _payload(self, one: ex.Payload) -> bytes:
        data = self._header if one.base == "network" else self._packet.transport
        found = data[one.offset : one.offset + one.length]
        self._require(len(found) == one.length)
        return found

    def _look_up(self, one: ex.Lookup) -> ex.Verdict | None:
        there = self._rules.sets.get(one.set)
        if there is None:  # one without a name, of a rule that is not ours
            raise ValueError(f"{self._at[0]}: set {one.set} is not understood")
        layout = Layout(there.type, there.data, there.interval)
        key = key_of(layout, self._load(one.slot, sum(layout.key_lengths)))
        found = find(self._rules.elements.get(one.set, {}), there.type, key, there.interval)
        self._require((found is None) == one.invert)
        if found is None:
            return None
        what = f": {' . '.join(found.data)}" if found.data else ""
        self._say(f"{' . '.join(key)} in {one.set}{what}")
        if there.data == (VERDICT,):
            return as_verdict(one.set, found.data[0])
        if isinstance(one.to, int):
            self._store(one.to, _data(there.data, found.data))
        return None


def find(
    elements: Mapping[tuple[str, ...], NftElement],
    types: Sequence[str],
    key: tuple[str, ...],
    interval: bool,
) -> NftElement | None:
    """The element that a key belongs to."""
    if not interval:
        return elements.get(key)
    numbers = [TYPES[name].bounds(part)[0] for name, part in zip(types, key, strict=True)]
    for have, element in elements.items():
        bounds = (TYPES[name].bounds(part) for name, part in zip(types, have, strict=True))
        if all(low <= n <= high for n, (low, high) in zip(numbers, bounds, strict=True)):
            return element
    return None


def _data(types: Sequence[str], values: Sequence[str]) -> bytes:
    return b"".join(
        TYPES[name]
        .bounds(value)[0]
        .to_bytes(TYPES[name].length, sys.byteorder if TYPES[name].host_order else "big")
        for name, value in zip(types, values, strict=True)
    )


def _compare(op: str, have: bytes, data: bytes) -> bool:
    return {
        "eq": have == data,
        "neq": have != data,
        "lt": have < data,
        "lte": have <= data,
        "gt": have > data,
        "gte": have >= data,
    }[op]
