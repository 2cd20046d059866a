"""Address pools from Python, from Rust and in a file, beside the allocator of host-local."""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import plots
from cnidaria_core import AddressPool, JournaledPool
from programs import Missing, Program
from rounds import Pass, alternate, left_out, rates, show

# Name -> first and last address, leases held.
POOLS = {
    "a /16, empty": ("10.1.0.0", "10.1.255.255", 0),
    "a /16, 99 % full": ("10.1.0.0", "10.1.255.255", 64_880),
    "a /15, 65,536 leases": ("10.2.0.0", "10.3.255.255", 65_536),
    "a /8, empty": ("10.0.0.0", "10.255.255.255", 0),
}
HOST_LOCAL = {"a /24, empty": ("10.1.0.0/24", 0), "a /24, 99 % full": ("10.1.0.0/24", 250)}
GOALS = {
    "python_m_per_s": 1.5,
    "rust_m_per_s": 50.0,
    "slowest_ratio": 1.5,
    "journaled_k_per_s": 30.0,
}
OWNERS = [f"pod-{number}" for number in range(1024)]
CALLERS = 64


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pairs", type=int, default=50_000, help="allocated and released again")
    parser.add_argument("--folder", type=Path, help="where files are; default: the temporary one")


def run(options: argparse.Namespace, results: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"goals": GOALS}
    seconds = alternate(
        {name: in_memory(filled(*pool), options.pairs) for name, pool in POOLS.items()},
        options.rounds,
    )
    found["python_m_per_s"] = rates(seconds, options.pairs)
    show("allocate and release from Python", "M pairs/s", found["python_m_per_s"], "1.5 M/s")
    from_rust(found, options)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        in_a_file(found, options, Path(folder))
        host_local(found, options, Path(folder))
    for key in ("python_m_per_s", "rust_m_per_s"):
        if key in found:
            bars = {f"cnidaria, {name}": one for name, one in found[key].items()}
            plots.bars(
                results / f"core-pools-{key.split('_')[0]}.svg",
                f"Addresses allocated and released, from {key.split('_')[0].title()}",
                "M pairs/s",
                bars,
                {"goal": GOALS[key]},
            )
    plots.bars(
        results / "core-pools-files.svg",
        "Addresses allocated or released, kept in files",
        "thousand changes/s",
        found["files_k_per_s"],
        {"goal": GOALS["journaled_k_per_s"]},
        logarithmic=True,
    )
    return found


def filled(first: str, last: str, held: int) -> AddressPool:
    pool = AddressPool([(first, last)])
    for number in range(held):
        pool.allocate(f"held-{number}")
    return pool


def in_memory(pool: AddressPool, pairs: int) -> Pass:
    def one_pass() -> float:
        allocate, release, owners = pool.allocate, pool.release, OWNERS
        began = time.perf_counter()
        for number in range(pairs):
            release(allocate(owners[number & 1023]))
        return time.perf_counter() - began

    return one_pass


def from_rust(found: dict[str, Any], options: argparse.Namespace) -> None:
    pairs = options.pairs * 20
    programs: list[Program] = []
    contestants: dict[str, Pass] = {}
    for name, (first, last, held) in POOLS.items():
        try:
            program = Program("rust-pools")
        except Missing as why:
            left_out(found, "rust-pools", str(why))
            return
        program.ask(f"new {first} {last} {held}")
        programs.append(program)
        contestants[name] = asking(program, pairs)
    found["rust_m_per_s"] = rates(alternate(contestants, options.rounds), pairs)
    show("allocate and release from Rust", "M pairs/s", found["rust_m_per_s"], "50 M/s")
    for program in programs:
        program.close()


def asking(program: Program, pairs: int) -> Pass:
    return lambda: float(program.ask(f"pass {pairs}")["seconds"])


def in_a_file(found: dict[str, Any], options: argparse.Namespace, folder: Path) -> None:
    """Changes that are written when the call returns; with sync, on the disk."""
    ranges = [("10.1.0.0", "10.1.255.255")]
    contestants: dict[str, Pass] = {}
    per: dict[str, int] = {}
    for sync in (False, True):
        for callers in (1, CALLERS):
            name = f"cnidaria, {callers} callers{', sync' if sync else ''}"
            pool = JournaledPool(folder / f"{callers}{sync}", ranges, sync=sync)
            per[name] = max(options.pairs // (10 if sync else 2), callers) // callers
            contestants[name] = with_threads(pool, callers, per[name])
            per[name] *= 2 * callers
    seconds = alternate(contestants, options.rounds)
    found["files_k_per_s"] = {
        name: rates({name: values}, per[name], 1e3)[name] for name, values in seconds.items()
    }
    show("changes of a JournaledPool", "k/s", found["files_k_per_s"], "30 k/s at 64 callers")


def with_threads(pool: JournaledPool, callers: int, pairs: int) -> Pass:
    def one_pass() -> float:
        ready = threading.Barrier(callers + 1)

        def caller(number: int) -> None:
            ready.wait()
            for _ in range(pairs):
                pool.release(pool.allocate(OWNERS[number]))

        threads = [threading.Thread(target=caller, args=(number,)) for number in range(callers)]
        for thread in threads:
            thread.start()
        ready.wait()
        began = time.perf_counter()
        for thread in threads:
            thread.join()
        return time.perf_counter() - began

    return one_pass


def host_local(found: dict[str, Any], options: argparse.Namespace, folder: Path) -> None:
    pairs = max(20, options.pairs // 500)
    for name, (subnet, held) in HOST_LOCAL.items():
        try:
            program = Program("host-local", [folder])
        except Missing as why:
            left_out(found, "host-local", str(why))
            return
        program.ask(f"new {subnet} {held}")
        seconds = alternate({name: asking(program, pairs)}, options.rounds)
        found["files_k_per_s"][f"host-local, {name}"] = rates(seconds, 2 * pairs, 1e3)[name]
        program.close()
    peers = {name: one for name, one in found["files_k_per_s"].items() if "host-local" in name}
    show("changes of host-local", "k/s", peers)
