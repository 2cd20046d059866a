"""How to reach a Kubernetes API server: the parts of a kubeconfig that a node's agent has."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml


class BadKubeconfig(Exception):
    """A kubeconfig that cannot be used; the text names file and field."""


@dataclass(frozen=True)
class Access:
    """An API server, and who asks it.

    Attributes:
        host, port: of the server; ``path``: before every path of the API.
        tls: ``None``: none.
        token_file: holds the bearer token, and may be written anew; ``""``: see ``token``.
    """

    host: str
    port: int
    path: str = ""
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    token: str = ""
    token_file: str = ""

    def headers(self) -> dict[str, str]:
        """What says who asks. Raises :class:`OSError`: the token cannot be read."""
        token = Path(self.token_file).read_text().strip() if self.token_file else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}


def read(file: Path) -> Access:
    """The cluster and the user of the current context.

    Raises:
        BadKubeconfig: naming file and field.
        OSError: a file cannot be read.
    """
    try:
        raw = yaml.safe_load(file.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadKubeconfig(f"{file}: is not YAML: {error}") from error
    return _Reader(file, raw).access()


class _Reader:
    def __init__(self, file: Path, raw: Any) -> None:
        self._file = file
        self._raw = self._mapping(raw, "the file")

    def access(self) -> Access:
        name = self._raw.get("current-context")
        context = self._named("contexts", "context", name)
        cluster = self._named("clusters", "cluster", context.get("cluster"))
        users = context.get("user")
        user = self._named("users", "user", users) if users else {}
        for unknown in ("exec", "auth-provider", "username"):
            if unknown in user:
                raise self._wrong(f"users[{users}].user.{unknown}", "is not supported")
        server = urlsplit(str(cluster.get("server") or ""))
        if server.scheme not in ("http", "https") or not server.hostname:
            raise self._wrong("cluster.server", "must be a URL of http or https")
        secure = server.scheme == "https"
        return Access(
            host=server.hostname,
            port=server.port or (443 if secure else 80),
            path=server.path.rstrip("/"),
            tls=self._tls(cluster, user) if secure else None,
            server_name=str(cluster.get("tls-server-name") or ""),
            token=str(user.get("token") or ""),
            token_file=self._path(user.get("tokenFile")),
        )

    def _tls(self, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
        made = ssl.create_default_context()
        if cluster.get("insecure-skip-tls-verify"):
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        authority = self._data(cluster, "certificate-authority")
        try:
            if authority is not None:
                made.load_verify_locations(cadata=authority.decode("ascii"))
            self._identify(made, user)
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise self._wrong("certificates", f"cannot be used: {error}") from error
        return made

    def _identify(self, context: ssl.SSLContext, user: Mapping[str, Any]) -> None:
        """Python's TLS takes a certificate and its key from files only."""
        both = [self._data(user, key) for key in ("client-certificate", "client-key")]
        if all(one is None for one in both):
            return
        with ExitStack() as stack:
            names = [stack.enter_context(tempfile.NamedTemporaryFile()) for _ in both]
            for file, data in zip(names, both, strict=True):
                if data is None:
                    raise self._wrong("user", "client-certificate and client-key go together")
                os.fchmod(file.fileno(), 0o600)
                file.write(data)
                file.flush()
            context.load_cert_chain(names[0].name, names[1].name)

    def _data(self, there: Mapping[str, Any], key: str) -> bytes | None:
        """Content that is written in, or in a file that is named."""
        if inline := there.get(f"{key}-data"):
            try:
                return base64.b64decode(str(inline), validate=True)
            except binascii.Error as error:
                raise self._wrong(f"{key}-data", "is not base64") from error
        path = self._path(there.get(key))
        return Path(path).read_bytes() if path else None

    def _path(self, value: Any) -> str:
        return str(self._file.parent / str(value)) if value else ""

    def _named(self, key: str, inner: str, name: Any) -> Mapping[str, Any]:
        some = self._raw.get(key)
        for one in some if isinstance(some, Iterable) else ():
            if isinstance(one, Mapping) and one.get("name") == name and name:
                return self._mapping(one.get(inner), f"{key}[{name}].{inner}")
        raise self._wrong(key, f"has no {inner} {name!r}")

    def _mapping(self, value: Any, what: str) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self._wrong(what, "must be a mapping")
        return value

    def _wrong(self, what: str, why: str) -> BadKubeconfig:
        return BadKubeconfig(f"{self._file}: {what} {why}")
