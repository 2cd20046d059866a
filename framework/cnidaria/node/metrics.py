"""What the agent measures: itself, its networks, and what their modes add."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from typing import Final

from cnidaria.cni.errors import CniError
from cnidaria.kernel.netns import NetNS
from cnidaria.metrics import Metric, Page, Sample
from cnidaria.node.calls import CALLS, DURATION, Calls
from cnidaria.node.frame import Call, Reply
from cnidaria.node.keeper import Keeper
from cnidaria.node.networks import Opened
from cnidaria.node.state import State

log = logging.getLogger(__name__)

BUILD: Final = Metric(
    "cnidaria_build_info", "gauge", "Always 1; the version of the agent.", ("version",)
)
STARTED: Final = Metric(
    "cnidaria_agent_start_time_seconds", "gauge", "When the agent started, seconds since the epoch."
)
PROBLEMS: Final = Metric(
    "cnidaria_problems", "gauge", "What is wrong now: as many problems as cnidaria status tells."
)
FAILURES: Final = Metric(
    "cnidaria_metrics_failures_total",
    "counter",
    "Times that a source of metrics failed, so that its numbers are missing; the log says why.",
    ("source",),
)
UP: Final = Metric(
    "cnidaria_network_up",
    "gauge",
    "1 if the network is in force on this node, 0 if a problem keeps it from that.",
    ("network", "type"),
)
ATTACHMENTS: Final = Metric(
    "cnidaria_attachments",
    "gauge",
    "Attachments of pods on this node, of each plugin of a network.",
    ("network", "type"),
)
ADDRESSES: Final = Metric(
    "cnidaria_addresses",
    "gauge",
    "Addresses of a pool of ours by state: taken, reserved (for a pod that is not there), free.",
    ("network", "pool", "state"),
)
BLOCKS: Final = Metric(
    "cnidaria_cluster_blocks",
    "gauge",
    "Blocks of the cluster's pools that this node holds.",
    ("network",),
)
STORE_UP: Final = Metric(
    "cnidaria_cluster_store_up",
    "gauge",
    "1 if the cluster store can be read and this node's heartbeat written, else 0.",
    ("store",),
)
STORE_NEWS: Final = Metric(
    "cnidaria_cluster_store_last_change_timestamp_seconds",
    "gauge",
    "When the store last told of a change of nodes or prefixes, seconds since the epoch.",
    ("store",),
)
NODES: Final = Metric(
    "cnidaria_cluster_nodes", "gauge", "Living nodes that the store tells of.", ("store",)
)
OBJECTS: Final = Metric(
    "cnidaria_node_objects", "gauge", "Kernel objects that the networks want on the node itself."
)
SYNCS: Final = Metric(
    "cnidaria_reconciles_total", "counter", "Times that the node's own state was reconciled."
)
SYNC_ERRORS: Final = Metric(
    "cnidaria_reconcile_errors_total",
    "counter",
    "Changes of the node's own state that the kernel refused, or could not be asked for.",
)
REPAIRS: Final = Metric(
    "cnidaria_repairs_total",
    "counter",
    "Objects that others removed or changed and that were put back, by kind.",
    ("kind",),
)
REFUSED: Final = Metric(
    "cnidaria_repairs_refused_total", "counter", "Objects that could not be put back."
)

PATIENCE: Final = 2.0
"""Seconds for another collection to end: each one that waits has a thread that calls could use."""

METRICS: Final = (
    *(BUILD, STARTED, PROBLEMS, FAILURES, CALLS, DURATION, UP, ATTACHMENTS, ADDRESSES, BLOCKS),
    *(STORE_UP, STORE_NEWS, NODES, OBJECTS, SYNCS, SYNC_ERRORS, REPAIRS, REFUSED),
)
"""All of the agent's own."""


