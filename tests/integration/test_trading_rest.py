"""Asking Alpaca's trading REST: whole answers, or a failure that says so.

Against the simulator with its faults, and, for what a decent server never does, a small one of our
own that plays back whatever bytes it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from harness.waiting import eventually
from stream_proxy.model.fills import Fill
from stream_proxy.model.time import NS_PER_SECOND, parse_rfc3339, rfc3339
from stream_proxy.sources.trading import rest as rest_module
from stream_proxy.sources.trading.reconcile import Findings, Position, reconcile
from stream_proxy.sources.trading.rest import FILLS_PER_PAGE, HttpTradingRest, RestFailed
from stream_proxy.wire.alpaca.requests import Credentials

from .trading_bench import RESTING_ORDER, Bench, bench

PAPER = Credentials("PK1", "S")
BEGAN_NS = 1_700_000_000_000_000_000
DATE = b"Date: Wed, 21 Oct 2015 07:28:00 GMT\r\n"


def client(base_url: str, **options: Any) -> HttpTradingRest:
    """Impatient, so that tests are quick."""
    wishes: dict[str, Any] = {"retry_seconds": 0.01, "throttled_seconds": 0.05} | options
    return HttpTradingRest(base_url, PAPER, requests_per_minute=60_000, **wishes)


@pytest.fixture
async def alpaca() -> AsyncIterator[Bench]:
    async with bench() as made:
        yield made


@pytest.fixture
async def rest(alpaca: Bench) -> AsyncIterator[HttpTradingRest]:
    made = client(alpaca.http)
    yield made
    await made.close()


async def fill_many(alpaca: Bench, count: int) -> None:
    """Let an account have so many fills."""
    account = alpaca.desk.account("paper", "PK1")
    for _ in range(count):
        alpaca.desk.engine.submit(
            account,
            {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"},
            alpaca.desk.clock.now_ns(),
        )
    alpaca.desk.wake()
    await eventually(lambda: len(account.executions) == count)


# Pages


async def test_every_page_is_followed(alpaca: Bench, rest: HttpTradingRest) -> None:
    await fill_many(alpaca, 2 * FILLS_PER_PAGE + 1)
    account = alpaca.desk.account("paper", "PK1")
    fills = await rest.fills(BEGAN_NS)
    assert [fill["order_id"] for fill in fills] == [e.order_id for e in account.executions]
    orders = await rest.orders(BEGAN_NS)
    assert [order["id"] for order in orders] == list(account.orders)


async def test_a_page_that_repeats_is_not_the_end(alpaca: Bench, rest: HttpTradingRest) -> None:
    await fill_many(alpaca, FILLS_PER_PAGE + 1)
    await alpaca.fault("repeat_page")
    with pytest.raises(RestFailed, match=r"FILL: a full page brought nothing new"):
        await rest.fills(BEGAN_NS)
    assert len(await rest.fills(BEGAN_NS)) == FILLS_PER_PAGE + 1


async def test_an_exactly_full_page_is_followed_by_an_empty_one(
    alpaca: Bench, rest: HttpTradingRest
) -> None:
    await fill_many(alpaca, FILLS_PER_PAGE)
    assert len(await rest.fills(BEGAN_NS)) == FILLS_PER_PAGE
    assert rest.requests == 2


async def test_more_than_a_page_in_one_instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies behind it can't be asked for, since pages go by the time of submission."""
    monkeypatch.setattr(rest_module, "ORDERS_PER_PAGE", 3)
    instants = [1, 2, 3, 3, 4]

    async def orders(writer: asyncio.StreamWriter, target: str) -> None:
        after_ns = parse_rfc3339(httpx.URL(target).params["after"])
        page = [
            {"id": str(number), "submitted_at": rfc3339(ns)}
            for number, ns in enumerate(instants)
            if ns > after_ns
        ][:3]
        writer.write(answer(json.dumps(page).encode()))

    async with asking(orders) as asked:
        assert [order["id"] for order in await asked.orders(0)] == ["0", "1", "2", "3", "4"]
        instants[2:] = [3, 3, 3, 4]
        with pytest.raises(RestFailed, match=r"/v2/orders: a full page brought nothing new"):
            await asked.orders(0)


async def test_pages_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_module, "FILLS_PER_PAGE", 1)
    monkeypatch.setattr(rest_module, "_MOST_PAGES", 5)

    async def fills(writer: asyncio.StreamWriter, target: str) -> None:
        token = int(httpx.URL(target).params.get("page_token", "0"))
        writer.write(answer(json.dumps([{"id": str(token + 1)}]).encode()))

    async with asking(fills) as asked:
        with pytest.raises(RestFailed, match="no end after 5 pages"):
            await asked.fills(0)
        assert asked.requests == 5


