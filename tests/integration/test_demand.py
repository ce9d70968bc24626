"""One upstream connection, and the smallest change to it that serves everybody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness.consumers import TestConsumer, consumer
from harness.proxies import running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.model.time import parse_rfc3339
from stream_proxy.simulator.market.stocks import StockMarket

FEED = "iex"


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator("--rate", "200", "--symbols", "1300") as process:
        yield process


@pytest.fixture(autouse=True)
def _disarmed(alpaca: SimulatorProcess) -> None:
    urllib.request.urlopen(
        urllib.request.Request(alpaca.control + "/faults", method="DELETE"), timeout=20
    ).close()


@dataclass
class Scene:
    """A proxy and what the simulator knows of its one connection."""

    alpaca: SimulatorProcess
    app: App
    feed: str = FEED
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    @property
    def handler(self) -> FeedHandler:
        return self.app.handlers[self.feed]

    async def consumer(self, codec: str = "json", **options: Any) -> TestConsumer:
        url = f"{self.app.addresses()[0]}/v2/{self.feed}"
        return await self.stack.enter_async_context(consumer(url, codec, **options))

    async def upstream(self) -> dict[str, Any]:
        """The newest connection's page in the simulator's ledger."""
        connections = (await self.alpaca.ledger())["connections"]
        return [record for record in connections if record["feed"] == self.feed][-1]

    async def shows(
        self, holds: Callable[[dict[str, Any]], bool], seconds: float = 20
    ) -> dict[str, Any]:
        """Wait until the ledger's page holds this."""
        deadline = time.monotonic() + seconds
        while not holds(page := await self.upstream()):
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {page}"
        return page

    async def holding(self, seconds: float = 20, **topics: set[str]) -> dict[str, Any]:
        """Wait until upstream's set is exactly this."""
        return await self.shows(lambda page: sets(page["topics"]) == topics, seconds)


def sets(topics: dict[str, list[str]]) -> dict[str, set[str]]:
    return {channel: set(symbols) for channel, symbols in topics.items()}


@contextlib.asynccontextmanager
async def proxied(
    alpaca: SimulatorProcess, feed: str = FEED, **settings: Any
) -> AsyncIterator[Scene]:
    async with running_app(alpaca.streams, **settings) as app:
        made = Scene(alpaca, app, feed)
        async with made.stack:
            yield made


async def flowing(client: TestConsumer, seconds: float = 20) -> None:
    before = client.messages
    await eventually(lambda: client.messages > before, seconds, "data")


# Sharing


async def test_the_same_symbol_is_subscribed_once(alpaca: SimulatorProcess) -> None:
    """Two consumers, one subscribe; the first to leave changes nothing, the last one does."""
    async with proxied(alpaca, linger_seconds=0.3) as scene:
        one, two = await scene.consumer(), await scene.consumer("msgpack")
        await one.subscribe(trades=["AAPL"])
        await two.subscribe(trades=["AAPL"])
        page = await scene.holding(trades={"AAPL"})
        assert (page["subscribes"], page["unsubscribes"]) == (1, 0)

        await one.close()
        await eventually(lambda: len(scene.handler.consumers) == 1)
        # A further subscribe comes after any unsubscribe that the leaving could have caused.
        await two.subscribe(trades=["MSFT"])
        page = await scene.holding(trades={"AAPL", "MSFT"})
        assert (page["subscribes"], page["unsubscribes"]) == (2, 0)
        await flowing(two)

        left = time.time_ns()
        await two.close()
        page = await scene.holding()
        assert time.time_ns() - left >= 0.3e9
        assert page["unsubscribes"] == 1
        assert (await alpaca.ledger())["peak_open"][FEED] == 1


