"""Recorded ticks as if they happened now: today's times, and the minute bars that they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from msgspec.structs import replace

from stream_proxy.model.conditions import bar_effects
from stream_proxy.model.messages import Message, Trade
from stream_proxy.model.time import to_timestamp
from stream_proxy.simulator.market.agenda import Agenda
from stream_proxy.simulator.market.barclock import BarClock, SymbolBars
from stream_proxy.simulator.market.replay import FAR_FUTURE_NS, ReplayMarket


class PresentMarket:
    """A recording whose ticks happen in the present, one after the other, as fast as is asked for.

    Stocks get bars and daily bars from their trades, by the same rules as everywhere. After the
    last tick only time passes, unless the recording begins again.

    Args:
        replay: the recording.
        start_ns: when market time begins.
    """

    def __init__(self, replay: ReplayMarket, start_ns: int) -> None:
        self.symbols: Sequence[str] = replay.symbols
        self._replay = replay
        self._now_ns = start_ns
        self._agenda = Agenda()
        self._clock = BarClock(self._agenda)
        self._bars = {symbol: SymbolBars(symbol) for symbol in self.symbols}

    def snapshot(self, channel: str, symbol: str) -> list[Message]:
        """Nothing: there is only what was recorded."""
        return []

    def take(self, count: int, now_ns: int) -> list[Message]:
        """See ``Market.take``: the next ticks of the file, spread over the interval."""
        begin_ns, self._now_ns = self._now_ns, max(self._now_ns, now_ns)
        recorded = self._replay.take(count, FAR_FUTURE_NS)
        step_ns = (self._now_ns - begin_ns) / max(1, len(recorded))
        out: list[Message] = []
        for turn, message in enumerate(recorded, 1):
            at_ns = begin_ns + int(turn * step_ns)
            self._agenda.run(at_ns, out)
            happened = replace(cast("Any", message), timestamp=to_timestamp(at_ns))
            out.append(happened)
            if isinstance(happened, Trade):
                effects = bar_effects(happened.conditions, happened.tape)
                bars = self._bars[happened.symbol]
                self._clock.trade(bars, at_ns, happened.price, happened.size, effects)
        self._agenda.run(self._now_ns, out)
        return out
