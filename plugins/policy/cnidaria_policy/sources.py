"""Where a network's policies come from: directories, or a Kubernetes API server, or both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cnidaria_policy.config import PolicyConfig
from cnidaria_policy.folder import Folders
from cnidaria_policy.kube import FAILURES, Kube
from cnidaria_policy.manifests import Json, Key, Manifest

PATIENCE: Final = 5.0
"""Seconds in which a pod must be found that the API server has not told of yet."""


class Sources:
    """All of them as one. What both have counts as the API server has it."""

    def __init__(self, config: PolicyConfig) -> None:
        self._folders = Folders(config.directories)
        self._kube = Kube(Path(config.kubeconfig)) if config.kubeconfig else None
        self._parts: tuple[Mapping[Key, Json], ...] = ()
        self._found: Mapping[Key, Json] = {}

    @property
    def problems(self) -> list[str]:
        """What is wrong, one text for each file, directory, server or object."""
        return [*self._folders.problems, *(self._kube.problems if self._kube else ())]

    @property
    def is_whole(self) -> bool:
        """Whether all was good at least once: before that it is not known what the policies are."""
        return self._folders.is_whole and (self._kube is None or self._kube.is_whole)

    @property
    def places(self) -> Mapping[Key, Manifest]:
        """Where the objects of files are from."""
        return self._folders.places

    def look(self) -> Mapping[Key, Json]:
        """Everything that is in force now; the same mapping again, where nothing has changed."""
        parts: tuple[Mapping[Key, Json], ...] = (self._folders.look(),)
        if self._kube:
            parts = (*parts, self._kube.look())
        if len(parts) == 1:
            return parts[0]
        if not self._parts or any(a is not b for a, b in zip(parts, self._parts, strict=True)):
            self._parts = parts
            self._found = {key: obj for part in parts for key, obj in part.items()}
        return self._found

    def start(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called, by other threads, when the API server tells something."""
        if self._kube:
            self._kube.start(changed)

    def stop(self) -> None:
        """Follow nothing any more."""
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
