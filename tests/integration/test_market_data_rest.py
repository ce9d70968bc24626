"""Asking for market data over REST: all that was sent, or a failure that says what to change.

Against the simulator with its faults, and, for what a decent server never does, a transport that
answers whatever it is told to.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from email.utils import formatdate
from random import Random
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from harness.waiting import eventually
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.messages import Bar, Message, UpdatedBar
from stream_proxy.model.time import NS_PER_SECOND, parse_rfc3339
from stream_proxy.simulator.history.answers import rest_item
from stream_proxy.sources import market_data_rest as rest_module
from stream_proxy.sources.market_data_refusals import MarketDataFailed
from stream_proxy.sources.market_data_rest import MarketDataRest, Page, cut
from stream_proxy.sources.request_budget import RequestBudget
from stream_proxy.wire.alpaca.codec import JSON, MSGPACK, Codec
from stream_proxy.wire.alpaca.historical import StreamItems
from stream_proxy.wire.alpaca.requests import Credentials

from .trading_bench import Bench, bench

KEYS = Credentials("PK1", "a-secret-of-the-account")
BEGAN_NS = 1_700_000_000 * NS_PER_SECOND
END_NS = 4_000_000_000 * NS_PER_SECOND
OPTIONS = {"history_minutes": 5.0, "rate": 2000.0, "symbols": 8}


def client(base_url: str, feed: str = "iex", **wishes: Any) -> MarketDataRest:
    """Impatient, so that tests are quick."""
    usual: dict[str, Any] = {
        "budget": RequestBudget(60_000),
        "random": Random(1),
        "retry_seconds": 0.01,
        "throttled_seconds": 0.05,
        "patience_seconds": 20,
    }
    made = MarketDataRest(base_url, KEYS, FEEDS[feed], **(usual | wishes))
    _made.append(made)
    return made


_made: list[MarketDataRest] = []


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    """Whatever a test asked with is closed behind it."""
    yield
    while _made:
        await _made.pop().close()


def answering(
    answer: Callable[[httpx.Request], httpx.Response], feed: str = "iex", **wishes: Any
) -> MarketDataRest:
    return client("http://data", feed, transport=httpx.MockTransport(answer), **wishes)


async def test_the_time_is_known_though_a_date_is_old() -> None:
    """It has whole seconds, and servers write it once a second."""
    empty = {"trades": {}, "next_page_token": None}

    def answer(request: httpx.Request) -> httpx.Response:
        date = formatdate(time.time() - 1.0, usegmt=True)
        return httpx.Response(200, json=empty, headers={"Date": date})

    rest = answering(answer)
    assert rest.now_ns() is None
    for _ in range(5):
        await everything(rest.trades(["AAPL"], BEGAN_NS, END_NS))
        shown_ns = rest.now_ns()
        assert shown_ns is not None and abs(shown_ns - time.time_ns()) < 1.2 * NS_PER_SECOND


async def everything(pages: AsyncIterator[Page]) -> list[tuple[str, dict[str, Any]]]:
    return [item async for page in pages for item in page.items]


async def failure(pages: AsyncIterator[Page]) -> MarketDataFailed:
    with pytest.raises(MarketDataFailed) as caught:
        await everything(pages)
    assert KEYS.secret not in str(caught.value)
    return caught.value


@pytest.fixture
async def alpaca() -> AsyncIterator[Bench]:
    async with bench(**OPTIONS) as made:
        yield made


class Truth:
    """What an endpoint's market did, whoever was connected."""

    def __init__(self, alpaca: Bench, feed: str) -> None:
        self.endpoint = alpaca.simulator.endpoint(FEEDS[feed])
        self.messages: list[Message] = []
        take = self.endpoint.market.take

        def taken(count: int, now_ns: int) -> list[Message]:
            messages = take(count, now_ns)
            self.messages += messages
            return messages

        self.endpoint.market.take = taken  # type: ignore[method-assign]
        self.endpoint.begin()

    async def until(self, count: int) -> None:
        """Let the market make so many messages, then stand still."""
        await eventually(lambda: len(self.messages) >= count, what="messages")
        self.endpoint.running = False

    def of(self, kind: str, symbol: str) -> list[dict[str, Any]]:
        found = [
            message
            for message in self.messages
            if message.__struct_config__.tag == kind and getattr(message, "symbol", "*") == symbol
        ]
        items = [rest_item(MSGPACK.encode(message)) for message in found]
        return sorted(items, key=lambda item: parse_rfc3339(item["t"]))


