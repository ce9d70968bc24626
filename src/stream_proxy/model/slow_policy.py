"""What a consumer wants to get while it reads too slowly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_SHORTEST_MS, _LONGEST_MS = 10, 60_000

CHOICES = "disconnect, conflate, bars, or sample=<ms>"


@dataclass(frozen=True, slots=True)
class SlowPolicy:
    """One choice.

    Attributes:
        kind: ``disconnect``: everything or nothing. ``conflate``: of quotes and order books the
            newest. ``sample``: the same, and at any time one quote of a symbol in ``sample_ms``.
            ``bars``: no trades and no quotes.
    """

    kind: Literal["disconnect", "conflate", "sample", "bars"]
    sample_ms: int = 0

    def __str__(self) -> str:
        return f"sample={self.sample_ms}" if self.kind == "sample" else self.kind


DISCONNECT = SlowPolicy("disconnect")
_BY_NAME = {
    "disconnect": DISCONNECT,
    "conflate": SlowPolicy("conflate"),
    "bars": SlowPolicy("bars"),
}


def read_slow_policy(text: str) -> SlowPolicy:
    """The policy that a setting, a query or a header names.

    Raises:
        ValueError: it names none; the message says what can be written.
    """
    text = text.strip().lower()
    name, equals, number = text.partition("=")
    if name == "sample" and equals and number.isascii() and number.isdigit():
        milliseconds = int(number[:6])
        if not _SHORTEST_MS <= milliseconds <= _LONGEST_MS:
            raise ValueError(f"sample takes {_SHORTEST_MS} to {_LONGEST_MS} milliseconds")
        return SlowPolicy("sample", milliseconds)
    if text not in _BY_NAME:
        raise ValueError(f"{text[:40]!r} is no policy for slow consumers: write {CHOICES}")
    return _BY_NAME[text]
