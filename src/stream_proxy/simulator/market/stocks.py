"""A simulated stock market, as one of Alpaca's stock feeds reports it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from random import Random

from stream_proxy.model.messages import Message
from stream_proxy.model.time import NS_PER_MINUTE, NS_PER_SECOND, to_timestamp
from stream_proxy.simulator.market.agenda import Agenda
from stream_proxy.simulator.market.barclock import BarClock, SymbolBars
from stream_proxy.simulator.market.base import BestPrices
from stream_proxy.simulator.market.days import day_of
from stream_proxy.simulator.market.incidents import Incidents
from stream_proxy.simulator.market.listing import TICK_BITS, Listing
from stream_proxy.simulator.market.tickers import tickers

# 19 in 128 ticks are trades, the others quotes: about 15 to 85 %.
_MIX_BITS = 7
_TRADES_IN_MIX = 19

# Late reports: how old the trade is at the minute's edge, when it comes, and from how many.
_LATE_BY_SECONDS = (0.0, 5.0)
_LATE_REPORT_SECONDS = (0.2, 10.0)
_LATE_ONE_IN = 200


class StockMarket:
    """Quotes, trades and all that follows from them.

    Every trade at the market lies within the last quote of its symbol; bars and daily bars are
    built from exactly the trades sent, late ones included. Corrections and cancels do not change
    bars. A halted symbol is still quoted but not traded. Holidays are trading days, weekends
    have extended hours only.

    Args:
        seed: the same seed and calls give the same messages.
        symbols: which stocks, the most active first; or how many, from ``tickers``.
        start_ns: when market time begins.
        always_open: treat every hour as regular trading hours, so that trades are not marked
            ``T`` and daily bars come at night too.
        incident_every: ticks between two incidents (halts, bands, cancels, ...), on average.
        halt_seconds: how long a halt lasts.

    Raises:
        ValueError: there are no symbols, or more were asked for than there are.
    """

    def __init__(
        self,
        seed: int,
        symbols: Sequence[str] | int,
        start_ns: int,
        *,
        always_open: bool = False,
        incident_every: int = 2000,
        halt_seconds: float = 30.0,
    ) -> None:
        self.symbols: Sequence[str] = tickers(symbols) if isinstance(symbols, int) else symbols
        if not self.symbols:
            raise ValueError("a stock market needs at least one symbol")
        self._rng = Random(seed)
        self._now_ns = start_ns
        self._always_open = always_open
        self._incident_every = incident_every
        self._until_incident = incident_every
        self._listings = [Listing(symbol, turn) for turn, symbol in enumerate(self.symbols)]
        self._by_symbol = {listing.symbol: listing for listing in self._listings}
        self._by_bars = {listing.bars: listing for listing in self._listings}
        # Zipf's law: the second symbol is half as active as the first, the third a third, ...
        self._activity = list(accumulate(1 / rank for rank in range(1, len(self.symbols) + 1)))
        self._agenda = Agenda()
        self._clock = BarClock(self._agenda, self._report_late_trades)
        self._incidents = Incidents(
            self._listings, self._rng, self._agenda, round(halt_seconds * NS_PER_SECOND)
        )
        self._day = day_of(start_ns)

    def snapshot(self, channel: str, symbol: str) -> list[Message]:
        """Nothing: stock streams begin with the next message."""
        return []

    def best(self, symbol: str) -> BestPrices | None:
        """Bid and ask as they stand; None for a stock that isn't here or is halted."""
        listing = self._by_symbol.get(symbol)
        if listing is None or listing.halted:
            return None
        scale = listing.ticks_per_dollar
        return BestPrices(
            listing.bid / scale, listing.bid_size, listing.ask / scale, listing.ask_size
        )

    def take(self, count: int, now_ns: int) -> list[Message]:
        """See ``Market.take``."""
        begin_ns, self._now_ns = self._now_ns, max(now_ns, self._now_ns)
        now_ns = self._now_ns
        out: list[Message] = []
        if count > 0:
            self._tick(count, now_ns, (now_ns - begin_ns) / count, out)
        self._agenda.run(now_ns, out)
        return out

    def _tick(self, count: int, now_ns: int, step_ns: float, out: list[Message]) -> None:
        # The hot loop: one random number and three method calls a tick.
        random, getrandbits = self._rng.random, self._rng.getrandbits
        agenda, recent = self._agenda, self._incidents.recent
        trading = self._clock.trade
        tick_bits = _MIX_BITS + TICK_BITS
        mix_mask = (1 << _MIX_BITS) - 1
        append = out.append
        listings = self._rng.choices(self._listings, cum_weights=self._activity, k=count)
        for left, listing in zip(range(count - 1, -1, -1), listings, strict=True):
            chance = random()
            at_ns = now_ns - int((left + chance) * step_ns)
            if at_ns >= agenda.due_ns:
                agenda.run(at_ns, out)
            if at_ns >= self._day.end_ns:
                self._begin_day(at_ns)
            timestamp = to_timestamp(at_ns)
            bits = getrandbits(tick_bits)
            if bits & mix_mask >= _TRADES_IN_MIX or listing.halted:
                append(listing.requote(bits >> _MIX_BITS, random(), timestamp))
            else:
                regular = self._always_open or self._day.is_regular(at_ns)
                trade, kind, moved = listing.trade(bits >> _MIX_BITS, regular, timestamp)
                append(trade)
                trading(listing.bars, at_ns, trade.price, trade.size, kind.effects)
                recent.append((listing, trade))
                if moved:
                    append(listing.quote(timestamp))
            self._until_incident -= 1
            if self._until_incident <= 0:
                self._incidents.happen(listing, at_ns, out)
                self._until_incident = round(self._incident_every * 2 * random())

    def _begin_day(self, at_ns: int) -> None:
        self._day = day_of(at_ns)
        # Ids begin anew, so yesterday's trades can't be named any more.
        self._incidents.recent.clear()
        for listing in self._listings:
            listing.begin_day()

    def _report_late_trades(self, edge_ns: int, closed: Sequence[SymbolBars]) -> None:
        # A trade of the minute just closed, reported after its bar: at least one each minute.
        if edge_ns >= self._day.end_ns:
            return
        for bars in self._rng.sample(closed, k=1 + len(closed) // _LATE_ONE_IN):
            listing = self._by_bars[bars]
            age_ns = int(self._rng.uniform(*_LATE_BY_SECONDS) * NS_PER_SECOND)
            traded_ns = edge_ns - 1 - age_ns
            delay_ns = int(self._rng.uniform(*_LATE_REPORT_SECONDS) * NS_PER_SECOND)
            self._agenda.at(edge_ns + delay_ns, partial(self._report_late, listing, traded_ns))

    def _report_late(
        self, listing: Listing, traded_ns: int, _now_ns: int, out: list[Message]
    ) -> None:
        if listing.halted or traded_ns < listing.trading_since_ns:
            return
        kind = listing.usual_print(self._always_open or self._day.is_regular(traded_ns))
        trade = listing.report("D", listing.bid, 100, kind, to_timestamp(traded_ns))
        out.append(trade)
        minute_start_ns = traded_ns - traded_ns % NS_PER_MINUTE
        self._clock.late_trade(listing.bars, minute_start_ns, trade.price, trade.size, kind.effects)