# All that was sent


@pytest.mark.parametrize("feed", ["iex", "crypto-us", "opra", "delayed_sip"])
async def test_all_pages_of_all_symbols(
    alpaca: Bench, feed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody was connected; many pages, many requests; each symbol's items in time order."""
    monkeypatch.setattr(rest_module, "ITEMS_PER_PAGE", 60)
    truth = Truth(alpaca, feed)
    await truth.until(1500)
    symbols = [*truth.endpoint.market.symbols][:300]
    rest = client(alpaca.http, feed)
    for channel, kind in (("trades", "t"), ("quotes", "q")):
        if (feed, channel) == ("opra", "quotes"):
            continue
        pages = [page async for page in getattr(rest, channel)(symbols, BEGAN_NS, END_NS)]
        got: dict[str, list[dict[str, Any]]] = {}
        for symbol, item in [item for page in pages for item in page.items]:
            assert item.pop("u", "") in ("", "canceled", "incorrect")
            got.setdefault(symbol, []).append(item)
        assert got == {s: items for s in symbols if (items := truth.of(kind, s))}
        assert len(got) > 1 and len(pages) > 1
        chunks = list(dict.fromkeys(page.symbols for page in pages))
        assert [page.symbols for page in pages if page.last] == chunks == list(cut(symbols))


async def test_an_interval_has_both_its_ends(alpaca: Bench) -> None:
    truth = Truth(alpaca, "iex")
    await truth.until(1000)
    trades = truth.of("t", "AAPL")
    first, last = (parse_rfc3339(trades[n]["t"]) for n in (3, 7))
    rest = client(alpaca.http)
    assert [i["t"] for _, i in await everything(rest.trades(["AAPL"], first, last))] == [
        trade["t"] for trade in trades if first <= parse_rfc3339(trade["t"]) <= last
    ]
    assert await everything(rest.trades([], first, last)) == []


async def test_bars_are_those_of_the_stream(alpaca: Bench) -> None:
    """Minutes pass at once: the market's clock is turned."""
    truth = Truth(alpaca, "iex")
    await truth.until(200)
    endpoint, clock = truth.endpoint, alpaca.simulator.clock
    for second in range(200):
        endpoint.send(endpoint.market.take(20, clock.now_ns() + second * NS_PER_SECOND))
    rest = client(alpaca.http)
    got = await everything(rest.bars(list(endpoint.market.symbols), BEGAN_NS, END_NS))
    sent: dict[tuple[str, str], dict[str, Any]] = {}
    for message in truth.messages:
        if isinstance(message, Bar) and message.__class__ in (Bar, UpdatedBar):
            item = rest_item(MSGPACK.encode(message))
            sent[message.symbol, item["t"]] = item
    assert {(symbol, bar["t"]): bar for symbol, bar in got} == sent
    assert len(got) == len(sent) > 10
    assert any(isinstance(message, UpdatedBar) for message in truth.messages)


async def test_news_and_what_came_last(alpaca: Bench) -> None:
    truth = Truth(alpaca, "news")
    messages = truth.endpoint.market.take(0, alpaca.simulator.clock.now_ns() + 300 * NS_PER_SECOND)
    truth.endpoint.send(messages)
    newest = {m.id: m for m in messages}  # type: ignore[union-attr]
    rest = client(alpaca.http, "news")
    pages = [page async for page in rest.news(["*"], BEGAN_NS, END_NS)]
    assert {i["id"]: i["content"] for p in pages for _, i in p.items} == {
        number: article.content  # type: ignore[union-attr]
        for number, article in newest.items()
    }
    assert len(pages) > 1 and [page.last for page in pages][-2:] == [False, True]
    about = await everything(rest.news(["AAPL", "MSFT"], BEGAN_NS, END_NS))
    assert about and all({"AAPL", "MSFT"} & set(article["symbols"]) for _, article in about)
    for feed, symbol in (("iex", "AAPL"), ("crypto-us", "BTC/USD")):
        truth = Truth(alpaca, feed)
        await truth.until(500)
        rest = client(alpaca.http, feed)
        for channel, kind in (("trades", "t"), ("quotes", "q")):
            found = await rest.latest(channel, [symbol, "NOSUCH"])
            assert found == {symbol: truth.of(kind, symbol)[-1]}


@pytest.mark.parametrize("feed", ["test", "overnight"])
async def test_what_has_no_history_is_not_asked_for(feed: str) -> None:
    rest = answering(lambda request: httpx.Response(500), feed)
    refused = await failure(rest.trades(["FAKEPACA"], BEGAN_NS, END_NS))
    assert (refused.reason, refused.may_pass, rest.requests) == ("no_history", False, 0)
    if feed == "test":
        with pytest.raises(MarketDataFailed, match="no history of latest trades of test"):
            await rest.latest("trades", ["FAKEPACA"])
    options = answering(lambda request: httpx.Response(500), "opra")
    assert (await failure(options.quotes(["A"], BEGAN_NS, END_NS))).reason == "no_history"


async def test_delayed_trades_are_those_of_the_consolidated_tape() -> None:
    asked: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(200, json={"trades": None, "next_page_token": None})

    rest = answering(answer, "delayed_sip")
    assert await everything(rest.trades(["AAPL"], BEGAN_NS, END_NS)) == []
    assert dict(asked[0].params) == {
        **{"symbols": "AAPL", "feed": "sip", "sort": "asc", "limit": "10000"},
        **{"start": "2023-11-14T22:13:20Z", "end": "2096-10-02T07:06:40Z"},
    }


@pytest.mark.parametrize("feed", ["iex", "crypto-us", "indicative", "news"])
@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])
async def test_it_becomes_what_the_stream_sent(feed: str, codec: Codec) -> None:
    """Byte by byte, with the items as they left on the socket."""
    if codec is JSON and FEEDS[feed].msgpack_only:
        return
    async with (
        bench(**OPTIONS | {"recorded_items": 100_000}) as alpaca,
        connect(
            alpaca.streams + FEEDS[feed].path,
            additional_headers={"Content-Type": f"application/{codec.name}"},
            proxy=None,
            close_timeout=0.1,
        ) as socket,
    ):
        channels = {"trades": ["*"]} if feed != "news" else {"news": ["*"]}
        for action in (
            {"action": "auth", "key": "k", "secret": "s"},
            {"action": "subscribe"} | channels,
        ):
            await socket.send(codec.encode(action), text=False)
        wanted = 100 if feed != "news" else 2
        await eventually(lambda: _sent(alpaca, wanted), 20, "items")
        await alpaca.call("POST", "/hold")
        (record,) = alpaca.simulator.ledger.connections
        channel = next(iter(channels))
        rest = client(alpaca.http, feed)
        symbols = list(alpaca.simulator.endpoints[feed].market.symbols) if feed != "news" else ["*"]
        pages = getattr(rest, channel)(symbols, BEGAN_NS, END_NS)
        writer = StreamItems(FEEDS[feed], channel, codec)
        made = [writer.write(symbol, unmarked(item)) for symbol, item in await everything(pages)]
        kinds = [
            kind for kind, name in FEEDS[feed].types.items() if name == channel and kind in "tn"
        ]
        sent = {i for i in record.items if codec.decode_fields(i)["T"] in kinds}
        # What was sent before the subscription is there, too; of news the latest version alone.
        assert len(made) == len(set(made)) >= len(sent & set(made)) > 0
        assert feed == "news" or sent <= set(made)


