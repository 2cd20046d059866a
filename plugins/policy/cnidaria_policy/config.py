"""The configuration of ``cnidaria-policy``."""

from __future__ import annotations

import os
from typing import Annotated

import msgspec

from cnidaria import Check, Doc, ModeConfig

DIRECTORY = "/etc/cnidaria/policies"


def _absolute(path: str) -> str:
    return "" if path.startswith("/") else "must be an absolute path"


Directory = Annotated[str, Check(_absolute)]


class PolicyConfig(ModeConfig):
    """The keys of ``cnidaria-policy``."""

    policies: (
        Annotated[
            tuple[Directory, ...],
            msgspec.Meta(min_length=1),
            Doc("directories of YAML or JSON files with policies, namespaces and pods' labels"),
        ]
        | None
    ) = None
    kubeconfig: (
        Annotated[Directory, Doc("file that says where the Kubernetes API server is")] | None
    ) = None
    node: Annotated[str, Doc("this node's name; default: the host name")] | None = None

    @property
    def directories(self) -> tuple[str, ...]:
        """Those of ``policies``; the default one where there is nothing else to follow."""
        if self.policies is None:
            return () if self.kubeconfig else (DIRECTORY,)
        return self.policies

    @property
    def node_name(self) -> str:
        """The node's name: the configured one, or the host name."""
        return self.node or os.uname().nodename
