"""Crypto bars: unlike stock bars they mix in quote midpoints and exist without any trade.

Open, high, low and close follow trades and midpoints alike; volume, trade count and vwap follow
trades only, so a quiet minute has prices and volume 0. The day is taken to be Chicago's, as in
Alpaca's historic crypto bars (05:00Z or 06:00Z); the documentation does not say.
"""

from __future__ import annotations

from random import Random

from stream_proxy.model.conditions import BarEffect, OpenClose
from stream_proxy.model.messages import Bar, DailyBar, Message, UpdatedBar
from stream_proxy.model.time import NS_PER_MINUTE
from stream_proxy.simulator.market.agenda import Agenda
from stream_proxy.simulator.market.barclock import BAR_DELAY_NS, UPDATE_DELAY_NS
from stream_proxy.simulator.market.bars import BarBuilder
from stream_proxy.simulator.market.days import CHICAGO, day_of

_UNRESTRICTED = BarEffect(OpenClose.ALWAYS, high_low=True, volume=True)
_LATE_VOLUME = BarEffect(OpenClose.NEVER, high_low=True, volume=True)


class PairBars:
    """The open bars of one pair; ``middle`` is its last midpoint."""

    __slots__ = ("day", "middle", "minute", "previous", "symbol")

    def __init__(self, symbol: str, middle: float) -> None:
        self.symbol = symbol
        self.middle = middle
        self.previous = BarBuilder()
        self.minute = _opened(middle)
        self.day = _opened(middle)

    def trade(self, price: float, size: float) -> None:
        """Count a trade."""
        self.minute.add(price, size, _UNRESTRICTED)
        self.day.add(price, size, _UNRESTRICTED)

    def late_trade(self, price: float, size: float) -> None:
        """Count a trade of the minute before; open and close stay as they were sent."""
        self.previous.add(price, size, _LATE_VOLUME)
        self.day.add(price, size, _LATE_VOLUME)

    def quote(self, middle: float) -> None:
        """Take in a new midpoint."""
        self.middle = middle
        for bar in (self.minute, self.day):
            bar.close = middle
            bar.see(middle)

    def begin_minute(self) -> None:
        """Turn the page, opening at the midpoint."""
        self.previous, self.minute = self.minute, _opened(self.middle)

    def begin_day(self) -> None:
        """Start the day's bar at the midpoint."""
        self.day = _opened(self.middle)


class CryptoBarClock:
    """Sends the bars of all pairs each minute, with or without ticks.

    Args:
        start_ns: when market time begins; the first bar covers the rest of that minute.
    """

    def __init__(self, agenda: Agenda, pairs: list[PairBars], start_ns: int) -> None:
        self._agenda = agenda
        self._pairs = pairs
        self._day = day_of(start_ns, CHICAGO)
        self._revised: dict[PairBars, None] = {}
        edge_ns = start_ns - start_ns % NS_PER_MINUTE + NS_PER_MINUTE
        agenda.at(edge_ns, self._close_minute)

    def late_trade(self, pair: PairBars, price: float, size: float) -> None:
        """Count a late trade and send its minute's bar again at the half minute."""
        pair.late_trade(price, size)
        self._revised[pair] = None

    def late_pair(self, rng: Random) -> PairBars | None:
        """A pair that traded in the minute before, if one did: a late trade may join it."""
        traded = [pair for pair in self._pairs if pair.previous.count]
        return rng.choice(traded) if traded else None

    def is_day_edge(self, ns: int) -> bool:
        """Whether the current day began just then."""
        return ns == self._day.start_ns

    def _close_minute(self, edge_ns: int, _out: list[Message]) -> None:
        start_ns, day_ns = edge_ns - NS_PER_MINUTE, self._day.start_ns
        messages: list[Message] = [
            pair.minute.message(Bar, pair.symbol, start_ns) for pair in self._pairs
        ]
        messages += [pair.day.message(DailyBar, pair.symbol, day_ns) for pair in self._pairs]
        for pair in self._pairs:
            pair.begin_minute()
        if edge_ns >= self._day.end_ns:
            self._day = day_of(edge_ns, CHICAGO)
            for pair in self._pairs:
                pair.begin_day()
        self._agenda.at(edge_ns + BAR_DELAY_NS, lambda _, out: out.extend(messages))
        self._agenda.at(edge_ns + UPDATE_DELAY_NS, self._send_updates)
        self._agenda.at(edge_ns + NS_PER_MINUTE, self._close_minute)

    def _send_updates(self, ns: int, out: list[Message]) -> None:
        start_ns = ns - UPDATE_DELAY_NS - NS_PER_MINUTE
        out.extend(
            pair.previous.message(UpdatedBar, pair.symbol, start_ns) for pair in self._revised
        )
        self._revised.clear()


def _opened(middle: float) -> BarBuilder:
    bar = BarBuilder()
    bar.open = bar.high = bar.low = bar.close = middle
    bar.volume = 0.0  # crypto volumes are fractional, without a trade, too
    return bar