def _sent(alpaca: Bench, count: int) -> bool:
    records = alpaca.simulator.ledger.connections
    return bool(records) and records[0].messages >= count


def unmarked(item: dict[str, Any]) -> dict[str, Any]:
    """Without what became of a trade later."""
    return {key: value for key, value in item.items() if key != "u"}


# Faults


async def fault(alpaca: Bench, kind: str, **details: Any) -> None:
    await alpaca.fault(kind, feed="iex", **details)


def _hurry(kind: str) -> dict[str, Any]:
    """Not to wait for answers that are late on purpose; others may take their time."""
    return {"answer_seconds": 0.5} if kind == "data_delay" else {}


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("data_status", {"code": 503, "times": 3}),
        ("data_status", {"code": 500, "seconds": 1}),
        ("data_status", {"code": 429, "times": 3}),
        ("data_truncated", {"times": 3}),
        ("data_delay", {"seconds": 2}),
    ],
)
async def test_what_passes_is_waited_for(alpaca: Bench, kind: str, details: Any) -> None:
    truth = Truth(alpaca, "iex")
    await truth.until(500)
    rest = client(alpaca.http, **_hurry(kind))
    await fault(alpaca, kind, **details)
    got = await everything(rest.trades(["AAPL"], BEGAN_NS, END_NS))
    assert [item["i"] for _, item in got] == [item["i"] for item in truth.of("t", "AAPL")]
    assert rest.requests == 1 + details.get("times", 1)
    assert rest.throttled == (3 if details.get("code") == 429 else 0)


