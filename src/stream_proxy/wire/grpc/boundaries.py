"""HOT PATH. Where gRPC messages end, in bytes that begin with one.

Asked of every payload that a client's window cuts, so it is compiled where that is possible.
Source: "gRPC over HTTP2", Length-Prefixed-Message.
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_i32_be
from mypy_extensions import i64

COMPILED: Final = not __file__.endswith((".py", ".pyc"))

PREFIX_BYTES: Final = 5
"""In front of every message: a flag, and its length."""


def whole_bytes(data: bytes) -> int:
    """How many of the bytes are whole messages."""
    size: i64 = len(data)
    end: i64 = 0
    while end + PREFIX_BYTES <= size:
        next_end: i64 = end + PREFIX_BYTES + (i64(read_i32_be(data, end + 1)) & 0xFFFF_FFFF)
        if next_end > size:
            break
        end = next_end
    return int(end)


def count_messages(data: bytes) -> int:
    """How many messages begin there."""
    size: i64 = len(data)
    at: i64 = 0
    count: i64 = 0
    while at < size:
        at += PREFIX_BYTES + (i64(read_i32_be(data, at + 1)) & 0xFFFF_FFFF)
        count += 1
    return int(count)
