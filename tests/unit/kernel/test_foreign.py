"""Values of which some bits are known, and rules followed without a kernel."""

from __future__ import annotations

import random
from struct import pack

import pytest

from cnidaria.kernel.foreign import judge, legacy
from cnidaria.kernel.foreign.connections import MOST_PODS, Pod, connections, standing_for_all
from cnidaria.kernel.foreign.tables import Chain, Element, Hook, Maybe, Queue, Rule, Set, Table
from cnidaria.kernel.foreign.traffic import Link
from cnidaria.kernel.foreign.values import (
    Value,
    compare,
    exact,
    first,
    joined,
    masked,
    swapped,
    unknown,
    within,
)
from cnidaria.kernel.objects import nftexpr as ex
from cnidaria.kernel.objects.nftexpr import Verdict

OPS = {
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
}


def completions(value: Value) -> list[int]:
    """All that a value may be."""
    free = ~value.known & 0xFF
    return [value.data | bits for bits in range(256) if not bits & ~free]


def test_comparisons_hold_for_whatever_a_value_may_be() -> None:
    """Of one byte; what can be told is told of ranges of wholly known and unknown low bits."""
    for known in (0x00, 0x80, 0xF0, 0xFF):
        for data in {n & known for n in range(256)}:
            value = Value(1, data, known, "x")
            for other in (0, 1, 0x7F, 0x80, 0xF0, 0xFF):
                for op, holds in OPS.items():
                    truth = {holds(one, other) for one in completions(value)}
                    told = compare(op, value, bytes([other]))
                    assert told == (truth.pop() if len(truth) == 1 else None), (value, op, other)


def test_what_is_told_of_masked_values_is_true() -> None:
    drawn = random.Random(1)
    for _ in range(5_000):
        known, mask, xor, low = (drawn.randrange(256) for _ in range(4))
        high = drawn.randrange(low, 256)
        value = Value(1, drawn.randrange(256) & known, known, "x")
        after = masked(value, bytes([mask]), bytes([xor]))
        results = {n & mask ^ xor for n in completions(value)}
        assert results <= set(completions(after))
        told = within(after, bytes([low]), bytes([high]))
        truth = {low <= n <= high for n in results}
        assert told is None or truth == {told}


def test_whom_no_rule_names_has_no_address_and_is_in_no_network_but_large_ones() -> None:
    stranger = unknown(4, "daddr", nameless=True)
    assert compare("eq", stranger, bytes([192, 0, 2, 1])) is False
    assert compare("neq", stranger, bytes([192, 0, 2, 1])) is True
    assert within(stranger, bytes(4), b"\xff" * 4) is True
    assert within(stranger, bytes([10, 0, 0, 0]), bytes([10, 255, 255, 255])) is False
    assert within(stranger, bytes([224, 0, 0, 0]), bytes([239, 255, 255, 255])) is False
    assert within(stranger, bytes(4), bytes([127, 255, 255, 255])) is None
    for mask, told in ((b"\xff\xff\xff\0", False), (b"\xf0\0\0\0", False), (b"\xe0\0\0\0", None)):
        network = masked(stranger, mask, bytes(4))
        assert compare("eq", network, bytes([192, 0, 0, 0])) is told
    assert compare("eq", first(stranger, 1), b"\x0a") is False
    both = joined([(0, exact(bytes([10, 0, 0, 1]))), (4, stranger)], 0, 8, "both")
    assert compare("eq", both, bytes([10, 0, 0, 1, 192, 0, 2, 1])) is False
    known = masked(both, b"\xff" * 4 + bytes(4), bytes(8))
    assert compare("eq", known, bytes([10, 0, 0, 1]) + bytes(4)) is True
    assert compare("eq", first(both, 4), bytes([10, 0, 0, 1])) is True
    assert compare("eq", swapped(unknown(2, "dport")), b"\0\1") is None


# -- tables ----------------------------------------------------------------------------------------

DROP, ACCEPT, RETURN = Verdict("drop"), Verdict("accept"), Verdict("return")
DPORT = ex.Payload("transport", 2, 2)
TCP = (ex.Meta("l4proto"), ex.Cmp("eq", b"\6"))