class Metrics:
    """Collects when asked. Thread-safe, one collection at a time.

    A source that fails is left out and counted: the others' numbers are told nevertheless.
    """

    def __init__(self, state: State, keeper: Keeper, host: NetNS, calls: Calls) -> None:
        self._state = state
        self._keeper = keeper
        self._host = host
        self._calls = calls
        self._started = time.time()
        self._failures: Counter[str] = Counter()
        self._said: dict[str, str] = {}
        self._source = ""  # that is asked now
        self._lock = threading.Lock()

    def answer(self, call: Call) -> Reply:
        """Answers the command line's question, and whatever else the calls' answerer does."""
        if not call.ask:
            return self._calls.answer(call)
        try:
            if call.ask == "metrics text":
                return Reply(0, self.text())
            if call.ask == "metrics json":
                return Reply(0, json.dumps(self.page().to_json()).encode())
        except TimeoutError as error:
            return Reply(1, b"", str(error).encode())
        return Reply(1, b"", f"does not know the question {call.ask!r}".encode())

    def text(self) -> bytes:
        """In the text format. Raises as :meth:`page`."""
        return self.page().text().encode()

    def page(self) -> Page:
        """All numbers now.

        Raises:
            TimeoutError: those who ask wait for a source that does not come to an end.
        """
        if not self._lock.acquire(timeout=PATIENCE):
            raise TimeoutError(f"metrics of {self._source}: are still being collected")
        page = Page()
        try:
            for name, source in self._sources():
                self._source = name
                try:
                    page.add(source())
                except Exception as error:
                    self._failures[name] += 1
                    if self._said.get(name) != str(error):
                        self._said[name] = str(error)
                        log.exception("metrics of %s", name)
            page.add(FAILURES.sample(count, name) for name, count in self._failures.items())
        finally:
            self._lock.release()
        return page

    def _sources(self) -> Iterator[tuple[str, Callable[[], Iterable[Sample]]]]:
        yield "agent", self._agent
        yield "calls", self._calls.samples
        yield "networks", self._networks
        yield "pools", self._pools
        yield "cluster", lambda: cluster(self._state, self._keeper.opened)
        for one in self._keeper.opened:
            name = f"network {one.net.name} ({one.conf.type})"
            yield name, partial(one.mode.metrics, one.net, self._host)

    def _agent(self) -> Iterator[Sample]:
        keeper = self._keeper
        yield BUILD.sample(1, version("cnidaria"))
        yield STARTED.sample(self._started)
        yield PROBLEMS.sample(len(keeper.all_problems()))
        yield OBJECTS.sample(keeper.objects)
        yield SYNCS.sample(keeper.syncs)
        yield SYNC_ERRORS.sample(keeper.sync_errors)
        repairs = dict(keeper.repairer.counts)
        yield REFUSED.sample(repairs.pop("refused", 0))
        for kind, count in repairs.items():
            yield REPAIRS.sample(count, kind)

    def _networks(self) -> Iterator[Sample]:
        usable = {one.id for one in self._keeper.opened if not self._state.networks.why_not(one)}
        known = {*self._keeper.configured, *(one.id for one in self._keeper.opened)}
        for network in sorted(known):
            is_up = network in usable and not self._keeper.clash(network, self._host)
            yield UP.sample(is_up, *network)
        counts: Counter[tuple[str, str]] = Counter(dict.fromkeys(known, 0))
        for one in self._state.store.all():
            if one.state == "attached" and one.host_cookie == self._host.cookie:
                counts[one.network, one.plugin] += 1
        for network, count in counts.items():
            yield ATTACHMENTS.sample(count, *network)

    def _pools(self) -> Iterator[Sample]:
        told: set[tuple[str, str]] = set()
        for one in self._keeper.opened:
            name, blocks = one.net.name, 0
            with suppress(CniError):  # the network's problem says so
                for pool in self._state.addresses.usage(one.conf, one.cluster):
                    blocks += pool.is_block
                    if (name, pool.name) in told:
                        continue
                    told.add((name, pool.name))
                    yield ADDRESSES.sample(pool.taken, name, pool.name, "taken")
                    yield ADDRESSES.sample(pool.reserved, name, pool.name, "reserved")
                    yield ADDRESSES.sample(pool.free, name, pool.name, "free")
                if blocks:
                    yield BLOCKS.sample(blocks, name)


def cluster(state: State, opened: Iterable[Opened]) -> Iterator[Sample]:
    """The stores of these networks."""
    for config in {one.cluster.store: one.cluster for one in opened if one.cluster}.values():
        name = without_secrets(config.store)
        news = state.membership.news(config)
        yield STORE_UP.sample(news.is_reachable, name)
        if news.at:
            yield STORE_NEWS.sample(news.at, name)
            yield NODES.sample(news.nodes, name)


def without_secrets(url: str) -> str:
    """A store's URL without who asks it, and how."""
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        return url.partition("?")[0]
    where, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{where.rpartition('@')[2]}{slash}{path}"
