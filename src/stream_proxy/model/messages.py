"""Alpaca's market-data messages as typed records.

Field names are for people, wire names for the wire: ``Trade.price`` is ``p``.
Every record writes its type ``T`` first, which the Go SDK insists on.
``timestamp`` is the msgpack timestamp extension (see ``time.py``), nanoseconds intact.

These records are for whoever *makes* or *reads* single messages: the simulator, the client,
the command line. What only passes through is never decoded into them.
Sources: Alpaca's real-time stock, option, crypto and news stream documentation.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec.msgpack import Ext

_STOCK = {
    "symbol": "S",
    "id": "i",
    "exchange": "x",
    "price": "p",
    "size": "s",
    "conditions": "c",
    "tape": "z",
    "timestamp": "t",
    "bid_exchange": "bx",
    "bid_price": "bp",
    "bid_size": "bs",
    "ask_exchange": "ax",
    "ask_price": "ap",
    "ask_size": "as",
    "open": "o",
    "high": "h",
    "low": "l",
    "close": "c",
    "volume": "v",
    "trade_count": "n",
    "vwap": "vw",
}


def _wire(*names: str, **others: str) -> dict[str, str]:
    return {name: _STOCK[name] for name in names} | others


class Trade(
    msgspec.Struct,
    gc=False,
    tag_field="T",
    tag="t",
    rename=_wire("symbol", "id", "exchange", "price", "size", "conditions", "tape", "timestamp"),
):
    """A stock trade; ``size`` in shares, ``conditions`` as SIP letters."""

    symbol: str
    id: int
    exchange: str
    price: float
    size: int
    conditions: list[str]
    tape: str
    timestamp: Ext


class Quote(
    msgspec.Struct,
    gc=False,
    tag_field="T",
    tag="q",
    rename=_wire(
        "symbol",
        "bid_exchange",
        "bid_price",
        "bid_size",
        "ask_exchange",
        "ask_price",
        "ask_size",
        "conditions",
        "tape",
        "timestamp",
    ),
):
    """A stock's national best bid and offer; a missing side has price 0 and size 0."""

    symbol: str
    bid_exchange: str
    bid_price: float
    bid_size: int
    ask_exchange: str
    ask_price: float
    ask_size: int
    conditions: list[str]
    tape: str
    timestamp: Ext


class Bar(
    msgspec.Struct,
    gc=False,
    tag_field="T",
    tag="b",
    rename=_wire(
        "symbol", "open", "high", "low", "close", "volume", "timestamp", "trade_count", "vwap"
    ),
):
    """One minute, ``timestamp`` at its left edge. Crypto volumes are fractional."""

    symbol: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    timestamp: Ext
    trade_count: int
    vwap: float


class UpdatedBar(Bar, tag="u"):
    """A minute bar sent again because a trade of that minute was reported late."""


class DailyBar(Bar, tag="d"):
    """The New York day so far, ``timestamp`` at New York midnight."""


class Status(
    msgspec.Struct,
    gc=False,
    tag_field="T",
    tag="s",
    rename=_wire(
        "symbol",
        "timestamp",
        "tape",
        status_code="sc",
        status_message="sm",
        reason_code="rc",
        reason_message="rm",
    ),
):
    """A trading halt, pause or resumption."""

    symbol: str
    status_code: str
    status_message: str
    reason_code: str
    reason_message: str
    timestamp: Ext
    tape: str


class Luld(
    msgspec.Struct,
    gc=False,
    tag_field="T",
    tag="l",
    rename=_wire("symbol", "timestamp", "tape", limit_up="u", limit_down="d", indicator="i"),
):
    """A limit-up limit-down price band."""

    symbol: str
    limit_up: float
    limit_down: float
    indicator: str
    timestamp: Ext
    tape: str


