"""A node whose pods policies are enforced for, as an operator and a runtime see it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import yaml

from cnidaria.kernel.netns import NetNS
from cnidaria.testing.runtime import Attachment, Runtime
from support.cni import NETWORK, CniNode
from support.node import wait_for
from support.policy_examples import network_policy
from support.policy_lab import NODES, Host, Lab, Question, batch, forwarding
from support.policy_twin import Twin

NAMESPACES = {"x": {"team": "a"}, "y": {"team": "a"}, "z": {"team": "b"}}
APPS = ("web", "db", "api")
PORTS = (("TCP", 80), ("TCP", 81), ("UDP", 80), ("UDP", 81), ("SCTP", 80), ("SCTP", 81))
TABLE = "cnidaria-policy-pods"

FLAT = {key: NETWORK[key] for key in ("type", "ipam")}


def flat(number: int) -> dict[str, Any]:
    """Of node number n."""
    return {**FLAT, "ipam": {"ranges": ranges(number)}}


def bridge(node: CniNode, number: int = 1) -> dict[str, Any]:
    """The reference plugin, of node number n."""
    ipam = {
        "type": "host-local",
        "dataDir": str(node.dir / "leases"),
        "ranges": ranges(number),
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }
    return {"type": "bridge", "bridge": "br0", "isGateway": True, "ipam": ipam}


def ranges(number: int) -> list[list[dict[str, str]]]:
    return [[{"subnet": subnet}] for subnet in subnets(number)]


def subnets(number: int) -> tuple[str, str]:
    return f"10.{number}.0.0/24", f"fd00:{number}::/64"


class Member:
    """One node: its conflist, and a runtime that follows it."""

    def __init__(self, node: CniNode, main: dict[str, Any], policies: Path, name: str) -> None:
        self.node = node
        self.use(main, {"type": "cnidaria-policy", "policies": [str(policies)], "node": name})

    def use(self, *plugins: dict[str, Any]) -> None:
        """Have these plugins in the chain."""
        self.plugins = plugins
        self.runtime = Runtime(
            {"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}, self.node.path.split(":")
        )

    def publish(self) -> None:
        """Give the agent its conflist."""
        self.node.conflist(*self.plugins)

    def attachment(self, pod: str) -> Attachment:
        namespace, name = pod.split("/")
        container = f"{namespace}-{name}"
        if container not in self.node.pods:
            self.node.pod(container)
        args = {"IgnoreUnknown": "1", "K8S_POD_NAMESPACE": namespace, "K8S_POD_NAME": name}
        return Attachment(container, self.node.netns(container), args=args)


class Cluster:
    """One node, or two on a link, whose pods policies are enforced for, as operators and runtimes
    see them. The files with policies are the same ones for both.
    """

    def __init__(
        self, node: CniNode, main: dict[str, Any], *other: tuple[CniNode, dict[str, Any]]
    ) -> None:
        self.node = node
        self.policies = node.dir / "policies"
        self.policies.mkdir()
        self.members = [
            Member(one, plugin, self.policies, f"n{number}")
            for number, (one, plugin) in enumerate(((node, main), *other), 1)
        ]
        self.api: Any = None
        self.hosts: dict[str, Host] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.lab = Lab(self.hosts, {f"n{n}": m.node.host for n, m in enumerate(self.members, 1)})
        if other:
            connect(*(one.node.host for one in self.members))

    def member(self, pod: str) -> Member:
        """Where the pod lives: those of a namespace are on both nodes."""
        number = APPS.index(pod.split("/")[1]) if pod.split("/")[1] in APPS else 0
        return self.members[number % len(self.members)]

    def publish(self) -> None:
        """Give the agents their conflists."""
        for one in self.members:
            one.publish()

    @contextmanager
    def agents(self) -> Iterator[None]:
        """Each node has one."""
        with ExitStack() as stack:
            for one in self.members:
                stack.enter_context(one.node.agent())
            yield

    def write(self, name: str, *objects: dict[str, Any] | str) -> None:
        """A file of manifests, as an editor writes it."""
        texts = [one if isinstance(one, str) else f"---\n{json.dumps(one)}\n" for one in objects]
        spare = self.node.dir / "spare"
        spare.write_text("".join(texts))
        spare.rename(self.policies / name)

    def add(self, pod: str) -> list[str]:
        """ADD; the pod's addresses."""
        member = self.member(pod)
        attachment = member.attachment(pod)
        result = member.node.host.run(member.runtime.add, attachment)
        addresses = [str(ip_interface(one["address"]).ip) for one in result["ips"]]
        host = Host(member.node.pods[attachment.container_id])
        self.hosts.update(dict.fromkeys(addresses, host))
        self.pods[pod] = {
            "podIP": addresses[0],
            "phase": "Running",
            "podIPs": [{"ip": one} for one in addresses],
        }
        return addresses

    def delete(self, pod: str) -> None:
        member = self.member(pod)
        member.node.host.run(member.runtime.delete, member.attachment(pod))
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
            return self.lab.ask(asked, truth, patience=0.1) == truth

        wait_for("the kernel does what the policies say", agreed, 20)

    def close(self) -> None:
        self.lab.close()
        for host in {id(one): one for one in self.hosts.values()}.values():
            host.close()


def connect(one: NetNS, other: NetNS) -> None:
    """A link between two nodes, with routes to each other's pods."""
    inside = f"/proc/self/fd/{other.fd}"
    one.run(
        subprocess.run,
        ["ip", "link", "add", "lan", "type", "veth", "peer", "name", "lan", "netns", inside],
        check=True,
        pass_fds=[other.fd],
    )
    for number, host in enumerate((one, other), 1):
        v4, v6 = NODES[f"n{number}"]
        batch(host, [f"addr add {v4}/24 dev lan", f"addr add {v6}/64 dev lan nodad"])
        batch(host, ["link set lan up"])
        forwarding(host)
    for number, host in enumerate((one, other), 1):
        beyond = 3 - number
        ways = zip(subnets(beyond), NODES[f"n{beyond}"], strict=True)
        batch(host, [f"route add {subnet} via {node}" for subnet, node in ways])


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
    """Namespaces with three pods each. Of two nodes each must be told about the other's pods."""
    tell(cluster)
    for name in names or NAMESPACES:
        for app in APPS:
            cluster.add(f"{name}/{app}")
    if len(cluster.members) > 1:
        tell(cluster)


def tell(cluster: Cluster) -> None:
    """Write a file of all namespaces and pods, as they are now."""
    pods = [pod(name, app, {"app": app}) for name in NAMESPACES for app in APPS]
    for one in pods:
        name = f"{one['metadata']['namespace']}/{one['metadata']['name']}"
        if len(cluster.members) > 1:
            one["status"] = cluster.pods.get(name, {})
    spaces = (namespace(name, labels) for name, labels in NAMESPACES.items())
    cluster.write("pods.yaml", *spaces, *pods)


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
