"""Pools against a slow, obvious twin: any order of takes, releases, restarts and changes."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, summarize_address_range
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cnidaria.cni.errors import CniError, Code
from cnidaria.ipam import IpamConfig, LeaseSet, Owner, Pools, Requested
from cnidaria.plan.lease import Cooling, Lease
from cnidaria.plan.store import Attachment

CONFIGS: list[dict[str, Any]] = [
    {"subnet": "10.0.0.0/29"},
    {"subnet": "10.0.0.0/28", "cooldown": 5},
    {"subnet": "10.0.0.0/28", "rangeStart": "10.0.0.4", "exclude": ["10.0.0.6-10.0.0.7"]},
    {
        "ranges": [
            [{"subnet": "10.0.0.0/28", "rangeEnd": "10.0.0.4"}, {"subnet": "10.0.1.0/30"}],
            [{"subnet": "10.0.0.0/28", "rangeStart": "10.0.0.9"}],
        ]
    },
    {"subnet": "10.0.0.0/29", "reservations": {"10.0.0.3": "ns/p1", "10.0.0.4": "c2"}},
    {"subnet": "10.0.0.0/29", "cooldown": 0, "reserveGateway": False},
]


REFUSALS = (Code.POOL_EXHAUSTED, Code.ADDRESS_UNAVAILABLE, Code.ALREADY_ATTACHED)


def owner(number: int) -> Owner:
    return Owner(f"c{number}", "eth0", f"ns/p{number}")


class Twin:
    """One network's addresses, by plain loops over all of them."""

    def __init__(self) -> None:
        self.held: dict[str, Owner] = {}
        self.resting: dict[str, float] = {}  # until when

    @staticmethod
    def usable(config: IpamConfig, i: int) -> list[str]:
        """The addresses of a range set that somebody could get."""
        found = []
        for one in config.sets[i].ranges:
            for net in summarize_address_range(
                IPv4Address(str(one.first)), IPv4Address(str(one.last))
            ):
                found += [str(address) for address in net if not config.withheld(address)]
        return found

    def choices(self, config: IpamConfig, i: int, who: Owner) -> set[str]:
        """What ``who`` may get if it does not ask for one. Empty: it must be refused."""
        usable = self.usable(config, i)
        if any(holder.key == who.key and a in usable for a, holder in self.held.items()):
            return set()
        reserved = dict(config.pools[i][1].reservations)
        mine = [a for a, name in reserved.items() if name in (who.pod, who.container)]
        if mine:
            return {a for a in mine[:1] if a not in self.held}
        return {a for a in usable if a not in self.held and a not in reserved}


class PoolsMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.now = 1000.0
        self.pools = Pools(lambda: self.now)
        self.twin = Twin()
        self.given: list[tuple[Owner, LeaseSet]] = []

    @rule(raw=st.sampled_from(CONFIGS), number=st.integers(0, 12))
    def take(self, raw: dict[str, Any], number: int) -> None:
        config, who = IpamConfig.parse(raw), owner(number)
        allowed = [self.twin.choices(config, i, who) for i in range(len(config.sets))]
        found = self.lease(config, who)
        if isinstance(found, CniError):
            assert not all(allowed), found
            assert found.code in REFUSALS
            return
        for lease, choices in zip(found.addresses, allowed, strict=True):
            assert lease.address in choices
            rested = {a for a in choices if self.twin.resting.get(a, 0.0) <= self.now}
            self.enter(lease.address, who, rested, config.cooldown)
        self.given.append((who, found))

    def lease(self, config: IpamConfig, who: Owner, *wanted: Requested) -> LeaseSet | CniError:
        try:
            return self.pools.lease("net", config, who, wanted)
        except CniError as error:
            return error

    def enter(self, address: str, who: Owner, rested: set[str], cooldown: float) -> None:
        # A pool counts the rest by its own configuration, so no more can be said of mixed ones.
        if cooldown == 30.0 and rested:
            assert address in rested
        self.twin.held[address] = who
        self.twin.resting.pop(address, None)

    @rule(raw=st.sampled_from(CONFIGS), number=st.integers(0, 12), last=st.integers(0, 16))
    def take_this(self, raw: dict[str, Any], number: int, last: int) -> None:
        config, who, text = IpamConfig.parse(raw), owner(number), f"10.0.0.{last}"
        if len(config.sets) > 1:
            return
        reserved = dict(config.pools[0][1].reservations).get(text, who.pod)
        usable = self.twin.usable(config, 0)
        second = any(h.key == who.key and a in usable for a, h in self.twin.held.items())
        wanted = (Requested(ip_address(text), "test"),)
        found = self.lease(config, who, *wanted)
        if isinstance(found, CniError):
            foreign = reserved not in (who.pod, who.container)
            refused = text not in usable or text in self.twin.held or foreign
            assert second if found.code == Code.ALREADY_ATTACHED else refused, found
            return
        assert [lease.address for lease in found.addresses] == [text]
        assert text in usable and not second
        assert text not in self.twin.held and reserved in (who.pod, who.container)
        self.enter(text, who, set(), 0)
        self.given.append((who, found))

    @rule(pick=st.integers(0, 1000), used=st.booleans())
    def give_back(self, pick: int, used: bool) -> None:
        if not self.given:
            return
        who, found = self.given.pop(pick % len(self.given))
        self.pools.release(who, found.addresses, used=used)
        for lease in found.addresses:
            del self.twin.held[lease.address]
            if used and lease.cooldown:
                self.twin.resting[lease.address] = self.now + lease.cooldown

    @rule(pick=st.integers(0, 1000))
    def somebody_else_gives_back(self, pick: int) -> None:
        if self.given:
            self.pools.release(owner(99), self.given[pick % len(self.given)][1].addresses)

    @rule(seconds=st.sampled_from([1.0, 7.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def restart(self) -> None:
        self.pools = Pools.of(_Stored(self), lambda: self.now)  # type: ignore[arg-type]

    @invariant()
    def everybody_holds_what_was_given(self) -> None:
        if not hasattr(self, "given"):
            return
        every = [(lease.address, who) for who, found in self.given for lease in found.addresses]
        assert len({address for address, _ in every}) == len(every)
        for address, who in every:
            holder = self.pools.holder("net", address)
            assert holder is not None and holder.key == who.key


class _Stored:
    """What a store would say after a restart."""

    def __init__(self, machine: PoolsMachine) -> None:
        self.machine = machine

    def all(self) -> list[Attachment]:
        return [
            Attachment(
                network="net",
                container=who.container,
                ifname=who.ifname,
                plugin="t",
                leases=found.addresses,
            )
            for who, found in self.machine.given
        ]

    def cooling(self) -> list[Cooling]:
        resting = sorted(self.machine.twin.resting.items(), key=lambda item: item[1])
        return [
            Cooling(Lease("net", address, 24, None, 30.0), until - 30.0)
            for address, until in resting
            if until > self.machine.now
        ]


TestPools = PoolsMachine.TestCase
TestPools.settings = settings(stateful_step_count=40)
