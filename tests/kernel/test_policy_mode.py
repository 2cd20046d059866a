"""Policy mode through its executable: chained, with an agent and without one, real packets."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from cnidaria.kernel.netns import NetNS
from cnidaria.testing.runtime import Attachment, Runtime
from support.cni import CniNode
from support.namespaces import run
from support.needs import needs
from support.node import PLUGIN_DIR, wait_for
from support.policy_examples import network_policy
from support.policy_node import STEPS, TABLE, Cluster, bridge, fill, flat

LAYOUTS = ["flat", pytest.param("bridge", marks=needs(f"{PLUGIN_DIR}/bridge"))]


@pytest.fixture(params=LAYOUTS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with layout(request.param, 1) as made:
        yield made


@contextmanager
def layout(main: str, nodes: int) -> Iterator[Cluster]:
    """A cluster of so many nodes, their pods connected by flat mode or by the reference bridge."""
    with ExitStack() as stack:
        parts = []
        for number in range(1, nodes + 1):
            node = stack.enter_context(CniNode())
            parts.append((node, flat(number) if main == "flat" else bridge(node, number)))
        first, *others = parts
        made = Cluster(*first, *others)
        stack.callback(made.close)
        yield made


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("main", LAYOUTS)
def test_every_pair_after_every_step(main: str, nodes: int) -> None:
    """3 namespaces, 3 pods in each, 2 ports, 3 protocols, both families, and ping."""
    with layout(main, nodes) as cluster:
        cluster.publish()
        with cluster.agents():
            steps(cluster)


def steps(cluster: Cluster) -> None:
    """Policies and pods come and go; each time every pair does what they say."""
    fill(cluster)
    cluster.lab.come_up(cluster.questions())
    for name, text in STEPS.items():
        cluster.write(f"{name.replace(' ', '-')}.yaml", text)
        cluster.judge()
    for name in list(STEPS)[:2]:
        (cluster.policies / f"{name.replace(' ', '-')}.yaml").unlink()
        cluster.judge()
    cluster.delete("x/db")
    cluster.judge()


def test_policies_are_in_force_without_an_agent(cluster: Cluster) -> None:
    cluster.write("policies.yaml", *STEPS.values())
    fill(cluster, "x")
    cluster.add("y/web")
    cluster.judge()
    cluster.delete("x/web")
    cluster.judge()
    for one in list(cluster.pods):
        cluster.delete(one)
    assert TABLE not in run(cluster.node.host, "nft", "list", "tables")


# -- connections that are there already ------------------------------------------------------------


class Connection:
    """A TCP connection between two pods, to the port of a server that listens."""

    def __init__(self, cluster: Cluster, client: str, server: str, port: int = 80) -> None:
        self._sockets = ExitStack()
        ends = [cluster.hosts[cluster.addresses(one)[0]].namespace for one in (client, server)]
        listener = self._socket(ends[1])
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", port))
        listener.listen()
        self.client = self._socket(ends[0])
        self.client.connect((cluster.addresses(server)[0], port))
        self.server, _ = listener.accept()
        self.server.settimeout(SECONDS)
        self._sockets.enter_context(self.server)

    def _socket(self, namespace: NetNS) -> socket.socket:
        made = self._sockets.enter_context(namespace.socket(socket.AF_INET, socket.SOCK_STREAM))
        made.settimeout(SECONDS)
        return made

    def carries(self) -> bool:
        """Whether what is sent arrives, both ways; a connection that was reset does not."""
        try:
            for one, other in ((self.client, self.server), (self.server, self.client)):
                one.send(b"x")
                ready, _, _ = select.select([one, other], [], [], SECONDS)
                if other not in ready or other.recv(1) != b"x":
                    return False  # who sent was told that there is no connection
        except ConnectionError:
            return False
        return True

    def is_dead(self) -> bool:
        """Whether the server is told, too, at the latest when it sends something."""
        try:
            self.server.send(b"x")
            ready, _, _ = select.select([self.server], [], [], SECONDS)
            return bool(ready) and self.server.recv(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self._sockets.close()


SECONDS = 10.0
"""For what must happen; nothing waits for it where all is well."""


def test_connections_end_when_they_are_not_allowed_any_more(cluster: Cluster) -> None:
    """Both ends are told; what is still allowed goes on."""
    cluster.publish()
    cluster.write("allow.yaml", network_policy("{podSelector: {}, ingress: [{}]}", "open", "x"))
    with cluster.node.agent():
        fill(cluster, "x")
        gone = Connection(cluster, "x/web", "x/db", 80)
        back = Connection(cluster, "x/db", "x/web", 81)
        stays = Connection(cluster, "x/web", "x/api", 80)
        assert gone.carries() and back.carries() and stays.carries()
        cluster.write(
            "allow.yaml",
            network_policy("{podSelector: {matchLabels: {app: db}}, ingress: []}", "shut", "x"),
        )
        wait_for("the connection's end", lambda: not gone.carries())
        assert back.carries()  # the database began it
        assert stays.carries()
        assert gone.is_dead()  # it does not come back from its other end
        for one in (gone, back, stays):
            one.close()


NEXT_CALLS: dict[str, Callable[[Cluster], object]] = {
    "ADD": lambda cluster: cluster.add("y/web"),
    "CHECK": lambda cluster: call(cluster, cluster.members[0].runtime.check),
    "STATUS": lambda cluster: cluster.node.host.run(policy_status, cluster),
}


@pytest.mark.parametrize("verb", NEXT_CALLS)
def test_without_an_agent_the_next_call_ends_connections(verb: str) -> None:
    """The one that puts the changed policies in force."""
    with layout("flat", 1) as cluster, ExitStack() as stack:
        cluster.write("allow.yaml", network_policy("{podSelector: {}, ingress: [{}]}", "open", "x"))
        fill(cluster, "x")
        gone = stack.enter_context(closing(Connection(cluster, "x/web", "x/db", 80)))
        stays = stack.enter_context(closing(Connection(cluster, "x/web", "x/api", 80)))
        shut = "{podSelector: {matchLabels: {app: db}}, ingress: []}"
        cluster.write("allow.yaml", network_policy(shut, "shut", "x"))
        assert gone.carries()  # nobody has looked
        NEXT_CALLS[verb](cluster)
        assert not gone.carries()
        assert stays.carries()
        assert gone.is_dead()


def call(cluster: Cluster, what: Callable[[Attachment], object]) -> None:
    """A runtime's call about a pod that is there."""
    member = cluster.members[0]
    member.node.host.run(what, member.attachment("x/api"))


