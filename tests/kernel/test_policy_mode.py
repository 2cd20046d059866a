"""Policy mode through its executable: chained, with an agent and without one, real packets."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_interface
from typing import Any

import pytest
import yaml

from cnidaria.kernel.netns import NetNS
from cnidaria.testing.runtime import Attachment, Runtime
from support.cni import NETWORK, CniNode
from support.namespaces import run
from support.needs import needs
from support.node import PLUGIN_DIR, wait_for
from support.policy_examples import network_policy
from support.policy_lab import Host, Lab, Question
from support.policy_twin import Twin

NAMESPACES = {"x": {"team": "a"}, "y": {"team": "a"}, "z": {"team": "b"}}
APPS = ("web", "db", "api")
PORTS = (("TCP", 80), ("TCP", 81), ("UDP", 80), ("UDP", 81), ("SCTP", 80), ("SCTP", 81))
TABLE = "cnidaria-policy-pods"

FLAT = {key: NETWORK[key] for key in ("type", "ipam")}


def bridge(node: CniNode) -> dict[str, Any]:
    ipam = {
        "type": "host-local",
        "dataDir": str(node.dir / "leases"),
        "ranges": [[{"subnet": "10.5.0.0/24"}], [{"subnet": "fd00:5::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }
    return {"type": "bridge", "bridge": "br0", "isGateway": True, "ipam": ipam}


class Cluster:
    """A node whose pods policies are enforced for, as an operator and a runtime see it."""

    def __init__(self, node: CniNode, main: dict[str, Any]) -> None:
        self.node = node
        self.policies = node.dir / "policies"
        self.policies.mkdir()
        policy = {"type": "cnidaria-policy", "policies": [str(self.policies)], "node": "n1"}
        self.plugins = [main, policy]
        self.runtime = Runtime(
            {"cniVersion": "1.0.0", "name": "pods", "plugins": self.plugins}, node.path.split(":")
        )
        self.hosts: dict[str, Host] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.lab = Lab(self.hosts, {"n1": node.host})

    def publish(self) -> None:
        """Give the agent its conflist."""
        self.node.conflist(*self.plugins)

    def write(self, name: str, *objects: dict[str, Any] | str) -> None:
        """A file of manifests, as an editor writes it."""
        texts = [one if isinstance(one, str) else f"---\n{yaml.safe_dump(one)}" for one in objects]
        spare = self.node.dir / "spare"
        spare.write_text("".join(texts))
        spare.rename(self.policies / name)

    def attachment(self, pod: str) -> Attachment:
        namespace, name = pod.split("/")
        container = f"{namespace}-{name}"
        if container not in self.node.pods:
            self.node.pod(container)
        args = {"IgnoreUnknown": "1", "K8S_POD_NAMESPACE": namespace, "K8S_POD_NAME": name}
        return Attachment(container, self.node.netns(container), args=args)

    def add(self, pod: str) -> list[str]:
        """ADD; the pod's addresses."""
        attachment = self.attachment(pod)
        result = self.node.host.run(self.runtime.add, attachment)
        addresses = [str(ip_interface(one["address"]).ip) for one in result["ips"]]
        host = Host(self.node.pods[attachment.container_id])
        self.hosts.update(dict.fromkeys(addresses, host))
        self.pods[pod] = {
            "podIP": addresses[0],
            "phase": "Running",
            "podIPs": [{"ip": one} for one in addresses],
        }
        return addresses

    def delete(self, pod: str) -> None:
        self.node.host.run(self.runtime.delete, self.attachment(pod))
        for one in self.pods.pop(pod)["podIPs"]:
            self.hosts.pop(one["ip"]).close()

    def addresses(self, pod: str) -> list[str]:
        return [one["ip"] for one in self.pods[pod]["podIPs"]]

    def objects(self) -> list[dict[str, Any]]:
        """Everything in the files, and where the pods are."""
        found = [
            obj
            for file in sorted(self.policies.iterdir())
            for obj in yaml.safe_load_all(file.read_text())
            if obj
        ]
        for obj in found:
            if obj["kind"] == "Pod":
                meta = obj["metadata"]
                obj["status"] = self.pods.get(f"{meta['namespace']}/{meta['name']}", {})
        return found

    def questions(self) -> list[Question]:
        """Every pair of pods, both families, two ports of three protocols, and ping."""
        return [
            (src, dst, *what)
            for one in self.pods
            for other in self.pods
            if one != other
            for src, dst in zip(self.addresses(one), self.addresses(other), strict=True)
            for what in (*PORTS, ("ICMP", None))
        ]

    def judge(self) -> None:
        """Packets do what the documentation says, at last."""
        asked = self.questions()
        twin = Twin(self.objects())
        truth = [twin.verdict(*one).allowed for one in asked]

        def agreed() -> bool:
            self.lab.forget_connections()
            return self.lab.ask(asked, truth) == truth

        wait_for("the kernel does what the policies say", agreed, 20)

    def close(self) -> None:
        for host in {id(one): one for one in self.hosts.values()}.values():
            host.close()


LAYOUTS = ["flat", pytest.param("bridge", marks=needs(f"{PLUGIN_DIR}/bridge"))]


@pytest.fixture(params=LAYOUTS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with CniNode() as node:
        made = Cluster(node, FLAT if request.param == "flat" else bridge(node))
        yield made
        made.close()


@pytest.fixture
def flat() -> Iterator[Cluster]:
    with CniNode() as node:
        made = Cluster(node, FLAT)
        yield made
        made.close()


def pod(namespace: str, name: str, labels: dict[str, str]) -> dict[str, Any]:
    """A pod as its author writes it: nobody has given it an address yet."""
    ports = [{"name": "http", "containerPort": 80}, {"name": "low", "containerPort": 81}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": ports}]},
    }


def namespace(name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def fill(cluster: Cluster, *names: str) -> None:
    """Namespaces with three pods each."""
    cluster.write(
        "pods.yaml",
        *(namespace(name, labels) for name, labels in NAMESPACES.items()),
        *(pod(name, app, {"app": app}) for name in NAMESPACES for app in APPS),
    )
    for name in names or NAMESPACES:
        for app in APPS:
            cluster.add(f"{name}/{app}")


STEPS = {
    "default deny": network_policy("{podSelector: {}}", "deny", "x"),
    "allow one": network_policy(
        "{podSelector: {matchLabels: {app: db}}, ingress: ["
        "{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80}]}]}",
        "web-to-db",
        "x",
    ),
    "egress of others": network_policy(
        "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: "
        "{matchLabels: {team: a}}}], ports: [{port: low, protocol: TCP}, {protocol: UDP}]}]}",
        "leave",
        "y",
    ),
}


def test_every_pair_after_every_step(cluster: Cluster) -> None:
    """3 namespaces, 3 pods in each, 2 ports, 3 protocols, both families, and ping."""
    cluster.publish()
    with cluster.node.agent():
        fill(cluster)
        cluster.judge()
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


def test_a_new_pod_inherits_no_connections() -> None:
    """The address of a pod that is gone is given away: who knew the old one does not get in."""
    two = {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.10", "rangeEnd": "10.1.0.11"}
    with CniNode() as node, ExitStack() as stack:
        cluster = Cluster(node, {"type": "cnidaria-flat", "ipam": {"ranges": [[two]]}})
        stack.callback(cluster.close)
        cluster.write("deny.yaml", network_policy("{podSelector: {}, ingress: []}", "shut", "y"))
        cluster.publish()
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
