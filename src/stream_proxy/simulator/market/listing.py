"""One simulated stock: its best bid and offer, and the trades that move it.

Prices are whole ticks inside, so that bid and ask never touch through rounding. All randomness
comes in from outside: ``bits`` picks from tables (a mask and a shift are far cheaper than a call
for each choice), ``chance`` in [0, 1) decides where the price goes.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.msgpack import Ext

from stream_proxy.model.messages import Quote, Trade
from stream_proxy.simulator.market.barclock import SymbolBars
from stream_proxy.simulator.market.prints import ROUND_LOT, TURNS, PrintKind, print_tables
from stream_proxy.simulator.market.tickers import ticker

# How many random bits one tick needs, at most.
TICK_BITS = 30

_QUOTE_CONDITIONS = ["R"]
# Drawn evenly: a letter stands here as often as its venue is seen. D reports off-exchange trades.
_QUOTE_VENUES = tuple("QQQQNNNPPPPZZZKKKYJVVUUHMLXABCTW")
_TRADE_VENUES = tuple("DDDDDDDDDDDDDDDDDDDDDQQQQQQQQPPPPPPNNNNNKKKKKZZZZZVVUUYYJJBCHLMX")
_QUOTE_SIZES = tuple(
    ROUND_LOT * lots
    for lots in (1,) * 20
    + (2,) * 14
    + (3,) * 9
    + (4, 5, 6, 7, 8, 9, 10) * 2
    + (11, 12, 15, 20, 25, 40, 80)
)
_TRADE_SIZES = (
    1,
    1,
    1,
    2,
    2,
    3,
    4,
    5,
    5,
    6,
    8,
    10,
    10,
    12,
    15,
    20,
    20,
    25,
    30,
    33,
    40,
    50,
    50,
    60,
    71,
    75,
    80,
    *(ROUND_LOT,) * 26,
    108,
    150,
    200,
    200,
    200,
    268,
    300,
    400,
    500,
    900,
    2500,
)
assert len(_QUOTE_VENUES) == 32
assert len(_TRADE_VENUES) == len(_QUOTE_SIZES) == len(_TRADE_SIZES) == 64

# The price is drawn back to its anchor, fully so when it is this far away.
_LEASH = 0.02
_OFF_MARKET_TICKS = 40
_TRADES_OF_BIG_TAPES = 52_983_525_000_000


class Print(NamedTuple):
    """A trade and its kind; ``moved`` says that it exhausted a side of the quote."""

    trade: Trade
    kind: PrintKind
    moved: bool


class Listing:
    """The state of one stock."""

    __slots__ = (
        "_anchor",
        "_extended",
        "_last_id",
        "_pull",
        "_regular",
        "_widest",
        "ask",
        "ask_size",
        "ask_venue",
        "bars",
        "bid",
        "bid_size",
        "bid_venue",
        "halted",
        "symbol",
        "tape",
        "ticks_per_dollar",
        "trading_since_ns",
    )

    def __init__(self, symbol: str, turn: int) -> None:
        known = ticker(symbol)
        self.symbol = symbol
        self.tape = known.tape
        # Under a dollar prices move in hundredths of a cent.
        self.ticks_per_dollar = 100 if known.price >= 1 else 10_000
        self.bid = max(1, round(known.price * self.ticks_per_dollar))
        self._widest = 2 + self.bid // 12_000 + turn % 7 // 2
        self.ask = self.bid + 1 + self._widest // 3
        self.bid_size = self.ask_size = 3 * ROUND_LOT
        self.bid_venue = self.ask_venue = "Q" if known.tape == "C" else "N"
        self._anchor = float(self.bid)
        self._pull = 0.5 / (_LEASH * self._anchor)
        self._regular = print_tables(self.tape, True, turn % TURNS)
        self._extended = print_tables(self.tape, False, turn % TURNS)
        self.bars = SymbolBars(symbol)
        self.halted = False
        self.trading_since_ns = 0
        self._last_id = 0
        self.begin_day()

    def begin_day(self) -> None:
        """Start a trading day: ids run anew."""
        # Nasdaq's tape counts from 1; ids on the others are huge.
        self._last_id = 0 if self.tape == "C" else _TRADES_OF_BIG_TAPES

    def take_id(self) -> int:
        """The next trade id: unique within the day, on every exchange."""
        self._last_id += 1
        return self._last_id

    @property
    def middle(self) -> float:
        """The middle of bid and ask, in USD."""
        return (self.bid + self.ask) / (2 * self.ticks_per_dollar)

    def quote(self, timestamp: Ext) -> Quote:
        """The best bid and offer as it stands."""
        scale = self.ticks_per_dollar
        return Quote(
            self.symbol,
            self.bid_venue,
            self.bid / scale,
            self.bid_size,
            self.ask_venue,
            self.ask / scale,
            self.ask_size,
            _QUOTE_CONDITIONS,
            self.tape,
            timestamp,
        )

    def requote(self, bits: int, chance: float, timestamp: Ext) -> Quote:
        """Change the best bid or offer: mostly a size, one time in four a price."""
        venue = _QUOTE_VENUES[bits & 31]
        size = _QUOTE_SIZES[bits >> 5 & 63]
        move = bits >> 11 & 7
        if move < 2:
            self._move(up=chance < 0.5 + (self._anchor - self.bid) * self._pull, inwards=move == 1)
            self._anchor *= 1 + (chance - 0.5) * 1e-6
        if bits & 1 << 14:
            self.bid_size, self.bid_venue = size, venue
        else:
            self.ask_size, self.ask_venue = size, venue
        return self.quote(timestamp)

    def trade(self, bits: int, regular_hours: bool, timestamp: Ext) -> Print:
        """Trade against the quote; a side that is used up steps away."""
        buys = bits & 1
        size = _TRADE_SIZES[bits >> 7 & 63]
        tables = self._regular if regular_hours else self._extended
        lots = tables.round_lots if size >= ROUND_LOT else tables.odd_lots
        kind = lots[bits >> 13 & 255]
        moved = False
        if not kind.at_market:
            away = (bits >> 21 & 63) - _OFF_MARKET_TICKS // 2
            ticks: float = max(1, self.bid + away)
        elif bits >> 27 & 7 == 0:
            # Wholesalers and dark pools cross in the middle, at half cents if need be.
            ticks = (self.bid + self.ask) / 2
        elif buys:
            ticks = self.ask
            self.ask_size -= size
            if self.ask_size <= 0:
                self.ask += 1
                self.ask_size = _QUOTE_SIZES[bits >> 21 & 63]
                if self.ask - self.bid > self._widest:
                    self.bid += 1
                moved = True
        else:
            ticks = self.bid
            self.bid_size -= size
            if self.bid_size <= 0:
                if self.bid > 1:
                    self.bid -= 1
                if self.ask - self.bid > self._widest:
                    self.ask -= 1
                self.bid_size = _QUOTE_SIZES[bits >> 21 & 63]
                moved = True
        venue = "D" if ticks != int(ticks) else _TRADE_VENUES[bits >> 1 & 63]
        return Print(self.report(venue, ticks, size, kind, timestamp), kind, moved)

    def report(self, venue: str, ticks: float, size: int, kind: PrintKind, timestamp: Ext) -> Trade:
        """A trade at a price in ticks, with the next id."""
        return Trade(
            self.symbol,
            self.take_id(),
            venue,
            ticks / self.ticks_per_dollar,
            size,
            kind.conditions,
            self.tape,
            timestamp,
        )

    def usual_print(self, regular_hours: bool) -> PrintKind:
        """The kind of an everyday round-lot trade."""
        return (self._regular if regular_hours else self._extended).round_lots[0]

    def _move(self, up: bool, inwards: bool) -> None:
        # One side steps; the spread stays between one tick and this stock's widest.
        narrow = self.ask - self.bid == 1
        wide = self.ask - self.bid >= self._widest
        leading = wide or (inwards and not narrow)
        if up:
            if leading:
                self.bid += 1
            else:
                self.ask += 1
        elif leading:
            self.ask -= 1
        elif self.bid > 1:
            self.bid -= 1
