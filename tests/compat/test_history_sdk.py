"""alpaca-py's historical clients, unmodified, read from the simulator what its streams sent.

And what they would have sent while nobody was connected: the numbers of a stock's trades have no
hole. The real service's clients are the judge of our REST's shapes, pages and refusals.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from websockets.asyncio.client import connect

from harness.simulated import SimulatorProcess, simulator
from harness.trading_sdks import sdk_program
from harness.waiting import eventually

pytestmark = pytest.mark.slow

EXCHANGE = ZoneInfo("America/New_York")
LONG_AGO = "2020-01-01T00:00:00+00:00"
BOOKS = ("AAPL", "MSFT")


class HistoryProgram:
    """alpaca-py's historical clients in a process of their own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, client: str, call: str, request: str, **fields: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        order = {"client": client, "call": call, "request": request, "fields": fields}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the SDK's program ended"
        return dict(json.loads(line))

    def get(self, client: str, call: str, request: str, **fields: Any) -> Any:
        """Ask, and insist on an answer."""
        answer = self.ask(client, call, request, **fields)
        assert "error" not in answer, answer
        return answer["result"]


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator("--rate", "8000", "--symbols", "6", "--past-minutes", "4") as made:
        yield made


@pytest.fixture(scope="module")
def sdk(alpaca: SimulatorProcess) -> Iterator[HistoryProgram]:
    arguments = ["--url", alpaca.control, "--key", "k", "--secret", "s"]
    with subprocess.Popen(
        sdk_program("alpaca_py_history.py", *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield HistoryProgram(process)
        finally:
            process.kill()


async def listen(
    alpaca: SimulatorProcess, path: str, topics: dict[str, list[str]], count: int
) -> list[dict[str, Any]]:
    """The next messages of a stream, as JSON has them."""
    found: list[dict[str, Any]] = []
    async with connect(alpaca.streams + path, proxy=None) as socket:
        await socket.send(json.dumps({"action": "auth", "key": "k", "secret": "s"}))
        await socket.send(json.dumps({"action": "subscribe", **topics}))
        async for frame in socket:
            found += [m for m in json.loads(frame) if m["T"] in "tqbun"]
            if len(found) >= count:
                return found
    raise AssertionError("the stream ended")


def shown(message: dict[str, Any]) -> tuple[Any, ...]:
    """A trade or quote as the SDK's model shows it: microseconds, and names for people."""
    digits = message["t"].removesuffix("Z").partition(".")
    time = f"{digits[0]}.{digits[2][:6].ljust(6, '0')}"
    if message["T"] == "t":
        return time, message["i"], message["p"], message["s"]
    return time, message["bp"], message["bs"], message["ap"], message["as"]


def modelled(item: dict[str, Any]) -> tuple[Any, ...]:
    """The same of what the SDK made of REST."""
    time = datetime.fromisoformat(item["timestamp"]).astimezone(UTC)
    text = time.strftime("%Y-%m-%dT%H:%M:%S.%f")
    if "bid_price" in item:
        return text, *(item[f"{s}_{w}"] for s in ("bid", "ask") for w in ("price", "size"))
    return text, item["id"], item["price"], item["size"]


def ids_by_day(trades: list[dict[str, Any]]) -> list[list[int]]:
    """The sorted ids of each of the exchange's days: they begin anew at its midnight."""
    days: dict[date, list[int]] = {}
    for trade in trades:
        time = datetime.fromisoformat(trade["timestamp"]).astimezone(EXCHANGE)
        days.setdefault(time.date(), []).append(trade["id"])
    return [sorted(ids) for ids in days.values()]


async def test_stocks(alpaca: SimulatorProcess, sdk: HistoryProgram) -> None:
    """Two visits of a stream, and everything between them, in several pages."""
    topics = {"trades": [*BOOKS], "quotes": [*BOOKS]}
    streamed = await listen(alpaca, "/v2/iex", topics, 1000)
    await eventually(
        lambda: alpaca.get("/ledger")["endpoints"]["iex"]["generated"] > 21_000, 20, "a gap"
    )
    streamed += await listen(alpaca, "/v2/iex", topics, 1000)
    end = datetime.now(UTC).isoformat()
    ask = {"symbol_or_symbols": [*BOOKS], "start": LONG_AGO, "end": end, "feed": "iex"}
    for kind, call in (("t", "trades"), ("q", "quotes")):
        data = sdk.get("stock", f"get_stock_{call}", f"Stock{call.title()}Request", **ask)["data"]
        for symbol in BOOKS:
            got = [modelled(item) for item in data[symbol]]
            sent = [shown(m) for m in streamed if (m["T"], m["S"]) == (kind, symbol)]
            assert got == sorted(got, key=lambda row: row[0])
            assert sent and set(sent) <= set(got)
            if kind == "t":
                for ids in ids_by_day(data[symbol]):
                    # Corrections take ids as well.
                    assert len(set(ids)) == len(ids) > 0.98 * (ids[-1] - ids[0] + 1)
    pages = alpaca.get("/market-data/calls")["/v2/stocks/quotes 200"]
    assert pages > 1


async def test_the_latest_of_stocks(alpaca: SimulatorProcess, sdk: HistoryProgram) -> None:
    await listen(alpaca, "/v2/sip", {"trades": ["*"], "quotes": ["*"]}, 500)
    await alpaca.order("/hold")
    try:
        both = {"symbol_or_symbols": [*BOOKS], "feed": "sip"}
        trades = sdk.get("stock", "get_stock_latest_trade", "StockLatestTradeRequest", **both)
        quotes = sdk.get("stock", "get_stock_latest_quote", "StockLatestQuoteRequest", **both)
        assert trades.keys() == quotes.keys() == set(BOOKS)
        assert all(q["bid_price"] <= q["ask_price"] for q in quotes.values())
        snapshots = sdk.get("stock", "get_stock_snapshot", "StockSnapshotRequest", **both)
        assert {s: found["latest_trade"] for s, found in snapshots.items()} == trades
        assert {s: found["latest_quote"] for s, found in snapshots.items()} == quotes
        newest = sdk.get(
            "stock", "get_stock_trades", "StockTradesRequest", **both, limit=1, sort="desc"
        )["data"]
        assert newest == {"AAPL": [trades["AAPL"]]}
    finally:
        await alpaca.order("/start")


async def test_bars(alpaca: SimulatorProcess, sdk: HistoryProgram) -> None:
    """The minutes before the first visitor, and two of them together."""
    for client, symbol in (("stock", "AAPL"), ("crypto", "BTC/USD"), ("option", "")):
        symbol = symbol or str(alpaca.get("/symbols/indicative")[20])

        def bars(
            minutes: int, client: str = client, symbol: str = symbol
        ) -> dict[str, dict[str, Any]]:
            found = sdk.get(
                client,
                f"get_{client}_bars",
                f"{client.title()}BarsRequest",
                symbol_or_symbols=symbol,
                start=LONG_AGO,
                timeframe=(minutes, "Min"),
            )
            return {bar["timestamp"]: bar for bar in found["data"].get(symbol, ())}

        # In this order: a minute that ends in between is one more of the single ones.
        by_two, by_one = bars(2), bars(1)
        assert all(bar["low"] <= bar["close"] <= bar["high"] for bar in by_one.values())
        if client != "option":
            assert len(by_one) >= 3 > 1 <= len(by_two) < len(by_one)


async def test_crypto(alpaca: SimulatorProcess, sdk: HistoryProgram) -> None:
    pairs = ["BTC/USD", "ETH/USD"]
    topics = {"trades": pairs, "quotes": pairs}
    streamed = await listen(alpaca, "/v1beta3/crypto/us", topics, 800)
    ask = {"symbol_or_symbols": pairs, "start": LONG_AGO}
    trades = sdk.get("crypto", "get_crypto_trades", "CryptoTradesRequest", **ask)["data"]
    quotes = sdk.get("crypto", "get_crypto_quotes", "CryptoQuoteRequest", **ask)["data"]
    for pair in pairs:
        of_pair = [m for m in streamed if m["S"] == pair]
        assert {shown(m) for m in of_pair if m["T"] == "t"} <= {*map(modelled, trades[pair])}
        assert {shown(m) for m in of_pair if m["T"] == "q"} <= {*map(modelled, quotes[pair])}
    both = {"symbol_or_symbols": pairs}
    for call, request in (
        ("get_crypto_latest_trade", "CryptoLatestTradeRequest"),
        ("get_crypto_latest_quote", "CryptoLatestQuoteRequest"),
        ("get_crypto_latest_orderbook", "CryptoLatestOrderbookRequest"),
        ("get_crypto_snapshot", "CryptoSnapshotRequest"),
    ):
        assert sdk.get("crypto", call, request, **both).keys() == set(pairs)


async def test_options(alpaca: SimulatorProcess, sdk: HistoryProgram) -> None:
    contracts = alpaca.get("/symbols/indicative")
    # Options are asked for in history without a feed: what is streamed answers.
    ask = {"symbol_or_symbols": contracts[:100]}

    def traded() -> dict[str, Any]:
        return dict(
            sdk.get("option", "get_option_trades", "OptionTradesRequest", **ask, start=LONG_AGO)[
                "data"
            ]
        )

    async with asyncio.timeout(20):
        while not (found := await asyncio.to_thread(traded)):
            pass
    latest = sdk.get("option", "get_option_latest_trade", "OptionLatestTradeRequest", **ask)
    assert found.keys() <= latest.keys()
    assert all(trade["price"] > 0 for trades in found.values() for trade in trades)
    for call, request in (
        ("get_option_latest_quote", "OptionLatestQuoteRequest"),
        ("get_option_snapshot", "OptionSnapshotRequest"),
    ):
        assert sdk.get("option", call, request, **ask)


async def test_news(alpaca: SimulatorProcess, sdk: HistoryProgram) -> None:
    streamed = await listen(alpaca, "/v1beta1/news", {"news": ["*"]}, 1)
    found = sdk.get("news", "get_news", "NewsRequest", include_content=True, limit=50)
    articles = {article["id"]: article for article in found["data"]["news"]}
    assert articles[streamed[0]["id"]]["headline"] == streamed[0]["headline"]
    assert articles[streamed[0]["id"]]["symbols"] == streamed[0]["symbols"]


async def test_refusals_are_errors_of_the_sdk(
    alpaca: SimulatorProcess, sdk: HistoryProgram
) -> None:
    ask: dict[str, Any] = {"symbol_or_symbols": "AAPL", "start": LONG_AGO, "feed": "boats"}
    wrong = sdk.ask(
        "stock", "get_stock_trades", "StockTradesRequest", **ask | {"start": "3000-01-01"}
    )
    assert (wrong["status"], "end should not be before start" in wrong["error"]) == (400, True)
    assert (
        "invalid symbol"
        in sdk.ask(
            "stock", "get_stock_trades", "StockTradesRequest", **ask | {"symbol_or_symbols": "A_B"}
        )["error"]
    )
    await alpaca.fault("data_recent", feed="boats")
    refused = sdk.ask("stock", "get_stock_trades", "StockTradesRequest", **ask, end=now())
    assert (refused["status"], "recent BOATS data" in refused["error"]) == (403, True)
    # Without an end, the end is what these keys may see.
    assert sdk.get("stock", "get_stock_trades", "StockTradesRequest", **ask)["data"] == {}
    await alpaca.fault("data_status", feed="iex", code=429)
    # The SDK tries again by itself.
    ask["feed"] = "iex"
    assert sdk.get("stock", "get_stock_trades", "StockTradesRequest", **ask, limit=3)["data"]


def now() -> str:
    return datetime.now(UTC).isoformat()
