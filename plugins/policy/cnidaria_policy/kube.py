"""Policies, namespaces, nodes and pods as a Kubernetes API server has them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from cnidaria_core import InvalidObject, PolicyEngine

from cnidaria_policy import kubeconfig
from cnidaria_policy.kubeapi import GONE, NOT_FOUND, Api, ApiError
from cnidaria_policy.manifests import Json, Key, key_of

log = logging.getLogger(__name__)

AGAIN: Final = (0.2, 1.0, 5.0)
"""Seconds until something that failed is tried again: the first time, the second, and later."""
ABSENT: Final = 30.0
"""Seconds until a kind that the server does not know is asked for again."""
AUDIT: Final = "cnidaria.io/audit"
FAILURES: Final = (ApiError, OSError)


class Resource(NamedTuple):
    """A kind, and where it is. Kinds that are optional come with a CustomResourceDefinition."""

    kind: str
    version: str
    name: str
    is_optional: bool = False

    @property
    def path(self) -> str:
        """Of all its objects."""
        return f"/{'apis' if '/' in self.version else 'api'}/{self.version}/{self.name}"


_POLICY = "policy.networking.k8s.io"
RESOURCES: Final = (
    Resource("Namespace", "v1", "namespaces"),
    Resource("Node", "v1", "nodes"),
    Resource("Pod", "v1", "pods"),
    Resource("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies"),
    Resource("ClusterNetworkPolicy", f"{_POLICY}/v1alpha2", "clusternetworkpolicies", True),
    Resource("AdminNetworkPolicy", f"{_POLICY}/v1alpha1", "adminnetworkpolicies", True),
    Resource(
        "BaselineAdminNetworkPolicy", f"{_POLICY}/v1alpha1", "baselineadminnetworkpolicies", True
    ),
)


class Kube:
    """The objects of a cluster. Thread-safe. Followed from :meth:`start` on, before that read.

    Attributes:
        problem: why it cannot be followed, ``""`` if it can: what was known is still said.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._api: Api | None = None
        self._collections: list[Collection] = []
        self._found: dict[Key, Json] = {}
        self._seen = -1
        self._lock = threading.Lock()
        self._problem = ""

    @property
    def is_whole(self) -> bool:
        """Whether all was read at least once."""
        return bool(self._collections) and all(one.is_read for one in self._collections)

    @property
    def problems(self) -> list[str]:
        """What is wrong, with the connection and with single objects."""
        told = [self._problem, *(one.problem for one in self._collections)]
        where = f"{self._api or self._file}"
        found = [f"{where}: {one}" for one in dict.fromkeys(filter(None, told))]
        return [*found, *(why for one in self._collections for why in one.refused.values())]

    @property
    def refused(self) -> int:
        """How many objects cannot be used as they are."""
        return sum(len(one.refused) for one in self._collections)

    @property
    def is_reachable(self) -> bool:
        """Whether the server answers about everything."""
        return bool(self._collections) and not any(one.problem for one in self._collections)

    def look(self) -> dict[Key, Json]:
        """Everything that is known now; the same dictionary again, where nothing has changed."""
        with self._lock:
            self._open()
            for one in self._collections:
                if not one.is_read:
                    one.read()
                if not one.is_read:
                    break  # nor will the server answer about the others
            seen = sum(one.changes for one in self._collections)
            if seen != self._seen:
                self._seen = seen
                self._found = {key: obj for one in self._collections for key, obj in one.copy()}
            return self._found

    def start(self, changed: Callable[[], None]) -> None:
        """Follow from now on; ``changed`` is called by other threads, often."""
        with self._lock:
            self._open()
            if self._api:
                self._api.reopen()
            for one in self._collections:
                one.start(changed)

    def stop(self) -> None:
        """Follow no more."""
        for one in self._collections:
            one.stop()
        if self._api:
            self._api.close()

    def knows(self, namespace: str, name: str, seconds: float) -> bool:
        """Whether there is a pod; one that is not known yet is asked for, until it is there.

        Raises:
            ApiError, OSError: the server cannot be asked, at last.
        """
        pods = next((one for one in self._collections if one.resource.kind == "Pod"), None)
        deadline = time.monotonic() + seconds
        while pods is not None and ("Pod", namespace, name) not in pods.objects:
            try:
                assert self._api
                path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(name)}"
                pods.take("ADDED", self._api.get(path, timeout=seconds))
            except FAILURES as error:
                if time.monotonic() > deadline:
                    if isinstance(error, ApiError) and error.status == NOT_FOUND:
                        return False
                    raise
                time.sleep(AGAIN[0])
        return pods is not None

    def _open(self) -> None:
        if self._api is not None:
            return
        try:
            self._api = Api(kubeconfig.read(self._file))
        except kubeconfig.BadKubeconfig as error:
            self._problem = str(error)
        except OSError as error:
            self._problem = f"{error.filename or self._file}: {error.strerror}"
        else:
            self._problem = ""
            self._collections = [Collection(self._api, one) for one in RESOURCES]


