"""What all tests share: how thorough they are, and that nothing is left out in silence."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["support.left_out"]

EFFORT = int(os.environ.get("CNIDARIA_EFFORT", "1"))

settings.register_profile(
    "cnidaria",
    max_examples=100 * EFFORT,
    # The machines that run this are shared and slow at times; no test measures wall time.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("cnidaria")


@pytest.fixture(scope="session")
def effort() -> int:
    """How many times longer than usual a thorough test may take (``CNIDARIA_EFFORT``)."""
    return EFFORT
