"""The core of cnidaria: its tables, compiled."""

from cnidaria_core._core import AddressPool
from cnidaria_core.errors import (
    AddressOutOfRange,
    AddressReserved,
    AddressTaken,
    CoreError,
    InvalidAddress,
    InvalidBuffer,
    InvalidPool,
    InvalidPrefix,
    MalformedBytes,
    PoolError,
    PoolExhausted,
)

__all__ = [
    "AddressOutOfRange",
    "AddressPool",
    "AddressReserved",
    "AddressTaken",
    "CoreError",
    "InvalidAddress",
    "InvalidBuffer",
    "InvalidPool",
    "InvalidPrefix",
    "MalformedBytes",
    "PoolError",
    "PoolExhausted",
]
