"""The page about addresses has every key."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnidaria.ipam.keys import ClusterPool, IpamKeys, RangeKeys, RouteKeys

PAGE = Path(__file__).parents[3] / "docs" / "ipam.md"


@pytest.mark.parametrize("keys", [IpamKeys, RangeKeys, RouteKeys, ClusterPool])
def test_every_key_is_documented(keys):
    text = PAGE.read_text()
    missing = [name for name in keys.__struct_encode_fields__ if f"`{name}`" not in text]
    assert not missing
