"""Where a network's policies come from: directories, a cluster store, a Kubernetes API server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from cnidaria_policy.config import PolicyConfig
from cnidaria_policy.folder import Folders
from cnidaria_policy.kept import Kept
from cnidaria_policy.kube import FAILURES, Kube
from cnidaria_policy.manifests import Json, Key, Manifest
from cnidaria_policy.shared import Entered, Shared, told

PATIENCE: Final = 5.0
"""Seconds in which a pod must be found that the API server has not told of yet, or that somebody
still reads of.
"""


class Sources:
    """All of them as one. What several have counts as the last of them has it.

    Args:
        kept: what files said before.

    Attributes:
        shared: the cluster store, if there is one.
    """

    def __init__(self, network: str, config: PolicyConfig, kept: Kept | None = None) -> None:
        self.shared = Shared(network, config.cluster, config.node_name) if config.cluster else None
        self._folders = Folders(config.directories, kept)
        self._kube = Kube(Path(config.kubeconfig)) if config.kubeconfig else None
        self._parts: tuple[Mapping[Key, Json], ...] = ()
        self._found: Mapping[Key, Json] = {}

    @property
    def problems(self) -> list[str]:
        """What is wrong, one text for each file, directory, server or object."""
        return [problem for one in self._all for problem in one.problems]

    @property
    def refused(self) -> dict[str, int]:
        """How much of each source is refused: files, objects of the store, of the API server."""
        return {name: one.refused for name, one in self._by_name.items()}

    @property
    def reachable(self) -> dict[str, bool]:
        """Whether each source could be read when it was last looked at."""
        return {name: one.is_reachable for name, one in self._by_name.items()}

    @property
    def _by_name(self) -> dict[str, Folders | Shared | Kube]:
        parts = {"files": self._folders, "store": self.shared, "api": self._kube}
        return {name: one for name, one in parts.items() if one is not None}

    @property
    def _all(self) -> list[Folders | Shared | Kube]:
        return list(self._by_name.values())

    @property
    def are_files(self) -> bool:
        """Whether there are no others: what a file says counts only once it was read to its end."""
        return self.shared is None and self._kube is None

    @property
    def is_whole(self) -> bool:
        """Whether all was good at least once: before that it is not known what the policies are."""
        return all(one.is_whole for one in self._all)

    @property
    def store(self) -> str:
        """Which cluster store the policies are of, ``""`` if none."""
        return self.shared.origin if self.shared else ""

    @property
    def why_closed(self) -> str:
        """Why no pod can be added, of which other nodes must be told; ``""``: nothing hinders."""
        return self.shared.unread if self.shared else ""

    @property
    def places(self) -> Mapping[Key, Manifest]:
        """Where the objects of files are from."""
        return self._folders.places

    def look(self) -> Mapping[Key, Json]:
        """Everything that is in force now; the same mapping again, where nothing has changed."""
        parts = tuple(one.look() for one in self._all)
        if len(parts) == 1:
            return parts[0]
        if not self._parts or any(a is not b for a, b in zip(parts, self._parts, strict=True)):
            self._parts = parts
            self._found = merged(parts)
        return self._found

    def start(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called, by other threads, when there is something new."""
        if self.shared:
            self.shared.start(changed)
        if self._kube:
            self._kube.start(changed)

    def stop(self) -> None:
        """Follow nothing any more."""
        if self.shared:
            self.shared.stop()
        if self._kube:
            self._kube.stop()

    def why_unknown(self, namespace: str, name: str) -> str:
        """Why it is not known what policies see of a pod; ``""``: it is, or nobody has to."""
        if self._kube is None:
            return ""
        try:
            if self._kube.knows(namespace, name, PATIENCE):
                return ""
        except FAILURES as error:
            return f"pod {namespace}/{name} cannot be asked for: {error}"
        return f"the API server has no pod {namespace}/{name}"


def merged(parts: Iterable[Mapping[Key, Json]]) -> dict[Key, Json]:
    """The last one counts; but what a node entered of a pod does not hide what people wrote."""
    found: dict[Key, Json] = {}
    for part in parts:
        for key, obj in part.items():
            is_bare = isinstance(obj, Entered) and obj.written is None
            found[key] = told(obj, found[key]) if is_bare and key in found else obj
    return found
