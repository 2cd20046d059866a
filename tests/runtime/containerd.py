"""containerd in a node, with a root, state and sockets of its own."""

from __future__ import annotations

from pathlib import Path

from support.image import NAME
from support.node import PLUGIN_DIR, Node

SOCKET = "/run/containerd.sock"

_CONFIG = """
version = 2
root = "{dir}/containerd/root"
state = "{dir}/containerd/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "/etc/cni/net.d"
"""


def start_containerd(node: Node, image: Path, namespace: str) -> None:
    """Start it, and import the image into its ``namespace``."""
    config = "/run/containerd.toml"
    node.write(config, _CONFIG.format(dir=node.dir, socket=SOCKET, image=NAME, plugins=PLUGIN_DIR))
    daemon = node.start("containerd", "containerd", "--config", config)
    daemon.wait_until(lambda: ctr(node, "version", check=False) == 0)
    ctr(node, "--namespace", namespace, "image", "import", str(image))


def ctr(node: Node, *argv: str, check: bool = True) -> int:
    """Run containerd's own client; its exit code."""
    return node.run("ctr", "--address", SOCKET, *argv, check=check).returncode