class Collection:
    """All objects of one kind.

    Attributes:
        objects: by key, only what policies see of them.
        changes: how often something changed.
        is_read: whether they were read at least once.
        problem: why they cannot be followed.
        refused: objects that cannot be understood, and why; what they said before counts.
    """

    def __init__(self, api: Api, resource: Resource) -> None:
        self.resource = resource
        self.objects: dict[Key, Json] = {}
        self.changes = 0
        self.is_read = False
        self.problem = ""
        self.refused: dict[Key, str] = {}
        self._api = api
        self._version = ""
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._stopped.set()

    def copy(self) -> list[tuple[Key, Json]]:
        """The objects at one moment."""
        with self._lock:
            return list(self.objects.items())

    def read(self) -> bool:
        """All of them, now; whether there is a version from which on they can be followed."""
        try:
            items, version = self._api.list(self.resource.path)
        except ApiError as error:
            if not (self.resource.is_optional and error.status == NOT_FOUND):
                self.problem = str(error)
                return False
            items, version = [], ""
        except OSError as error:
            self.problem = error.strerror or str(error)
            return False
        self._replace(items)
        self._version = version
        self.problem = ""
        self.is_read = True
        return bool(version)

    def start(self, changed: Callable[[], None]) -> None:
        """Follow what changes, in a thread of its own."""
        if self._stopped.is_set():
            self._stopped = stopped = threading.Event()
            name = f"kube-{self.resource.name}"
            run = threading.Thread(target=self._run, args=(changed, stopped), name=name)
            run.daemon = True
            run.start()

    def stop(self) -> None:
        """Follow no more; what is known stays so."""
        self._stopped.set()

    def _run(self, changed: Callable[[], None], stopped: threading.Event) -> None:
        failures = 0
        while not stopped.is_set():
            before = self.problem, self.changes
            pause = self._follow(changed)
            failures = failures + 1 if self.problem else 0
            if before != (self.problem, self.changes):
                changed()
            if pause or failures:
                stopped.wait(pause or AGAIN[min(failures, len(AGAIN)) - 1])

    def _follow(self, changed: Callable[[], None]) -> float:
        """One list where it is needed, and one watch; seconds to wait before the next."""
        if not self._version and not self.read():
            return 0 if self.problem else ABSENT
        changed()
        try:
            for kind, obj in self._api.watch(self.resource.path, self._version):
                self.problem = ""
                self._version = version_of(obj) or self._version
                if kind != "BOOKMARK":
                    self.take(kind, obj)
                    changed()
        except ApiError as error:
            # Too old a version is told by a status, or by an event; what was deleted is not told.
            is_old = error.status in (GONE, NOT_FOUND)
            self._version = "" if is_old else self._version
            self.problem = "" if is_old else str(error)
        except OSError as error:
            self.problem = error.strerror or str(error)
        return 0

    def take(self, kind: str, obj: Json) -> None:
        """Follow one event."""
        key = self._key(obj)
        with self._lock:
            self.refused.pop(key, None)
            if kind == "DELETED":
                self.objects.pop(key, None)
            elif (seen := self._seen(key, obj)) is not None:
                self.objects[key] = seen
            self.changes += 1

    def _replace(self, items: list[Json]) -> None:
        with self._lock:
            self.refused.clear()
            found: dict[Key, Json] = {}
            for item in items:
                key = self._key(item)
                seen = self._seen(key, item)
                if seen is not None:
                    old = self.objects.get(key)
                    found[key] = old if old == seen else seen
            self.objects = found
            self.changes += 1

    def _key(self, obj: Json) -> Key:
        return key_of({**obj, "kind": self.resource.kind})

    def _seen(self, key: Key, obj: Json) -> Json | None:
        """What policies see of an object; of one that cannot be understood, what it was before."""
        seen = pruned(self.resource, obj)
        try:
            PolicyEngine(history=1).apply(seen)
        except InvalidObject as error:
            self.refused[key] = str(error)
            return self.objects.get(key)
        return seen


def version_of(obj: Json) -> str:
    """``metadata.resourceVersion``."""
    return str((obj.get("metadata") or {}).get("resourceVersion") or "")


def pruned(resource: Resource, obj: Json) -> dict[str, Any]:
    """Without what policies do not look at, most of all of pods."""
    meta = obj.get("metadata") or {}
    kept = {key: meta[key] for key in ("name", "namespace", "labels") if meta.get(key)}
    audit = (meta.get("annotations") or {}).get(AUDIT)
    if audit is not None:
        kept["annotations"] = {AUDIT: audit}
    made: dict[str, Any] = {
        "apiVersion": resource.version,
        "kind": resource.kind,
        "metadata": kept,
    }
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    match resource.kind:
        case "Namespace":
            pass
        case "Node":
            made["status"] = {"addresses": status.get("addresses") or []}
        case "Pod":
            made["spec"] = _pod_spec(spec)
            made["status"] = {key: status[key] for key in _POD_STATUS if status.get(key)}
        case _:
            made["spec"] = spec
    return made


_CONTAINER: Final = ("name", "ports", "restartPolicy")
_POD_STATUS: Final = ("phase", "podIP", "podIPs")


def _pod_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    made = {key: spec[key] for key in ("nodeName", "hostNetwork") if spec.get(key)}
    for some in ("containers", "initContainers"):
        kept = [one for one in spec.get(some) or [] if one.get("ports")]
        seen = [{key: one[key] for key in _CONTAINER if one.get(key)} for one in kept]
        made |= {some: seen} if seen else {}
    return made
