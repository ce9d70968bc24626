"""How long a server wants us to wait, and what time it has, as its headers say."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

LONGEST_WAIT_SECONDS = 60.0
"""Whatever a server says: Alpaca counts by the minute."""


def retry_after_seconds(headers: Mapping[str, str], otherwise: float, *, throttled: bool) -> float:
    """The wait that ``Retry-After`` asks for (RFC 9110, section 10.2.3), in seconds.

    After a 429 without one, Alpaca's ``X-RateLimit-Reset`` tells it: the second since 1970 at
    which requests are counted anew. Instants are compared with the server's own ``Date``, since
    clocks differ.

    Args:
        headers: of the answer; names in any case, as httpx has them.
        otherwise: the wait where no header tells.
        throttled: the answer was a 429; other answers have ``X-RateLimit-Reset``, too, where it
            means nothing.
    """
    text = headers.get("Retry-After", "")
    try:
        if text.isascii() and text.isdigit():
            seconds = float(text)
        elif text:
            seconds = parsedate_to_datetime(text).timestamp() - _now(headers)
        elif throttled:
            seconds = float(headers["X-RateLimit-Reset"]) - _now(headers)
        else:
            return otherwise
    except (ValueError, TypeError, KeyError, OverflowError):
        return otherwise
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)


def _now(headers: Mapping[str, str]) -> float:
    return parsedate_to_datetime(headers["Date"]).timestamp()


def date_seconds(headers: Mapping[str, str]) -> float | None:
    """The server's time, seconds since 1970 (RFC 9110, section 6.6.1); None where it has none."""
    try:
        return _now(headers)
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
