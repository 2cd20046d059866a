"""Whether the kernel does what the policies say: its tables read back, and packets sent."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cnidaria import NftChain
from cnidaria.kinds import Batch, KernelError, NetNS, Ruleset, Session, Unknown, difference
from cnidaria_policy import names
from cnidaria_policy.enforcer import guarded_links, tables_of
from cnidaria_policy.guard import guarded_by
from cnidaria_policy.links import Family, content
from cnidaria_policy.lost import kept
from cnidaria_policy.numbering import aligned, in_terms_of
from cnidaria_policy.objects import PolicyPod
from cnidaria_policy.policies import Policies
from cnidaria_policy.probe import Flow, probe
from cnidaria_policy.program import Program
from cnidaria_policy.service import shadows

SHOWN: Final = 20
"""Differences that are told one by one."""


@dataclass
class Report:
    """What was compared, and what differs.

    Attributes:
        elements: how many chains, sets and elements were compared.
        differences: what the kernel has otherwise.
        flows: how many flows were tried.
        wrong: flows that the copy of the kernel's table treats otherwise than the engine says.
        untried: why no flow was tried, ``""`` if some were.
        notes: what others have in the kernel that gets in the way, and pods whose attachments are
            lost; no differences.
    """

    network: str
    elements: int = 0
    differences: list[str] = field(default_factory=list)
    flows: int = 0
    wrong: list[str] = field(default_factory=list)
    untried: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether all is as it should be, and was tried."""
        return not (self.differences or self.wrong or self.untried)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {**self.__dict__, "agrees": self.agrees}


def compiled(network: str, policies: Policies, have: Ruleset) -> Program:
    """What the network's table should be on this node.

    Args:
        have: what it has, for the numbers by which things are called there.
    """
    names_ = {one: pod for pod, addresses in policies.pods.items() for one in addresses}
    tables = policies.engine.tables(policies.node)
    numbering = aligned(tables, have)
    program = Program(
        names.table(network), lambda one: names_.get(one, ""), numbering, policies.store
    )
    program.update(tables)
    return program


def verify(network: str, policies: Policies, namespace: NetNS, flows: int, seed: int) -> Report:
    """Read the network's table and compare it; then try flows with a copy of what was read.

    Args:
        flows: how many to try; 0: none.
        seed: of the choice.

    Raises:
        KernelError: the kernel does not answer.
    """
    notes = [*kept(policies.lost, policies.objects), *shadows(namespace, policies.local)]
    report = Report(network, notes=notes)
    table, of_links = tables_of(network)
    have = table.read(namespace)
    program = compiled(network, policies, have or Ruleset())
    report.elements = len(program.rules)
    if have is None:
        report.differences.append(f"there is no table {table.table.name}")
        return report
    report.differences += described(difference(have, in_terms_of(program.rules, have)), have)
    for family, links in guarded_links(guarded(policies, namespace), program).items():
        want = content(of_links[family].table, links)
        report.elements += len(want)
        found = of_links[family].read(namespace) or Ruleset()
        told = described(difference(found, want), found)
        report.differences += [f"links of family {family}: {one}" for one in told]
    if flows:
        chosen = sample(policies, flows, random.Random(seed))  # noqa: S311  a repeatable choice
        report.flows = len(chosen)
        try:
            passed = probe(have, chosen)
        except OSError as error:
            report.untried = f"a scratch namespace cannot be had: {error.strerror}"
            return report
        except KernelError as error:
            report.untried = f"the table cannot be copied: {error}"
            return report
        report.wrong += wrong(policies, chosen, passed)
    return report


def guarded(policies: Policies, namespace: NetNS) -> list[tuple[Family, PolicyPod]]:
    """This node's pods whose links we guard, and where."""
    with Session(namespace) as session:
        found = [(guarded_by(session, pod), pod) for pod in policies.local]
    return [(family, pod) for family, pod in found if family]


