"""A fresh private node with one network, for each test, each network, with and without agent."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.networks import NETWORKS, Network
from support.image import write_image
from support.node import PLUGIN_DIR, Daemon, Node

CNIDARIA = str(Path(sys.executable).with_name("cnidaria"))
"""Our command, beside the interpreter that runs the tests."""


def start_agent(node: Node) -> Daemon:
    """Start the agent; it listens when the networks' state is in the kernel."""
    agent = node.start("agent", CNIDARIA, "agent")
    agent.wait_until(node.path("/run/cnidaria/agent.sock").exists)
    return agent


@pytest.fixture(params=NETWORKS, ids=str)
def network(request: pytest.FixtureRequest) -> Network:
    chosen: Network = request.param
    return chosen


@pytest.fixture(params=["agent", "one-shot"])
def node(network: Network, request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node with our plugins installed; after the test no attachment may be in its journal."""
    with Node() as private:
        network.write(private)
        private.run(CNIDARIA, "install", f"--bin-dir={PLUGIN_DIR}")
        agent = start_agent(private) if request.param == "agent" else None
        yield private
        assert json.loads(private.run(CNIDARIA, "pods", "--json").stdout) == []
        assert agent is None or (agent.running() and "Traceback" not in agent.log())


@pytest.fixture
def cnidaria(node: Node) -> Callable[..., str]:
    """Our command on the node; what it prints, whatever it ends with."""
    return lambda *words: node.run(CNIDARIA, *words, check=False).stdout


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pods' image, a docker-archive."""
    path = tmp_path_factory.mktemp("image") / "pod.tar"
    write_image(path)
    return path
