"""nftables: chains and their rules."""

# ruff: noqa: D102  what overrides is documented in driver.py

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from cnidaria.kernel import codec, uapi
from cnidaria.kernel import nftuapi as nf
from cnidaria.kernel.codec import Attrs, attr, be32, nest, string, text
from cnidaria.kernel.driver import Driver, Found, compare, not_there
from cnidaria.kernel.netlink import Request
from cnidaria.kernel.nftcomments import comment, read_comment
from cnidaria.kernel.nftexprs import encode, read
from cnidaria.kernel.nftmessages import ask, dump, request
from cnidaria.kernel.nfttables import our_tables
from cnidaria.kernel.objects import NftChain, NftRule
from cnidaria.kernel.objects.nft import found_as
from cnidaria.kernel.session import Session

_HOOK_FIELDS = ("type", "hook", "priority", "device")
_SEVERAL = "*"
"""The device of a chain of several, or of none that is there: we make none for a link of that name.
"""


class Chains(Driver[NftChain]):
    """A chain is replaced with all its rules, or left as it is."""

    def apply(self, session: Session, obj: NftChain) -> None:
        found = self.find(session, obj)
        if found is None:
            session.queue_change("add", obj, [new_chain(obj), flush_chain(obj), *new_rules(obj)])
            return
        wrong = {difference.field for difference in compare(obj, found.object)}
        if wrong & {*_HOOK_FIELDS}:
            again = [flush_chain(obj), delete_chain(obj), new_chain(obj), *new_rules(obj)]
            session.queue_change("add", obj, again)
        elif wrong:
            session.queue_change("add", obj, [new_chain(obj), flush_chain(obj), *new_rules(obj)])

    def withdraw(self, session: Session, obj: NftChain) -> None:
        session.queue_change(
            "remove", obj, [flush_chain(obj), delete_chain(obj)], partial(not_there, obj)
        )

    def find(self, session: Session, obj: NftChain) -> Found | None:
        attrs = ask(session, nf.NFT_MSG_GETCHAIN, obj.family, *_names(obj))
        if attrs is None:
            return None
        return Found(_chain(obj.family, attrs, self._read_rules(session, obj)), True)

    def owned(self, session: Session) -> Iterator[NftChain]:
        """Without their rules: who owns a table owns them."""
        for family, attrs in dump(session, nf.NFT_MSG_GETCHAIN, ""):
            if (family, string(attrs[nf.NFTA_CHAIN_TABLE])) in our_tables(session):
                yield _chain(family, attrs, ())

    @staticmethod
    def _read_rules(session: Session, obj: NftChain) -> tuple[NftRule, ...]:
        names = (text(nf.NFTA_RULE_TABLE, obj.table), text(nf.NFTA_RULE_CHAIN, obj.name))
        found = dump(session, nf.NFT_MSG_GETRULE, obj.family, *names)
        return tuple(
            _read_rule(attrs)
            for _, attrs in found
            if string(attrs[nf.NFTA_RULE_CHAIN]) == obj.name
            and string(attrs[nf.NFTA_RULE_TABLE]) == obj.table
        )


def _names(obj: NftChain) -> tuple[bytes, bytes]:
    return text(nf.NFTA_CHAIN_TABLE, obj.table), text(nf.NFTA_CHAIN_NAME, obj.name)


def read_chains(session: Session, family: str, table: str) -> Iterator[NftChain]:
    """The chains of a table with their rules."""
    rules: dict[str, list[NftRule]] = {}
    names = text(nf.NFTA_RULE_TABLE, table)
    for found_family, attrs in dump(session, nf.NFT_MSG_GETRULE, family, names):
        if (found_family, string(attrs[nf.NFTA_RULE_TABLE])) == (family, table):
            rules.setdefault(string(attrs[nf.NFTA_RULE_CHAIN]), []).append(_read_rule(attrs))
    for found_family, attrs in dump(session, nf.NFT_MSG_GETCHAIN, family):
        if (found_family, string(attrs[nf.NFTA_CHAIN_TABLE])) != (family, table):
            continue
        flags = int.from_bytes(attrs.get(nf.NFTA_CHAIN_FLAGS, b""), "big")
        if not flags & nf.NFT_CHAIN_BINDING:  # else it is part of a rule, and goes with that
            yield _chain(family, attrs, rules.get(string(attrs[nf.NFTA_CHAIN_NAME]), ()))