@pytest.mark.parametrize(
    "body", [b'{"message":"ok"}', b"[1]", b'[{"symbol":"AAPL"}]', b"<html>", b"", b"\xff"]
)
async def test_answers_that_are_none(body: bytes) -> None:
    async def nonsense(writer: asyncio.StreamWriter, target: str) -> None:
        writer.write(answer(body))

    async with asking(nonsense) as asked:
        for question in (asked.fills(0), asked.orders(0), asked.order("ab"), asked.open_orders()):
            with pytest.raises(RestFailed):
                await question


# The record of events


async def test_the_record_of_events(alpaca: Bench, rest: HttpTradingRest) -> None:
    await fill_many(alpaca, 3)
    events = await rest.events(BEGAN_NS, alpaca.desk.clock.now_ns())
    assert events is not None
    account = alpaca.desk.account("paper", "PK1")
    assert [json.loads(event) for event in events] == [event.data for event in account.events]


@pytest.mark.parametrize("status", [403, 404, 405, 501])
async def test_an_account_without_events_is_asked_again_later(
    alpaca: Bench, rest: HttpTradingRest, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ns = alpaca.desk.clock.now_ns()
    await alpaca.fault("rest_status", code=status)
    assert await rest.events(BEGAN_NS, now_ns) is None
    assert await rest.events(BEGAN_NS, now_ns) is None
    assert rest.requests == 1, "it is not asked each time"
    monkeypatch.setattr(rest_module, "_EVENTS_AGAIN_SECONDS", 0.0)
    again = client(alpaca.http)
    await alpaca.fault("rest_status", code=status)
    assert await again.events(BEGAN_NS, now_ns) is None
    assert await again.events(BEGAN_NS, now_ns) == []
    await again.close()


@contextlib.asynccontextmanager
async def served(
    alpaca: Bench, others: Mapping[str, int], requests: list[str]
) -> AsyncIterator[HttpTradingRest]:
    """A client of a server where some paths answer with a status of their own."""

    class Between(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            requests.append(request.url.path)
            if request.url.path in others:
                return httpx.Response(others[request.url.path], json={"message": "no"})
            return await super().handle_async_request(request)

    made = client(alpaca.http, transport=Between())
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("status", "seconds"), [(400, 3600), (401, 3600), (422, 3600), (500, 60), (503, 60)]
)
async def test_a_record_that_fails_while_all_else_works(
    alpaca: Bench, status: int, seconds: int
) -> None:
    """Orders and fills tell instead, the log says so once, and later it is asked again."""
    await fill_many(alpaca, 1)
    others, requests = {"/v2/events/trades": status}, list[str]()
    async with served(alpaca, others, requests) as rest:
        with capture_logs() as lines:
            for _ in range(3):
                findings = await caught_up(alpaca, rest)
                assert not findings.exact and len(findings.events) == 2
            assert [line["event"] for line in lines] == ["trading.no_event_record"]
            assert lines[0]["next_attempt_seconds"] == seconds
            assert requests.count("/v2/events/trades") == (4 if status >= 500 else 1)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(rest, "_no_events_until", 0.0)
                await caught_up(alpaca, rest)
                assert len(lines) == 1, "it is known"
                del others["/v2/events/trades"]
                patch.setattr(rest, "_no_events_until", 0.0)
                assert (await caught_up(alpaca, rest)).exact


async def test_refused_keys_are_not_an_account_without_events(alpaca: Bench) -> None:
    others, requests = {"/v2/events/trades": 401, "/v2/orders": 401}, list[str]()
    async with served(alpaca, others, requests) as rest:
        with pytest.raises(RestFailed, match="key and secret are refused"):
            await caught_up(alpaca, rest)


async def test_an_outage_of_everything_is_not_one_of_the_record(alpaca: Bench) -> None:
    """What is exact is worth waiting for."""
    await fill_many(alpaca, 1)
    others, requests = {"/v2/events/trades": 503, "/v2/orders": 503}, list[str]()
    async with served(alpaca, others, requests) as rest:
        with pytest.raises(RestFailed, match="/v2/events/trades: HTTP 503"):
            await caught_up(alpaca, rest)
        others.clear()
        assert (await caught_up(alpaca, rest)).exact


@pytest.mark.parametrize("body", [b"<html>log in</html>", b'{"code":1,"message":"none"}'])
async def test_no_events_in_something_else_is_not_silence(body: bytes) -> None:
    async def other(writer: asyncio.StreamWriter, target: str) -> None:
        writer.write(answer(body))

    async with asking(other) as asked:
        with pytest.raises(RestFailed, match="something else than events"):
            await asked.events(0, 1)


async def test_lines_end_where_the_protocol_says() -> None:
    """Only there: text may hold what Unicode calls a line separator."""
    data = '{"order":{"client_order_id":"a\u2028b\u0085c"}}'.encode()

    async def events(writer: asyncio.StreamWriter, target: str) -> None:
        writer.write(answer(b": hello\r\nevent: x\r\nid: 1\r\ndata: " + data + b"\r\n\r\n"))

    async with asking(events) as asked:
        assert await asked.events(0, 1) == [data]


# The time


async def test_the_time(alpaca: Bench, rest: HttpTradingRest) -> None:
    before_ns = alpaca.desk.clock.now_ns()
    told = await rest.time()
    assert told is not None
    assert before_ns <= told.now_ns + told.within_ns
    assert told.now_ns - told.within_ns <= alpaca.desk.clock.now_ns()


@pytest.mark.parametrize(
    ("status", "body"),
    [(b"404 Not Found", b"{}"), (b"503 Service Unavailable", b""), (b"200 OK", b'{"timestamp":7}')],
)
async def test_the_time_where_only_a_header_tells(status: bytes, body: bytes) -> None:
    """In whole seconds, perhaps a second old, and asked once: nothing else waits for it."""
    headers = [DATE, b"", b"Date: noon\r\n"]

    async def clock(writer: asyncio.StreamWriter, target: str) -> None:
        writer.write(answer(body, status, headers.pop(0)))

    async with asking(clock) as asked:
        told = await asked.time()
        assert told is not None and told.within_ns == NS_PER_SECOND
        assert told.now_ns == parse_rfc3339("2015-10-21T07:28:01Z")
        assert await asked.time() is None and await asked.time() is None
        assert asked.requests == 3


async def test_the_time_is_asked_for_within_the_limits() -> None:
    replies = [b"429 Too Many Requests", b"200 OK"]

    async def clock(writer: asyncio.StreamWriter, target: str) -> None:
        writer.write(answer(b'{"timestamp":"2015-10-21T03:28:00.25-04:00"}', replies.pop(0), DATE))

    async with asking(clock) as asked:
        told = await asked.time()
        assert told == (parse_rfc3339("2015-10-21T07:28:00.25Z"), 0)
        assert asked.throttled == 1


# Refusals for the moment


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
async def test_a_moment_later_it_works(alpaca: Bench, rest: HttpTradingRest, code: int) -> None:
    await fill_many(alpaca, 1)
    await alpaca.fault("rest_status", code=code, times=3)
    assert len(await rest.fills(BEGAN_NS)) == 1
    assert rest.requests == 4
    assert rest.throttled == (3 if code == 429 else 0)
    await alpaca.fault("rest_status", code=code, times=4)
    with pytest.raises(RestFailed, match=f"/v2/account/activities/FILL: HTTP {code}"):
        await rest.fills(BEGAN_NS)


async def test_waits_as_long_as_the_server_wants(alpaca: Bench, rest: HttpTradingRest) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await alpaca.fault("rest_status", code=429, seconds=1)
    # Whoever asks for something else meanwhile waits as well: the limit is the account's.
    await asyncio.gather(rest.fills(BEGAN_NS), rest.orders(BEGAN_NS))
    assert loop.time() - began >= 1.0


async def test_a_throttle_that_says_nothing_is_waited_for(alpaca: Bench) -> None:
    loop = asyncio.get_running_loop()
    rest = client(alpaca.http, throttled_seconds=0.2)
    await alpaca.fault("rest_status", code=429, times=2)
    began = loop.time()
    await rest.fills(BEGAN_NS)
    assert loop.time() - began >= 0.2 + 0.4
    await rest.close()


@pytest.mark.parametrize(
    ("wish", "least"),
    [
        (b"Wed, 21 Oct 2015 07:28:01 GMT", 1.0),
        (b"Wed, 21 Oct 2015 06:00:00 GMT", 0.0),
        (b"soon", 0.05),
        (b"-7", 0.05),
        (b"", 0.05),
    ],
)
async def test_dates_and_nonsense_in_retry_after(wish: bytes, least: float) -> None:
    """A date counts from the server's own, which is years from ours here."""
    replies = [b"429 Too Many Requests", b"200 OK"]

    async def throttle(writer: asyncio.StreamWriter, target: str) -> None:
        writer.write(answer(b"[]", replies.pop(0), DATE + b"Retry-After: " + wish + b"\r\n"))

    async with asking(throttle) as asked:
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await asked.fills(0) == []
        assert loop.time() - began >= least


# Catching up by it


async def caught_up(alpaca: Bench, rest: HttpTradingRest) -> Findings:
    """What happened since the account began, to somebody who knows nothing of it."""

    async def told(order_ids: Sequence[str]) -> Mapping[str, Sequence[Fill]]:
        return {}

    position = Position(BEGAN_NS, BEGAN_NS, {})
    return await reconcile(rest, position, alpaca.desk.clock.now_ns(), told=told)


async def test_both_ways_tell_the_same(alpaca: Bench, rest: HttpTradingRest) -> None:
    await fill_many(alpaca, 3)
    exact = await caught_up(alpaca, rest)
    await alpaca.fault("no_event_stream")
    made = await caught_up(alpaca, rest)
    assert (exact.exact, made.exact) == (True, False)
    kinds = [event.kind for event in exact.events if event.event != "pending_new"]
    assert sorted(event.kind for event in made.events) == sorted(kinds) and len(kinds) == 6


async def test_a_page_that_comes_empty_is_noticed(alpaca: Bench, rest: HttpTradingRest) -> None:
    """By the orders, which say that there are fills."""
    await fill_many(alpaca, 2)
    await alpaca.fault("no_event_stream")
    orders = await rest.orders(BEGAN_NS)
    await alpaca.fault("empty_page")
    assert await rest.orders(BEGAN_NS) == []
    # The list of orders comes first, then the fills: of the gap, and from the orders' beginning.
    fills = rest.fills

    async def empty(after_ns: int) -> list[dict[str, Any]]:
        await alpaca.fault("empty_page")
        return await fills(after_ns)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rest, "fills", empty)
        findings = await caught_up(alpaca, rest)
    assert findings.left_out == len(orders) and findings.events == []
    findings = await caught_up(alpaca, rest)
    assert len(findings.events) == 4 and not findings.left_out


