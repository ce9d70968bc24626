"""What the simulator's server asks of a market."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stream_proxy.model.messages import Message


@dataclass(frozen=True, slots=True)
class BestPrices:
    """Best bid and offer, and how much is there; a size of 0 means that nobody is."""

    bid: float
    bid_size: float
    ask: float
    ask_size: float


class Market(Protocol):
    """What one endpoint of the simulator has to say.

    A market reads no clock: whoever holds it says what time it is. The same seed and the same
    sequence of calls give the same messages. Messages may share their condition lists, so treat
    them as read-only.
    """

    @property
    def symbols(self) -> Sequence[str]:
        """Every symbol that exists in this market."""
        ...

    def take(self, count: int, now_ns: int) -> list[Message]:
        """Let time pass until ``now_ns`` and return what happened since the previous call.

        That is about ``count`` ticks, spread over the interval, and everything that time brings
        by itself (bars, resumptions, ...), in the order in which it would be sent. With a count
        of 0 only time passes. Time never runs backwards: an earlier ``now_ns`` stands still.
        """
        ...

    def snapshot(self, channel: str, symbol: str) -> list[Message]:
        """What a new subscriber of this topic gets at once; mostly nothing."""
        ...
