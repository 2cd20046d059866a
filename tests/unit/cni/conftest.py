"""What the tests of the protocol share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oracle.client import Oracle, Unavailable, running


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    """The libraries of the CNI project, ready to be asked."""
    try:
        with running(tmp_path_factory.mktemp("oracle")) as started:
            yield started
    except Unavailable as error:
        pytest.skip(str(error))
