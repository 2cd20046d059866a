"""What all tests share: how thorough they are, and that nothing is left out in silence."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["support.left_out"]
pytest.register_assert_rewrite("support.cni")

ORDER = ("unit", "kernel", "cluster", "third_party", "runtime")
"""Folders in the order that they run in: what is quick to fail comes first."""

EFFORT = int(os.environ.get("CNIDARIA_EFFORT", "1"))

settings.register_profile(
    "cnidaria",
    max_examples=100 * EFFORT,
    # The machines that run this are shared and slow at times; no test measures wall time.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # CI judges a change, not the day's luck: there the examples are the same each time.
    derandomize=os.environ.get("CI") == "true" and EFFORT == 1,
    print_blob=True,
)
settings.load_profile("cnidaria")


@pytest.fixture(scope="session")
def effort() -> int:
    """How many times longer than usual a thorough test may take (``CNIDARIA_EFFORT``)."""
    return EFFORT


def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """Put the folders into ORDER; inside a folder nothing moves."""
    root = config.rootpath / "tests"

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(root).parts[0] if item.path.is_relative_to(root) else ""
        return ORDER.index(folder) if folder in ORDER else len(ORDER)

    items.sort(key=place)
