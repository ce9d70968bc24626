"""Alpaca's test stream: one invented stock that trades around the clock."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from stream_proxy.model.conditions import bar_effects
from stream_proxy.model.messages import Message, Quote, Trade
from stream_proxy.model.time import to_timestamp
from stream_proxy.simulator.market.agenda import Agenda
from stream_proxy.simulator.market.barclock import BarClock, SymbolBars

FAKEPACA = "FAKEPACA"

_TAPE = "A"
# The documented capture shows these venues, prices around here, and spreads this wide.
_VENUES = "OR"
_MIDDLE_CENTS = 13_480
_REACH_CENTS = 150
_WIDEST_CENTS = 200
_LARGEST = 30
_TRADE_SHARE = 0.5

_TRADE_CONDITIONS = [" "]
_QUOTE_CONDITIONS = ["R"]
_EFFECTS = bar_effects(_TRADE_CONDITIONS, _TAPE)


class FakepacaMarket:
    """Quotes, trades and bars of ``FAKEPACA``; for it every hour is a regular one.

    Args:
        seed: the same seed and calls give the same messages.
        start_ns: when market time begins.
    """

    symbols: Sequence[str] = (FAKEPACA,)

    def __init__(self, seed: int, start_ns: int) -> None:
        self._rng = Random(seed)
        self._now_ns = start_ns
        self._agenda = Agenda()
        self._clock = BarClock(self._agenda)
        self._bars = SymbolBars(FAKEPACA)
        self._bid, self._ask = _MIDDLE_CENTS - 50, _MIDDLE_CENTS + 50
        self._trade_id = 0

    def snapshot(self, channel: str, symbol: str) -> list[Message]:
        """Nothing: the stream begins with the next message."""
        return []

    def take(self, count: int, now_ns: int) -> list[Message]:
        """See ``Market.take``."""
        begin_ns, self._now_ns = self._now_ns, max(now_ns, self._now_ns)
        step_ns = (self._now_ns - begin_ns) / count if count > 0 else 0.0
        out: list[Message] = []
        for left in range(count - 1, -1, -1):
            at_ns = self._now_ns - int((left + self._rng.random()) * step_ns)
            self._agenda.run(at_ns, out)
            traded = self._rng.random() < _TRADE_SHARE
            out.append(self._trade(at_ns) if traded else self._quote(at_ns))
        self._agenda.run(self._now_ns, out)
        return out

    def _quote(self, at_ns: int) -> Quote:
        rng = self._rng
        middle = _MIDDLE_CENTS + rng.randint(-_REACH_CENTS, _REACH_CENTS)
        spread = rng.randint(2, _WIDEST_CENTS)
        self._bid = middle - spread // 2
        self._ask = self._bid + spread
        return Quote(
            FAKEPACA,
            rng.choice(_VENUES),
            self._bid / 100,
            rng.randint(1, _LARGEST),
            rng.choice(_VENUES),
            self._ask / 100,
            rng.randint(1, _LARGEST),
            _QUOTE_CONDITIONS,
            _TAPE,
            to_timestamp(at_ns),
        )

    def _trade(self, at_ns: int) -> Trade:
        rng = self._rng
        self._trade_id += 1
        trade = Trade(
            FAKEPACA,
            self._trade_id,
            rng.choice(_VENUES),
            rng.randint(self._bid, self._ask) / 100,
            rng.randint(1, _LARGEST),
            _TRADE_CONDITIONS,
            _TAPE,
            to_timestamp(at_ns),
        )
        self._clock.trade(self._bars, at_ns, trade.price, trade.size, _EFFECTS)
        return trade
