"""Every type of item comes through whole: what the market said is what the client reads."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from google.protobuf.message import Message as Protobuf
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from stream_proxy.model.messages import (
    Bar,
    BookLevel,
    CancelError,
    Correction,
    CryptoQuote,
    CryptoTrade,
    DailyBar,
    Imbalance,
    Luld,
    Message,
    News,
    OptionQuote,
    OptionTrade,
    OrderBook,
    Quote,
    Status,
    Trade,
    UpdatedBar,
)
from stream_proxy.model.time import NS_PER_SECOND, parse_rfc3339, timestamp_ns, to_timestamp
from stream_proxy.simulator.market.base import Market
from stream_proxy.simulator.market.crypto import CryptoMarket
from stream_proxy.simulator.market.news import NewsMarket
from stream_proxy.simulator.market.options import OptionMarket
from stream_proxy.simulator.market.stocks import StockMarket
from stream_proxy.wire.alpaca.codec import JSON, MSGPACK
from stream_proxy.wire.alpaca.transcode import to_msgpack
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb
from stream_proxy.wire.grpc.encode import encode_batch, encoder_for
from stream_proxy.wire.grpc.framing import (
    feed_fields,
    grpc_message,
    received_field,
    sequence_field,
)
from stream_proxy.wire.grpc.messages import NotEncodable

START_NS = parse_rfc3339("2026-06-01T14:00:20Z")

METHODS: dict[type[Any], str] = {
    Trade: "StreamTrades",
    Quote: "StreamQuotes",
    Bar: "StreamBars",
    UpdatedBar: "StreamUpdatedBars",
    DailyBar: "StreamDailyBars",
    Status: "StreamStatuses",
    Luld: "StreamLulds",
    Correction: "StreamCorrections",
    CancelError: "StreamCancelErrors",
    Imbalance: "StreamImbalances",
    OptionTrade: "StreamOptionTrades",
    OptionQuote: "StreamOptionQuotes",
    CryptoTrade: "StreamCryptoTrades",
    CryptoQuote: "StreamCryptoQuotes",
    OrderBook: "StreamCryptoOrderBooks",
    News: "StreamNews",
}
CRYPTO_BARS: dict[type[Any], str] = {
    Bar: "StreamCryptoBars",
    UpdatedBar: "StreamCryptoUpdatedBars",
    DailyBar: "StreamCryptoDailyBars",
}


def seconds_of(market: Market, seconds: int, count: int) -> list[Message]:
    return [
        message
        for second in range(1, seconds + 1)
        for message in market.take(count, START_NS + second * NS_PER_SECOND)
    ]


def simulated() -> list[tuple[str, Message]]:
    """Some of everything that the simulator's markets say, and the method that carries it."""
    stocks = seconds_of(StockMarket(7, 20, START_NS, incident_every=100), 130, 60)
    options = seconds_of(OptionMarket(2, 3, START_NS), 2, 300)
    news = seconds_of(NewsMarket(5, ("AAPL", "F"), START_NS, 1.0), 60, 0)
    market = CryptoMarket(3, START_NS)
    crypto = [message for name in market.symbols for message in market.snapshot("orderbooks", name)]
    crypto += seconds_of(market, 130, 30)
    return [
        *((METHODS[type(message)], message) for message in (*stocks, *options, *news)),
        *(
            (CRYPTO_BARS.get(type(message)) or METHODS[type(message)], message)
            for message in crypto
        ),
    ]


@pytest.fixture(scope="module")
def market_day() -> list[tuple[str, Message]]:
    return simulated()


def item_of(method: str, body: bytes) -> Protobuf:
    """What a client reads: the item of a response."""
    service = pb.DESCRIPTOR.services_by_name["StreamProxyService"]
    kind = service.methods_by_name[method].output_type
    response = getattr(pb, kind.name).FromString(body)
    ((field, item),) = response.ListFields()
    assert field.number == 1
    assert isinstance(item, Protobuf)
    return item


def plain(value: Any) -> Any:
    """A value for comparison: instants in nanoseconds, lists as lists."""
    if isinstance(value, Ext):
        return timestamp_ns(value)
    if isinstance(value, Timestamp):
        return value.ToNanoseconds()
    if isinstance(value, BookLevel | pb.PriceLevel):
        return value.price, value.size
    if isinstance(value, str | int | float):
        return value
    return [plain(one) for one in value]


def test_what_the_market_says_is_what_the_client_reads(
    market_day: list[tuple[str, Message]],
) -> None:
    """Field by field, by their names in the vocabulary and in the contract."""
    told: Counter[str] = Counter()
    for method, message in market_day:
        told[method] += 1
        item = item_of(method, encoder_for(method).encode(MSGPACK.encode(message)))
        for name in message.__struct_fields__:
            field = name
            if type(message) is not News and (name == "id" or name.endswith("_id")):
                field = name.removesuffix("id") + "trade_id"
            assert plain(getattr(item, field)) == plain(getattr(message, name)), (method, name)
        assert {f.name for f, _ in item.ListFields()} <= {
            *message.__struct_fields__, "trade_id", "original_trade_id", "corrected_trade_id",
        }  # fmt: skip
    assert set(told) == {*METHODS.values(), *CRYPTO_BARS.values()}


def test_json_feeds_give_the_same(market_day: list[tuple[str, Message]]) -> None:
    for method, message in market_day[::20]:
        encoder = encoder_for(method)
        from_json = encoder.encode(to_msgpack(JSON.encode(message)))
        assert item_of(method, from_json) == item_of(
            method, encoder.encode(MSGPACK.encode(message))
        )


def quote(**values: Any) -> pb.StockQuote:
    body = encoder_for("StreamQuotes").encode(MSGPACK.encode({"T": "q", **values}))
    return pb.StreamQuotesResponse.FromString(body).quote


