"""From one recorded row to one message, for stocks, options and crypto pairs.

Prices, sizes and timestamps pass unchanged. A missing side of a quote has price 0, size 0 and a
blank venue. The rows are tuples in the order of ``recording.COLUMNS``.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

from stream_proxy.model.messages import (
    CryptoQuote,
    CryptoTrade,
    Message,
    OptionQuote,
    OptionTrade,
    Quote,
    Trade,
)
from stream_proxy.model.time import to_timestamp
from stream_proxy.simulator.market.tickers import tape_of
from stream_proxy.simulator.market.vendor import (
    NO_VENUE,
    is_option,
    option_venue,
    pair_readings,
    stock_venue,
    trade_conditions,
)

Row: TypeAlias = tuple[Any, ...]

_QUOTE_CONDITIONS = ["R"]
# Option recordings have no conditions; these are the commonest.
_OPTION_QUOTE_CONDITION = "A"
_OPTION_TRADE_CONDITION = "I"
# Who took, from Binance's "buyer is maker" mark and from Coinbase's side of the maker.
_TAKER_SIDES = {"m": "S", "": "B", "buy": "S", "sell": "B"}
_UNKNOWN_SIDE = "-"


class InexpressibleRowError(Exception):
    """No message can hold this row; the text says why, alike for all rows of the same fault."""


class RowReader(Protocol):
    """Turns the rows of one symbol into messages; ``symbol`` is spelled as Alpaca does."""

    symbol: str

    def trade(self, row: Row) -> Message:
        """A row of kind ``t``."""
        ...

    def quote(self, row: Row) -> Message:
        """A row of kind ``q``."""
        ...


def row_reader(name: str) -> RowReader:
    """The reader for a symbol as it stands in the recording.

    Raises:
        InexpressibleRowError: the symbol is missing, or reads as more than one pair.
    """
    if not name:
        raise InexpressibleRowError("no symbol")
    if is_option(name):
        return OptionRows(name)
    readings = pair_readings(name)
    if len(readings) > 1:
        raise InexpressibleRowError(f"ambiguous pair {name}")
    return PairRows(readings[0]) if readings else StockRows(name)


class StockRows:
    """Rows of one stock; trade ids count its rows."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self._tape = tape_of(symbol)
        self._last_id = 0

    def trade(self, row: Row) -> Trade:
        """A stock trade, with the tape's letters for the vendor's flags."""
        ts_ns, _, _, price, size, _, _, _, _, venue, _, flags = row
        _require(price, size)
        try:
            conditions = trade_conditions(flags, self._tape)
        except ValueError:
            raise InexpressibleRowError(f"conditions {flags!r}") from None
        self._last_id += 1
        return Trade(
            self.symbol,
            self._last_id,
            stock_venue(venue),
            price,
            _whole(size),
            conditions,
            self._tape,
            to_timestamp(ts_ns),
        )

    def quote(self, row: Row) -> Quote:
        """A best bid and offer."""
        ts_ns, _, _, _, _, bid, bid_size, ask, ask_size, venue, ask_venue, _ = row
        bid_venue = stock_venue(venue)
        ask_venue = stock_venue(ask_venue) if ask_venue else bid_venue
        if bid is None:
            bid, bid_size, bid_venue = 0.0, 0, NO_VENUE
        if ask is None:
            ask, ask_size, ask_venue = 0.0, 0, NO_VENUE
        return Quote(
            self.symbol,
            bid_venue,
            bid,
            _whole(bid_size),
            ask_venue,
            ask,
            _whole(ask_size),
            _QUOTE_CONDITIONS,
            self._tape,
            to_timestamp(ts_ns),
        )


class OptionRows:
    """Rows of one option contract."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol

    def trade(self, row: Row) -> OptionTrade:
        """An option trade; option trades have no ids."""
        ts_ns, _, _, price, size, _, _, _, _, venue, _, _ = row
        _require(price, size)
        return OptionTrade(
            self.symbol,
            to_timestamp(ts_ns),
            price,
            _whole(size),
            option_venue(venue),
            _OPTION_TRADE_CONDITION,
        )

    def quote(self, row: Row) -> OptionQuote:
        """A best bid and offer."""
        ts_ns, _, _, _, _, bid, bid_size, ask, ask_size, venue, ask_venue, _ = row
        bid_venue = option_venue(venue)
        ask_venue = option_venue(ask_venue) if ask_venue else bid_venue
        if bid is None:
            bid, bid_size, bid_venue = 0.0, 0, NO_VENUE
        if ask is None:
            ask, ask_size, ask_venue = 0.0, 0, NO_VENUE
        return OptionQuote(
            self.symbol,
            to_timestamp(ts_ns),
            bid_venue,
            bid,
            _whole(bid_size),
            ask_venue,
            ask,
            _whole(ask_size),
            _OPTION_QUOTE_CONDITION,
        )


class PairRows:
    """Rows of one crypto pair; trade ids count its rows."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self._last_id = 0

    def trade(self, row: Row) -> CryptoTrade:
        """A crypto trade with the side that took, where recorded."""
        ts_ns, _, _, price, size, _, _, _, _, _, _, side = row
        _require(price, size)
        self._last_id += 1
        taker_side = _TAKER_SIDES.get(side, _UNKNOWN_SIDE)
        return CryptoTrade(self.symbol, price, size, to_timestamp(ts_ns), self._last_id, taker_side)

    def quote(self, row: Row) -> CryptoQuote:
        """A best bid and offer."""
        ts_ns, _, _, _, _, bid, bid_size, ask, ask_size, _, _, _ = row
        if bid is None:
            bid, bid_size = 0.0, 0
        if ask is None:
            ask, ask_size = 0.0, 0
        return CryptoQuote(self.symbol, bid, bid_size or 0, ask, ask_size or 0, to_timestamp(ts_ns))


def _require(price: float | None, size: float | None) -> None:
    if price is None:
        raise InexpressibleRowError("trade without price")
    if size is None:
        raise InexpressibleRowError("trade without size")


def _whole(size: float | None) -> int:
    if size.__class__ is not int:
        if size is None:
            return 0
        if size != int(size):
            raise InexpressibleRowError("fractional size")
        size = int(size)
    if size < 0:
        raise InexpressibleRowError("negative size")
    return size
