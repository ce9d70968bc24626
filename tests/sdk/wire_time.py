"""RFC 3339 timestamps as nanoseconds; datetime would stop at microseconds."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

TIME_FIELDS = ("t", "created_at", "updated_at")


def nanoseconds(text: str) -> int:
    """Nanoseconds since 1970 of `2023-04-06T11:54:26.838232225Z`; fraction optional."""
    if not text.endswith("Z") or (len(text) > 20 and text[19] != "."):
        raise ValueError(f"not a UTC timestamp in RFC 3339: {text}")
    fraction = text[20:-1]
    return _second(text[:19]) * 1_000_000_000 + int(fraction.ljust(9, "0") if fraction else 0)


# A burst of messages shares a handful of seconds.
@lru_cache(maxsize=64)
def _second(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp())