class Correction(
    msgspec.Struct,
    gc=False,
    tag_field="T",
    tag="c",
    rename=_wire(
        "symbol",
        "exchange",
        "tape",
        "timestamp",
        original_id="oi",
        original_price="op",
        original_size="os",
        original_conditions="oc",
        corrected_id="ci",
        corrected_price="cp",
        corrected_size="cs",
        corrected_conditions="cc",
    ),
):
    """A trade replaced by a corrected one; follows the ``trades`` channel."""

    symbol: str
    exchange: str
    original_id: int
    original_price: float
    original_size: int
    original_conditions: list[str]
    corrected_id: int
    corrected_price: float
    corrected_size: int
    corrected_conditions: list[str]
    tape: str
    timestamp: Ext


class CancelError(
    msgspec.Struct,
    gc=False,
    tag_field="T",
    tag="x",
    rename=_wire("symbol", "id", "exchange", "price", "size", "tape", "timestamp", action="a"),
):
    """A trade taken back: action ``C`` cancel or ``E`` error; follows the ``trades`` channel."""

    symbol: str
    id: int
    exchange: str
    price: float
    size: int
    action: str
    tape: str
    timestamp: Ext


class Imbalance(
    msgspec.Struct,
    gc=False,
    tag_field="T",
    tag="i",
    rename=_wire("symbol", "price", "tape", "timestamp"),
):
    """An order imbalance, mostly during limit-up limit-down halts."""

    symbol: str
    price: float
    tape: str
    timestamp: Ext


class OptionTrade(
    msgspec.Struct,
    gc=False,
    tag_field="T",
    tag="t",
    rename=_wire("symbol", "timestamp", "price", "size", "exchange", condition="c"),
):
    """An option trade; ``symbol`` is the OCC name, ``condition`` one letter, no id."""

    symbol: str
    timestamp: Ext
    price: float
    size: int
    exchange: str
    condition: str


class OptionQuote(
    msgspec.Struct,
    gc=False,
    tag_field="T",
    tag="q",
    rename=_wire(
        "symbol",
        "timestamp",
        "bid_exchange",
        "bid_price",
        "bid_size",
        "ask_exchange",
        "ask_price",
        "ask_size",
        condition="c",
    ),
):
    """An option quote; sizes in contracts."""

    symbol: str
    timestamp: Ext
    bid_exchange: str
    bid_price: float
    bid_size: int
    ask_exchange: str
    ask_price: float
    ask_size: int
    condition: str


class CryptoTrade(
    msgspec.Struct,
    gc=False,
    tag_field="T",
    tag="t",
    rename=_wire("symbol", "price", "size", "timestamp", "id", taker_side="tks"),
):
    """A crypto trade; sizes are fractional, ids exceed 2**53."""

    symbol: str
    price: float
    size: float
    timestamp: Ext
    id: int
    taker_side: str


class CryptoQuote(
    msgspec.Struct,
    gc=False,
    tag_field="T",
    tag="q",
    rename=_wire("symbol", "bid_price", "bid_size", "ask_price", "ask_size", "timestamp"),
):
    """A crypto best bid and offer."""

    symbol: str
    bid_price: float
    bid_size: float
    ask_price: float
    ask_size: float
    timestamp: Ext


class BookLevel(msgspec.Struct, gc=False, rename={"price": "p", "size": "s"}):
    """One price level; size 0 removes it."""

    price: float
    size: float


class OrderBook(
    msgspec.Struct,
    gc=False,
    tag_field="T",
    tag="o",
    omit_defaults=True,
    rename=_wire("symbol", "timestamp", bids="b", asks="a", reset="r"),
):
    """Order book levels that changed; with ``reset`` the whole book. ``r`` is absent on updates."""

    symbol: str
    timestamp: Ext
    bids: list[BookLevel]
    asks: list[BookLevel]
    reset: bool = False


class News(msgspec.Struct, gc=False, tag_field="T", tag="n"):
    """A news article; ``content`` is HTML and may be very large, ``symbols`` may be empty."""

    id: int
    headline: str
    summary: str
    author: str
    created_at: Ext
    updated_at: Ext
    url: str
    content: str
    symbols: list[str]
    source: str


Message: TypeAlias = (
    Trade
    | Quote
    | Bar
    | UpdatedBar
    | DailyBar
    | Status
    | Luld
    | Correction
    | CancelError
    | Imbalance
    | OptionTrade
    | OptionQuote
    | CryptoTrade
    | CryptoQuote
    | OrderBook
    | News
)
