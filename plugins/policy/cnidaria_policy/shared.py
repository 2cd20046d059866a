"""The cluster store: policies that people applied, and the pods of every node.

What people apply are documents of nobody. Each node enters its own pods, as documents that go with
it; the labels that people give to a pod count before those that it brought along.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from cnidaria_core import InvalidObject, PolicyEngine

from cnidaria import ClusterConfig, ClusterStore, Documents, StoreError, open_store
from cnidaria_policy.manifests import Json, Key, key_of

if TYPE_CHECKING:
    from cnidaria_policy.objects import PolicyPod

log = logging.getLogger(__name__)

Document = tuple[str, str]
"""Its owner, a node or ``""``, and its key."""


class Entered(dict[str, Any]):
    """A pod as its node entered it, with the labels and ports that people gave.

    Attributes:
        written: what people wrote of it: all that counts where another node has a pod of its name.
    """

    written: Json | None = None

    def __eq__(self, other: object) -> bool:
        """What people wrote counts, too: the rest may be the same without it."""
        return super().__eq__(other) and self.written == getattr(other, "written", None)

    __hash__ = None


class Shared:
    """One network's documents. Thread-safe; opens the store when it is needed first.

    A document that cannot be used keeps what it last said. So does a whole store that was made
    anew, until people write something into it: a file that is lost opens nothing.

    Attributes:
        problems: why the store cannot be followed, and what in it cannot be used.
        origin: the identity of the store that what is in force is from: another one than that of
            a store that was made anew, until people write something into it.
        unread: why it cannot be read, ``""`` if it can.
        is_whole: whether it was read, and all in it was good, at least once.
    """

    def __init__(self, network: str, cluster: ClusterConfig, node: str) -> None:
        self.is_whole = False
        self._network = network
        self._cluster = cluster
        self._node = node
        self._store: ClusterStore | None = None
        self._cursor = ""
        self._raw: dict[Document, bytes] = {}
        self._objects: dict[Document, Json] = {}
        self._wrong: dict[Document, str] = {}
        self.unread = ""
        self.origin = ""
        self._identity = ""
        self._kept: set[Document] = set()
        self._found: Mapping[Key, Json] = {}
        self._follower: threading.Thread | None = None
        self._lock = threading.RLock()

    @property
    def url(self) -> str:
        """Where it is."""
        return self._cluster.store

    @property
    def is_empty(self) -> bool:
        """Whether people have written nothing."""
        return all(owner for owner, _ in self._objects)

    @property
    def problems(self) -> list[str]:
        """See the class."""
        lost = (
            f"cluster store {self._cluster.store}: was made anew, without the {len(self._kept)} "
            "objects that it had; they stay in force until something is applied"
        )
        told = [self.unread] if self.unread else []
        return [*told, *([lost] if self._kept else ()), *self._wrong.values()]

    @property
    def refused(self) -> int:
        """How many objects cannot be used as they are."""
        return len(self._wrong)

    @property
    def is_reachable(self) -> bool:
        """Whether the store could be read, and written where there was something to write."""
        return not self.unread

    # -- reading ---------------------------------------------------------------------------

    def look(self) -> Mapping[Key, Json]:
        """Everything but this node's own pods; the same mapping where nothing has changed."""
        with self._lock:
            try:
                news = self._opened().documents(self._cursor)
            except StoreError as error:
                self.unread = str(error)
                return self._found
            self.unread = ""
            if news.cursor != self._cursor:
                self._follow(news)
                self._found = together(self._objects, self._node)
            self.is_whole |= self._wrong.keys() <= self._objects.keys()
            return self._found

    def _follow(self, news: Documents) -> None:
        mine = f"{self._network}/"
        changes = {
            what: content for what, content in news.changes.items() if what[1].startswith(mine)
        }
        anew = news.store != self._identity
        if any(not owner for owner, _ in changes):
            for document in self._kept - changes.keys():
                self._forget(document)
            self._kept.clear()
        elif anew:
            self._kept = {document for document in self._objects if not document[0]}
        if news.is_whole:
            for document in self._raw.keys() - changes.keys() - self._kept:
                self._forget(document)
        for document, content in changes.items():
            self._take(document, content)
        self._cursor, self._identity = news.cursor, news.store
        if not self._kept:
            self.origin = news.store

    def _forget(self, document: Document) -> None:
        for known in (self._raw, self._objects, self._wrong):
            known.pop(document, None)

    def _take(self, document: Document, content: bytes | None) -> None:
        before = self._objects.get(document)
        self._forget(document)
        if content is None:
            return
        self._raw[document] = content
        try:
            obj = msgspec.json.decode(content, type=dict[str, Any])
            PolicyEngine(history=1).apply(obj)
            self._objects[document] = obj
        except (msgspec.MsgspecError, InvalidObject, TypeError, ValueError) as error:
            owner, key = document
            of = f" of node {owner}" if owner else ""
            self._wrong[document] = f"cluster store: {key}{of}: {error}"
            if before is not None:
                self._objects[document] = before

    def start(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called by another thread when documents have changed."""
        with self._lock:
            if self._follower is not None:
                return
            try:
                store = self._opened()
            except StoreError:
                return  # look() has said so, and the next start tries again

            async def follow() -> None:
                async for _ in store.watch_documents():
                    changed()

            run = threading.Thread(target=lambda: asyncio.run(follow()), daemon=True)
            self._follower = run
        run.start()

    def stop(self) -> None:
        """Follow nothing any more, and close the store."""
        with self._lock:
            store, self._store = self._store, None
            follower, self._follower = self._follower, None
        if store is not None:
            store.close()
        if follower is not None:
            follower.join()

    def _opened(self) -> ClusterStore:
        if self._store is None:
            self._store = open_store(self._cluster.store)
        return self._store

    # -- this node's pods --------------------------------------------------------------------

    def enter(self, pod: PolicyPod) -> None:
        """Tell the other nodes of a pod. Raises :class:`~cnidaria.StoreError`."""
        with self._lock:
            self._opened().put({self._key(pod): content(pod, self._node)}, self._node)

    def leave(self, pod: PolicyPod, left: PolicyPod | None = None) -> None:
        """It is gone; ``left``: another one of its name is not. What fails is done later.

        Another machine of this node's name may have entered a pod of this one's.
        """
        change = {self._key(pod): content(left, self._node) if left else None}
        try:
            with self._lock:
                if not entered_addresses(self._entered(pod)).isdisjoint(pod.addresses):
                    self._opened().put(change, self._node)
        except StoreError as error:
            log.warning("%s is gone, which cannot be told: %s", pod, error)

    def entered_labels(self, pod: PolicyPod) -> dict[str, str]:
        """What this node has entered of a pod's labels before."""
        raw = self._raw.get((self._node, self._key(pod)))
        if raw is None or entered_addresses(raw).isdisjoint(pod.addresses):
            return {}
        return dict(msgspec.json.decode(raw)["metadata"].get("labels") or {})

    def _entered(self, pod: PolicyPod) -> bytes | None:
        """What is entered of a pod of this name now."""
        news, document = self._opened().documents(self._cursor), (self._node, self._key(pod))
        before = None if news.is_whole else self._raw.get(document)
        return news.changes.get(document, before)

    def reconcile(self, pods: Iterable[PolicyPod]) -> None:
        """Have of this node just these pods there."""
        wanted = {self._key(pod): content(pod, self._node) for pod in pods}
        with self._lock:
            have = {key: raw for (owner, key), raw in self._raw.items() if owner == self._node}
            changes: dict[str, bytes | None] = {
                key: raw for key, raw in wanted.items() if have.get(key) != raw
            }
            changes |= dict.fromkeys(have.keys() - wanted.keys())
            if changes and self.is_whole:
                try:
                    self._opened().put(changes, self._node)
                except StoreError as error:
                    self.unread = str(error)

    def _key(self, pod: PolicyPod) -> str:
        return path(self._network, ("Pod", pod.namespace, pod.name))

    # -- what people write -----------------------------------------------------------------

    def apply(self, objects: Iterable[Json]) -> None:
        """Write objects, all or none. Raises :class:`~cnidaria.StoreError`."""
        changes = {path(self._network, key_of(one)): msgspec.json.encode(one) for one in objects}
        with self._lock:
            self._opened().put(changes)

    def delete(self, key: Key) -> bool:
        """Take an object away; whether it was there. Raises :class:`~cnidaria.StoreError`."""
        with self._lock:
            self.look()
            was_there = ("", path(self._network, key)) in self._raw
            self._opened().put({path(self._network, key): None})
            return was_there

    def written(self) -> dict[Key, Json]:
        """The objects that people wrote."""
        self.look()
        found = {key_of(obj): obj for (owner, _), obj in self._objects.items() if not owner}
        return dict(sorted(found.items()))


def path(network: str, key: Key) -> str:
    """The key of an object's document."""
    return "/".join((network, *key))


def content(pod: PolicyPod, node: str) -> bytes:
    """A pod's document."""
    from cnidaria_policy.world import pod_object

    return msgspec.json.encode(pod_object(pod, node))


def entered_addresses(raw: bytes | None) -> set[str]:
    """Those of a pod's document; none of what is not understood."""
    try:
        return {one["ip"] for one in msgspec.json.decode(raw or b"{}")["status"]["podIPs"]}
    except (msgspec.MsgspecError, LookupError, TypeError):
        return set()


def together(objects: Mapping[Document, Json], node: str) -> dict[Key, Json]:
    """What people wrote, and the other nodes' pods with the labels and ports that people gave."""
    found = {key_of(obj): obj for (owner, _), obj in objects.items() if not owner}
    pods = {key_of(obj): obj for (owner, _), obj in objects.items() if owner not in ("", node)}
    return found | {key: told(pod, found.get(key)) for key, pod in pods.items()}


def told(pod: Json, written: Json | None) -> Entered:
    """A node's pod as people know it."""
    known = Entered(pod)
    if written is not None:
        known.written = written
        labels = (written.get("metadata") or {}).get("labels") or {}
        known["metadata"] = {**pod["metadata"], "labels": labels}
        known["spec"] = {**(written.get("spec") or {}), **pod["spec"]}
    return known
