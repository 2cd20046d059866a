"""The main job, act by act: build, attach, reach, delete, and prove that nothing is left."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network

import leftovers
import probes
from charts import histogram, matrix, quantile
from fleet import Node, Pod, wait_until
from lab import sh
from stage import Stage

IPV4_AND_ICMP = 28
"""Bytes of headers around a ping's payload."""


def build(stage: Stage) -> None:
    """Machines, executables, agents that know one another."""
    screen, nodes = stage.screen, stage.nodes
    place = "each on a LAN of its own, a router between" if stage.lab.routed else "on one LAN"
    screen.section(f"Nodes: {len(stage.lab.machines)}, {place}")
    screen.progress("making network namespaces")
    stage.build()
    stage.before = {node.name: leftovers.snapshot(node) for node in nodes}
    started = time.perf_counter()
    screen.progress("cnidaria install, on every node")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(Node.install, nodes))
    screen.progress("starting an agent on every node")
    for node in nodes:
        node.start_agent()
    for node in nodes:
        node.wait_for_agent()
    ready = time.perf_counter() - started
    meet(stage)
    screen.checks([True] * len(nodes), f"agents answer, STATUS says ready: {ready:.1f} s")


def meet(stage: Stage) -> None:
    """Wait until every node has claimed its blocks and has routes to the others'."""
    screen = stage.screen
    screen.progress("waiting for the nodes to find one another")
    count = len(stage.nodes)
    wait_until("nodes in the cluster store", lambda: len(stage.prefixes()) == count)
    prefixes = stage.prefixes()
    screen.table(
        ("node", "address", "", "pods", ""),
        [
            (node.name, node.machine.address4, node.machine.address6, *prefixes[node.name])
            for node in stage.nodes
        ],
    )

    def routed(node: Node) -> bool:
        routes = sh("ip", "-n", node.name, "route") + sh("ip", "-n", node.name, "-6", "route")
        others = (found for name, found in prefixes.items() if name != node.name)
        return all(prefix in routes for found in others for prefix in found)

    for node in stage.nodes:
        wait_until(f"routes of {node.name}", lambda node=node: routed(node))  # type: ignore[misc]
    screen.checks([True] * count, "each node claimed a block of its own and routes to the others")
    if stage.lab.routed:
        known = [stage.lab.router_knows(one) for found in prefixes.values() for one in found]
        screen.check(not any(known), "the router knows nothing of pods")


def attach(stage: Stage) -> None:
    """ADD for every pod, one after the other."""
    screen = stage.screen
    also = " and portmap" if stage.portmap.usable else ""
    screen.section(f"Pods: ADD by cnidaria-{stage.mode}{also}")
    for index in range(stage.count):
        screen.progress(f"attaching pod {index + 1} of {stage.count}")
        pod = stage.new_pod(stage.nodes[index * len(stage.nodes) // stage.count])
        pod.add()
        stage.greeters.add(pod)
    screen.table(
        ("pod", "node", "IPv4", "IPv6", "port of the node"),
        [
            (
                *(pod.name, pod.node.name, pod.addresses[4], pod.addresses[6]),
                f"{pod.host_port}" if pod.host_port else "",
            )
            for pod in stage.pods
        ],
    )
    if not stage.portmap.usable:
        screen.note(f"the portmap plugin is left out: {stage.portmap.why_not}")
    addresses = {address for pod in stage.pods for address in pod.addresses.values()}
    screen.check(len(addresses) == 2 * len(stage.pods), "every address is unique")
    prefixes = stage.prefixes()
    screen.checks(
        [_inside(pod, prefixes[pod.node.name]) for pod in stage.pods],
        "every pod has its addresses out of its node's blocks",
    )


def _inside(pod: Pod, prefixes: tuple[str, ...]) -> bool:
    networks = [ip_network(prefix) for prefix in prefixes]
    return all(
        any(ip_address(address) in network for network in networks)
        for address in pod.addresses.values()
    )


def reach(stage: Stage) -> None:
    """Every pod to every other one, by ping and TCP, in both families."""
    screen, asked = stage.screen, probes.pairs(stage.pods, stage.pods)
    screen.section("Reachability: from each pod (line) to every other (column)")
    todo = f"{len(asked)} pings"
    pinged = probes.ping(
        asked, lambda done: screen.progress(f"{todo}: {done} of {stage.count} pods done")
    )
    screen.progress(f"{len(asked)} TCP connections")
    connected = probes.connect(asked)
    works = pinged & connected
    matrix(screen, stage.pods, lambda a, b: {(a, b, 4), (a, b, 6)} <= works)
    for text, answered in (("ping", pinged), ("TCP, under the pod's own address", connected)):
        for family in probes.FAMILIES:
            good = [pair in answered for pair in asked if pair[2] == family]
            screen.checks(good, f"IPv{family} {text}: {len(good)} pairs")
    _reach_more(stage)


def _reach_more(stage: Stage) -> None:
    """What the matrix does not show."""
    screen = stage.screen
    answers = [
        set(pod.addresses.values()) == probes.answering(pod.node.name, [*pod.addresses.values()])
        for pod in stage.pods
    ]
    screen.checks(answers, "every node reaches its own pods")
    first, last = stage.pods[0], stage.pods[-1]
    size = first.mtu()
    options = f"-M do -s {size - IPV4_AND_ICMP}"
    answer = probes.answering(first.name, [last.addresses[4]], options)
    screen.check(bool(answer), f"packets of the full {size} bytes cross to {last.node.name}")
    for pod in stage.pods:
        if pod.host_port:
            other = next(node for node in stage.nodes if node is not pod.node)
            address, port = pod.node.machine.address4, pod.host_port
            said = probes.greeting(other.netns, address, port)
            text = f"{other.name} reaches {pod.name} by {address}:{port}"
            screen.check(said.startswith(f"{pod.name} "), text, said or "no answer")


def delete(stage: Stage) -> None:
    """DEL for every pod, one after the other, on the last node together; and once more."""
    screen, pods = stage.screen, stage.pods
    together = stage.on(pods[-1].node)
    alone = [pod for pod in pods if pod not in together]
    screen.section(f"DEL of {len(alone)} pods one by one, of {len(together)} at once")
    for pod in pods:
        stage.greeters.remove(pod)
    for number, pod in enumerate(alone, 1):
        screen.progress(f"deleting pod {number} of {len(pods)}")
        pod.delete()
    started = time.perf_counter()
    with ThreadPoolExecutor(len(together)) as pool:
        list(pool.map(Pod.delete, together))
    took = time.perf_counter() - started
    screen.checks([not pod.links() for pod in pods], "no pod has its interface any more")
    screen.progress("deleting all pods once more")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Pod.delete, pods))
    screen.checks([True] * len(pods), "a second DEL of each is no error")
    screen.note(f"the {len(together)} at once took {took:.2f} s")
    latency(stage, len(alone))


