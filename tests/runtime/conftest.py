"""A fresh private node with one network, for each test and each network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.networks import NETWORKS, Network
from support.image import write_image
from support.node import Node


@pytest.fixture(params=NETWORKS, ids=lambda network: network.label)
def network(request: pytest.FixtureRequest) -> Network:
    chosen: Network = request.param
    return chosen


@pytest.fixture
def node(network: Network) -> Iterator[Node]:
    with Node() as private:
        network.write(private)
        yield private


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pods' image, a docker-archive."""
    path = tmp_path_factory.mktemp("image") / "pod.tar"
    write_image(path)
    return path
