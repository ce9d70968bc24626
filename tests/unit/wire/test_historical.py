"""An item of REST becomes, byte for byte, the item that the stream sent for the same message."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.messages import Message
from stream_proxy.model.time import NS_PER_SECOND, parse_rfc3339, timestamp_ns
from stream_proxy.simulator.history.answers import rest_item
from stream_proxy.simulator.market.base import Market
from stream_proxy.simulator.market.crypto import CryptoMarket
from stream_proxy.simulator.market.news import NewsMarket
from stream_proxy.simulator.market.options import OptionMarket
from stream_proxy.simulator.market.replay import FAR_FUTURE_NS, ReplayMarket
from stream_proxy.simulator.market.stocks import StockMarket
from stream_proxy.simulator.market.test_stream import FakepacaMarket
from stream_proxy.simulator.market.tickers import tickers
from stream_proxy.wire.alpaca.codec import CODECS, JSON, MSGPACK
from stream_proxy.wire.alpaca.historical import StreamItems
from stream_proxy.wire.alpaca.transcode import NotTranscodable, to_json

START_NS = parse_rfc3339("2026-06-01T14:00:20Z")
REPOSITORY = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("STREAM_PROXY_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
needs_data = pytest.mark.skipif(
    # In CI the folder is there, or its absence is a failure.
    not DATA.is_dir() and not os.environ.get("CI"),
    reason=f"no recorded market data at {DATA} (set STREAM_PROXY_TEST_DATA)",
)
IN_REST = "tqbudn"
CHANNELS = ("trades", "quotes", "bars", "news")
MARKETS: dict[str, Callable[[], Market]] = {
    "sip": lambda: StockMarket(1, 30, START_NS, always_open=True),
    "test": lambda: FakepacaMarket(1, START_NS),
    "opra": lambda: OptionMarket(1, 3, START_NS),
    "crypto-us": lambda: CryptoMarket(1, START_NS),
    "news": lambda: NewsMarket(1, tickers(30), START_NS, 2.0),
}


def minutes_of(market: Market, count: int) -> list[Message]:
    sent: list[Message] = []
    for second in range(count * 60):
        sent += market.take(40, START_NS + second * NS_PER_SECOND)
    return sent


def over_rest(message: Message) -> dict[str, Any]:
    """The message as a client of REST gets it: through JSON."""
    fields: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode(rest_item(MSGPACK.encode(message)))
    )
    return fields


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("name", MARKETS)
def test_the_same_bytes(name: str, codec: Any) -> None:
    feed = FEEDS[name]
    writers: dict[str, StreamItems] = {}
    compared: dict[str, int] = {}
    for message in minutes_of(MARKETS[name](), 4):
        kind = str(message.__struct_config__.tag)
        if kind not in IN_REST:
            continue
        channel = feed.types[kind]
        if channel not in writers:
            writers[channel] = StreamItems(feed, channel, codec)
        symbol = getattr(message, "symbol", "*")
        assert writers[channel].write(symbol, over_rest(message)) == codec.encode(message)
        compared[channel] = compared.get(channel, 0) + 1
    usual = {"trades", "quotes", "bars", "updatedBars", "dailyBars"} & set(feed.channels)
    if name == "test":
        usual.discard("updatedBars")  # nothing is reported late there
    assert set(compared) == (usual or {"news"})


@needs_data
@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("us_equity_ticks_20131007.parquet", "sip"),
        ("options_minute_quotes.parquet", "opra"),
        ("crypto_ticks.csv.gz", "crypto-us"),
    ],
)
def test_the_same_bytes_for_real_ticks(file: str, name: str, codec: Any) -> None:
    feed = FEEDS[name]
    writers = {kind: StreamItems(feed, feed.types[kind], codec) for kind in "tq"}
    messages = ReplayMarket(DATA / file).take(3_000, FAR_FUTURE_NS)
    for message in messages:
        kind = str(message.__struct_config__.tag)
        written = writers[kind].write(message.symbol, over_rest(message))  # type: ignore[union-attr]
        assert written == codec.encode(message)
    assert len(messages) > 1000


@needs_data
def test_answers_that_alpaca_gave() -> None:
    """Recorded bodies: whatever is in them is in the stream's item, and in both codecs alike."""
    compared: dict[str, int] = {}
    for line in (DATA / "alpaca_rest_recorded.jsonl").read_text().splitlines():
        body = json.loads(line)["body"]
        for channel in CHANNELS if isinstance(body, dict) else ():
            if channel not in body:
                continue
            found = body[channel]
            by_symbol = {"*": found} if channel == "news" else found
            for symbol, items in by_symbol.items():
                name = "news" if channel == "news" else "crypto-us" if "/" in symbol else "sip"
                in_json, in_msgpack = (
                    StreamItems(FEEDS[name], channel, codec) for codec in CODECS.values()
                )
                for item in items if isinstance(items, list) else [items]:
                    wanted = {k: v for k, v in item.items() if k != "images"}
                    text = in_json.write(symbol, item)
                    fields = json.loads(text)
                    assert fields.pop("T") == channel[0]
                    assert fields.pop("S", "*") == symbol
                    assert fields == wanted
                    assert json.loads(to_json(in_msgpack.write(symbol, item))) == json.loads(text)
                    compared[channel] = compared.get(channel, 0) + 1
    assert min(compared[channel] for channel in CHANNELS) >= 2
    assert sum(compared.values()) > 100