def wrong(policies: Policies, flows: Sequence[Flow], passed: Sequence[bool]) -> Iterator[str]:
    """Flows that the kernel treats otherwise than the engine says."""
    local = {one for pod in policies.local for one in pod.addresses}
    for one, was in zip(flows, passed, strict=True):
        port = one.port if one.protocol in (6, 17, 132) else None
        verdict = policies.engine.verdict(one.src, one.dst, one.protocol, port)
        allowed = all(
            side.allow
            for side, end in ((verdict.egress, one.src), (verdict.ingress, one.dst))
            if end in local
        )
        if allowed != was:
            ends = f"{policies.name_of(one.src)} > {policies.name_of(one.dst)}"
            said = "allowed" if allowed else "denied"
            yield f"{ends} {one}: must be {said}, the kernel does the opposite"


def described(batch: Batch, have: Ruleset) -> list[str]:
    """What would have to be done, element by element; of many only the first.

    Args:
        have: what the kernel has: what nobody here knows is named.
    """
    rehooked = [one.name for one in batch.hooked_anew]
    told = [
        *(["the table is dormant: nothing of it is in force"] if batch.wake else ()),
        *(f"chain {one.name}: {hooked(one, batch)}" for one in batch.hooked_anew),
        *(f"chain {name}: missing" for name in batch.new_chains if name not in rehooked),
        *(f"chain {name}: other rules{strange(have.chains[name])}" for name in batch.chains),
        *(f"chain {name}: must not be there" for name in batch.no_chains if name not in rehooked),
        *(f"set {name}: missing, or of another type" for name in batch.sets),
        *(f"set {name}: must not be there" for name in batch.no_sets if name not in batch.sets),
        *(f"{one}: must not be there" for one in batch.no_extras),
        *(f"{name}: {one} missing" for name, some in batch.more.items() for one in some),
        *(f"{name}: {one} must not be there" for name, some in batch.less.items() for one in some),
    ]
    more = len(told) - SHOWN
    return [*told[:SHOWN], f"and {more} more"] if more > 0 else told


HOOKED: Final = ("type", "hook", "priority", "policy", "device")


def hooked(chain: NftChain, batch: Batch) -> str:
    """Where packets enter a chain, and where they should."""
    pairs = (
        (one, getattr(chain, one), getattr(batch.new_chains[chain.name], one)) for one in HOOKED
    )
    return ", ".join(f"{one} {have} instead of {want}" for one, have, want in pairs if have != want)


def strange(chain: NftChain) -> str:
    """What in a chain nobody of us has made, in brackets."""
    exprs = (one for rule in chain.rules for one in rule.exprs)
    found = dict.fromkeys(one.name for one in exprs if isinstance(one, Unknown))
    return f", with {', '.join(found)}" if found else ""


def sample(policies: Policies, count: int, rng: random.Random) -> list[Flow]:
    """Flows that begin or end at pods of this node, to and from pods, blocks' edges and others."""
    local = [one for pod in policies.local for one in pod.addresses]
    tables = policies.engine.tables(policies.node)
    others = [*{*tables.endpoints, *(one for ends in tables.blocks for one in ends), *local}]
    others += ["203.0.113.77", "2001:db8::77"]
    ports = {
        (protocol, at)
        for one in tables.filters.values()
        for protocol, first, last, _ in one.ports
        for at in (first, last, max(first - 1, 1), min(last + 1, 65535))
    }
    choices = sorted({*ports, (6, 80), (17, 53), (132, 9), (1, 0)})
    found: list[Flow] = []
    for _ in range(20 * count):
        if len(found) >= count or not local:
            break
        pod, other = rng.choice(local), rng.choice(others)
        src, dst = (pod, other) if rng.random() < 0.5 else (other, pod)
        protocol, port = rng.choice(choices)
        if src != dst and (":" in src) == (":" in dst) and not _is_special(other):
            found.append(Flow(src, dst, 58 if protocol == 1 and ":" in src else protocol, port))
    return found


def _is_special(address: str) -> bool:
    """What no router forwards."""
    from ipaddress import ip_address

    one = ip_address(address)
    return (
        one.is_multicast
        or one.is_loopback
        or one.is_unspecified
        or one.is_link_local
        or (one.is_reserved and one.version == 4)
    )