@pytest.mark.parametrize(
    ("kind", "details", "reason", "passes", "says"),
    [
        ("data_status", {"code": 503, "times": 99}, "unreachable", True, "HTTP 503, for"),
        ("data_status", {"code": 429, "times": 99}, "throttled", True, "more requests a minute"),
        ("data_status", {"code": 403}, "keys", False, "Check key and secret"),
        ("data_status", {"code": 400}, "question", False, "refused as it is"),
        ("data_status", {"code": 302}, "question", False, "Check data_api_url"),
        ("data_truncated", {"times": 99}, "unreachable", True, "not one JSON object"),
        ("data_delay", {"seconds": 2, "times": 99}, "unreachable", True, "no whole answer"),
        ("data_recent", {}, "plan", True, "15 minutes"),
    ],
)
async def test_what_lasts_is_told(
    alpaca: Bench, kind: str, details: Any, reason: str, passes: bool, says: str
) -> None:
    rest = client(alpaca.http, patience_seconds=0.5, **_hurry(kind))
    await fault(alpaca, kind, **details)
    failed = await failure(rest.trades(["AAPL"], BEGAN_NS, END_NS))
    assert (failed.reason, failed.may_pass) == (reason, passes)
    assert says in str(failed) and "/v2/stocks/trades: " in str(failed)


async def test_old_data_of_a_delayed_plan_may_be_asked_for(alpaca: Bench) -> None:
    await fault(alpaca, "data_recent", seconds=60)
    rest = client(alpaca.http)
    now_ns = alpaca.simulator.clock.now_ns()
    old_ns = now_ns - 61 * NS_PER_SECOND
    assert await everything(rest.trades(["AAPL"], old_ns - NS_PER_SECOND, old_ns)) == []
    assert (await failure(rest.trades(["AAPL"], old_ns, now_ns))).reason == "plan"


async def test_a_page_that_names_itself_is_no_end(
    alpaca: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_module, "ITEMS_PER_PAGE", 20)
    truth = Truth(alpaca, "iex")
    await truth.until(1000)
    rest = client(alpaca.http)
    await fault(alpaca, "data_repeat_page", times=99)
    pages = rest.trades(["AAPL"], BEGAN_NS, END_NS)
    first = await anext(pages)
    assert (len(first.items), first.last) == (20, False)
    assert "same page came twice" in str(await failure(pages))


async def test_what_rest_does_not_show_yet(alpaca: Bench) -> None:
    truth = Truth(alpaca, "iex")
    await truth.until(500)
    rest = client(alpaca.http)
    await fault(alpaca, "data_lag", seconds=60)
    assert await everything(rest.trades(["AAPL"], BEGAN_NS, END_NS)) == []
    await alpaca.call("DELETE", "/faults")
    assert await everything(rest.trades(["AAPL"], BEGAN_NS, END_NS))


async def test_a_symbol_that_is_none_costs_the_others_nothing(alpaca: Bench) -> None:
    truth = Truth(alpaca, "iex")
    await truth.until(1000)
    symbols = list(truth.endpoint.market.symbols)
    rest = client(alpaca.http)
    seen: Counter[str] = Counter()

    async def counted() -> AsyncIterator[Page]:
        async for page in rest.trades([*symbols[:5], "A_B", *symbols[5:]], BEGAN_NS, END_NS):
            seen.update(symbol for symbol, _ in page.items)
            yield page

    failed = await failure(counted())
    assert (failed.reason, failed.may_pass) == ("symbol", False)
    assert "invalid symbol: A_B" in str(failed)
    assert seen == {symbol: len(truth.of("t", symbol)) for symbol in symbols}