def read_counters(session: Session, family: str, table: str) -> dict[str, int]:
    """How many packets the counters of each chain of a table have counted, where it has any."""
    found: dict[str, int] = {}
    names = text(nf.NFTA_RULE_TABLE, table)
    for found_family, attrs in dump(session, nf.NFT_MSG_GETRULE, family, names):
        raw = attrs.get(nf.NFTA_RULE_EXPRESSIONS, b"")
        if b"counter\0" not in raw:  # as most rules have none
            continue
        if (found_family, string(attrs[nf.NFTA_RULE_TABLE])) == (family, table):
            chain = string(attrs[nf.NFTA_RULE_CHAIN])
            found[chain] = found.get(chain, 0) + sum(_counted(raw))
    return found


def _counted(exprs: bytes) -> Iterator[int]:
    for _, raw in codec.attribute_list(exprs):
        expr = codec.attributes(raw)
        if string(expr[nf.NFTA_EXPR_NAME]) == "counter":
            data = codec.attributes(expr[nf.NFTA_EXPR_DATA])
            yield int.from_bytes(data[nf.NFTA_COUNTER_PACKETS], "big")


def new_chain(obj: NftChain) -> Request:
    """Makes a chain, without rules."""
    attrs = [*_names(obj)]
    if obj.hook is not None:
        hook = [
            be32(nf.NFTA_HOOK_HOOKNUM, nf.HOOKS[obj.family][obj.hook]),
            attr(nf.NFTA_HOOK_PRIORITY, struct.pack(">i", obj.priority)),
        ]
        if obj.device is not None:
            hook.append(text(nf.NFTA_HOOK_DEV, obj.device))
        attrs += [
            nest(nf.NFTA_CHAIN_HOOK, *hook),
            be32(nf.NFTA_CHAIN_POLICY, nf.NF_POLICIES[obj.policy]),
            text(nf.NFTA_CHAIN_TYPE, obj.type),
        ]
    return request(nf.NFT_MSG_NEWCHAIN, obj.family, *attrs, flags=uapi.NLM_F_CREATE)


def delete_chain(obj: NftChain) -> Request:
    """Removes a chain that has no rules, if nothing leads there."""
    return request(nf.NFT_MSG_DELCHAIN, obj.family, *_names(obj))


def flush_chain(obj: NftChain) -> Request:
    """A deletion that names no rule is one of all."""
    names = (text(nf.NFTA_RULE_TABLE, obj.table), text(nf.NFTA_RULE_CHAIN, obj.name))
    return request(nf.NFT_MSG_DELRULE, obj.family, *names)


def new_rules(obj: NftChain) -> list[Request]:
    """Appends a chain's rules to what is in it."""
    return [
        request(
            nf.NFT_MSG_NEWRULE,
            obj.family,
            text(nf.NFTA_RULE_TABLE, obj.table),
            text(nf.NFTA_RULE_CHAIN, obj.name),
            nest(nf.NFTA_RULE_EXPRESSIONS, *map(encode, rule.exprs)),
            comment(nf.NFTA_RULE_USERDATA, rule.comment),
            flags=uapi.NLM_F_CREATE | uapi.NLM_F_APPEND,
        )
        for rule in obj.rules
    ]


def _read_rule(attrs: Attrs) -> NftRule:
    """What we never make is unknown: then the rule is another than was declared."""
    found = codec.attribute_list(attrs.get(nf.NFTA_RULE_EXPRESSIONS, b""))
    exprs: list[Any] = [read(raw) for _, raw in found]
    said = read_comment(attrs.get(nf.NFTA_RULE_USERDATA, b""))
    try:
        return NftRule(tuple(exprs), said)
    except ValueError:  # longer than we make them, or no text
        return NftRule(tuple(exprs))


def _chain(family: str, attrs: Attrs, rules: Sequence[NftRule]) -> NftChain:
    hook = codec.attributes(attrs.get(nf.NFTA_CHAIN_HOOK, b""))
    fields: dict[str, Any] = {}
    if hook:
        number = int.from_bytes(hook[nf.NFTA_HOOK_HOOKNUM], "big")
        names = {value: name for name, value in nf.HOOKS[family].items()}
        policies = {value: name for name, value in nf.NF_POLICIES.items()}
        policy = int.from_bytes(attrs.get(nf.NFTA_CHAIN_POLICY, b"\1"), "big")
        device = string(hook.get(nf.NFTA_HOOK_DEV, b""))
        if not device and names[number] in ("ingress", "egress"):
            device = _SEVERAL
        fields = {
            "type": string(attrs[nf.NFTA_CHAIN_TYPE]),
            "hook": names[number],
            "priority": struct.unpack(">i", hook[nf.NFTA_HOOK_PRIORITY])[0],
            "policy": policies[policy],
            "device": device or None,
        }
    return found_as(
        NftChain,
        string(attrs[nf.NFTA_CHAIN_TABLE]),
        string(attrs[nf.NFTA_CHAIN_NAME]),
        family=family,
        rules=tuple(rules),
        **fields,
    )
