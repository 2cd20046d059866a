"""What is measured of a network's policies."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from cnidaria import Histogram, Metric, Sample
from cnidaria.kinds import NetNS

if TYPE_CHECKING:
    from cnidaria_policy.enforcer import Enforcer

IN_FORCE: Final = Metric(
    "cnidaria_policy_in_force",
    "gauge",
    "1 if the kernel does what the sources last said, 0 if it is not known or the kernel refuses.",
    ("network",),
)
PODS: Final = Metric(
    "cnidaria_policy_pods",
    "gauge",
    "Pods of this node that policies are enforced for.",
    ("network",),
)
OBJECTS: Final = Metric(
    "cnidaria_policy_objects",
    "gauge",
    "Policies, and what they are about, that the sources tell of, by kind.",
    ("network", "kind"),
)
REFUSED: Final = Metric(
    "cnidaria_policy_refused",
    "gauge",
    "What is refused now: files, objects of the cluster store or of the API server.",
    ("network", "source"),
)
UP: Final = Metric(
    "cnidaria_policy_source_up",
    "gauge",
    "1 if a source can be read: files, the cluster store, the API server; else 0.",
    ("network", "source"),
)
PROBLEMS: Final = Metric(
    "cnidaria_policy_problems", "gauge", "What is wrong with the sources now.", ("network",)
)
ENTRIES: Final = Metric(
    "cnidaria_policy_table_entries",
    "gauge",
    "What the network's nftables table is made of: chains, rules, sets, elements.",
    ("network", "kind"),
)
TRANSACTIONS: Final = Metric(
    "cnidaria_policy_transactions_total",
    "counter",
    "Changes of the table that the kernel took as a whole, or refused as a whole.",
    ("network", "result"),
)
RETRIES: Final = Metric(
    "cnidaria_policy_retries_total",
    "counter",
    "Transactions that were tried because the one before was refused.",
    ("network",),
)
NEWS: Final = Metric(
    "cnidaria_policy_news_to_kernel_seconds",
    "histogram",
    "From a source's first word of a change to its being in force.",
    ("network",),
)
PACKETS: Final = Metric(
    "cnidaria_policy_packets_total",
    "counter",
    "Packets that began a connection, or were denied, by what was done with them.",
    ("network", "verdict"),
)

METRICS: Final = (
    *(IN_FORCE, PODS, OBJECTS, UP, REFUSED, PROBLEMS),
    *(ENTRIES, TRANSACTIONS, RETRIES, NEWS, PACKETS),
)

BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
POLICIES: Final = (
    "NetworkPolicy",
    "ClusterNetworkPolicy",
    "AdminNetworkPolicy",
    "BaselineAdminNetworkPolicy",
)
VERDICTS: Final = ("allowed", "denied", "reset", "audited")
SELDOM: Final = 100
"""The kernel's counters are read at most once in so many times of what reading them took."""


class Counts:
    """What one enforcer has done, and what the kernel has counted for it.

    Attributes:
        applied, failed: transactions.
        retries: those of them that came after one that failed.
        news: how long it took to follow the sources.
    """

    def __init__(self, network: str) -> None:
        self.applied = 0
        self.failed = 0
        self.retries = 0
        self.news = Histogram(NEWS, BOUNDS, (network,))
        self.packets = Packets()
        self._has_failed = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is inside is one; it raises where it fails."""
        self.retries += self._has_failed
        try:
            yield
        except BaseException:
            self.failed += 1
            self._has_failed = True
            raise
        self.applied += 1
        self._has_failed = False


class Packets:
    """Sums of the kernel's counters that never fall, though chains come and go. Thread-safe."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter(dict.fromkeys(VERDICTS, 0))
        self._before: dict[str, int] = {}
        self._again_at = 0.0
        self._lock = threading.Lock()

    def look(self, enforcer: Enforcer, namespace: NetNS) -> None:
        """Read them, unless that was done a moment ago.

        Raises:
            KernelError: the kernel does not answer.
        """
        with self._lock:
            begin = time.monotonic()
            if begin >= self._again_at:
                self.take(enforcer.table.counters(namespace))
                end = time.monotonic()
                self._again_at = end + SELDOM * (end - begin)

    def take(self, now: dict[str, int]) -> None:
        """Add what was counted since the last time, by chain; one made anew began at 0."""
        for chain, packets in now.items():
            before = self._before.get(chain, 0)
            if verdict := verdict_of(chain):
                self.sums[verdict] += packets - before if packets >= before else packets
        self._before = now


def verdict_of(chain: str) -> str:
    """What is done in a chain; ``""``: nothing is decided there."""
    if "-audit-" in chain:
        return "audited"
    does = {"allow": "allowed", "deny": "denied", "torn": "reset"}
    return does.get(chain.partition("-")[0], "")


def samples(enforcer: Enforcer, namespace: NetNS) -> Iterator[Sample]:
    """Of one network.

    Raises:
        KernelError: the kernel does not answer.
    """
    network, counts = enforcer.network, enforcer.counts
    yield IN_FORCE.sample(enforcer.is_sure, network)
    yield PODS.sample(enforcer.world.size, network)
    for kind, count in {**dict.fromkeys(POLICIES, 0), **enforcer.world.kinds()}.items():
        yield OBJECTS.sample(count, network, kind)
    for source, is_up in enforcer.sources.reachable.items():
        yield UP.sample(is_up, network, source)
    for source, count in enforcer.sources.refused.items():
        yield REFUSED.sample(count, network, source)
    yield PROBLEMS.sample(len(enforcer.problems), network)
    rules = enforcer.program.rules
    chains, elements = list(rules.chains.values()), list(rules.elements.values())
    yield ENTRIES.sample(len(chains), network, "chain")
    yield ENTRIES.sample(sum(len(one.rules) for one in chains), network, "rule")
    yield ENTRIES.sample(len(rules.sets), network, "set")
    yield ENTRIES.sample(sum(map(len, elements)), network, "element")
    yield TRANSACTIONS.sample(counts.applied, network, "applied")
    yield TRANSACTIONS.sample(counts.failed, network, "failed")
    yield RETRIES.sample(counts.retries, network)
    yield from counts.news.samples()
    counts.packets.look(enforcer, namespace)
    for verdict, packets in counts.packets.sums.items():
        yield PACKETS.sample(packets, network, verdict)