async def test_wrong_keys_are_told() -> None:
    async with bench(**OPTIONS, accounts={"PK1": "another"}) as alpaca:
        rest = client(alpaca.http)
        failed = await failure(rest.trades(["AAPL"], BEGAN_NS, END_NS))
        assert (failed.reason, failed.status) == ("keys", 403)


async def test_what_came_last_is_not_waited_for_long() -> None:
    rest = answering(lambda request: httpx.Response(503), patience_seconds=1000, latest_seconds=0.1)
    with pytest.raises(MarketDataFailed, match="/v2/stocks/trades/latest: HTTP 503, for") as caught:
        await rest.latest("trades", ["AAPL"])
    assert caught.value.reason == "unreachable"


async def test_nobody_there() -> None:
    rest = client("http://127.0.0.1:9", patience_seconds=0.3)
    failed = await failure(rest.trades(["AAPL"], BEGAN_NS, END_NS))
    assert failed.reason == "unreachable" and "data_api_url" in str(failed)


# Answers that are none


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"trades": []},
        {"trades": {"AAPL": {}}},
        {"trades": {"AAPL": [1]}},
        {"trades": {}, "next_page_token": 7},
    ],
)
async def test_another_form_is_nonsense(body: Any) -> None:
    rest = answering(lambda request: httpx.Response(200, json=body))
    failed = await failure(rest.trades(["AAPL"], BEGAN_NS, END_NS))
    assert (failed.reason, rest.requests) == ("nonsense", 1)


async def test_pages_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_module, "_MOST_PAGES", 5)

    def answer(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params.get("page_token", 0))
        return httpx.Response(200, json={"trades": {}, "next_page_token": str(number + 1)})

    rest = answering(answer)
    assert "no end after 5 pages" in str(await failure(rest.trades(["A"], BEGAN_NS, END_NS)))


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"Retry-After": "1"}, 1.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:01 GMT"}, 1.0),
        ({"X-RateLimit-Reset": "1445412481"}, 1.0),
        ({"X-RateLimit-Reset": "soon"}, 0.05),
        ({}, 0.05),
    ],
)
async def test_a_429_says_how_long(headers: dict[str, str], waits: float) -> None:
    """By the server's own clock, and everybody who shares the budget waits with us."""
    loop = asyncio.get_running_loop()
    asked: list[float] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(loop.time())
        date = {"Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
        if len(asked) == 1:
            return httpx.Response(
                429, json={"message": "too many requests."}, headers=headers | date
            )
        return httpx.Response(200, json={"trades": {}, "next_page_token": None})

    budget = RequestBudget(60_000)
    rest = answering(answer, budget=budget)
    other = answering(answer, budget=budget)
    first = asyncio.create_task(everything(rest.trades(["AAPL"], BEGAN_NS, END_NS)))
    await eventually(lambda: rest.throttled)
    await everything(other.trades(["AAPL"], BEGAN_NS, END_NS))
    await first
    assert len(asked) == 3
    assert all(waits / 2 - 0.01 <= at - asked[0] < waits + 0.5 for at in asked[1:])


# Symbols


@settings(deadline=None)
@given(
    st.lists(
        st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./", min_size=1, max_size=40), max_size=900
    )
)
def test_lists_of_symbols_fit_into_an_address(symbols: Sequence[str]) -> None:
    chunks = list(cut(symbols))
    assert [symbol for chunk in chunks for symbol in chunk] == list(dict.fromkeys(symbols))
    for chunk in chunks:
        address = httpx.URL("http://data", params={"symbols": ",".join(chunk)})
        assert 0 < len(chunk) <= 200
        assert len(address.raw_path) <= 4000 + 20


async def test_the_budget_is_kept() -> None:
    """The data side and the trading side of an account take from the same bucket."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    budget = RequestBudget(6_000)
    page = json.dumps({"trades": {}, "next_page_token": None})
    rest = answering(lambda request: httpx.Response(200, text=page), budget=budget)

    async def ask() -> None:
        for _ in range(30):
            await everything(rest.trades(["AAPL"], BEGAN_NS, END_NS))

    async def take() -> None:
        for _ in range(30):
            await budget.take()

    await asyncio.gather(ask(), take())
    # 20 at once, 40 at a hundred a second.
    assert 0.35 < loop.time() - begun < 5
