"""An API server in miniature: lists in pages, watches, and the errors that clients must bear."""

from __future__ import annotations

import json
import queue
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from cnidaria.kernel.netns import NetNS

Object = dict[str, Any]

PLURALS = {
    "Namespace": "/api/v1/namespaces",
    "Node": "/api/v1/nodes",
    "Pod": "/api/v1/pods",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/networkpolicies",
    "ClusterNetworkPolicy": "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
}
TOKEN = "secret"
PAGE = 2
"""Objects of a page, however many are asked for."""


class KubeApi(ThreadingHTTPServer):
    """Listens in a namespace; a context manager.

    Attributes:
        hidden: names of pods that no watch and no list tells of: only who asks for one gets it.
        is_down: whether every question is refused.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, place: NetNS, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = place.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.server_bind()
        self.server_activate()
        self.hidden: set[str] = set()
        self.is_down = False
        self._version = 100
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._history: list[tuple[int, Object]] = []
        self._watches: list[tuple[str, queue.Queue[Object | None]]] = []
        self._lock = threading.Lock()
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(self._access()))
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))

    def server_bind(self) -> None:
        """Without asking anybody for the host's name."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def _access(self) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [
                {"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.server_port}"}}
            ],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
        }

    def __enter__(self) -> KubeApi:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.break_watches()
        self.shutdown()
        self._thread.join()
        self.server_close()

    # -- what happens in the cluster -------------------------------------------------------

    def put(self, obj: Object | str) -> None:
        """Make or change an object."""
        found: Object = yaml.safe_load(obj) if isinstance(obj, str) else obj
        key = key_of(found)
        with self._lock:
            known = key in self._objects
            self._objects[key] = self._stamped(found)
            self._tell("MODIFIED" if known else "ADDED", self._objects[key])

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Delete one."""
        with self._lock:
            gone = self._objects.pop((kind, namespace, name))
            self._tell("DELETED", self._stamped(gone))

    def forget(self) -> None:
        """As after a compaction: watches end, and old versions are not known any more."""
        with self._lock:
            self._version += 1000
        self.break_watches({"type": "ERROR", "object": {"code": 410, "message": "too old"}})

    def break_watches(self, last: Object | None = None) -> None:
        """All of them end, after a last event."""
        with self._lock:
            for _, told in self._watches:
                if last:
                    told.put(last)
                told.put(None)

    def _stamped(self, obj: Object) -> Object:
        self._version += 1
        meta = {**obj["metadata"], "resourceVersion": str(self._version), "uid": "u"}
        return {**obj, "metadata": meta}

    def _tell(self, event: str, obj: Object) -> None:
        self._history.append((self._version, {"type": event, "object": obj}))
        for kind, told in self._watches:
            self._tell_one(kind, told, self._history[-1][1])

    def _tell_one(self, kind: str, told: queue.Queue[Object | None], event: Object) -> None:
        obj = event["object"]
        if kind == obj["kind"] and obj["metadata"]["name"] not in self.hidden:
            told.put(event)

    # -- what is asked ---------------------------------------------------------------------

    def page(self, kind: str, at: int) -> Object:
        """Some objects of a list, without their kind, as real ones are."""
        with self._lock:
            some = [
                {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}
                for key, obj in self._objects.items()
                if key[0] == kind and key[2] not in self.hidden
            ]
            meta: Object = {"resourceVersion": str(self._version)}
        if at + PAGE < len(some):
            meta["continue"] = str(at + PAGE)
        return {"kind": f"{kind}List", "metadata": meta, "items": some[at : at + PAGE]}

    def one(self, kind: str, namespace: str, name: str) -> Object | None:
        """An object."""
        with self._lock:
            return self._objects.get((kind, namespace, name))

    def watch(self, kind: str, version: int) -> queue.Queue[Object | None]:
        """Events after a version; one that is not known any more is an error of its own."""
        told: queue.Queue[Object | None] = queue.Queue()
        with self._lock:
            if version < self._version - 500:
                told.put({"type": "ERROR", "object": {"code": 410, "message": "too old"}})
                told.put(None)
                return told
            told.put({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}})
            for at, event in self._history:
                if at > version:
                    self._tell_one(kind, told, event)
            self._watches.append((kind, told))
        return told


def key_of(obj: Object) -> tuple[str, str, str]:
    return obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


class Handler(BaseHTTPRequestHandler):
    """One question."""

    protocol_version = "HTTP/1.1"
    server: KubeApi

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if self.server.is_down:
            return self._answer(503, {"message": "out of order"})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, {"message": "who are you?"})
        kind = next((kind for kind, path in PLURALS.items() if path == url.path), "")
        if kind and "watch" in query:
            return self._watch(kind, int(query["resourceVersion"]))
        if kind:
            return self._answer(200, self.server.page(kind, int(query.get("continue", 0))))
        parts = url.path.split("/")
        found = self.server.one("Pod", parts[4], parts[6]) if len(parts) == 7 else None
        return self._answer(200, found) if found else self._answer(404, {"message": "not found"})

    def _answer(self, status: int, obj: Object) -> None:
        data = json.dumps(obj).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _watch(self, kind: str, version: int) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        told = self.server.watch(kind, version)
        while (event := told.get()) is not None:
            line = json.dumps(event).encode() + b"\n"
            try:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            except OSError:
                break
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""