def policy_status(cluster: Cluster) -> None:
    """STATUS of version 1.1; the plugins of the cluster speak 1.0."""
    conflist = {"cniVersion": "1.1.0", "name": "pods", "plugins": cluster.members[0].plugins}
    Runtime(conflist, cluster.node.path.split(":")).status()


@pytest.mark.parametrize("agent", [True, False])
def test_a_new_pod_inherits_no_connections(agent: bool) -> None:
    """The address of a pod that is gone is given away: who knew the old one does not get in."""
    two = {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.10", "rangeEnd": "10.1.0.11"}
    with CniNode() as node, ExitStack() as stack:
        cluster = Cluster(node, {"type": "cnidaria-flat", "ipam": {"ranges": [[two]]}})
        stack.callback(cluster.close)
        cluster.write("deny.yaml", network_policy("{podSelector: {}, ingress: []}", "shut", "y"))
        cluster.publish()
        if agent:
            stack.enter_context(node.agent())
        cluster.add("x/web")
        (address,) = cluster.add("x/db")
        client = stack.enter_context(udp(cluster, "x/web"))
        with udp(cluster, "x/db") as server:
            client.sendto(b"x", (address, 53))
            server.sendto(*server.recvfrom(1))
            assert client.recv(1) == b"x"
            client.sendto(b"x", (address, 53))
            assert server.recv(1) == b"x"
        cluster.delete("x/db")
        assert cluster.add("y/api") == [address]
        with udp(cluster, "y/api") as witness:
            client.sendto(b"x", (address, 53))
            assert cluster.lab.ask([("10.1.0.10", address, "TCP", 1)], [False]) == [False]
            witness.setblocking(False)
            with pytest.raises(BlockingIOError):
                witness.recv(1)


@contextmanager
def udp(cluster: Cluster, pod: str) -> Iterator[socket.socket]:
    """A socket of a pod that listens to port 53."""
    namespace = cluster.hosts[cluster.addresses(pod)[0]].namespace
    with namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("", 53))
        made.settimeout(SECONDS)
        yield made
