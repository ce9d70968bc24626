"""When bars are sent: after each minute, again at the half minute, and the day so far.

Alpaca closes a bar at its minute's edge and sends it a moment later; a trade reported after
that makes it send the bar again as an ``updatedBar`` right after the half minute.
Corrections and cancels change no bar here: Alpaca documents late trades as the only reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from stream_proxy.model.conditions import BarEffects
from stream_proxy.model.messages import Bar, DailyBar, Message, UpdatedBar
from stream_proxy.model.time import NS_PER_MINUTE
from stream_proxy.simulator.market.agenda import Agenda
from stream_proxy.simulator.market.bars import BarBuilder
from stream_proxy.simulator.market.days import Day, day_of

# Users measured 20 to 100 ms between the edge and the bar.
BAR_DELAY_NS = 50_000_000
UPDATE_DELAY_NS = NS_PER_MINUTE // 2 + BAR_DELAY_NS


class SymbolBars:
    """The open bars of one symbol: the minute, the minute before it, and the day."""

    __slots__ = ("day", "day_start_ns", "minute", "minute_start_ns", "previous", "symbol")

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.minute = self.previous = self.day = BarBuilder()
        self.minute_start_ns = self.day_start_ns = -1

    def begin_minute(self, minute_start_ns: int, day_start_ns: int) -> None:
        """Turn the page; the minute before stays at hand for late trades."""
        self.previous, self.minute = self.minute, BarBuilder()
        self.minute_start_ns = minute_start_ns
        if self.day_start_ns != day_start_ns:
            self.day, self.day_start_ns = BarBuilder(), day_start_ns


MinuteClosed: TypeAlias = Callable[[int, Sequence[SymbolBars]], None]


class BarClock:
    """Collects trades into bars and enters their sending on the agenda.

    A minute without a trade costs nothing: its edge is entered by its first trade.
    ``on_minute_closed`` hears of each minute's edge and of the symbols that traded in it.
    """

    def __init__(self, agenda: Agenda, on_minute_closed: MinuteClosed | None = None) -> None:
        self._agenda = agenda
        self._on_minute_closed = on_minute_closed
        self._active: list[SymbolBars] = []
        self._revised: dict[SymbolBars, tuple[int, BarBuilder]] = {}
        self._minute_start_ns = self._minute_end_ns = 0
        self.day = Day(0, 0, 0, 0)

    def trade(
        self, bars: SymbolBars, at_ns: int, price: float, size: float, effects: BarEffects
    ) -> None:
        """Count a trade of the current minute."""
        if at_ns >= self._minute_end_ns:
            self._begin_minute(at_ns)
        if bars.minute_start_ns != self._minute_start_ns:
            bars.begin_minute(self._minute_start_ns, self.day.start_ns)
            self._active.append(bars)
        bars.minute.add(price, size, effects.minute)
        bars.day.add(price, size, effects.daily)

    def late_trade(
        self,
        bars: SymbolBars,
        minute_start_ns: int,
        price: float,
        size: float,
        effects: BarEffects,
    ) -> None:
        """Count a trade of the minute before, in which its symbol must have traded already."""
        current = bars.minute_start_ns == minute_start_ns
        minute = bars.minute if current else bars.previous
        minute.add(price, size, effects.minute)
        bars.day.add(price, size, effects.daily)
        self._revised[bars] = minute_start_ns, minute

    def day_at(self, ns: int) -> Day:
        """The trading day of an instant that is not before the current one."""
        if ns >= self.day.end_ns:
            self.day = day_of(ns)
        return self.day

    def _begin_minute(self, at_ns: int) -> None:
        self._minute_start_ns = at_ns - at_ns % NS_PER_MINUTE
        self._minute_end_ns = self._minute_start_ns + NS_PER_MINUTE
        self.day_at(at_ns)
        self._agenda.at(self._minute_end_ns, self._close_minute)

    def _close_minute(self, edge_ns: int, _out: list[Message]) -> None:
        start_ns = edge_ns - NS_PER_MINUTE
        closed, self._active = self._active, []
        ready = [bars for bars in closed if bars.minute.is_complete]
        messages: list[Message] = [
            bars.minute.message(Bar, bars.symbol, start_ns) for bars in ready
        ]
        messages += [
            bars.day.message(DailyBar, bars.symbol, bars.day_start_ns)
            for bars in closed
            if bars.day.is_complete
        ]
        self._agenda.at(edge_ns + BAR_DELAY_NS, lambda _, out: out.extend(messages))
        self._agenda.at(edge_ns + UPDATE_DELAY_NS, self._send_updates)
        if self._on_minute_closed is not None:
            self._on_minute_closed(edge_ns, closed)

    def _send_updates(self, _ns: int, out: list[Message]) -> None:
        revised, self._revised = self._revised, {}
        out.extend(
            minute.message(UpdatedBar, bars.symbol, start_ns)
            for bars, (start_ns, minute) in revised.items()
            if minute.is_complete
        )
