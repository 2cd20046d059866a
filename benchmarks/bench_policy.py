"""What policies cost: packets, connections and changes, beside iptables and NFQUEUE."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import figures

sys.path.append(str(Path(__file__).parent / "core"))

import plots
from policy_cluster import Cluster, Scale
from programs import Missing
from rounds import Spread, spread

RESULTS = Path(__file__).parent / "results"
SIZES = (0, 100, 10_000)
SLOW = 10
"""The queue decides each connection by itself: so many fewer for that."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=7, help="default %(default)s")
    parser.add_argument("--connections", type=int, default=1000, help="a round; %(default)s")
    parser.add_argument("--packets", type=int, default=20_000, help="a round; %(default)s")
    parser.add_argument("--pods", type=int, default=10_000, help="default %(default)s")
    parser.add_argument("--seconds", type=float, default=5.0, help="of changes; %(default)s")


def run(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {"options": {**vars(options)}, "left_out": {}}
    with contextlib.ExitStack() as held:
        contestants = enter(found, held, options.pods)
        found["traffic"] = traffic(contestants, options)
    show(found["traffic"])
    found["changes"] = changes(options)
    RESULTS.mkdir(exist_ok=True)
    draw(found)
    return found


def enter(found: dict[str, Any], held: contextlib.ExitStack, pods: int) -> dict[str, Any]:
    """A node of its own for each, with its policies in force."""
    from policy_ways import Node, by_cnidaria, by_iptables, by_queue

    folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
    wanted: dict[str, tuple[Callable[..., dict[str, Any]], int]] = {
        "no firewall": (lambda *_: {}, 0),
        **{f"cnidaria, {size}": (by_cnidaria, size) for size in SIZES},
        **{f"iptables, {size}": (by_iptables, size) for size in SIZES[1:]},
        **{f"NFQUEUE, {size}": (partial(by_queue, folder=folder), size) for size in SIZES[1:]},
    }
    contestants: dict[str, Any] = {}
    found["tables"] = {}
    for name, (enforce, policies) in wanted.items():
        node = Node()
        held.callback(node.close)
        try:
            found["tables"][name] = enforce(node, policies, pods)
            node.connect(3)
        except (Missing, OSError, RuntimeError) as why:
            print(f"left out: {name}: {why}")
            found["left_out"][name] = str(why)
            continue
        contestants[name] = node
    return contestants


def traffic(contestants: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Who begins changes from round to round."""
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    taken: dict[str, list[list[float]]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(options.rounds):
        shift = number % len(names)
        for name in (*names[shift:], *names[:shift]):
            share = SLOW if name.startswith("NFQUEUE") else 1
            taken[name].append(contestants[name].connect(options.connections // share))
            rates[name].append(contestants[name].packets(options.packets))
    found: dict[str, Any] = {}
    base = "cnidaria, 0"
    for name in names:
        found[name] = {
            "packets_per_s": spread(rates[name], 0),
            **{
                f"connect_p{wanted}_us": spread(
                    [figures.percentile(one, wanted) * 1e6 for one in taken[name]], 1
                )
                for wanted in (50, 99)
            },
            # Round by round: what the machine does otherwise between rounds falls out.
            "packets_ratio": spread(
                [one / own for one, own in zip(rates[name], rates[base], strict=True)]
            ),
            "connect_ratio": spread(
                [
                    figures.percentile(one, 50) / figures.percentile(own, 50)
                    for one, own in zip(taken[name], taken[base], strict=True)
                ]
            ),
        }
    return found


def show(found: dict[str, Any]) -> None:
    head = ("medians", "packets/s", "connect p50 us", "p99 us", "packets / 0", "connect / 0")
    keys = ("packets_per_s", "connect_p50_us", "connect_p99_us", "packets_ratio", "connect_ratio")
    rows = [(name, *(one[key]["median"] for key in keys)) for name, one in found.items()]
    figures.table("one node, 10,000 pods, by number of policies", head, rows)


# -- changes ---------------------------------------------------------------------------------------


def changes(options: argparse.Namespace) -> dict[str, Any]:
    """100 pods a second come or go, 1,000 policies; each is written and read back."""
    from cnidaria_core import PolicyEngine
    from hosts import new_namespace
    from policy_ways import TABLE

    from cnidaria import NftTable
    from cnidaria.kinds import Ruleset, WholeTable, difference
    from cnidaria_policy.program import Program

    cluster = Cluster(Scale(pods=options.pods))
    engine, node = PolicyEngine(), "node-0"
    engine.load(cluster.objects())
    with new_namespace() as place:
        table, program = WholeTable(NftTable(TABLE), "a benchmark's"), Program(TABLE)
        began = time.perf_counter()
        tables = engine.tables(node)
        program.update(tables)
        table.change(place, difference(Ruleset(), program.rules), program.rules.sets)
        whole = time.perf_counter() - began
        version, taken = tables.version, {"elsewhere": [], "here": []}  # type: ignore[var-annotated]
        cpu, start = time.process_time(), time.perf_counter()
        count = int(100 * options.seconds)
        for number in range(count):
            pod = cluster.pod(options.pods + number // 2)
            where = "here" if number // 2 % 2 else "elsewhere"
            pod["spec"]["nodeName"] = node if where == "here" else "node-1"
            began = time.perf_counter()
            if number % 2:
                engine.delete("Pod", pod["metadata"]["name"], pod["metadata"]["namespace"])
            else:
                engine.apply(pod)
            told = engine.changes_since(version, node)
            version = told.version
            table.change(place, program.update(told), program.rules.sets)
            if where == "here" and not number % 2:
                assert not table.unlike(place, program.of([pod["status"]["podIP"]]))
            taken[where].append(time.perf_counter() - began)
            time.sleep(max(0.0, start + (number + 1) / 100 - time.perf_counter()))
        share = (time.process_time() - cpu) / (time.perf_counter() - start)
    found = {
        "first_write_s": round(whole, 3),
        "entries": len(program.rules),
        "cpu_percent": round(share * 100, 1),
        **{where: figures.summary(some) for where, some in taken.items()},
    }
    rows = [(where, *(found[where][f"p{p}_ms"] for p in (50, 99))) for where in taken]
    title = f"100 pods/s, {options.pods} pods, 1,000 policies, ms (CPU {found['cpu_percent']} %)"
    figures.table(title, ("a pod comes or goes", "p50", "p99"), rows)
    return found


def draw(found: dict[str, Any]) -> None:
    for key, unit, title in (
        ("packets_per_s", "packets/s", "Packets of one flow"),
        ("connect_p50_us", "us", "A TCP connection through the node, p50"),
        ("connect_p99_us", "us", "A TCP connection through the node, p99"),
    ):
        some: dict[str, Spread] = {name: one[key] for name, one in found["traffic"].items()}
        path = RESULTS / f"policy-{key.removesuffix('_per_s')}.svg"
        plots.bars(path, title, unit, some, logarithmic=key != "packets_per_s")
