"""PolicyEngine on a cluster of 10,000 pods, beside the engine of kube-network-policies."""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import tempfile
import time
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import figures
import plots
from cnidaria_core import PolicyEngine
from policy_cluster import Cluster, Object, Question
from programs import Missing, Program
from rounds import Pass, Spread, alternate, costs, left_out, rates, ratios, show, spread, warm

OURS, PEER = "cnidaria", "kube-network-policies"
GOALS = {
    "compile_s": 1.0,
    "verdict_ns": 250.0,
    "batch_m_per_s": 20.0,
    "pod_us": 50.0,
    "policy_ms": 5.0,
    "bytes_per_pod": 400.0,
}
NUMBERS = {"TCP": 6, "UDP": 17}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--questions", type=int, default=20_000)
    parser.add_argument("--changes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=3)


def run(options: argparse.Namespace, results: Path) -> dict[str, Any]:
    cluster = Cluster(seed=options.seed)
    found: dict[str, Any] = {"scale": vars(cluster.scale), "goals": GOALS}
    raw = [json.dumps(one).encode() for one in cluster.objects()]
    found["memory"] = memory(cluster)
    engine = PolicyEngine()
    engine.load(raw)
    with tempfile.TemporaryDirectory() as folder:
        peer = start_peer(found, Path(folder), raw)
        compile_(found, raw, options.rounds)
        for mix in ("random", "skewed"):
            asked = cluster.questions(options.questions, skewed=mix == "skewed")
            test = Test(found, options.rounds, mix, asked)
            one_at_a_time(test, engine, peer, Path(folder))
            in_bulk(test, engine)
        if peer is not None:
            peer.close()
    pods(found, engine, cluster, options.changes)
    policies(found, engine, cluster, options.changes)
    draw(found, results)
    return found


@dataclass(frozen=True)
class Test:
    """Some questions, and where the answers go."""

    found: dict[str, Any]
    rounds: int
    mix: str
    asked: list[Question]


def start_peer(found: dict[str, Any], folder: Path, raw: list[bytes]) -> Program | None:
    try:
        peer = Program(PEER)
    except Missing as why:
        left_out(found, PEER, str(why))
        return None
    path = folder / "objects"
    path.write_bytes(b"\n".join(raw))
    found["peer_load"] = peer.ask(f"load {path}")
    return peer


def compile_(found: dict[str, Any], raw: list[bytes], rounds: int) -> None:
    """From the API server's JSON to tables that answer."""

    def load() -> float:
        began = time.perf_counter()
        PolicyEngine().load(raw)
        return time.perf_counter() - began

    found["compile_s"] = {OURS: spread(alternate({OURS: load}, rounds)[OURS], 4)}
    show("first compile", "s", found["compile_s"], "1 s")


def compare(test: Test, engine: PolicyEngine, peer: Program, path: Path) -> None:
    """Let the peer read the questions; count where it decides otherwise."""
    path.write_text("".join(f"{' '.join(map(str, one))}\n" for one in test.asked))
    peer.ask(f"questions {path}")
    said = peer.ask("verdicts")["verdicts"]
    ours = [engine.verdict(*one).allowed for one in test.asked]
    different = sum(a != (b == "1") for a, b in zip(ours, said, strict=True))
    test.found.setdefault("different_verdicts", {})[test.mix] = different
    print(f"\n{different} of {len(ours)} verdicts are different from {PEER}'s")


def one_at_a_time(test: Test, engine: PolicyEngine, peer: Program | None, folder: Path) -> None:
    contestants: dict[str, Pass] = {OURS: lambda: one_by_one(engine, test.asked)}
    if peer is not None:
        compare(test, engine, peer, folder / test.mix)
        contestants[PEER] = lambda: float(peer.ask("pass")["seconds"])
    seconds = alternate(warm(contestants), test.rounds)
    key = f"verdict_{test.mix}"
    test.found[f"{key}_ns"] = costs(seconds, len(test.asked))
    show(f"one verdict, {test.mix}", "ns", test.found[f"{key}_ns"], "250 ns")
    if peer is not None:
        test.found[f"{key}_ratios"] = ratios(seconds, OURS)


def one_by_one(engine: PolicyEngine, asked: list[Question]) -> float:
    verdict = engine.verdict
    began = time.perf_counter()
    for src, dst, protocol, port in asked:
        verdict(src, dst, protocol, port)
    return time.perf_counter() - began


def in_bulk(test: Test, engine: PolicyEngine) -> None:
    asked = test.asked * max(1, 1_000_000 // len(test.asked))
    src = array("I", [int(IPv4Address(one[0])) for one in asked])
    dst = array("I", [int(IPv4Address(one[1])) for one in asked])
    protocols = array("B", [NUMBERS[one[2]] for one in asked])
    ports = array("H", [one[3] for one in asked])
    out = array("B", bytes(len(asked)))

    def one_pass() -> float:
        began = time.perf_counter()
        engine.verdicts(src, dst, protocols, ports, out=out)
        return time.perf_counter() - began

    key = f"batch_{test.mix}_m_per_s"
    test.found[key] = rates(alternate({OURS: one_pass}, test.rounds), len(asked))
    show(f"verdicts in bulk, {test.mix}", "M/s", test.found[key], "20 M/s")
    assert list(out[: len(test.asked)]) == [engine.verdict(*one).allowed for one in test.asked]


def pods(found: dict[str, Any], engine: PolicyEngine, cluster: Cluster, count: int) -> None:
    """New pods of deployments that are there, and gone again."""
    new = [cluster.pod(cluster.scale.pods + number) for number in range(count)]
    raw = [json.dumps(one).encode() for one in new]
    names = [(one["metadata"]["name"], one["metadata"]["namespace"]) for one in new]
    added = timed(engine.apply, ((one,) for one in raw))
    removed = timed(engine.delete, (("Pod", *name) for name in names))
    found["pod_us"] = {"added": tails(added, 1e6), "removed": tails(removed, 1e6)}
    quantiles("pod added or removed", "us", found["pod_us"], "50 us")


def policies(found: dict[str, Any], engine: PolicyEngine, cluster: Cluster, count: int) -> None:
    """Other versions of policies, of a namespace each and of many."""
    known = {one["metadata"]["name"]: one for one in cluster.policies}
    others = [cluster.policy(number, 9000 + number) for number in range(len(known) // 2)]
    changed = [one for one in others if one != known[one["metadata"]["name"]]][:count]
    wide = [turned(one) for one in cluster.policies if one["kind"] == "AdminNetworkPolicy"]
    found["policy_ms"] = {
        name: tails(timed(engine.apply, ((json.dumps(one).encode(),) for one in these)), 1e3)
        for name, these in (("NetworkPolicy", changed), ("AdminNetworkPolicy", wide))
    }
    quantiles("policy changed", "ms", found["policy_ms"], "5 ms")


def turned(policy: Object) -> Object:
    other = json.loads(json.dumps(policy))
    rule = other["spec"]["ingress"][0]
    rule["action"] = "Deny" if rule["action"] == "Allow" else "Allow"
    assert isinstance(other, dict)
    return other


def timed(call: Callable[..., object], calls: Iterable[tuple[Any, ...]]) -> list[float]:
    seconds = []
    for given in calls:
        began = time.perf_counter()
        assert call(*given)
        seconds.append(time.perf_counter() - began)
    return seconds


def tails(seconds: list[float], unit: float) -> dict[str, float]:
    found = {f"p{wanted}": figures.percentile(seconds, wanted) * unit for wanted in (50, 99)}
    return {key: round(value, 3) for key, value in {**found, "max": max(seconds) * unit}.items()}


def quantiles(title: str, unit: str, found: dict[str, dict[str, float]], goal: str) -> None:
    rows = [(name, *one.values()) for name, one in found.items()]
    figures.table(f"{title} ({unit}); goal: {goal}", ("", "p50", "p99", "max"), rows)


class _MallInfo(ctypes.Structure):
    """glibc's struct mallinfo2 (mallinfo(3))."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks"),
            *("uordblks", "fordblks", "keepcost"),
        )
    ]


def memory(cluster: Cluster) -> dict[str, Any]:
    """What malloc has handed out for an engine: the policies, and what the pods add to that."""
    rest = [json.dumps(one).encode() for one in cluster.objects()[: -len(cluster.pods)]]
    raw = [json.dumps(one).encode() for one in cluster.pods]
    engine = PolicyEngine()
    before = in_use()
    engine.load(rest)
    policies_only = in_use()
    engine.load(raw)
    whole = in_use()
    per_pod = (whole - policies_only) / len(raw)
    print(
        f"\nmemory: {per_pod:.0f} bytes per pod (goal: 400); without pods {policies_only - before}"
    )
    return {
        "bytes_per_pod": round(per_pod),
        "bytes_without_pods": policies_only - before,
        "bytes_per_pod_with_policies": round((whole - before) / len(raw)),
    }


def in_use() -> int:
    gc.collect()
    library = ctypes.CDLL(None)
    library.mallinfo2.restype = _MallInfo
    info = library.mallinfo2()
    return int(info.uordblks + info.hblkhd)


def draw(found: dict[str, Any], results: Path) -> None:
    for mix in ("random", "skewed"):
        plots.bars(
            results / f"core-policy-{mix}.svg",
            f"One verdict, {mix} connections",
            "ns",
            found[f"verdict_{mix}_ns"],
            {"goal": GOALS["verdict_ns"]},
            logarithmic=True,
        )
    batch: dict[str, Spread] = {
        f"{OURS}, {mix}": found[f"batch_{mix}_m_per_s"][OURS] for mix in ("random", "skewed")
    }
    plots.bars(
        results / "core-policy-batch.svg",
        "Verdicts in bulk, one core",
        "M/s",
        batch,
        {"goal": GOALS["batch_m_per_s"]},
    )
