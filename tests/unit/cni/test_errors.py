"""Errors, as they are shown and as they are read from other plugins."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnidaria.cni.errors import CniError, Code

SPECIFIED = {1, 2, 3, 4, 5, 6, 7, 8, 11, 50, 51}


def test_codes_below_100_are_the_specifications() -> None:
    assert {code for code in Code if code < 100} == SPECIFIED


def test_json() -> None:
    error = CniError(Code.INVALID_CONFIG, "vni = 0: must be between 1 and 5", "see the docs")
    assert json.loads(error.to_json("0.4.0")) == {
        "cniVersion": "0.4.0",
        "code": 7,
        "msg": "vni = 0: must be between 1 and 5",
        "details": "see the docs",
    }
    assert str(error) == "vni = 0: must be between 1 and 5; see the docs"


def test_details_are_left_out_where_there_are_none() -> None:
    assert json.loads(CniError(11, "later").to_json()) == {
        "cniVersion": "1.1.0",
        "code": 11,
        "msg": "later",
    }


def test_undecodable_bytes_of_the_environment_do_not_break_the_answer() -> None:
    assert json.loads(CniError(4, "bad \udcff").to_json())["msg"] == "bad \\udcff"


@given(st.integers(1, 2**31), st.text(), st.text())
def test_what_is_written_is_read_again(code: int, msg: str, details: str) -> None:
    found = CniError.from_json(CniError(code, msg, details).to_json())
    assert found is not None
    assert (found.code, found.msg, found.details) == (code, msg, details)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"{}", b'{"code": 0, "msg": ""}', b'{"code": "7", "msg": "x"}',
     b'{"code": true, "msg": "x"}', b'{"code": 7}', b"\xff", b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_error(data: bytes) -> None:
    assert CniError.from_json(data) is None


def test_another_plugins_error_is_read_in_any_letter_case() -> None:
    found = CniError.from_json(b'{"Code": 999, "MSG": "no", "details": 3}')
    assert found is not None
    assert (found.code, found.msg, found.details) == (999, "no", "")
