"""RouteTable on routes as BGP has them, beside the tables of Rust, Go, DPDK and Python."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from array import array
from collections.abc import Callable, Sequence
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import bgp
import plots
from cnidaria_core import RouteTable
from programs import Missing, Program
from rounds import Pass, alternate, costs, left_out, rates, ratios, show, spread, warm

OURS = "cnidaria"
# Name -> program, its table, families.
PROGRAMS = {
    OURS: ("routes-rust", OURS, (4, 6)),
    "DPDK rte_fib": ("routes-dpdk", "fib", (4, 6)),
    "DPDK rte_lpm": ("routes-dpdk", "lpm", (4,)),
    "bart": ("routes-bart", "", (4, 6)),
    "prefix-trie": ("routes-rust", "prefix-trie", (4, 6)),
    "treebitmap": ("routes-rust", "treebitmap", (4, 6)),
    "ip_network_table": ("routes-rust", "ip_network_table", (4, 6)),
}
MIXES = {"hits": bgp.hits, "misses": bgp.misses, "skewed": bgp.skewed}
GOALS = {
    "v4": {"m_per_s": 100.0, "of_rte_fib": 1.1, "lookup_bytes": 10.0},
    "v6": {"m_per_s": 65.0, "of_rte_fib": 3.5, "lookup_bytes": 16.0},
    "int_call_ns": 150.0,
    "str_call_ns": 200.0,
    "whole_bytes": 48.0,
    "load_1m_seconds": 0.3,
    "update_us": {"p50": 1.0, "p99": 20.0},
}

Find = Callable[[str], object]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--v4", type=int, default=1_000_000, help="prefixes")
    parser.add_argument("--v6", type=int, default=200_000, help="prefixes")
    parser.add_argument("--queries", type=int, default=1_000_000, help="addresses of each mix")
    parser.add_argument("--calls", type=int, default=100_000, help="calls from Python")
    parser.add_argument("--updates", type=int, default=20_000, help="prefixes changed")


def run(options: argparse.Namespace, results: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"goals": GOALS}
    for family, count in ((4, options.v4), (6, options.v6)):
        with tempfile.TemporaryDirectory() as folder:
            of_family = found[f"v{family}"] = {"prefixes": count}
            table = bgp.routes(family, count)
            queries = {name: make(table, options.queries) for name, make in MIXES.items()}
            write(table, queries, options, Path(folder))
            programs(of_family, options, family, Path(folder))
            from_python(of_family, options, table, queries["hits"])
        plots.bars(
            results / f"core-routes-v{family}.svg",
            f"Longest-prefix matches, {count:,} IPv{family} prefixes, random hits",
            "M lookups/s",
            of_family["m_per_s"]["hits"],
            {"goal": GOALS[f"v{family}"]["m_per_s"], "memory": of_family["limit"]["median"]},
        )
        plots.bars(
            results / f"core-routes-python-v{family}.svg",
            f"One lookup from Python, {count:,} IPv{family} prefixes",
            "ns",
            of_family["call_ns"],
            {"goal": GOALS["int_call_ns"]},
            logarithmic=True,
        )
    return found


def write(
    table: bgp.Routes, queries: dict[str, list[int]], options: argparse.Namespace, folder: Path
) -> None:
    table.save(folder)
    for name, addresses in queries.items():
        bgp.save(folder / name, table.family, addresses)
    source = random.Random(5)
    which = [source.randrange(len(table.prefixes)) for _ in range(options.updates)]
    (folder / "updates").write_bytes(array("I", which).tobytes())
    (folder / "random").write_bytes(source.randbytes(4 * options.queries))


def programs(found: dict[str, Any], options: argparse.Namespace, family: int, folder: Path) -> None:
    """All that are programs: loading, memory, lookups in bulk, updates."""
    running: dict[str, Program] = {}
    found["load"] = {}
    for name, (program, table, families) in PROGRAMS.items():
        if family not in families:
            continue
        try:
            running[name] = Program(program, [table] if table else [])
        except Missing as why:
            left_out(found, name, str(why))
            continue
        found["load"][name] = running[name].ask(f"load {family} {folder}")
    show_loads(found, family)
    found["m_per_s"], found["ratio"] = {}, {}
    for mix in MIXES:
        sums: dict[str, int] = {}
        seconds = alternate(
            {name: bulk(one, folder / mix, sums, name) for name, one in running.items()},
            options.rounds,
        )
        if len(set(sums.values())) != 1:
            raise SystemExit(f"the tables do not agree about IPv{family} {mix}: {sums}")
        found["m_per_s"][mix] = rates(seconds, options.queries)
        if OURS in seconds:
            found["ratio"][mix] = ratios(seconds, OURS)
        show(f"IPv{family}, {mix}, in bulk", "M lookups/s", found["m_per_s"][mix])
    found["limit"] = limit(found, options, folder)
    found["updates_ns"] = {
        name: one.ask(f"updates {folder / 'updates'}") for name, one in running.items()
    }
    show_updates(found, family)
    for one in running.values():
        one.close()


def bulk(program: Program, file: Path, sums: dict[str, int], name: str) -> Pass:
    def one_pass() -> float:
        answer = program.ask(f"bulk {file}")
        sums[name] = answer["sum"]
        return float(answer["seconds"])

    return one_pass


def limit(found: dict[str, Any], options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Reads of random words of as much memory as our lookup structure takes."""
    size = int(found["load"].get(OURS, {}).get("lookup") or 1 << 23)
    try:
        program = Program("routes-rust", [OURS])
    except Missing:
        return spread([0.0])
    ask = f"limit {folder / 'random'} {size}"
    reads = alternate({"memory": lambda: float(program.ask(ask)["seconds"])}, options.rounds)
    program.close()
    shown = rates(reads, options.queries)
    show(f"random reads of {size >> 10:,} KiB, without pointers", "M reads/s", shown)
    return shown["memory"]