async def test_who_comes_back_within_the_linger_costs_nothing(alpaca: SimulatorProcess) -> None:
    """A bot that restarts finds its symbols still flowing: no unsubscribe, no subscribe."""
    async with proxied(alpaca, linger_seconds=2) as scene:
        first, other = await scene.consumer(), await scene.consumer()
        await first.subscribe(trades=["AAPL"], quotes=["AAPL"])
        await first.close()
        await eventually(lambda: len(scene.handler.consumers) == 1)
        again = await scene.consumer()
        await again.subscribe(trades=["AAPL"], quotes=["AAPL"])
        # Beyond the linger, seen by a topic that left later.
        await other.subscribe(trades=["MSFT"])
        await other.ask("unsubscribe", trades=["MSFT"])
        page = await scene.holding(trades={"AAPL"}, quotes={"AAPL"})
        assert (page["subscribes"], page["unsubscribes"]) == (2, 1)
        await flowing(again)


async def test_unsubscribe_goes_up_only_when_nobody_wants_the_topic(
    alpaca: SimulatorProcess,
) -> None:
    """The same for a consumer that stays and drops a topic; and it stops at once for that one."""
    async with proxied(alpaca) as scene:
        one, two = await scene.consumer(), await scene.consumer()
        await one.subscribe(quotes=["AAPL", "MSFT"])
        await two.subscribe(quotes=["AAPL"])
        answer = await one.ask("unsubscribe", quotes=["AAPL"])
        assert answer["quotes"] == ["MSFT"]
        before = one.counts["q", "AAPL"]
        await one.ask("unsubscribe", quotes=["MSFT"])
        await scene.holding(quotes={"AAPL"})
        await flowing(two)
        assert one.counts["q", "AAPL"] == before


async def test_star_swallows_names_and_gives_them_back(alpaca: SimulatorProcess) -> None:
    """While somebody wants everything, upstream holds ``*`` alone; afterwards the names again."""
    async with proxied(alpaca) as scene:
        names, star = await scene.consumer(), await scene.consumer()
        await names.subscribe(quotes=["AAPL", "MSFT"])
        answer = await star.subscribe(quotes=["*"])
        assert answer["quotes"] == ["*"]
        await scene.holding(quotes={"*"})
        late = await scene.consumer()
        answer = await late.subscribe(quotes=["NVDA"])
        assert answer["quotes"] == ["NVDA"]
        await flowing(names)
        await star.close()
        await scene.holding(quotes={"AAPL", "MSFT", "NVDA"})
        await flowing(late)
        await flowing(names)
        assert {symbol for _, symbol in names.counts} == {"AAPL", "MSFT"}
        assert {symbol for _, symbol in late.counts} == {"NVDA"}


async def test_no_acknowledgement_on_the_strength_of_a_star_that_is_leaving(
    alpaca: SimulatorProcess,
) -> None:
    """Whoever comes while upstream's ``*`` is being taken back is answered when his names are held."""
    async with proxied(alpaca) as scene:
        star, other = await scene.consumer(), await scene.consumer()
        await other.subscribe(trades=["MSFT"])
        await star.subscribe(quotes=["*"])
        await alpaca.fault("delay_acks", feed=FEED, seconds=0.7, times=2)
        await star.close()
        await scene.shows(lambda page: page["unsubscribes"] == 1)
        await other.subscribe(quotes=["AAPL"])
        assert "AAPL" in (await scene.upstream())["topics"].get("quotes", ())


async def test_many_names_are_widened_to_star(alpaca: SimulatorProcess) -> None:
    """Above the limit upstream is asked for everything, and each consumer still gets its own."""
    async with proxied(alpaca, widen_above=3) as scene:
        one, two = await scene.consumer(), await scene.consumer()
        await one.subscribe(quotes=["AAPL", "MSFT"])
        await scene.holding(quotes={"AAPL", "MSFT"})
        answer = await two.subscribe(quotes=["NVDA", "AMZN"])
        assert answer["quotes"] == ["NVDA", "AMZN"]
        await scene.holding(quotes={"*"})
        await flowing(one)
        await flowing(two)
        assert {symbol for _, symbol in one.counts} <= {"AAPL", "MSFT"}
        assert {symbol for _, symbol in two.counts} <= {"NVDA", "AMZN"}
        await two.close()
        await scene.holding(quotes={"AAPL", "MSFT"})
        await flowing(one)