async def test_rest_that_lags_is_caught_up_with(alpaca: Bench, rest: HttpTradingRest) -> None:
    """It shows less, never something false; asking again tells the rest."""
    await alpaca.fault("no_event_stream")
    await alpaca.fault("rest_lag", seconds=3600)
    await fill_many(alpaca, 2)
    findings = await caught_up(alpaca, rest)
    assert findings.events == [] and not findings.left_out
    await alpaca.call("DELETE", "/faults")
    await alpaca.fault("no_event_stream")
    assert len((await caught_up(alpaca, rest)).events) == 4


# Servers that don't answer


async def test_a_server_that_trickles() -> None:
    """Each byte comes in time; the answer never does."""

    async def trickle(writer: asyncio.StreamWriter, target: str) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n[")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with asking(trickle, answer_seconds=0.1) as asked:
        with pytest.raises(RestFailed, match=r"FILL: no whole answer within 0\.1 s"):
            await asked.fills(0)
        assert asked.requests == 4


async def test_an_answer_that_breaks_off() -> None:
    parts = [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[", answer(b"[]")]

    async def broken(writer: asyncio.StreamWriter, target: str) -> None:
        writer.write(parts.pop(0))
        writer.close()

    async with asking(broken) as asked:
        assert await asked.fills(0) == []
        assert not parts


async def test_a_failure_names_no_order(alpaca: Bench, rest: HttpTradingRest) -> None:
    """It goes into the log, where nothing about orders belongs."""
    order = await alpaca.order(**RESTING_ORDER)
    found = await rest.order(order["id"])
    assert found is not None and found["id"] == order["id"]
    assert await rest.order("00000000-0000-4000-8000-000000000000") is None
    for code, times in ((418, 1), (503, 4)):
        await alpaca.fault("rest_status", code=code, times=times)
        with pytest.raises(RestFailed) as failure:
            await rest.order(order["id"])
        assert str(failure.value) == f"/v2/orders/{{id}}: HTTP {code}"


async def test_an_id_stays_one_part_of_the_path() -> None:
    asked_for = []

    async def orders(writer: asyncio.StreamWriter, target: str) -> None:
        asked_for.append(target)
        writer.write(answer(b"{}", b"404 Not Found"))

    async with asking(orders) as asked:
        assert await asked.order("../account?x=1#") is None
    assert asked_for == ["/v2/orders/..%2Faccount%3Fx%3D1%23?nested=true"]


# A server of our own


def answer(body: bytes, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    length = str(len(body)).encode()
    return (
        b"HTTP/1.1 " + status + b"\r\n" + headers + b"Content-Length: " + length + b"\r\n\r\n"
    ) + body


@contextlib.asynccontextmanager
async def asking(
    reply: Callable[[asyncio.StreamWriter, str], Awaitable[None]], **options: Any
) -> AsyncIterator[HttpTradingRest]:
    """A client of a server where ``reply`` writes the answers, given each request's target."""

    talks: set[asyncio.StreamWriter] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                await reply(writer, head.split(b" ")[1].decode())
                await writer.drain()
        writer.close()
        talks.remove(writer)

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made = client(f"http://127.0.0.1:{port}", **options)
    try:
        yield made
    finally:
        await made.close()
        server.close()
        await server.wait_closed()
        await eventually(lambda: not talks)
