"""Finding a namespace again: by the path it had, or anywhere on this machine by its cookie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cnidaria.kernel.netns import NetNS, NotANamespaceError
from cnidaria.plan.attachment import Attachment

NAMED: Final = Path("/run/netns")
PROCESSES: Final = Path("/proc")


def reopen(path: str, cookie: int) -> NetNS | None:
    """The namespace at ``path``, if it still is the one with this cookie. The caller closes it."""
    if not path or not cookie:
        return None
    try:
        found = NetNS.open(path)
    except (OSError, NotANamespaceError):
        return None
    if found.cookie == cookie:
        return found
    found.close()
    return None


def search(cookie: int, *, named: Path = NAMED, processes: Path = PROCESSES) -> NetNS | None:
    """The namespace with this cookie, named or with a process in it. The caller closes it.

    Looks into every namespace that can be seen from here: not for the way of a request.
    """
    seen: set[tuple[int, int]] = set()
    for path in _candidates(named, processes):
        try:
            stat = path.stat()
        except OSError:
            continue
        if (stat.st_dev, stat.st_ino) not in seen:
            seen.add((stat.st_dev, stat.st_ino))
            if found := reopen(str(path), cookie):
                return found
    return None


def _candidates(named: Path, processes: Path) -> Iterator[Path]:
    yield Path("/proc/thread-self/ns/net")
    for directory, pattern in ((named, "*"), (processes, "[0-9]*/ns/net")):
        yield from directory.glob(pattern)


@dataclass(frozen=True)
class Sides:
    """The two namespaces of a plan; ``None`` is one that is gone, with everything in it."""

    host: NetNS | None
    pod: NetNS | None

    def of(self, where: str) -> NetNS | None:
        """The namespace that an object's ``where`` means."""
        return self.host if where == "host" else self.pod


class Places:
    """The namespaces of an attachment, as far as they can be found; closes what it opens.

    Args:
        host: the caller's; taken if it is the attachment's, else that is searched for.
        pod: as given by the caller; taken if it is the attachment's, else looked for at its path.
    """

    def __init__(self, attachment: Attachment, host: NetNS | None, pod: NetNS | None) -> None:
        self._attachment = attachment
        self._given = Sides(host, pod)
        self._opened: list[NetNS] = []

    def __enter__(self) -> Sides:
        attachment, given = self._attachment, self._given
        host, pod = given.host, given.pod
        if host is None or host.cookie != attachment.host_cookie:
            host = self._keep(search(attachment.host_cookie))
        if pod is None or pod.cookie != attachment.netns_cookie:
            pod = self._keep(reopen(attachment.netns_path, attachment.netns_cookie))
        return Sides(host, pod)

    def __exit__(self, *exc: object) -> None:
        for namespace in self._opened:
            namespace.close()

    def _keep(self, namespace: NetNS | None) -> NetNS | None:
        if namespace:
            self._opened.append(namespace)
        return namespace