@pytest.mark.parametrize(
    ("size", "told", "exact"),
    [
        (0, 0, None),
        (100, 100, None),
        (100.0, 100, None),
        (2**31 - 1, 2**31 - 1, None),
        (2**31, 2**31 - 1, 2.0**31),
        (2**64 - 1, 2**31 - 1, 2.0**64),
        (0.75, 0, 0.75),
        (-0.75, 0, -0.75),
        (1e300, 2**31 - 1, 1e300),
        (-(2**40), -(2**31), -(2.0**40)),
        (float("inf"), 2**31 - 1, float("inf")),
    ],
)
def test_sizes_that_do_not_fit(size: float, told: int, exact: float | None) -> None:
    """The old field gives what it can, the new one the truth, and only where they differ."""
    made = quote(bs=size)
    assert made.bid_size == told
    assert made.HasField("bid_size_exact") == (exact is not None)
    assert exact is None or made.bid_size_exact == exact


def test_every_size_has_its_twin() -> None:
    fraction = {"s": 1.5, "bs": 1.5, "as": 2.5, "v": 3.5}
    for method, letter in (
        ("StreamQuotes", "q"), ("StreamTrades", "t"), ("StreamBars", "b"),
        ("StreamOptionQuotes", "q"), ("StreamOptionTrades", "t"),
    ):  # fmt: skip
        body = encoder_for(method).encode(MSGPACK.encode({"T": letter, **fraction}))
        item = item_of(method, body)
        sizes = [name for name in ("size", "bid_size", "ask_size", "volume") if hasattr(item, name)]
        assert sizes
        for name in sizes:
            assert 0 < getattr(item, f"{name}_exact") - getattr(item, name) < 1


@given(st.integers(-62_135_596_800 * 10**9, 253_402_300_800 * 10**9 - 1))
def test_instants_keep_their_nanoseconds(instant_ns: int) -> None:
    """In all three forms that msgpack has for them."""
    assert quote(t=to_timestamp(instant_ns)).timestamp.ToNanoseconds() == instant_ns


@pytest.mark.parametrize(
    "values",
    [
        {"bp": "1.5"},
        {"bp": True},
        {"bs": [1]},
        {"S": 7},
        {"c": "R"},
        {"c": [1]},
        {"t": 5},
        {"t": "yesterday"},
        {"t": Ext(5, b"1234")},
        {"t": to_timestamp(253_402_300_800 * 10**9)},
    ],
)
def test_a_value_of_another_kind_is_refused(values: dict[str, Any]) -> None:
    """Rather than told as something that it is not."""
    with pytest.raises(NotEncodable):
        quote(**values)


def test_ids_are_whole() -> None:
    """One that the contract can't hold is refused: a wrong id would be worse than none."""
    encode = encoder_for("StreamTrades").encode
    largest = encode(MSGPACK.encode({"T": "t", "i": 2**63 - 1}))
    assert pb.StreamTradesResponse.FromString(largest).trade.trade_id == 2**63 - 1
    for wrong in (2**63, 1.5, float("nan"), "x"):
        with pytest.raises(NotEncodable):
            encode(MSGPACK.encode({"T": "t", "i": wrong}))


def test_other_types_are_refused() -> None:
    for other in ({"T": "t"}, {"T": "Q"}, {"T": None}, {}, {"T": "qq"}, []):
        with pytest.raises(NotEncodable):
            encoder_for("StreamQuotes").encode(MSGPACK.encode(other))


def test_a_batch_is_its_items_with_their_places() -> None:
    """Raw items too; what can't be told leaves an empty place and harms nobody."""
    quotes = [MSGPACK.encode({"T": "q", "S": f"S{number}"}) for number in range(300)]
    items = [b"\xc1", msgspec.Raw(quotes[0]), MSGPACK.encode({"T": "t"}), *quotes, b""]
    numbers = [2**62, *range(len(items) - 1)]
    tail = feed_fields("01J", "alpaca", back_filled=True)
    made = encode_batch("StreamQuotes", items, numbers, tail, START_NS)
    assert len(made) == len(items)
    assert [index for index, one in enumerate(made) if not one] == [0, 2, len(items) - 1]
    for item, number, message in zip(items, numbers, made, strict=True):
        if not message:
            continue
        assert message[0] == 0 and int.from_bytes(message[1:5], "big") == len(message) - 5
        response = pb.StreamQuotesResponse.FromString(message[5:])
        assert response.sequence == number
        assert response.received_at.ToNanoseconds() == START_NS
        assert (response.epoch, response.source, response.back_filled) == ("01J", "alpaca", True)
        body = encoder_for("StreamQuotes").encode(item)
        assert response.quote == pb.StreamQuotesResponse.FromString(body).quote
        suffix = sequence_field(number) + received_field(START_NS) + tail
        assert pb.StreamQuotesResponse.FromString(grpc_message(body, suffix)[5:]) == response


def test_a_batch_of_a_seldom_type() -> None:
    """Those that have only the plain way, and articles beyond what a byte can count."""
    article = {"T": "n", "id": 1, "content": "<p>µ</p>" * 40_000}
    items = [MSGPACK.encode(article), b"\x80", MSGPACK.encode({"T": "n", "id": 2})]
    made = encode_batch("StreamNews", items, [4, 5, 6], feed_fields("e", "s"), START_NS)
    first, nothing, last = made
    assert nothing == b""
    response = pb.StreamNewsResponse.FromString(first[5:])
    assert int.from_bytes(first[1:5], "big") == len(first) - 5 > 300_000
    assert (response.article.content, response.sequence) == (article["content"], 4)
    assert pb.StreamNewsResponse.FromString(last[5:]).sequence == 6
