"""The Kubernetes API as far as it is needed: get, list, and watch (API concepts, kubernetes.io)."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Final
from urllib.parse import urlencode

from cnidaria_policy.kubeconfig import Access
from cnidaria_policy.manifests import Json

PAGE: Final = 500
"""Objects of a list that are asked for at once."""
ASKED: Final = 10.0
"""Seconds for an answer."""
WATCHED: Final = 240
"""Seconds that a watch lasts before it is asked for again."""
GONE: Final = 410
NOT_FOUND: Final = 404


class ApiError(Exception):
    """The API server refuses, or cannot be understood.

    Attributes:
        status: HTTP's; 0: none.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Connection(HTTPConnection):
    """One connection to the server, by TLS where it has it."""

    def __init__(self, access: Access, timeout: float) -> None:
        super().__init__(access.host, access.port, timeout=timeout)
        self._access = access

    def connect(self) -> None:
        """Open it, and see who is there."""
        super().connect()
        if self._access.tls:
            name = self._access.server_name or self._access.host
            self.sock = self._access.tls.wrap_socket(self.sock, server_hostname=name)


class Api:
    """Asks an API server. Thread-safe. Everything raises :class:`ApiError` and :class:`OSError`."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._watches: set[Connection] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __str__(self) -> str:
        return f"{self._access.host}:{self._access.port}"

    def get(self, path: str, query: Mapping[str, str | int] = {}, timeout: float = ASKED) -> Json:
        """One answer."""
        connection = Connection(self._access, timeout)
        try:
            with self._ask(connection, path, query) as response:
                return decoded(response.read())
        except HTTPException as error:
            raise ApiError(0, f"no HTTP: {error!r}") from error
        finally:
            connection.close()

    def list(self, path: str) -> tuple[list[Json], str]:
        """All objects, page by page, and the version of the list."""
        found: list[Json] = []
        query: dict[str, str | int] = {"limit": PAGE}
        while True:
            page = self.get(path, query)
            found += page.get("items") or []
            meta = page.get("metadata") or {}
            if not meta.get("continue"):
                return found, str(meta.get("resourceVersion") or "")
            query["continue"] = str(meta["continue"])

    def watch(self, path: str, version: str) -> Iterator[tuple[str, Json]]:
        """What happens after a version: ``ADDED``, ``MODIFIED``, ``DELETED``, ``BOOKMARK``."""
        connection = Connection(self._access, WATCHED + ASKED)
        with self._lock:
            if self._closed:
                return
            self._watches.add(connection)
        query: dict[str, str | int] = {
            "watch": 1,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": WATCHED,
        }
        try:
            with self._ask(connection, path, query) as response:
                while line := response.readline():
                    event = decoded(line)
                    obj = event.get("object") or {}
                    if event.get("type") == "ERROR":
                        raise ApiError(int(obj.get("code") or 0), str(obj.get("message")))
                    yield str(event.get("type")), obj
        except HTTPException as error:
            raise ApiError(0, f"no HTTP: {error!r}") from error
        finally:
            with self._lock:
                self._watches.discard(connection)
            connection.close()

    def reopen(self) -> None:
        """Allow watches again."""
        with self._lock:
            self._closed = False

    def close(self) -> None:
        """End all watches, and begin none."""
        with self._lock:
            self._closed = True
            for one in self._watches:
                with suppress(OSError):
                    if one.sock:
                        one.sock.shutdown(socket.SHUT_RDWR)

    def _ask(
        self, connection: Connection, path: str, query: Mapping[str, str | int]
    ) -> HTTPResponse:
        target = f"{self._access.path}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json", **self._access.headers()}
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        if response.status != 200:
            said = response.read(1 << 16)
            raise ApiError(response.status, f"{response.status} {response.reason}: {message(said)}")
        return response


def decoded(data: bytes) -> Json:
    """An object of JSON."""
    try:
        found: Any = json.loads(data)
    except ValueError as error:
        raise ApiError(0, f"is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ApiError(0, "is no object of JSON")
    return found


def message(said: bytes) -> str:
    """What a ``Status`` says; else the text itself."""
    with suppress(ApiError):
        return str(decoded(said).get("message") or "")
    return said.decode(errors="replace")[:200]
