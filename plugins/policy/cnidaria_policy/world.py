"""What the engine is told: objects of the sources, and the pods that live here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import msgspec
from cnidaria_core import PolicyEngine

from cnidaria_policy.manifests import Json, Key
from cnidaria_policy.shared import Entered

if TYPE_CHECKING:
    from cnidaria_policy.objects import PolicyPod

PodName = tuple[str, str]


class World:
    """Feeds an engine. A local pod has the labels and ports of the source that knows it, else its
    own; and the addresses that it was given here.

    Args:
        node: this node's name.
    """

    def __init__(self, node: str) -> None:
        self.engine = PolicyEngine()
        self.node = node
        self._objects: Mapping[Key, Json] = {}
        self._local: dict[PodName, dict[str, PolicyPod]] = {}
        self._names: dict[str, str] = {}
        self._own: tuple[str, ...] = ()

    @property
    def objects(self) -> Mapping[Key, Json]:
        """What the sources said last."""
        return self._objects

    def name_of(self, address: str) -> str:
        """The local pod that has the address, as ``namespace/name``; ``""`` if none."""
        return self._names.get(address, "")

    def replace(self, objects: Mapping[Key, Json]) -> bool:
        """Take these instead of what the sources said before; whether they are others."""
        if objects is self._objects:
            return False
        gone = self._objects.keys() - objects.keys()
        more = [key for key, obj in objects.items() if self._objects.get(key) != obj]
        self._objects = objects
        self.engine.load([self._told(key, objects[key]) for key in more])
        for key in gone:
            self._forget(key)
        return bool(more or gone)

    def see(self, addresses: Iterable[str]) -> bool:
        """Take the node's own addresses from the kernel where no source knows the node; whether
        they are others than before.
        """
        is_known = node_key(self.node) in self._objects
        own = () if is_known else global_ones(addresses)
        if own == self._own:
            return False
        self._own = own
        if own:
            self.engine.apply(node_object(self.node, own))
        elif not is_known:
            self.engine.delete("Node", self.node)
        return True

    def _told(self, key: Key, obj: Json) -> Json:
        local = self._local.get(key[1:]) if key[0] == "Pod" else None
        return pod_object(together(local), self.node, obj) if local else obj

    def _forget(self, key: Key) -> None:
        kind, namespace, name = key
        local = self._local.get((namespace, name)) if kind == "Pod" else None
        if local:
            self.engine.apply(pod_object(together(local), self.node))
        else:
            self.engine.delete(kind, name, namespace or None)

    def attach(self, pods: Iterable[PolicyPod]) -> None:
        """These live here now. Raises :class:`cnidaria_core.InvalidObject`: nothing has changed."""
        local: dict[PodName, dict[str, PolicyPod]] = {}
        for pod in pods:
            name = pod.namespace, pod.name
            known = local.setdefault(name, dict(self._local.get(name, {})))
            known.pop(pod.id, None)
            known[pod.id] = pod
        told = [
            pod_object(together(some), self.node, self._objects.get(("Pod", *name)))
            for name, some in local.items()
        ]
        self.engine.load(told)
        self._local.update(local)
        for name, some in local.items():
            self._names.update((one, "/".join(name)) for one in together(some).addresses)

    def detach(self, pod: PolicyPod) -> None:
        """It does not live here any more; another one of its name may."""
        name = pod.namespace, pod.name
        local = self._local.get(name, {})
        local.pop(pod.id, None)
        for address in pod.addresses:
            if self._names.get(address) == "/".join(name):
                del self._names[address]
        if local:
            self.attach([latest(local)])
            return
        self._local.pop(name, None)
        known = self._objects.get(("Pod", *name))
        if known is None:
            self.engine.delete("Pod", pod.name, pod.namespace)
        else:
            self.engine.apply(known)

    def local(self, namespace: str, name: str) -> PolicyPod | None:
        """The pod of this name that lives here."""
        pods = self._local.get((namespace, name))
        return together(pods) if pods else None

    def named(self) -> list[PolicyPod]:
        """All that live here, one of each name."""
        return [together(pods) for pods in list(self._local.values()) if pods]

    @property
    def size(self) -> int:
        """How many pods live here, by name."""
        return len(self._local)

    def kinds(self) -> Counter[str]:
        """How many objects of each kind the sources tell of."""
        return Counter(kind for kind, _, _ in self._objects)

    def pods(self) -> list[PolicyPod]:
        """All that live here."""
        return [pod for some in list(self._local.values()) for pod in list(some.values())]


def node_key(node: str) -> Key:
    """Of a node's object."""
    return ("Node", "", node)


def node_object(node: str, addresses: Iterable[str]) -> Json:
    """A node as Kubernetes would show it, where nobody does."""
    told = [{"type": "InternalIP", "address": one} for one in addresses]
    meta = {"name": node, "labels": {}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta, "status": {"addresses": told}}


def global_ones(addresses: Iterable[str]) -> tuple[str, ...]:
    """Those by which others know the node."""
    known = (ip_address(one) for one in set(addresses))
    return tuple(sorted(str(one) for one in known if not (one.is_loopback or one.is_link_local)))


def latest(pods: Mapping[str, PolicyPod]) -> PolicyPod:
    """Of several of one name the one that came last: it replaces what is going."""
    return list(pods.values())[-1]


def together(pods: Mapping[str, PolicyPod]) -> PolicyPod:
    """The one that came last, with the addresses of all: a pod may have several interfaces, and
    what is going has its address until it is gone.
    """
    last = latest(pods)
    others = (address for one in pods.values() for address in one.addresses)
    return msgspec.structs.replace(last, addresses=tuple(dict.fromkeys((*last.addresses, *others))))


def pod_object(pod: PolicyPod, node: str, known: Json | None = None) -> dict[str, Any]:
    """A local pod as Kubernetes would show it.

    Args:
        known: what a source says of it. What another node entered is about another one.
    """
    known = (known.written if isinstance(known, Entered) else known) or {}
    meta, spec = known.get("metadata") or {}, known.get("spec") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": pod.namespace,
            "name": pod.name,
            "labels": meta.get("labels") or {} if known else dict(pod.labels),
        },
        "spec": {**spec, "nodeName": node, "hostNetwork": False},
        "status": {
            "phase": "Running",
            "podIP": pod.addresses[0],
            "podIPs": [{"ip": one} for one in pod.addresses],
        },
    }
