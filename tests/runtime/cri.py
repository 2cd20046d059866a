"""A client of the Container Runtime Interface, as the kubelet is one."""

from __future__ import annotations

import json
import sys
from types import TracebackType
from typing import Any

import grpc  # type: ignore[import-untyped]

from runtime.pods import Pod
from support.needs import RUNTIMES
from support.node import Node

API = RUNTIMES / "api.proto"
"""The interface's definition, from the Go module k8s.io/cri-api."""

_TIMEOUT = 60.0


class Cri:
    """Pod sandboxes by a runtime's CRI socket (a path inside ``node``).

    Attributes:
        annotations: of pods to come, by name.
    """

    maps_ports = True

    def __init__(self, node: Node, socket: str) -> None:
        self._node = node
        sys.path.append(str(API.parent))
        try:
            # protoc finds the file, and the import its result, on Python's path.
            self._messages, services = grpc.protos_and_services(API.name)
        finally:
            sys.path.remove(str(API.parent))
        self._channel = grpc.insecure_channel(f"unix:{node.path(socket)}")
        self._runtime = services.RuntimeServiceStub(self._channel)
        self._sandboxes: dict[str, str] = {}
        self.annotations: dict[str, dict[str, str]] = {}

    def _call(self, method: str, **fields: Any) -> Any:
        request = getattr(self._messages, f"{method}Request")(**fields)
        return getattr(self._runtime, method)(request, timeout=_TIMEOUT, wait_for_ready=True)

    def network_ready(self) -> bool:
        """Whether the runtime says that it could attach a pod."""
        conditions = self._call("Status").status.conditions
        return any(one.type == "NetworkReady" and one.status for one in conditions)

    def attach(self, name: str, host_port: int | None = None) -> Pod:
        mapping = {"host_port": host_port, "container_port": 80, "protocol": "TCP"}
        config = {
            "metadata": {"name": name, "uid": f"uid-{name}", "namespace": "default"},
            "hostname": name,
            "annotations": self.annotations.get(name, {}),
            "log_directory": "/run/logs",
            "port_mappings": [mapping] if host_port else [],
            "linux": {"cgroup_parent": f"/{self._node.cgroup}"},
        }
        sandbox = self._call("RunPodSandbox", config=config).pod_sandbox_id
        self._sandboxes[name] = sandbox
        answer = self._call("PodSandboxStatus", pod_sandbox_id=sandbox, verbose=True)
        network = answer.status.network
        addresses = (network.ip, *(other.ip for other in network.additional_ips))
        pid = json.loads(answer.info["info"])["pid"]
        return Pod(name, f"/proc/{pid}/ns/net", addresses)

    def stop(self, pod: Pod) -> None:
        """Stop the sandbox: its network is taken away, itself not yet."""
        self._call("StopPodSandbox", pod_sandbox_id=self._sandboxes[pod.name])

    def remove(self, pod: Pod) -> None:
        self._call("RemovePodSandbox", pod_sandbox_id=self._sandboxes.pop(pod.name))

    def detach(self, pod: Pod) -> None:
        self.stop(pod)
        self.remove(pod)

    def __enter__(self) -> Cri:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()