@pytest.mark.slow
async def test_a_crowd_with_one_wish_is_one_subscribe(alpaca: SimulatorProcess) -> None:
    """Two hundred consumers that come at once with the same set cost upstream next to nothing."""
    async with proxied(alpaca, linger_seconds=30) as scene:
        crowd = await asyncio.gather(
            *(scene.consumer("msgpack" if n % 2 else "json") for n in range(200))
        )
        wish = {"trades": ["AAPL", "MSFT"], "quotes": ["AAPL"], "bars": ["*"]}
        answers = await asyncio.gather(*(client.subscribe(**wish) for client in crowd))
        for answer in answers:
            assert {c: answer[c] for c in wish} == wish
        for client in crowd:
            await flowing(client)
        page = await scene.upstream()
        assert page["subscribes"] <= 3
        assert (await alpaca.ledger())["open"][FEED] == 1

        # They all leave and come back: still nothing to do upstream.
        await asyncio.gather(*(client.close() for client in crowd))
        back = await asyncio.gather(*(scene.consumer() for _ in range(200)))
        await asyncio.gather(*(client.subscribe(**wish) for client in back))
        after = await scene.upstream()
        assert (after["subscribes"], after["unsubscribes"]) == (page["subscribes"], 0)


async def test_a_long_list_goes_up_in_chunks(alpaca: SimulatorProcess) -> None:
    """1,200 symbols are three messages of at most 500 topics, and one acknowledgement."""
    symbols = list(StockMarket(1, 1200, 0).symbols)
    async with proxied(alpaca, subscribe_chunk=500) as scene:
        client = await scene.consumer()
        answer = await client.subscribe(quotes=symbols)
        assert answer["quotes"] == symbols
        page = await scene.upstream()
        assert page["subscribes"] == 3
        assert set(page["topics"]["quotes"]) == set(symbols)
        await flowing(client)

        # After an interruption the same in chunks again.
        await alpaca.fault("drop", feed=FEED)
        await eventually(lambda: scene.handler.gaps.count, 20, "the drop")
        page = await scene.shows(
            lambda page: not page["closed_ns"] and len(page["topics"].get("quotes", ())) == 1200, 30
        )
        assert page["subscribes"] == 3
        await eventually(lambda: scene.handler.gaps.current is None, 20, "the gap is closed")
        await flowing(client)


# While upstream is away


async def test_who_comes_while_upstream_is_away_is_answered_and_served_later(
    alpaca: SimulatorProcess,
) -> None:
    """The Go SDK gives up after three seconds: by then it has its acknowledgement, data follows."""
    async with proxied(alpaca) as scene:
        early = await scene.consumer()
        await early.subscribe(trades=["AAPL"])
        await alpaca.fault("refuse_upgrade", feed=FEED, code=503, times=10_000)
        await alpaca.fault("drop", feed=FEED)
        await eventually(
            lambda: scene.handler.upstream.state is UpstreamState.RECONNECTING, 20, "it is away"
        )
        began = time.monotonic()
        late = await scene.consumer()
        assert time.monotonic() - began < 3
        began = time.monotonic()
        answer = await late.subscribe(quotes=["MSFT"])
        assert time.monotonic() - began < 3
        assert answer["T"] == "subscription" and answer["quotes"] == ["MSFT"]
        assert scene.app.outlet.counts.unconfirmed_acknowledgements == 1

        await asyncio.to_thread(_disarm, alpaca)
        await scene.holding(trades={"AAPL"}, quotes={"MSFT"})
        await flowing(late)
        await flowing(early)
        assert scene.handler.upstream.peak_open_connections == 1


