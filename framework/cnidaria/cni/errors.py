"""Errors as the CNI protocol knows them: a code, a message, details.

Every failure that a runtime sees is one :class:`CniError`.  The codes are in :class:`Code`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec

CURRENT_VERSION = "1.1.0"
"""The newest version of the CNI specification that is spoken here."""


class Code(IntEnum):
    """Error codes: below 100 the specification's (section 5, "Error"), from 100 on our own."""

    INCOMPATIBLE_VERSION = 1
    """The configuration's cniVersion is not spoken, or does not know the verb."""
    UNSUPPORTED_FIELD = 2
    """A key of the configuration cannot be honoured."""
    UNKNOWN_CONTAINER = 3
    """The container is not known; the runtime need not clean up."""
    INVALID_ENVIRONMENT = 4
    """A ``CNI_*`` variable is missing or malformed."""
    IO_FAILURE = 5
    """Reading the configuration or writing the answer failed."""
    DECODING_FAILURE = 6
    """Something is not JSON, not UTF-8, too large or too deep."""
    INVALID_CONFIG = 7
    """The configuration is JSON, but not a valid configuration."""
    INVALID_NETNS = 8
    """CNI_NETNS names nothing that is a network namespace (the code that libcni uses)."""
    TRY_AGAIN_LATER = 11
    """A passing condition; the same call may succeed later."""
    NOT_AVAILABLE = 50
    """STATUS: ADD cannot be served."""
    LIMITED_CONNECTIVITY = 51
    """STATUS: ADD cannot be served, and pods that exist may be cut off."""
    INTERNAL = 100
    """A fault of our own; the log has the rest."""
    POOL_EXHAUSTED = 101
    """No address is free."""
    ADDRESS_UNAVAILABLE = 102
    """The requested address is taken, reserved or out of range."""
    ALREADY_ATTACHED = 103
    """ADD for an attachment that exists; nothing was changed."""
    INTERFACE_EXISTS = 104
    """The pod already has an interface of the requested name."""
    CHECK_FAILED = 105
    """CHECK found a difference between what was set up and what is there."""
    KERNEL_REFUSED = 106
    """The kernel refused a change."""
    STATE_UNAVAILABLE = 107
    """The state directory or journal cannot be read or written."""
    DELEGATE_FAILED = 108
    """Another plugin, executed on our behalf, failed without a CNI error of its own."""
    CLASH = 109
    """Another attachment has in use what this one needs, as an address or a default route."""


class CniError(Exception):
    """A failure, ready to be shown to a runtime.

    Args:
        code: one of :class:`Code`; another plugin's own code where its error is passed on.
        msg: one short sentence that names the field, its value and what is allowed.
        details: what else helps, may be empty.
    """

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(code, msg, details)
        self.code = int(code)
        self.msg = msg
        self.details = details

    def __str__(self) -> str:
        return f"{self.msg}; {self.details}" if self.details else self.msg

    def to_json(self, cni_version: str = CURRENT_VERSION) -> bytes:
        """The error object that goes to stdout (specification, section 5)."""
        error: dict[str, Any] = {
            "cniVersion": cni_version,
            "code": self.code,
            "msg": _clean(self.msg),
        }
        if self.details:
            error["details"] = _clean(self.details)
        return msgspec.json.encode(error)

    @classmethod
    def from_json(cls, data: bytes) -> CniError | None:
        """The error that another plugin printed, or ``None`` if ``data`` is no error object."""
        try:
            raw = msgspec.json.decode(data)
        except (ValueError, RecursionError):
            return None
        if not isinstance(raw, dict):
            return None
        found = {str(key).lower(): value for key, value in raw.items()}
        code, msg, details = found.get("code"), found.get("msg"), found.get("details")
        if type(code) is not int or code <= 0 or not isinstance(msg, str):
            return None
        return cls(code, msg, details if isinstance(details, str) else "")


def _clean(text: str) -> str:
    """``text`` without lone surrogates, which come in by undecodable bytes of the environment."""
    return text.encode("utf-8", "backslashreplace").decode()
