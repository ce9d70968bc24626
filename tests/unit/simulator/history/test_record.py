"""The record gives back what was sent, page by page, and no more of it than there is room for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_proxy.model.messages import (
    Bar,
    CancelError,
    Correction,
    Luld,
    Message,
    News,
    Quote,
    Trade,
    UpdatedBar,
)
from stream_proxy.model.time import NS_PER_MINUTE, NS_PER_SECOND, parse_rfc3339, to_timestamp
from stream_proxy.simulator.history.answers import Answers, rest_item
from stream_proxy.simulator.history.questions import Question, question
from stream_proxy.simulator.history.record import History
from stream_proxy.simulator.market.options import OptionMarket
from stream_proxy.simulator.market.stocks import StockMarket
from stream_proxy.wire.alpaca.codec import CODECS, MSGPACK, Codec

BEGAN_NS = parse_rfc3339("2026-06-01T14:00:00Z")
END_NS = 1 << 62
SYMBOLS = ("AAPL", "IBM", "MSFT")
FOREVER = 1e6


def trade(symbol: str, number: int, at_ns: int) -> Trade:
    return Trade(symbol, number, "V", 1.5, 100, ["@"], "C", to_timestamp(at_ns))


def bar(kind: type[Bar], at_ns: int, close: float, volume: float = 10) -> Bar:
    timestamp = to_timestamp(at_ns)
    return kind("AAPL", 1.0, 9.0, 1.0, close, volume, timestamp, 1, 2.0)


def recorded(*sent: tuple[int, Message], keep_bytes: int = 1 << 30) -> History:
    history = History(FOREVER, keep_bytes)
    for sent_ns, message in sent:
        history.record(sent_ns, [message], [MSGPACK.encode(message)], MSGPACK)
    return history


def asking(query: dict[str, str], symbols: tuple[str, ...] = ("AAPL",)) -> Question:
    return question({"start": "1970-01-01"} | query, END_NS, symbols)


async def paged(
    history: History, channel: str, query: dict[str, str], symbols: tuple[str, ...]
) -> list[tuple[str, Any]]:
    """All pages one after the other, as a client asks for them."""
    answers = Answers(history, END_NS, has_bars=True)
    found: list[tuple[str, Any]] = []
    token: str | None = None
    while True:
        further = {} if token is None else {"page_token": token}
        page, token = await answers.page(channel, asking(query | further, symbols))
        items = [(symbol, item) for symbol, items in page.items() for item in items]
        assert 0 < len(items) <= int(query["limit"]) or (not items and token is None)
        found += items
        if token is None:
            return found


@settings(max_examples=60, deadline=None)
@given(
    ticks=st.lists(
        st.tuples(st.sampled_from(SYMBOLS), st.integers(0, 6), st.integers(0, 3)), max_size=40
    ),
    limit=st.integers(1, 9),
    ascending=st.booleans(),
    between=st.tuples(st.integers(0, 6), st.integers(0, 6)).map(sorted),
)
def test_pages_together_are_the_whole(
    ticks: list[tuple[str, int, int]], limit: int, ascending: bool, between: list[int]
) -> None:
    """Whatever the page size: every item once, by symbol, then time, those of one instant as sent."""
    history = History(FOREVER, 1 << 30)
    sent: dict[str, list[tuple[int, int]]] = {symbol: [] for symbol in SYMBOLS}
    sent_ns = BEGAN_NS
    for number, (symbol, at_ns, pause_ns) in enumerate(ticks):
        sent_ns += pause_ns
        message = trade(symbol, number, BEGAN_NS + at_ns)
        history.record(sent_ns, [message], [MSGPACK.encode(message)], MSGPACK)
        sent[symbol].append((at_ns, number))
    query = {
        "limit": str(limit),
        "sort": "asc" if ascending else "desc",
        "start": f"2026-06-01T14:00:00.{between[0]:09d}Z",
        "end": f"2026-06-01T14:00:00.{between[1]:09d}Z",
    }
    wanted: list[tuple[str, int]] = []
    for symbol in SYMBOLS:
        inside = sorted(
            (tick for tick in sent[symbol] if between[0] <= tick[0] <= between[1]),
            key=lambda tick: tick[0],
        )
        wanted += [(symbol, n) for _, n in (inside if ascending else inside[::-1])]
    found = asyncio.run(paged(history, "trades", query, SYMBOLS))
    assert [(symbol, item["i"]) for symbol, item in found] == wanted


async def test_a_page_stays_where_it_is_while_more_is_sent() -> None:
    history = recorded(*((BEGAN_NS + n, trade("AAPL", n, BEGAN_NS + n)) for n in range(4)))
    answers = Answers(history, END_NS, has_bars=True)
    _, token = await answers.page("trades", asking({"limit": "2"}))
    assert token is not None
    late, new = trade("AAPL", 8, BEGAN_NS - 5), trade("AAPL", 9, BEGAN_NS + 9)
    for message in (late, new):
        history.record(BEGAN_NS + 20, [message], [MSGPACK.encode(message)], MSGPACK)
    page, _ = await answers.page("trades", asking({"limit": "9", "page_token": token}))
    assert [item["i"] for item in page["AAPL"]] == [2, 3, 9]


async def test_what_is_too_old_or_too_much_is_forgotten() -> None:
    size = len(MSGPACK.join([MSGPACK.encode(trade("AAPL", 1, BEGAN_NS + 1))]))
    history = History(60, 20 * size)  # half of it for quotes
    for number in range(100):
        sent_ns = BEGAN_NS + number
        message = trade("AAPL", number, sent_ns)
        history.record(sent_ns, [message], [MSGPACK.encode(message)], MSGPACK)
        if number == 50:  # what was read is forgotten, too
            await history.column("t", "AAPL")
    column = await history.column("t", "AAPL")
    assert history.size_bytes <= 10 * size and 9 <= len(column.items) <= 10
    message = trade("AAPL", 7, BEGAN_NS + 61 * NS_PER_SECOND)
    history.record(BEGAN_NS + 61 * NS_PER_SECOND, [message], [MSGPACK.encode(message)], MSGPACK)
    assert len((await history.column("t", "AAPL")).items) == 1
    assert history.size_bytes == len(MSGPACK.join([MSGPACK.encode(message)]))


async def test_quotes_leave_room_for_trades() -> None:
    stamp = to_timestamp(BEGAN_NS)
    quote = Quote("AAPL", "V", 1.0, 1, "V", 2.0, 1, ["R"], "C", stamp)
    sent: list[tuple[int, Message]] = [(BEGAN_NS, trade("AAPL", 1, BEGAN_NS))]
    sent += [(BEGAN_NS + n, quote) for n in range(1, 100)]
    history = recorded(*sent, keep_bytes=20 * len(MSGPACK.encode(quote)))
    assert len((await history.column("t", "AAPL")).items) == 1
    assert 9 <= len((await history.column("q", "AAPL")).items) <= 10


async def test_an_updated_bar_replaces_its_bar_from_then_on() -> None:
    first, updated = bar(Bar, BEGAN_NS, 2.0), bar(UpdatedBar, BEGAN_NS, 3.0)
    sent_ns = BEGAN_NS + NS_PER_MINUTE
    history = recorded((sent_ns, first), (sent_ns + 30 * NS_PER_SECOND, updated))
    for shown_ns, close in ((sent_ns, 2.0), (END_NS, 3.0)):
        answers = Answers(history, shown_ns, has_bars=True)
        page, _ = await answers.page("bars", asking({}))
        assert [item["c"] for item in page["AAPL"]] == [close]
        assert (await answers.latest("bars", ["AAPL", "IBM"]))["AAPL"]["c"] == close


async def test_longer_bars_are_made_of_minutes() -> None:
    history = recorded(
        *(
            (BEGAN_NS + (n + 1) * NS_PER_MINUTE, bar(Bar, BEGAN_NS + n * NS_PER_MINUTE, n + 1.0, n))
            for n in range(12)
        )
    )
    answers = Answers(history, END_NS, has_bars=True)
    page, _ = await answers.page("bars", asking({}), 5)
    assert [(b["t"][11:16], b["c"], b["v"], b["n"]) for b in page["AAPL"]] == [
        ("14:00", 5.0, 10, 5),
        ("14:05", 10.0, 35, 5),
        ("14:10", 12.0, 21, 2),
    ]
    page, _ = await answers.page("bars", asking({}), 24 * 60)
    assert [(b["t"], b["v"]) for b in page["AAPL"]] == [("2026-06-01T04:00:00Z", 66)]


async def test_option_bars_are_made_of_trades() -> None:
    market = OptionMarket(1, 1, BEGAN_NS)
    history = History(FOREVER, 1 << 30)
    trades: dict[str, list[Any]] = {}
    for second in range(0, 180, 10):
        messages = market.take(2000, BEGAN_NS + second * NS_PER_SECOND)
        history.record(BEGAN_NS, messages, list(map(MSGPACK.encode, messages)), MSGPACK)
        for message in messages:
            if message.__struct_config__.tag == "t":
                trades.setdefault(message.symbol, []).append(message)  # type: ignore[union-attr]
    symbol, of_it = max(trades.items(), key=lambda found: len(found[1]))
    answers = Answers(history, END_NS, has_bars=False)
    page, _ = await answers.page("bars", asking({}, (symbol,)))
    assert sum(b["n"] for b in page[symbol]) == len(of_it)
    assert sum(b["v"] for b in page[symbol]) == sum(message.size for message in of_it)
    assert page[symbol][-1] == (await answers.latest("bars", [symbol]))[symbol]


async def test_trades_that_were_taken_back_are_marked() -> None:
    stamp = to_timestamp(BEGAN_NS + 9)
    cancel = CancelError("AAPL", 1, "V", 1.5, 100, "C", "C", stamp)
    correct = Correction("AAPL", "V", 2, 1.5, 100, ["@"], 7, 1.6, 100, ["@"], "C", stamp)
    trades = [(BEGAN_NS, trade("AAPL", number, BEGAN_NS)) for number in range(4)]
    history = recorded(*trades, (BEGAN_NS + 9, cancel), (BEGAN_NS + 9, correct))
    page, _ = await Answers(history, END_NS, has_bars=True).page("trades", asking({}))
    assert [item.get("u") for item in page["AAPL"]] == [None, "canceled", "incorrect", None]
    page, _ = await Answers(history, BEGAN_NS, has_bars=True).page("trades", asking({}))
    assert not any("u" in item for item in page["AAPL"])


async def test_news_are_the_latest_version_of_each_article() -> None:
    def article(number: int, second: int, headline: str, *symbols: str) -> News:
        at = to_timestamp(BEGAN_NS + second * NS_PER_SECOND)
        return News(number, headline, "", "A", at, at, "u", "<p>C</p>", [*symbols], "benzinga")

    sent = [
        article(1, 1, "first", "AAPL"),
        article(2, 2, "second"),
        article(1, 3, "first again", "AAPL", "IBM"),
        article(3, 4, "third", "MSFT"),
    ]
    history = recorded(*((BEGAN_NS, message) for message in sent))
    answers = Answers(history, END_NS, has_bars=True)

    async def headlines(query: dict[str, str], *symbols: str) -> list[str]:
        found: list[str] = []
        token: str | None = None
        while True:
            further = {} if token is None else {"page_token": token}
            asked = question(query | further | {"limit": "1"}, END_NS, symbols, news=True)
            articles, token = await answers.news(asked, with_content=False)
            assert all(a["content"] == "" and a["images"] == [] for a in articles)
            found += [a["headline"] for a in articles]
            if token is None:
                return found

    assert await headlines({}) == ["third", "first again", "second"]
    assert await headlines({"sort": "asc"}, "AAPL", "MSFT") == ["first again", "third"]
    assert await headlines({"end": "2026-06-01T14:00:02Z"}) == ["second"]


async def test_what_rest_has_not_takes_no_room() -> None:
    stamp = to_timestamp(BEGAN_NS)
    assert recorded((BEGAN_NS, Luld("AAPL", 2.0, 1.0, "B", stamp, "C"))).size_bytes == 0
    quote = Quote("AAPL", "V", 1.0, 1, "V", 2.0, 1, ["R"], "C", stamp)
    history = recorded((BEGAN_NS, quote))
    page, _ = await Answers(history, END_NS, has_bars=True).page("quotes", asking({}))
    assert page["AAPL"] == [rest_item(MSGPACK.encode(quote))]
    assert list(page["AAPL"][0]) == ["t", "bx", "bp", "bs", "ax", "ap", "as", "c", "z"]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
async def test_it_matters_to_nobody_in_which_codec_it_was_sent(codec: Codec) -> None:
    market = StockMarket(1, 5, BEGAN_NS, always_open=True)
    messages = [m for n in range(70) for m in market.take(20, BEGAN_NS + n * NS_PER_SECOND)]
    history = History(FOREVER, 1 << 30)
    history.record(BEGAN_NS, messages, list(map(codec.encode, messages)), codec)
    trades = [m for m in messages if isinstance(m, Trade) and m.symbol == market.symbols[0]]
    column = await history.column("t", market.symbols[0])
    assert sorted(column.items) == sorted(map(MSGPACK.encode, trades))
    assert trades