async def test_a_topic_that_is_not_flowing_yet_is_a_gap(alpaca: SimulatorProcess) -> None:
    """Whoever is acknowledged while upstream has never confirmed misses something: it is counted."""
    async with proxied(alpaca) as scene:
        await alpaca.fault("refuse_upgrade", feed=FEED, code=503, times=10_000)
        client = await scene.consumer()
        (connection,) = scene.app.outlet.consumers()
        assert connection.consumer is not None
        await client.subscribe(quotes=["MSFT"])
        acknowledged_ns = time.time_ns()
        assert scene.handler.gaps.count - connection.consumer.gaps_before == 1
        await asyncio.to_thread(_disarm, alpaca)
        await flowing(client)
        await eventually(lambda: scene.handler.gaps.current is None, 20, "the gap is closed")
        (gap,) = scene.handler.gaps.recent()
        assert gap.to_ns is not None and gap.from_ns < acknowledged_ns < gap.to_ns


async def test_an_illegal_symbol_noted_while_upstream_is_away_comes_back_as_an_error(
    alpaca: SimulatorProcess,
) -> None:
    """Upstream refuses it later: its consumer is told with 400 and its true set, others aren't."""
    async with proxied(alpaca) as scene:
        good, bad = await scene.consumer(), await scene.consumer()
        await good.subscribe(quotes=["AAPL", "MSFT"])
        await alpaca.fault("refuse_upgrade", feed=FEED, code=503, times=10_000)
        await alpaca.fault("drop", feed=FEED)
        await eventually(
            lambda: scene.handler.upstream.state is UpstreamState.RECONNECTING, 20, "it is away"
        )
        answer = await bad.subscribe(quotes=["not-a-symbol", "NVDA"])
        assert answer["quotes"] == ["not-a-symbol", "NVDA"]
        await asyncio.to_thread(_disarm, alpaca)
        error = await bad.control("error", 30)
        assert error == {"T": "error", "code": 400, "msg": "invalid syntax"}
        await eventually(lambda: bad.controls[-1]["T"] == "subscription", 10, "its true set")
        assert bad.controls[-1]["quotes"] == ["NVDA"]
        await scene.holding(quotes={"AAPL", "MSFT", "NVDA"})
        await flowing(good)
        assert not [c for c in good.controls if c["T"] == "error"]


# Order books


async def crypto_flow(client: TestConsumer) -> None:
    await eventually(lambda: client.counts["o", "BTC/USD"] >= 3, 30, "order books")


@contextlib.asynccontextmanager
async def book_consumer(app: App, codec: str) -> AsyncIterator[TestConsumer]:
    url = app.addresses()[0] + "/v1beta3/crypto/us"
    async with consumer(url, codec, keep=True) as client:
        yield client


def fold(messages: list[dict[str, Any]]) -> dict[str, dict[float, float]]:
    """The book after these messages, as a client keeps it."""
    book: dict[str, dict[float, float]] = {"b": {}, "a": {}}
    for message in messages:
        if message.get("r"):
            book = {"b": {}, "a": {}}
        for side in ("b", "a"):
            for level in message[side]:
                book[side].pop(level["p"], None)
                if level["s"]:
                    book[side][level["p"]] = level["s"]
    return book


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_a_late_consumer_gets_the_whole_book(alpaca: SimulatorProcess, codec: str) -> None:
    """Its first message is the book as the early consumer has it; after that both are the same."""
    async with (
        running_app(alpaca.streams) as app,
        book_consumer(app, codec) as early,
    ):
        await early.subscribe(orderbooks=["BTC/USD"])
        await crypto_flow(early)
        async with book_consumer(app, codec) as late:
            await late.subscribe(orderbooks=["BTC/USD"])
            await crypto_flow(late)
            await alpaca.order("/hold")
            try:
                await eventually(lambda: same_end(early, late), 20, "both got the last update")
                first = late.decoded()[0]
                assert first["r"] is True
                mine = early.decoded()
                theirs = late.decoded()
                since = len(mine) - len(theirs) + 1
                assert mine[since:] == theirs[1:]
                assert fold(mine[:since]) == fold(theirs[:1])
                assert fold(mine) == fold(theirs)
            finally:
                await alpaca.order("/start")


def same_end(one: TestConsumer, two: TestConsumer) -> bool:
    return bool(one.items and two.items) and one.items[-1] == two.items[-1]