def test_a_marked_item_differs_by_its_mark_alone() -> None:
    trade = {"t": "2026-06-01T14:00:20.000000001Z", "x": "V", "p": 1, "s": 2, "c": ["@"], "i": 3}
    for codec in CODECS.values():
        plain = StreamItems(FEEDS["iex"], "trades", codec).write("AAPL", trade)
        marked = StreamItems(FEEDS["iex"], "trades", codec, backfilled=True).write("AAPL", trade)
        fields = codec.decode_fields(marked)
        assert fields.pop("backfilled") is True
        assert codec.encode(fields) == plain


def test_what_alpaca_documents() -> None:
    """Prices are doubles in msgpack, whatever JSON shows; unknown keys stay, images don't."""
    trade = {
        **{"t": "2022-01-03T09:00:00.086175744Z", "x": "P", "p": 178, "s": 246},
        **{"c": ["@", "T"], "i": 1, "z": "C", "u": "canceled"},
    }
    writer = StreamItems(FEEDS["sip"], "trades", JSON)
    assert writer.write("AAPL", trade) == (
        b'{"T":"t","S":"AAPL","i":1,"x":"P","p":178,"s":246,"c":["@","T"],"z":"C",'
        b'"t":"2022-01-03T09:00:00.086175744Z","u":"canceled"}'
    )
    fields = MSGPACK.decode_fields(StreamItems(FEEDS["sip"], "trades", MSGPACK).write("A", trade))
    assert (type(fields["p"]), type(fields["s"])) == (float, int)
    assert timestamp_ns(fields["t"]) == parse_rfc3339(trade["t"])  # type: ignore[arg-type]
    article = {
        **{"id": 1, "headline": "H", "author": "A", "created_at": "2022-01-03T09:00:00Z"},
        **{"updated_at": "2022-01-03T09:00:00Z", "summary": "", "content": "", "url": "u"},
        **{"images": [{"size": "large", "url": "u"}], "symbols": ["AAPL"], "source": "benzinga"},
    }
    written = msgspec.json.decode(StreamItems(FEEDS["news"], "news", JSON).write("*", article))
    assert list(written)[:4] == ["T", "id", "headline", "summary"]
    assert "images" not in written and "S" not in written


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("time", [None, "", "yesterday", 7])
def test_an_item_without_its_time_is_refused(codec: Any, time: object) -> None:
    with pytest.raises(NotTranscodable):
        StreamItems(FEEDS["iex"], "trades", codec).write("AAPL", {"p": 1.0, "t": time})


@pytest.mark.parametrize(
    ("feed", "channel"), [("sip", "orderbooks"), ("news", "bars"), ("opra", "statuses")]
)
def test_what_rest_has_not_cannot_be_written(feed: str, channel: str) -> None:
    with pytest.raises(ValueError, match=channel):
        StreamItems(FEEDS[feed], channel, JSON)
