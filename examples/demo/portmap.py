"""The reference portmap plugin, where it is installed: a plugin of somebody else's in the chain."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass, field

from lab import sh

DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
"""Where distributions put plugins."""
VERSIONS = ("1.1.0", "1.0.0")


@dataclass(frozen=True)
class Portmap:
    """Whether there is one, and how it is used.

    Attributes:
        directories: where it is; empty if it cannot be used.
        cni_version: the newest of CNI that it knows.
        why_not: why it cannot be used.
    """

    directories: list[str] = field(default_factory=list)
    cni_version: str = VERSIONS[0]
    why_not: str = ""

    @property
    def usable(self) -> bool:
        return not self.why_not

    @classmethod
    def find(cls, netns: str) -> Portmap:
        """Look for it, and whether what it needs works in a network namespace."""
        plugin = next((p for d in DIRECTORIES if (p := shutil.which("portmap", path=d))), None)
        if plugin is None:
            return cls(why_not="it is not installed (Debian: containernetworking-plugins)")
        for program in ("iptables", "ip6tables"):
            if not shutil.which(program):
                return cls(why_not=f"it needs {program}, which is not installed")
            try:
                sh(program, "-t", "nat", "-S", netns=netns)
            except RuntimeError as error:
                return cls(why_not=f"it needs {program}: {error}")
        known = _versions(plugin)
        version = next((version for version in VERSIONS if version in known), "")
        if not version:
            return cls(why_not=f"{plugin} is older than CNI {VERSIONS[-1]}")
        return cls([plugin.rpartition("/")[0]], version)


def _versions(plugin: str) -> list[str]:
    """The versions of CNI that a plugin says it knows."""
    done = subprocess.run(
        [plugin],
        input=b'{"cniVersion": "1.0.0"}',
        env={"CNI_COMMAND": "VERSION"},
        capture_output=True,
        timeout=10,
        check=False,
    )
    found: list[str] = json.loads(done.stdout).get("supportedVersions", [])
    return found
