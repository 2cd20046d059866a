"""ADD and DEL against the reference plugins, as a runtime executes them."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from contestants import Agent, Contestant, reference, reference_dir, scratch
from figures import ratio, summary, table
from hosts import Host

from cnidaria.cni.errors import CniError
from cnidaria.testing.runtime import Attachment, execute

MODES = ("flat", "overlay")
CHAINS = ("ptp", "ptp+firewall")
STACKS = ("v4", "dual")
WARM_UP = 2
DUAL_STACK_SHARE = 4
"""The reference plugins wait for duplicate address detection: so many fewer rounds for that."""

Times = dict[str, dict[str, Any]]


def arguments(parser: argparse.ArgumentParser) -> None:
    names = (*MODES, *CHAINS)
    parser.add_argument("--rounds", type=int, default=60, help="ADDs of each (default %(default)s)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=names,
        default=names,
        metavar="NAME",
        help=f"of {', '.join(names)}; default: all",
    )
    parser.add_argument("--at-once", type=int, default=100, help="default %(default)s")
    parser.add_argument("--pods", type=int, default=200, help="for memory; default %(default)s")
    parser.add_argument("--held", type=int, default=4000, help="leases; default %(default)s")


def run(options: argparse.Namespace) -> dict[str, Any]:
    with contextlib.ExitStack() as held:
        arena = Arena(held, options.only)
        found: dict[str, Any] = {"options": {**vars(options)}, "left_out": arena.left_out}
        found["empty_program"] = floor(arena.host(), options.rounds)
        sequential = {}
        for stack in STACKS:
            rounds = options.rounds if stack == "v4" else options.rounds // DUAL_STACK_SHARE
            sequential[stack] = one_by_one(arena.contestants(stack), max(rounds, 1))
            show(f"one by one, {stack} (ms)", sequential[stack])
        found["one_by_one"] = sequential
        found["at_once"] = many_at_once(arena.contestants("v4"), options.at_once)
        show_rates(f"{options.at_once} at once, v4", found["at_once"])
        found["memory"] = memory(arena, options.pods)
        found["held"] = with_leases(arena, options.held, max(options.rounds // 2, 1))
        show(f"with {options.held} leases held, v4 (ms)", found["held"])
        return found


class Arena:
    """The hosts, our agent, and who takes part."""

    def __init__(self, held: contextlib.ExitStack, only: Sequence[str]) -> None:
        self._held = held
        self.modes = [mode for mode in MODES if mode in only]
        wanted = [chain for chain in CHAINS if chain in only]
        self.chains = [chain for chain in wanted if self._bin_dir(chain)]
        self.left_out = [chain for chain in wanted if chain not in self.chains]
        for chain in self.left_out:
            print(f"left out: {chain}, a plugin is not installed (containernetworking-plugins)")
        self.agent = self.start_agent() if self.modes else None
        self._references = {
            (chain, stack): self.reference(chain, stack)
            for chain in self.chains
            for stack in STACKS
        }

    @staticmethod
    def _bin_dir(chain: str) -> Path | None:
        return reference_dir([*chain.split("+"), "host-local"])

    def host(self) -> Host:
        host = Host()
        self._held.callback(host.close)
        return host

    def start_agent(self) -> Agent:
        networks = [(mode, stack) for mode in self.modes for stack in STACKS]
        agent = Agent(self.host(), self._held.enter_context(scratch()), networks)
        self._held.callback(agent.close)
        return agent

    def reference(self, chain: str, stack: str, held: int = 0) -> Contestant:
        bin_dir = self._bin_dir(chain)
        assert bin_dir is not None
        directory = self._held.enter_context(scratch())
        return reference(chain, stack, self.host(), directory, bin_dir=bin_dir, held=held)

    def contestants(self, stack: str) -> list[Contestant]:
        ours = [self.agent.contestant(mode, stack) for mode in self.modes] if self.agent else []
        return [*ours, *(self._references[chain, stack] for chain in self.chains)]


def floor(host: Host, rounds: int) -> dict[str, float]:
    """Executing a program that does nothing: a part of every other figure."""

    def once() -> float:
        start = time.perf_counter()
        execute(shutil.which("true") or "/bin/true", b"{}", {}, timeout=10)
        return time.perf_counter() - start

    found = summary([host.netns.run(once) for _ in range(rounds)])
    print(f"executing an empty program: p50 {found['p50_ms']:.2f} ms")
    return found


def one_by_one(contestants: Sequence[Contestant], rounds: int) -> Times:
    """Each adds and deletes one pod per round; who begins changes from round to round."""
    adds: dict[str, list[float]] = {one.name: [] for one in contestants}
    dels: dict[str, list[float]] = {one.name: [] for one in contestants}
    for number in range(WARM_UP + rounds):
        shift = number % len(contestants)
        for one in (*contestants[shift:], *contestants[:shift]):
            (pod,) = one.new_pods(1)
            add, delete = one.add(pod), one.delete(pod)
            if number >= WARM_UP:
                adds[one.name].append(add)
                dels[one.name].append(delete)
    times: Times = {name: {"add": summary(adds[name]), "del": summary(dels[name])} for name in adds}
    return with_ratios(times)


def with_ratios(times: Times) -> Times:
    """Ours against each reference chain, by the median."""
    for name in times:
        if not name.startswith("ptp"):
            times[name]["ratio"] = {
                chain: {
                    verb: ratio(times[name][verb], times[chain][verb]) for verb in ("add", "del")
                }
                for chain in times
                if chain.startswith("ptp")
            }
    return times


def many_at_once(contestants: Sequence[Contestant], count: int, rounds: int = 3) -> Times:
    """All ADDs together, then all DELs together."""
    found: dict[str, dict[str, list[Burst]]] = {}
    with ThreadPoolExecutor(count) as pool:
        for _ in range(rounds):
            for one in contestants:
                pods = one.new_pods(count)
                bursts = found.setdefault(one.name, {"add": [], "del": []})
                bursts["add"].append(Burst(pool, one.add, pods))
                bursts["del"].append(Burst(pool, one.delete, pods))
    return {
        name: {verb: Burst.merged(bursts) for verb, bursts in verbs.items()}
        for name, verbs in found.items()
    }


class Burst:
    """One verb for many pods at the same time."""

    def __init__(self, pool: ThreadPoolExecutor, verb: Any, pods: Sequence[Attachment]) -> None:
        self.seconds: list[float] = []
        self.errors: list[str] = []
        start = time.perf_counter()
        for future in [pool.submit(verb, pod) for pod in pods]:
            try:
                self.seconds.append(future.result())
            except CniError as error:
                self.errors.append(str(error))
        self.rate = len(self.seconds) / (time.perf_counter() - start)

    @staticmethod
    def merged(bursts: Sequence[Burst]) -> dict[str, Any]:
        """The median rate (pods a second) and the times of all."""
        rates = sorted(burst.rate for burst in bursts)
        errors = [error for burst in bursts for error in burst.errors]
        seconds = [one for burst in bursts for one in burst.seconds] or [float("nan")]
        return {
            "per_s": round(rates[len(rates) // 2], 1),
            **summary(seconds),
            "errors": len(errors),
            "first_error": next(iter(errors), ""),
        }


def memory(arena: Arena, pods: int) -> dict[str, Any]:
    """The agent's, fresh and with pods."""
    if arena.agent is None:
        return {}
    agent = arena.start_agent()
    idle = agent.memory()
    one = agent.contestant(arena.modes[0], "dual")
    attached = one.new_pods(pods)
    for pod in attached:
        one.add(pod)
    full = agent.memory()
    for pod in attached:
        one.delete(pod)
    per_pod = {key: round((full[key] - idle[key]) / pods, 2) for key in idle}
    found: dict[str, dict[str, Any]] = {"idle": idle, f"with_{pods}_pods": full, "per_pod": per_pod}
    rows = [(name, values["rss_kib"], values["pss_kib"]) for name, values in found.items()]
    table("agent memory (KiB)", ("", "RSS", "PSS"), rows)
    return found


