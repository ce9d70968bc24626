"""What rarely happens on a stock market: halts, price bands, corrections, cancels, imbalances.

Incidents take turns, so each kind shows up soon. Bands and volatility pauses also occur outside
regular hours, unlike in reality: whoever tests at night wants to see them too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import TypeAlias

from stream_proxy.model.messages import (
    CancelError,
    Correction,
    Imbalance,
    Luld,
    Message,
    Status,
    Trade,
)
from stream_proxy.model.time import to_timestamp
from stream_proxy.simulator.market.agenda import Agenda
from stream_proxy.simulator.market.listing import Listing

_Incident: TypeAlias = Callable[[Listing, int, list[Message]], None]

# Only trades this recent are corrected or taken back.
_REMEMBERED_TRADES = 256
# After a halt a stock is left in peace for this many times the halt's length.
_CALM = 5
# One stock in this many may be halted at the same time, and at least one.
_HALTED_ONE_IN = 20
# Limit-up limit-down bands of tier 1 stocks above 3 USD, and of all others.
_TIER_1_BAND, _TIER_2_BAND, _TIER_1_FROM_USD = 0.05, 0.10, 3.0
_RESUMED = {"LUDP": ("LUDP", "Volatility Trading Pause")}

# Halt and reason: status code, message, reason code, reason message.
_HALTS_C = (
    ("H", "Trading Halt", "T1", "Halt News Pending"),
    ("P", "Volatility Trading Pause", "LUDP", "Volatility Trading Pause"),
    ("H", "Trading Halt", "T12", "Trading Halted; For information requested by NASDAQ"),
)
_HALTS_AB = (
    ("2", "Trading Halt", "P", "News Pending"),
    ("2", "Trading Halt", "M", "Limit Up-Limit Down (LULD) Trading Pause"),
    ("2", "Trading Halt", "D", "News Released"),
)


class Incidents:
    """Makes incidents out of the listings' state.

    Args:
        listings: everything that may be halted.
        rng: the market's randomness.
        agenda: where the end of a halt is entered.
        halt_ns: how long a halt lasts.
    """

    def __init__(
        self, listings: Sequence[Listing], rng: Random, agenda: Agenda, halt_ns: int
    ) -> None:
        self._rng = rng
        self._agenda = agenda
        self._halt_ns = halt_ns
        self._halted: list[Listing] = []
        self._most_halted = max(1, len(listings) // _HALTED_ONE_IN)
        self._calm_until_ns: dict[Listing, int] = {}
        self._turns: tuple[_Incident, ...] = (
            self._halt,
            self._imbalance,
            self._cancel,
            self._band,
            self._correct,
            self._imbalance,
            self._cancel,
            self._band,
        )
        self._turn = 0
        self.recent: deque[tuple[Listing, Trade]] = deque(maxlen=_REMEMBERED_TRADES)

    def happen(self, listing: Listing, at_ns: int, out: list[Message]) -> None:
        """Let the next incident happen, to this listing where it can choose."""
        incident = self._turns[self._turn]
        self._turn = (self._turn + 1) % len(self._turns)
        incident(listing, at_ns, out)

    def _band(self, listing: Listing, at_ns: int, out: list[Message]) -> None:
        middle = listing.middle
        tier_1 = middle >= _TIER_1_FROM_USD
        band = _TIER_1_BAND if tier_1 else _TIER_2_BAND
        out.append(
            Luld(
                listing.symbol,
                round(middle * (1 + band), 2 if tier_1 else 4),
                round(middle * (1 - band), 2 if tier_1 else 4),
                "B",
                to_timestamp(at_ns),
                listing.tape,
            )
        )

    def _halt(self, listing: Listing, at_ns: int, out: list[Message]) -> None:
        calm_until_ns = self._calm_until_ns.get(listing, 0)
        if listing.halted or len(self._halted) >= self._most_halted or at_ns < calm_until_ns:
            self._band(listing, at_ns, out)
            return
        listing.halted = True
        self._halted.append(listing)
        halts = _HALTS_C if listing.tape == "C" else _HALTS_AB
        code, message, reason, reason_message = self._rng.choice(halts)
        out.append(
            Status(
                listing.symbol,
                code,
                message,
                reason,
                reason_message,
                to_timestamp(at_ns),
                listing.tape,
            )
        )
        if reason in ("LUDP", "M"):
            out.append(self._imbalance_of(listing, at_ns))
        self._agenda.at(at_ns + self._halt_ns, partial(self._resume, listing, reason))

    def _resume(self, listing: Listing, halted_for: str, at_ns: int, out: list[Message]) -> None:
        listing.halted = False
        listing.trading_since_ns = at_ns
        self._halted.remove(listing)
        self._calm_until_ns[listing] = at_ns + _CALM * self._halt_ns
        timestamp = to_timestamp(at_ns)

        def status(code: str, message: str, reason: str, reason_message: str) -> Status:
            return Status(
                listing.symbol, code, message, reason, reason_message, timestamp, listing.tape
            )

        if listing.tape == "C":
            reason, text = _RESUMED.get(halted_for, ("T3", "News and Resumption Times"))
            out.append(status("Q", "Quotation Resumption", reason, text))
            out.append(status("T", "Trading Resumption", reason, text))
        else:
            out.append(status("3", "Resume", "", ""))
        out.append(listing.quote(timestamp))

    def _imbalance(self, listing: Listing, at_ns: int, out: list[Message]) -> None:
        if self._halted:
            out.append(self._imbalance_of(self._rng.choice(self._halted), at_ns))
        else:
            self._band(listing, at_ns, out)

    @staticmethod
    def _imbalance_of(listing: Listing, at_ns: int) -> Imbalance:
        price = listing.bid / listing.ticks_per_dollar
        return Imbalance(listing.symbol, price, listing.tape, to_timestamp(at_ns))

    def _a_recent_trade(self) -> tuple[Listing, Trade] | None:
        if not self.recent:
            return None
        # Each trade is corrected or taken back at most once.
        index = self._rng.randrange(len(self.recent))
        chosen = self.recent[index]
        del self.recent[index]
        return chosen

    def _cancel(self, _listing: Listing, at_ns: int, out: list[Message]) -> None:
        chosen = self._a_recent_trade()
        if chosen is None:
            return
        _, trade = chosen
        out.append(
            CancelError(
                trade.symbol,
                trade.id,
                trade.exchange,
                trade.price,
                trade.size,
                self._rng.choice("CCCE"),
                trade.tape,
                to_timestamp(at_ns),
            )
        )

    def _correct(self, _listing: Listing, at_ns: int, out: list[Message]) -> None:
        chosen = self._a_recent_trade()
        if chosen is None:
            return
        listing, trade = chosen
        price, size = trade.price, trade.size
        sign = self._rng.choice((-1, 1))
        if self._rng.random() < 0.5:
            shares = self._rng.choice((1, 10, 100))
            size += sign * shares if size > shares else shares
        else:
            dollars = self._rng.choice((1, 2)) / listing.ticks_per_dollar
            price = round(price + (sign * dollars if price > dollars else dollars), 6)
        out.append(
            Correction(
                trade.symbol,
                trade.exchange,
                trade.id,
                trade.price,
                trade.size,
                trade.conditions,
                listing.take_id(),
                price,
                size,
                trade.conditions,
                trade.tape,
                to_timestamp(at_ns),
            )
        )
