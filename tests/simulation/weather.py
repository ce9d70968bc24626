"""How bad a simulated world is, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Weather:
    """What can go wrong in one world.

    Attributes:
        has_events: whether Alpaca keeps a record of events for this account; without one they
            are reconstructed from orders and fills.
        lag_seconds: how far REST is behind the stream.
        fills_lag_seconds: how much further the list of fills is behind that.
        ahead_seconds: how far Alpaca's clock is ahead of ours; negative is behind.
        jump_seconds: how far our clock goes off, forward or back, for a while in the middle.
        outage_seconds: the longest time for which REST fails.
        swallows: whether the stream loses single events without any sign of it.
        rare_events: whether there are events that may come more than once to an order.
        exits: whether orders come with exits (bracket), which are held until the entry is filled.
        orders_per_second: what the account's owner does.
        seconds: how long things go wrong; after that the world has time to come to rest.
    """

    has_events: bool = True
    lag_seconds: float = 0.0
    fills_lag_seconds: float = 0.0
    ahead_seconds: float = 0.0
    jump_seconds: float = 0.0
    outage_seconds: float = 1.5
    swallows: bool = False
    rare_events: bool = False
    exits: bool = False
    orders_per_second: float = 1.5
    seconds: float = 120.0

    @property
    def in_order(self) -> bool:
        """Whether events are found before fresh ones stop waiting for them, but for rare chains of
        outages."""
        return not (
            self.lag_seconds
            or self.fills_lag_seconds
            or self.swallows
            or self.outage_seconds > LONGEST_BRIDGED_SECONDS
        )


LONGEST_BRIDGED_SECONDS = 1.5
"""An outage of REST after which, with the pauses between tries, the hold has not ended yet."""
