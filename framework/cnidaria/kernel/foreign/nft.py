"""The tables of others that nftables has, read from the kernel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from struct import unpack
from typing import Any, Final

from cnidaria.kernel import nftuapi as nf
from cnidaria.kernel.codec import Attrs, attribute_list, attributes, string, text
from cnidaria.kernel.foreign.tables import (
    Chain,
    Effect,
    Element,
    Hook,
    Match,
    Maybe,
    Never,
    Queue,
    Rule,
    Set,
    Step,
    Table,
)
from cnidaria.kernel.foreign.xt import target
from cnidaria.kernel.nftexprs import decode, slot_of, value_of, verdict_of
from cnidaria.kernel.nftmessages import dump
from cnidaria.kernel.objects import TABLES
from cnidaria.kernel.objects import nftexpr as ex
from cnidaria.kernel.session import Session

Name = tuple[str, str]
"""Family and name of a table."""

PASSING: Final = frozenset({"counter", "log", "objref", "last", "tproxy", "synproxy"})
"""Expressions that let every packet go on to the next one."""

FIXED: Final[dict[str, Step]] = {
    "nat": ex.Verdict("accept"),
    "masq": ex.Verdict("accept"),
    "redir": ex.Verdict("accept"),
    "reject": ex.Verdict("drop"),
    "queue": Queue(),
    "socket": Never(),  # what is forwarded has none
    "notrack": Effect("notrack"),
    "flow_offload": Effect("offload"),
    "fwd": Effect("redirect"),
    "dup": Effect("copy"),
}


def tables(session: Session) -> list[Table]:
    """All tables that are not ours, of the families that a pod's packets pass.

    Raises:
        KernelError: the kernel does not answer.
    """
    chains: dict[Name, dict[str, Chain]] = defaultdict(dict)
    rules = _rules(session)
    for family, attrs in dump(session, nf.NFT_MSG_GETCHAIN, ""):
        name = family, string(attrs[nf.NFTA_CHAIN_TABLE])
        if family not in ("", "arp") and not name[1].startswith(TABLES):
            chain = string(attrs[nf.NFTA_CHAIN_NAME])
            chains[name][chain] = Chain(tuple(rules.get((*name, chain), ())), _hook(family, attrs))
    sets = _sets(session, chains)
    return [Table("nftables", *name, some, sets.get(name, {})) for name, some in chains.items()]


def _rules(session: Session) -> dict[tuple[str, str, str], list[Rule]]:
    found: dict[tuple[str, str, str], list[Rule]] = defaultdict(list)
    for family, attrs in dump(session, nf.NFT_MSG_GETRULE, ""):
        table = string(attrs[nf.NFTA_RULE_TABLE])
        if not table.startswith(TABLES):
            place = family, table, string(attrs[nf.NFTA_RULE_CHAIN])
            exprs = attribute_list(attrs.get(nf.NFTA_RULE_EXPRESSIONS, b""))
            handle = int.from_bytes(attrs[nf.NFTA_RULE_HANDLE], "big")
            steps = [step for _, raw in exprs for step in steps_of(raw)]
            found[place].append(Rule(handle, tuple(steps)))
    return found


def steps_of(raw: bytes) -> Iterator[Step]:
    """What an expression means."""
    outer = attributes(raw)
    name = string(outer[nf.NFTA_EXPR_NAME])
    attrs = attributes(outer.get(nf.NFTA_EXPR_DATA, b""))
    if name in FIXED:
        yield FIXED[name]
    elif name == "match":
        number = int.from_bytes(attrs[nf.NFTA_MATCH_REV], "big")
        yield Match(string(attrs[nf.NFTA_MATCH_NAME]), number, attrs[nf.NFTA_MATCH_INFO])
    elif name == "target":
        yield from target(string(attrs[nf.NFTA_TARGET_NAME]), attrs.get(nf.NFTA_TARGET_INFO, b""))
    elif name == "dynset":
        if nf.NFTA_DYNSET_EXPRESSIONS in attrs or nf.NFTA_DYNSET_EXPR in attrs:
            yield Maybe(name)
    elif name == "exthdr":
        yield from _extension(attrs)
    elif name not in PASSING:
        yield _known(name, raw, attrs)


def _extension(attrs: Attrs) -> Iterator[Step]:
    """Packets of pods have no extension headers; what TCP options they have is not known."""
    if nf.NFTA_EXTHDR_SREG in attrs or nf.NFTA_EXTHDR_DREG not in attrs:
        return  # is written
    flags = int.from_bytes(attrs.get(nf.NFTA_EXTHDR_FLAGS, b""), "big")
    operation = int.from_bytes(attrs.get(nf.NFTA_EXTHDR_OP, b""), "big")
    if operation not in (nf.NFT_EXTHDR_OP_IPV6, nf.NFT_EXTHDR_OP_IPV4):
        yield Maybe("exthdr")
    elif flags & nf.NFT_EXTHDR_F_PRESENT:
        yield ex.Immediate(b"\0", slot_of(attrs[nf.NFTA_EXTHDR_DREG]))
    else:
        yield Never()


def _known(name: str, raw: bytes, attrs: Attrs) -> Step:
    same = attrs.get(nf.NFTA_BITWISE_SREG) == attrs.get(nf.NFTA_BITWISE_DREG)
    found = decode(raw) if name != "bitwise" or same else None
    if isinstance(found, ex.CtSet) and found.key == "zone":
        return Effect("zone")
    return Maybe(name) if found is None or isinstance(found, ex.Limit) else found


def _hook(family: str, chain: Attrs) -> Hook | None:
    hook = attributes(chain.get(nf.NFTA_CHAIN_HOOK, b""))
    if not hook:
        return None
    number = int.from_bytes(hook[nf.NFTA_HOOK_HOOKNUM], "big")
    names = {value: name for name, value in nf.HOOKS[family].items()}
    policy = int.from_bytes(chain.get(nf.NFTA_CHAIN_POLICY, b"\1"), "big")
    devices = [raw for _, raw in attribute_list(hook.get(nf.NFTA_HOOK_DEVS, b""))]
    devices += [hook[nf.NFTA_HOOK_DEV]] if nf.NFTA_HOOK_DEV in hook and not devices else []
    return Hook(
        names.get(number, ""),
        unpack(">i", hook[nf.NFTA_HOOK_PRIORITY])[0],
        "accept" if policy else "drop",
        tuple(map(string, devices)),
    )


# -- sets ------------------------------------------------------------------------------------------


def _sets(session: Session, tables_: Iterable[Name]) -> dict[Name, dict[str, Set]]:
    found: dict[Name, dict[str, Set]] = {name: {} for name in tables_}
    for family, attrs in dump(session, nf.NFT_MSG_GETSET, ""):
        table, name = string(attrs[nf.NFTA_SET_TABLE]), string(attrs[nf.NFTA_SET_NAME])
        if (family, table) in found:
            names = (
                text(nf.NFTA_SET_ELEM_LIST_TABLE, table),
                text(nf.NFTA_SET_ELEM_LIST_SET, name),
            )
            lists = dump(session, nf.NFT_MSG_GETSETELEM, family, *names)
            raw = [
                one
                for _, some in lists
                for _, one in attribute_list(some.get(nf.NFTA_SET_ELEM_LIST_ELEMENTS, b""))
            ]
            found[family, table][name] = set_of(attrs, raw)
    return found


def set_of(attrs: Attrs, elements: Iterable[bytes]) -> Set:
    """A set of its description and its elements."""
    flags = int.from_bytes(attrs.get(nf.NFTA_SET_FLAGS, b""), "big")
    length = int.from_bytes(attrs[nf.NFTA_SET_KEY_LEN], "big")
    description = attributes(attrs.get(nf.NFTA_SET_DESC, b""))
    parts = [
        int.from_bytes(attributes(raw)[nf.NFTA_SET_FIELD_LEN], "big")
        for _, raw in attribute_list(description.get(nf.NFTA_SET_DESC_CONCAT, b""))
    ]
    items = [attributes(raw) for raw in elements]
    pairs = bool(flags & nf.NFT_SET_INTERVAL) and not flags & nf.NFT_SET_CONCAT
    found = _ranges(items) if pairs else map(_element, items)
    return Set(tuple(parts) or (length,), tuple(found))


def _element(item: Attrs) -> Element:
    if nf.NFTA_SET_ELEM_KEY not in item:
        return Element(b"", b"", _data(item))
    low = value_of(item[nf.NFTA_SET_ELEM_KEY])
    end = item.get(nf.NFTA_SET_ELEM_KEY_END)
    return Element(low, value_of(end) if end else low, _data(item))


def _ranges(items: Iterable[Attrs]) -> Iterator[Element]:
    """Start and end are elements of their own; an end at a start's key is the one before's."""

    def ends(item: Attrs) -> bool:
        flags = int.from_bytes(item.get(nf.NFTA_SET_ELEM_FLAGS, b""), "big")
        return bool(flags & nf.NFT_SET_ELEM_INTERVAL_END)

    keyed = [item for item in items if nf.NFTA_SET_ELEM_KEY in item]
    yield from (_element(item) for item in items if nf.NFTA_SET_ELEM_KEY not in item)
    ordered = sorted(
        (value_of(i[nf.NFTA_SET_ELEM_KEY]), not ends(i), n) for n, i in enumerate(keyed)
    )
    for one, after in zip_longest(ordered, ordered[1:]):
        low, starts, place = one
        if starts:
            last = int.from_bytes(after[0], "big") - 1 if after else (1 << 8 * len(low)) - 1
            yield Element(low, last.to_bytes(len(low), "big"), _data(keyed[place]))


def _data(item: Attrs) -> ex.Verdict | bytes | None:
    raw = item.get(nf.NFTA_SET_ELEM_DATA)
    if raw is None:
        return None
    inner: Any = attributes(raw)
    return verdict_of(raw) if nf.NFTA_DATA_VERDICT in inner else value_of(raw)
