"""A node whose pods policies are enforced for, as an operator and a runtime see it."""

from __future__ import annotations

from ipaddress import ip_interface
from typing import Any

import yaml

from cnidaria.testing.runtime import Attachment, Runtime
from support.cni import NETWORK, CniNode
from support.node import wait_for
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
        self.lab.close()
        for host in {id(one): one for one in self.hosts.values()}.values():
            host.close()


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
