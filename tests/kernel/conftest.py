"""Each test gets fresh namespaces: ``host`` for what a node is, ``pod`` for a pod."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cnidaria.kernel.netns import NetNS
from support.namespaces import may_unshare, new_namespace


@pytest.fixture(scope="session")
def _namespaces() -> None:
    if not may_unshare():
        pytest.skip("may not make network namespaces: run by scripts/in-namespaces")


@pytest.fixture
def host(_namespaces: None) -> Iterator[NetNS]:
    with new_namespace() as namespace:
        yield namespace


@pytest.fixture
def pod(_namespaces: None) -> Iterator[NetNS]:
    with new_namespace() as namespace:
        yield namespace