def table(
    rules: list[tuple], policy: str = "accept", sets: dict[str, Set] | None = None, **more: list
) -> Table:
    """One base chain ``c`` of the forward hook, and other chains."""

    def chain(lines: list[tuple], hook: Hook | None = None) -> Chain:
        return Chain(tuple(Rule(n, steps) for n, steps in enumerate(lines, 1)), hook)

    base = chain(rules, Hook("forward", 0, policy))
    chains = {"c": base, **{name: chain(lines) for name, lines in more.items()}}
    return Table("nftables", "ip", "t", chains, sets or {})


def verdicts(*tables: Table, pods: int = 1) -> set[tuple[tuple[int, ...], bool]]:
    """Rules that drop the first packets of TCP from pods, and whether certainly."""
    some = [Pod(f"10.1.0.{n + 2}", Link(f"pod{n}", n + 2)) for n in range(pods)]
    asked = [
        (one[0], one[0])
        for one in connections(some, [Link("eth0", 1)], 4, marked=False)
        if (one[0].way, one[0].protocol) == ("from pods to elsewhere", "TCP")
    ]
    return {(one.rules, one.certain) for one in judge(tables, asked)}


def port(number: int, *then: object) -> tuple:
    return (*TCP, DPORT, ex.Cmp("eq", number.to_bytes(2, "big")), *then)