def show_loads(found: dict[str, Any], family: int) -> None:
    count = found["prefixes"]
    print(f"\nIPv{family}: {count:,} prefixes loaded")
    for name, one in found["load"].items():
        lookup = f", to look up {one['lookup'] / count:.1f}" if one["lookup"] else ""
        print(f"{name:18} {one['seconds']:8.3f} s {one['total'] / count:8.1f} B/prefix{lookup}")


def show_updates(found: dict[str, Any], family: int) -> None:
    print(f"\nIPv{family}: one prefix removed and inserted again (us)")
    for name, one in found["updates_ns"].items():
        cells = [
            f"{verb} p50 {one[verb]['p50'] / 1e3:7.2f} p99 {one[verb]['p99'] / 1e3:7.2f}"
            for verb in ("remove", "insert")
        ]
        print(f"{name:18} {'   '.join(cells)}")


# -- from Python -------------------------------------------------------------------------------


def from_python(
    found: dict[str, Any], options: argparse.Namespace, table: bgp.Routes, hits: Sequence[int]
) -> None:
    """One call for each address."""
    family = table.family
    numbers = list(hits[: options.calls])
    texts = [str(as_address(bits, family)) for bits in numbers]
    ours = cnidaria(table)
    contestants: dict[str, Pass] = {
        "cnidaria, int": calls_of_family(ours.lookup_value, numbers, family),
        "cnidaria, str": calls(ours.lookup_value, texts),
        "cnidaria, prefix and value": calls(ours.lookup, texts),
    }
    for name, make in PYTHON.items():
        try:
            contestants[name] = calls(make(table), texts)
        except (ImportError, ValueError) as why:
            left_out(found, name, str(why))
    seconds = alternate(warm(contestants), min(options.rounds, 3))
    found["call_ns"] = costs(seconds, options.calls)
    show(f"IPv{family}, one lookup from Python", "ns", found["call_ns"], "int 150, str 200")


def calls(find: Callable[[Any], object], keys: Sequence[Any]) -> Pass:
    def one_pass() -> float:
        began = time.perf_counter()
        for key in keys:
            find(key)
        return time.perf_counter() - began

    return one_pass


def calls_of_family(find: Callable[[int, int], Any], numbers: Sequence[int], family: int) -> Pass:
    """Of numbers, which do not say what family they are of."""

    def one_pass() -> float:
        began = time.perf_counter()
        for number in numbers:
            find(number, family)
        return time.perf_counter() - began

    return one_pass


def as_address(bits: int, family: int) -> object:
    return ip_address(bits.to_bytes(4 if family == 4 else 16, "big"))


def rows(table: bgp.Routes) -> list[tuple[int, int, int]]:
    return [
        (bits, length, value)
        for (bits, length), value in zip(table.prefixes, table.values, strict=True)
    ]


def texts_of(table: bgp.Routes) -> list[tuple[str, int]]:
    return [
        (f"{as_address(bits, table.family)}/{length}", value) for bits, length, value in rows(table)
    ]


def cnidaria(table: bgp.Routes) -> RouteTable:
    count, size = len(table.prefixes), 4 if table.family == 4 else 16
    packed = b"".join(bits.to_bytes(size, "big") for bits, _ in table.prefixes)
    made = RouteTable()
    made.load_buffers(
        memoryview(packed).cast("B", (count, size)),
        bytes(length for _, length in table.prefixes),
        array("I", table.values),
        order="network",
    )
    return made


def pytricia(table: bgp.Routes) -> Find:
    trie = import_module("pytricia").PyTricia(bgp.BITS[table.family])
    for prefix, value in texts_of(table):
        trie.insert(prefix, value)
    get: Find = trie.get
    return get


def py_radix(table: bgp.Routes) -> Find:
    tree = import_module("radix").Radix()
    for prefix, value in texts_of(table):
        tree.add(prefix).data["value"] = value
    search: Find = tree.search_best
    return search


def pysubnettree(table: bgp.Routes) -> Find:
    tree = import_module("SubnetTree").SubnetTree()
    for prefix, value in texts_of(table):
        tree[prefix] = value
    get: Find = tree.__getitem__
    return get


def dict_per_length(table: bgp.Routes) -> Find:
    """What one writes without a library: a dictionary for each length, the longest first."""
    bits = bgp.BITS[table.family]
    lengths: dict[int, dict[int, int]] = {}
    for base, length, value in rows(table):
        lengths.setdefault(length, {})[base >> (bits - length)] = value
    order = [(bits - length, lengths[length]) for length in sorted(lengths, reverse=True)]

    def find(text: str) -> int | None:
        address = int(ip_address(text))
        for shift, values in order:
            if (value := values.get(address >> shift)) is not None:
                return value
        return None

    return find


PYTHON = {
    "pytricia": pytricia,
    "py-radix": py_radix,
    "pysubnettree": pysubnettree,
    "dict per length": dict_per_length,
}