def with_leases(arena: Arena, held: int, rounds: int) -> Times:
    """The same with and without leases held by others, in turns."""
    contestants = []
    if arena.agent is not None:
        mode = arena.modes[0]
        agent = arena.start_agent()
        agent.hold(mode, "v4", held)
        contestants += [
            arena.agent.contestant(mode, "v4"),
            agent.contestant(mode, "v4", f"{mode}, held"),
        ]
    for chain in arena.chains[:1]:
        full = arena.reference(chain, "v4", held)
        full.name = f"{chain}, held"
        contestants += [arena.reference(chain, "v4"), full]
    return one_by_one(contestants, rounds)


def show(title: str, times: Mapping[str, Mapping[str, Any]]) -> None:
    head = ["", "ADD p50", "p90", "p99", "DEL p50", "p90", "p99", "ratio ADD/DEL p50"]
    keys = ("p50_ms", "p90_ms", "p99_ms")
    table(title, head, ([*_row(name, found, keys)] for name, found in times.items()))


def _row(name: str, found: Mapping[str, Any], keys: Sequence[str]) -> Iterator[Any]:
    yield name
    yield from (found[verb][key] for verb in ("add", "del") for key in keys)
    against = found.get("ratio", {})
    yield ", ".join(f"{one['add']:.3f}/{one['del']:.3f} of {c}" for c, one in against.items())


def show_rates(title: str, times: Mapping[str, Mapping[str, Any]]) -> None:
    head = ["", "ADD pods/s", "p50 ms", "p99 ms", "DEL pods/s", "p50 ms", "p99 ms", "errors"]
    keys = ("per_s", "p50_ms", "p99_ms")
    table(
        title,
        head,
        (
            [
                name,
                *(found[v][key] for v in ("add", "del") for key in keys),
                found["add"]["errors"] + found["del"]["errors"],
            ]
            for name, found in times.items()
        ),
    )
