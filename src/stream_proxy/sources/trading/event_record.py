"""Alpaca's own record of an account's events: how it is asked for, and read. Pure.

Source: Alpaca, "Trade Events (SSE)"; the HTML standard, "Server-sent events"; the ULID
specification.
"""

from __future__ import annotations

_FIELDS = frozenset({b"event", b"id", b"retry", b""})
"""What lines of an event stream may begin with, beside ``data``; empty is a comment."""


def between(since_ns: int, until_ns: int) -> dict[str, str]:
    """The parameters that ask for the events between two instants, nanoseconds since 1970.

    Ids rather than times: the record is ordered by them. Not the newest id that we have, since
    what was missed may lie before it. Without an end the answer would never end.
    """
    return {"since_id": ulid_at(since_ns, first=True), "until_id": ulid_at(until_ns)}


def ulid_at(ns: int, *, first: bool = False) -> str:
    """The last, or the first, ULID of an instant's millisecond (48 bits of time, 80 more)."""
    value = (ns // 1_000_000) << 80 | (0 if first else (1 << 80) - 1)
    letters = []
    for _ in range(26):
        value, digit = divmod(value, 32)
        letters.append("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[digit])
    return "".join(reversed(letters))


def read_events(content: bytes) -> list[bytes]:
    """The data of an event stream, one item a line.

    Raises:
        ValueError: it isn't one: no event in it doesn't mean that nothing happened.
    """
    found = []
    for line in content.splitlines():
        field, _, value = line.partition(b":")
        if field == b"data":
            found.append(value.strip())
        elif line and field not in _FIELDS:
            raise ValueError("not an event stream")
    return found
