"""The configuration of ``cnidaria-policy``."""

from __future__ import annotations

import os
from typing import Annotated

import msgspec

from cnidaria import Check, ClusterConfig, Doc, ModeConfig

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
    cluster: (
        Annotated[ClusterConfig, Doc("store with policies, namespaces, and the pods of all nodes")]
        | None
    ) = None
    node: Annotated[str, Doc("this node's name; default: the host name")] | None = None

    def __post_init__(self) -> None:
        if self.node and self.cluster and self.node != self.cluster.node_name:
            raise ValueError(
                f"node: {self.node!r}, but this is node {self.cluster.node_name!r} of the cluster; "
                "say it once, as cluster.node"
            )

    @property
    def directories(self) -> tuple[str, ...]:
        """Those of ``policies``; the default one where there is nothing else to follow."""
        if self.policies is None:
            return () if self.kubeconfig or self.cluster else (DIRECTORY,)
        return self.policies

    @property
    def node_name(self) -> str:
        """The node's name: the configured one, the one in the cluster, or the host name."""
        in_cluster = self.cluster.node_name if self.cluster else ""
        return self.node or in_cluster or os.uname().nodename