CASES: dict[str, tuple[Table, set[tuple[tuple[int, ...], bool]]]] = {
    "nothing": (table([]), set()),
    "policy": (table([], "drop"), {((0,), True)}),
    "accepted first": (table([(ACCEPT,), (DROP,)], "drop"), set()),
    "dropped first": (table([(DROP,), (ACCEPT,)]), {((1,), True)}),
    "a port": (table([port(9, DROP)]), {((1,), False)}),
    "a port, then all": (table([port(9, DROP), (DROP,)]), {((2,), True)}),
    "a port is accepted": (table([port(9, ACCEPT), (DROP,)]), {((2,), False)}),
    "two ports": (table([port(9, DROP), port(8, DROP)]), {((1, 2), False)}),
    "the same port": (table([port(9, ACCEPT), port(9, DROP)]), set()),
    "the same port in a chain": (
        table([port(9, Verdict("jump", "d")), port(9, DROP)], d=[(ACCEPT,)]),
        set(),
    ),
    "the same port, some of which left": (
        table(
            [port(9, Verdict("jump", "d")), port(9, DROP)],
            d=[(DPORT, ex.Cmp("lt", b"\1\0"), RETURN), (ACCEPT,)],
        ),
        {((2,), False)},
    ),
    "what is asked anew each time": (table([(Maybe("limit"), ACCEPT), (Maybe("limit"), DROP)]),
                                     {((2,), False)}),
    "jump": (table([(Verdict("jump", "d"),)], d=[(DROP,)]), {((1,), True)}),
    "jump and return": (table([(Verdict("jump", "d"),), (DROP,)], d=[(RETURN,), (DROP,)]),
                        {((2,), True)}),
    "goto and return": (table([(Verdict("goto", "d"),), (DROP,)], d=[(RETURN,)]), set()),
    "goto and policy": (table([(Verdict("goto", "d"),), (ACCEPT,)], "drop", d=[(RETURN,)]),
                        {((0,), True)}),
    "some return": (table([(Verdict("jump", "d"),)], d=[port(9, RETURN), (DROP,)]),
                    {((2,), False)}),
    "some return, all are dropped": (
        table([(Verdict("jump", "d"),), (DROP,)], d=[port(9, RETURN), (ACCEPT,)]),
        {((2,), False)},
    ),
    "return ends a base chain": (table([(RETURN,), (DROP,)], "drop"), {((0,), True)}),
    "a circle": (table([(Verdict("jump", "d"),)], d=[(Verdict("jump", "d"),), (DROP,)]),
                 {((2,), True)}),
    "a chain that is gone": (table([(Verdict("jump", "x"),), (DROP,)]), {((2,), True)}),
    "a program": (table([(Queue(),)]), {((1,), False)}),
    "a map": (
        table([(*TCP, DPORT, ex.Lookup("m", to="verdict")), (DROP,)],
              sets={"m": Set((2,), (Element(b"\0\x09", b"\0\x09", ACCEPT),))}),
        {((2,), False)},
    ),
    "a map for the rest": (
        table([(*TCP, DPORT, ex.Lookup("m", to="verdict"))],
              sets={"m": Set((2,), (Element(b"\0\7", b"\0\7", ACCEPT), Element(b"", b"", DROP)))}),
        {((1,), False)},
    ),
    "a map with all": (
        table([(*TCP, DPORT, ex.Lookup("m", to="verdict"))],
              sets={"m": Set((2,), (Element(b"\0\0", b"\xff\xff", DROP),))}),
        {((1,), True)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_verdicts(case: str) -> None:
    found, expected = CASES[case]
    assert verdicts(found) == expected


def test_each_base_chain_decides() -> None:
    """An accept ends its own chain only; the order is that of priorities."""
    late, early = table([(DROP,)]), table([(ACCEPT,)])
    assert verdicts(early, late) == {((1,), True)}
    early = table([(ex.Counter(), DROP)])
    first_ = early.chains["c"]._replace(hook=Hook("forward", -5, "accept"))
    early = early._replace(chains={"c": first_})
    later = table([(ex.Counter(),), (DROP,)])
    assert verdicts(later, early) == {((1,), True)}


def test_a_rule_for_one_of_two_pods() -> None:
    one = (ex.Payload("network", 12, 4), ex.Cmp("eq", bytes([10, 1, 0, 2])), DROP)
    assert verdicts(table([one])) == {((1,), True)}
    assert verdicts(table([one]), pods=2) == {((1,), False)}


def test_few_pods_stand_for_all() -> None:
    many = {f"10.1.{n >> 8}.{n & 255}": f"veth{n}" for n in range(5_000)}
    assert len(standing_for_all(many, [])) == 2
    rules = [
        (ex.Payload("network", 12, 4), ex.Cmp("eq", bytes([10, 1, n, 7])), DROP) for n in (0, 3)
    ]
    rules += [(ex.Meta("iifname"), ex.Cmp("eq", b"veth4000".ljust(16, b"\0")), DROP)]
    some = [address for address, _ in standing_for_all(many, [table(rules)])]
    assert {"10.1.0.7", "10.1.3.7", "10.1.15.160"} <= {*some}
    masks = [(ex.Payload("network", 12, 4), ex.Bitwise(b"\xff\xff\xff\0", bytes(4)),
              ex.Cmp("eq", bytes([10, 1, n, 0])), DROP) for n in range(200)]  # fmt: skip
    assert len(standing_for_all(many, [table(masks)])) == MOST_PODS


# -- iptables-legacy -------------------------------------------------------------------------------


def entry(*, target: str = "", data: bytes = b"", source: bytes = bytes(4)) -> bytes:
    """``struct ipt_entry`` without matches."""
    mask = b"\xff" * 4 if any(source) else bytes(4)
    end = pack("=H29sB", 32 + len(data), target.encode(), 0) + data
    head = source + bytes(4) + mask + bytes(4) + bytes(68) + bytes(4)
    return head + pack("=HH", 112, 112 + len(end)) + bytes(20) + end


def standard(verdict: int, source: bytes = bytes(4)) -> bytes:
    return entry(data=pack("=ii", verdict, 0), source=source)


def test_a_table_of_legacy_is_parsed() -> None:
    size = len(standard(0))
    head = entry(target="ERROR", data=b"mine".ljust(32, b"\0"))
    rules = [standard(-1, bytes([10, 1, 0, 9])), standard(3 * size + len(head)), standard(-2)]
    own = [head, standard(-1), standard(-5)]
    data = b"".join([*rules, *own, entry(target="ERROR", data=b"ERROR".ljust(32, b"\0"))])
    blob = legacy.Blob(legacy.VERSIONS[0], "filter", 4, (0,) * 5, (0, 0, 2 * size, 0, 0), data)
    parsed = legacy.parse(blob)
    assert [*parsed.chains] == ["FORWARD", "mine"]
    assert parsed.chains["FORWARD"].hook == Hook("forward", 0, "accept")
    assert parsed.chains["FORWARD"].rules[1].steps == (Verdict("jump", "mine"),)
    assert [rule.steps for rule in parsed.chains["mine"].rules] == [(DROP,), (RETURN,)]
    assert verdicts(parsed) == {((1,), True)}