def latency(stage: Stage, deleted: int) -> None:
    """How long the runtime waited for one call at a time; ``deleted``: so many DELs were so."""
    ours = f"cnidaria-{stage.mode}"
    counts = {"ADD": stage.count, "DEL": deleted}
    stage.screen.section(f"Latency of {ours}, as the runtime sees it, one call at a time")
    histogram(
        stage.screen, {verb: stage.timings[verb, ours][:count] for verb, count in counts.items()}
    )
    if stage.portmap.usable:
        medians = (
            f"{verb} {quantile(stage.timings[verb, 'portmap'][:count], 0.5) * 1000:.1f} ms"
            for verb, count in counts.items()
        )
        stage.screen.note(f"next in the chain, portmap: p50 of {', '.join(medians)}")


def prove(stage: Stage) -> None:
    """Take cnidaria away from the nodes: they are as they were."""
    screen, nodes = stage.screen, stage.nodes
    screen.section("Nothing is left")
    screen.progress("reading the journals")
    with ThreadPoolExecutor(2) as pool:
        held = list(pool.map(Node.journal, nodes))
    screen.checks([not attachments for attachments in held], "no attachment in any journal")
    screen.progress("stopping agents")
    for pod in stage.pods:
        pod.remove()
    for node in nodes:
        node.terminate()
    ended = {node.name: node.wait_for_end() for node in nodes}
    codes = ", ".join(f"{name} by exit code {code}" for name, code in ended.items())
    screen.checks([not code for code in ended.values()], "agents stop when they are told", codes)
    screen.progress("cnidaria uninstall, on every node")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(Node.uninstall, nodes))
    present = stage.view().nodes
    screen.check(not present, "no node is left in the cluster store", ", ".join(present))
    marked = [leftovers.ours(node) for node in nodes]
    screen.checks([not found for found in marked], "nothing in the kernel bears our mark")
    _compare(stage)


def _compare(stage: Stage) -> None:
    """Each node with what it was before anything was installed."""
    screen, nodes = stage.screen, stage.nodes
    left = {
        node.name: leftovers.differences(stage.before[node.name], leftovers.snapshot(node))
        for node in nodes
    }
    kinds = [kind for kind in leftovers.KINDS if kind in stage.before[nodes[0].name]]
    good = [kind not in lines for kind in kinds for lines in left.values()]
    screen.checks(good, f"as before: {', '.join(kinds)}")
    for name, lines in left.items():
        for kind, found in lines.items():
            for line in found:
                screen.note(f"{name}: {kind}: {line}")
    if "nftables" not in kinds:
        screen.note("nft is not installed: nftables were looked at by cnidaria alone")
