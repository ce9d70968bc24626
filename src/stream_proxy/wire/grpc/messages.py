"""Make the contract's messages of upstream's items, the plain way: decode, build, serialize.

For every type of item and every form that its values may have. The common types have a faster way
(``transcode.py``) that is held to the same result by a test, and comes here for all it doesn't
know. Source: Alpaca's real-time stock, option, crypto and news stream documentation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec.msgpack import Ext

from stream_proxy.model.time import parse_rfc3339, timestamp_ns
from stream_proxy.wire.alpaca.codec import MSGPACK, FrameDamaged, Item
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb
from stream_proxy.wire.grpc.timestamp import timestamp

_Values: TypeAlias = dict[str, Any]

_INT32 = (1 << 31) - 1
_INT64 = (1 << 63) - 1


class NotEncodable(ValueError):
    """An item that the contract has no form for: damaged, of another type, a value not its own."""


def build(letter: str, make: Callable[[_Values], Message], item: Item) -> bytes:
    """Serialize the response to an item in msgpack, of this type.

    Raises:
        NotEncodable: it can't be said in the contract.
    """
    try:
        values = MSGPACK.decode_fields(item)
        if values.get("T") != letter:
            raise NotEncodable(f"not of type {letter}")
        return make(values).SerializeToString()
    except (FrameDamaged, TypeError) as error:
        raise NotEncodable(str(error)) from error


# One function a response


def quote(v: _Values) -> Message:
    bid_size, bid_size_exact = _size(v, "bs", _INT32)
    ask_size, ask_size_exact = _size(v, "as", _INT32)
    made = pb.StockQuote(
        symbol=_text(v, "S"),
        timestamp=_time(v, "t"),
        bid_exchange=_text(v, "bx"),
        bid_price=_number(v, "bp"),
        bid_size=bid_size,
        bid_size_exact=bid_size_exact,
        ask_exchange=_text(v, "ax"),
        ask_price=_number(v, "ap"),
        ask_size=ask_size,
        ask_size_exact=ask_size_exact,
        conditions=_texts(v, "c"),
        tape=_text(v, "z"),
    )
    return pb.StreamQuotesResponse(quote=made)


def trade(v: _Values) -> Message:
    size, size_exact = _size(v, "s", _INT32)
    made = pb.StockTrade(
        symbol=_text(v, "S"),
        timestamp=_time(v, "t"),
        trade_id=_id(v, "i"),
        exchange=_text(v, "x"),
        price=_number(v, "p"),
        size=size,
        size_exact=size_exact,
        conditions=_texts(v, "c"),
        tape=_text(v, "z"),
    )
    return pb.StreamTradesResponse(trade=made)


def bar(v: _Values) -> Message:
    volume, volume_exact = _size(v, "v", _INT64)
    made = pb.StockBar(
        symbol=_text(v, "S"),
        timestamp=_time(v, "t"),
        open=_number(v, "o"),
        high=_number(v, "h"),
        low=_number(v, "l"),
        close=_number(v, "c"),
        volume=volume,
        volume_exact=volume_exact,
        vwap=_number(v, "vw"),
        trade_count=_size(v, "n", _INT32)[0],
    )
    return pb.StreamBarsResponse(bar=made)


def option_quote(v: _Values) -> Message:
    bid_size, bid_size_exact = _size(v, "bs", _INT32)
    ask_size, ask_size_exact = _size(v, "as", _INT32)
    made = pb.OptionQuoteUpdate(
        symbol=_text(v, "S"),
        timestamp=_time(v, "t"),
        bid_exchange=_text(v, "bx"),
        bid_price=_number(v, "bp"),
        bid_size=bid_size,
        bid_size_exact=bid_size_exact,
        ask_exchange=_text(v, "ax"),
        ask_price=_number(v, "ap"),
        ask_size=ask_size,
        ask_size_exact=ask_size_exact,
        condition=_text(v, "c"),
    )
    return pb.StreamOptionQuotesResponse(quote=made)


def option_trade(v: _Values) -> Message:
    size, size_exact = _size(v, "s", _INT32)
    made = pb.OptionTrade(
        symbol=_text(v, "S"),
        timestamp=_time(v, "t"),
        price=_number(v, "p"),
        size=size,
        size_exact=size_exact,
        exchange=_text(v, "x"),
        condition=_text(v, "c"),
    )
    return pb.StreamOptionTradesResponse(trade=made)


def status(v: _Values) -> Message:
    made = pb.TradingStatus(
        symbol=_text(v, "S"),
        timestamp=_time(v, "t"),
        status_code=_text(v, "sc"),
        status_message=_text(v, "sm"),
        reason_code=_text(v, "rc"),
        reason_message=_text(v, "rm"),
        tape=_text(v, "z"),
    )
    return pb.StreamStatusesResponse(status=made)


def luld(v: _Values) -> Message:
    made = pb.PriceBand(
        symbol=_text(v, "S"),
        timestamp=_time(v, "t"),
        limit_up=_number(v, "u"),
        limit_down=_number(v, "d"),
        indicator=_text(v, "i"),
        tape=_text(v, "z"),
    )
    return pb.StreamLuldsResponse(luld=made)


def correction(v: _Values) -> Message:
    made = pb.TradeCorrection(
        symbol=_text(v, "S"),
        timestamp=_time(v, "t"),
        exchange=_text(v, "x"),
        original_trade_id=_id(v, "oi"),
        original_price=_number(v, "op"),
        original_size=_number(v, "os"),
        original_conditions=_texts(v, "oc"),
        corrected_trade_id=_id(v, "ci"),
        corrected_price=_number(v, "cp"),
        corrected_size=_number(v, "cs"),
        corrected_conditions=_texts(v, "cc"),
        tape=_text(v, "z"),
    )
    return pb.StreamCorrectionsResponse(correction=made)


def cancel_error(v: _Values) -> Message:
    made = pb.TradeCancelError(
        symbol=_text(v, "S"),
        timestamp=_time(v, "t"),
        trade_id=_id(v, "i"),
        exchange=_text(v, "x"),
        price=_number(v, "p"),
        size=_number(v, "s"),
        action=_text(v, "a"),
        tape=_text(v, "z"),
    )
    return pb.StreamCancelErrorsResponse(cancel_error=made)


def imbalance(v: _Values) -> Message:
    made = pb.OrderImbalance(
        symbol=_text(v, "S"),
        timestamp=_time(v, "t"),
        price=_number(v, "p"),
        tape=_text(v, "z"),
    )
    return pb.StreamImbalancesResponse(imbalance=made)


def crypto_quote(v: _Values) -> Message:
    made = pb.CryptoQuote(
        symbol=_text(v, "S"),
        timestamp=_time(v, "t"),
        bid_price=_number(v, "bp"),
        bid_size=_number(v, "bs"),
        ask_price=_number(v, "ap"),
        ask_size=_number(v, "as"),
    )
    return pb.StreamCryptoQuotesResponse(quote=made)


def crypto_trade(v: _Values) -> Message:
    made = pb.CryptoTrade(
        symbol=_text(v, "S"),
        timestamp=_time(v, "t"),
        trade_id=_id(v, "i"),
        price=_number(v, "p"),
        size=_number(v, "s"),
        taker_side=_text(v, "tks"),
    )
    return pb.StreamCryptoTradesResponse(trade=made)


def crypto_bar(v: _Values) -> Message:
    made = pb.CryptoBar(
        symbol=_text(v, "S"),
        timestamp=_time(v, "t"),
        open=_number(v, "o"),
        high=_number(v, "h"),
        low=_number(v, "l"),
        close=_number(v, "c"),
        volume=_number(v, "v"),
        vwap=_number(v, "vw"),
        trade_count=_size(v, "n", _INT64)[0],
    )
    return pb.StreamCryptoBarsResponse(bar=made)


def order_book(v: _Values) -> Message:
    made = pb.CryptoOrderBook(
        symbol=_text(v, "S"),
        timestamp=_time(v, "t"),
        bids=_levels(v, "b"),
        asks=_levels(v, "a"),
        reset=_flag(v, "r"),
    )
    return pb.StreamCryptoOrderBooksResponse(order_book=made)


def news(v: _Values) -> Message:
    made = pb.NewsArticle(
        id=_id(v, "id"),
        headline=_text(v, "headline"),
        summary=_text(v, "summary"),
        author=_text(v, "author"),
        created_at=_time(v, "created_at"),
        updated_at=_time(v, "updated_at"),
        url=_text(v, "url"),
        content=_text(v, "content"),
        symbols=_texts(v, "symbols"),
        source=_text(v, "source"),
    )
    return pb.StreamNewsResponse(article=made)


# What is missing or nil is protobuf's default; what is of another kind than documented is refused.


def _text(values: _Values, key: str) -> str:
    value = values.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _unfit(key, value)
    return value


def _texts(values: _Values, key: str) -> list[str]:
    value = values.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _unfit(key, value)
    return value


def _number(values: _Values, key: str) -> float:
    value = values.get(key)
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _unfit(key, value)
    return float(value)


def _size(values: _Values, key: str, most: int) -> tuple[int, float | None]:
    """A whole number that fits, and the number itself if that is another."""
    number = values.get(key)
    exact = _number(values, key)
    if number is None or math.isnan(exact):
        return 0, exact if number is not None else None
    whole = int(max(min(number, most), -most - 1))
    return whole, None if whole == number else exact


def _id(values: _Values, key: str) -> int:
    value = values.get(key)
    number = _number(values, key)
    if value is None:
        return 0
    if not math.isfinite(number) or int(value) != value or not -_INT64 - 1 <= value <= _INT64:
        raise _unfit(key, value)
    return int(value)


def _flag(values: _Values, key: str) -> bool:
    value = values.get(key)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise _unfit(key, value)
    return value


def _time(values: _Values, key: str) -> Timestamp | None:
    value = values.get(key)
    if value is None:
        return None
    try:
        if isinstance(value, Ext):
            return timestamp(timestamp_ns(value))
        if isinstance(value, str):
            return timestamp(parse_rfc3339(value))
    except ValueError as error:
        raise NotEncodable(f"{key}: {error}") from error
    raise _unfit(key, value)


def _levels(values: _Values, key: str) -> list[pb.PriceLevel]:
    value = values.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise _unfit(key, value)
    return [pb.PriceLevel(price=_number(one, "p"), size=_number(one, "s")) for one in value]


def _unfit(key: str, value: object) -> NotEncodable:
    return NotEncodable(f"{key} can't be of type {type(value).__name__}")
