"""Everything that the acts share, and its end."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from fleet import NETWORK, POLICIES, ROOT, STORE, Node, Pod, conflist, wait_until
from lab import Lab
from leftovers import State
from portmap import Portmap
from probes import Greeters
from screen import Screen

from cnidaria.cluster import ClusterView, open_store

HOST_PORT = 9000


class Stage:
    """The screen, the machines, their agents and pods.

    Args:
        count: of the pods to begin with.

    Attributes:
        before: what each node looked like before anything was installed.
        timings: seconds of each call, in order, by verb and plugin.
    """

    def __init__(self, screen: Screen, mode: str, nodes: int, count: int) -> None:
        self.screen = screen
        self.mode = mode
        self.count = count
        self.lab = Lab(nodes, routed=mode == "overlay")
        self.nodes: list[Node] = []
        self.pods: list[Pod] = []
        self.greeters = Greeters()
        self.before: dict[str, State] = {}
        self.timings: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self.portmap = Portmap(why_not="nobody has looked for it yet")

    def build(self) -> None:
        """The machines, and what a node is before cnidaria is on it."""
        ROOT.mkdir()
        POLICIES.mkdir()
        self.lab.build()
        self.portmap = Portmap.find(self.lab.machines[0].name)
        for machine in self.lab.machines:
            config = conflist(self.mode, machine.name, self.portmap)
            self.nodes.append(Node(machine, config, self.portmap.directories, self._time))
        for node in self.nodes:
            wait_until("IPv6 addresses", lambda node=node: node.settled())  # type: ignore[misc]
        self.greeters.start()

    def _time(self, verb: str, plugin: str, seconds: float) -> None:
        self.timings[verb, plugin].append(seconds)

    def new_pod(self, node: Node) -> Pod:
        """Another pod, not attached yet. The first one of each node gets a port of the node."""
        first = self.portmap.usable and not any(pod.node is node for pod in self.pods)
        number = len(self.pods) + 1
        pod = Pod(number, node, HOST_PORT + number if first else 0)
        self.pods.append(pod)
        return pod

    def write(self, name: str, objects: Sequence[Mapping[str, object]]) -> None:
        """Have a file of manifests, for all nodes, as ``kubectl get -o json`` writes it."""
        whole = {"apiVersion": "v1", "kind": "List", "items": objects}
        spare = ROOT / "spare.json"
        spare.write_text(json.dumps(whole, indent=2))
        spare.rename(POLICIES / f"{name}.json")

    def on(self, node: Node) -> list[Pod]:
        """The pods of a node."""
        return [pod for pod in self.pods if pod.node is node]

    def view(self) -> ClusterView:
        """The nodes of the cluster, as its store shows them. Raises :class:`StoreError`."""
        store = open_store(f"sqlite:{STORE}")
        try:
            return store.view()
        finally:
            store.close()

    def prefixes(self) -> dict[str, tuple[str, ...]]:
        """The prefixes of each node's pods, by name, of the nodes that have told them."""
        nodes = self.view().nodes
        return {
            name: node.networks[NETWORK].prefixes
            for name, node in nodes.items()
            if NETWORK in node.networks
        }

    def close(self) -> None:
        """Stop every process that was started; what else there is ends with the namespaces."""
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            node.wait_for_end()


@contextmanager
def staged(stage: Stage) -> Iterator[Stage]:
    """A stage for as long as the block lasts."""
    try:
        yield stage
    finally:
        stage.close()