async def test_a_book_that_nobody_watched_is_not_shown(alpaca: SimulatorProcess) -> None:
    """What was missed while nobody was subscribed doesn't come as the present book."""
    async with running_app(alpaca.streams) as app, book_consumer(app, "json") as stays:
        await stays.subscribe(quotes=["*"])
        async with book_consumer(app, "json") as first:
            await first.subscribe(orderbooks=["BTC/USD"])
            await crypto_flow(first)
        handler = app.handlers["crypto-us"]
        await eventually(
            lambda: not handler.demand.confirmed().symbols("orderbooks"), 20, "unsubscribed"
        )
        known_ns = time_of(first.items[-1])
        await eventually(lambda: time_of(stays.items[-1]) > known_ns + 1e9, 20, "a second passes")
        async with book_consumer(app, "json") as second:
            await second.subscribe(orderbooks=["BTC/USD"])
            await crypto_flow(second)
            whole = second.decoded()[0]
            assert whole["r"] is True
            assert parse_rfc3339(whole["t"]) > known_ns + 0.5e9


def time_of(item: bytes) -> int:
    return parse_rfc3339(json.loads(item)["t"])


# Symbol limits


@pytest.fixture(scope="module")
def limited() -> Iterator[SimulatorProcess]:
    with simulator("--rate", "200", "--symbol-limit", "5") as process:
        yield process


async def test_the_symbol_limit_hits_only_who_exceeds_it(limited: SimulatorProcess) -> None:
    """Upstream's 405 goes to the consumer that asked for too much; nobody's set changes."""
    async with proxied(limited) as scene:
        one, two = await scene.consumer(), await scene.consumer("msgpack")
        await one.subscribe(trades=["AAPL", "MSFT"])
        await two.subscribe(quotes=["AAPL"])
        answer = await two.subscribe(quotes=["NVDA", "AMZN", "META"])
        assert answer == {"T": "error", "code": 405, "msg": "symbol limit exceeded"}
        answer = await two.subscribe(quotes=["NVDA"])
        assert answer["quotes"] == ["AAPL", "NVDA"]
        answer = await one.subscribe()
        assert answer["trades"] == ["AAPL", "MSFT"]
        page = await scene.holding(trades={"AAPL", "MSFT"}, quotes={"AAPL", "NVDA"})
        assert page["errors"] == [405]
        await flowing(one)
        await flowing(two)
        assert scene.handler.upstream.connections == 1


async def test_of_many_at_once_only_those_above_the_limit_are_refused(
    limited: SimulatorProcess,
) -> None:
    """Requests that travelled upstream together are judged one by one."""
    async with proxied(limited) as scene:
        clients = [await scene.consumer() for _ in range(6)]
        wishes = [["AAPL"], ["MSFT", "NVDA", "AMZN", "META", "TSLA", "SPY"], ["MSFT"], ["NVDA"]]
        answers = await asyncio.gather(
            *(c.subscribe(quotes=w) for c, w in zip(clients, wishes, strict=False))
        )
        assert [a["T"] for a in answers] == [
            "subscription",
            "error",
            "subscription",
            "subscription",
        ]
        assert answers[1]["code"] == 405
        await scene.holding(quotes={"AAPL", "MSFT", "NVDA"})


async def test_lingering_topics_make_room_under_the_symbol_limit(
    limited: SimulatorProcess,
) -> None:
    """A bot that restarts with other symbols isn't refused for the sake of those it left."""
    async with proxied(limited, linger_seconds=30) as scene:
        first = await scene.consumer()
        await first.subscribe(quotes=["AAPL", "MSFT", "NVDA", "AMZN"])
        await first.close()
        await eventually(lambda: not scene.handler.consumers, 10, "it left")
        second = await scene.consumer()
        answer = await second.subscribe(quotes=["META", "TSLA", "SPY"])
        assert answer["T"] == "subscription", json.dumps(answer)
        await flowing(second)


def _disarm(alpaca: SimulatorProcess) -> None:
    urllib.request.urlopen(
        urllib.request.Request(alpaca.control + "/faults", method="DELETE"), timeout=20
    ).close()
