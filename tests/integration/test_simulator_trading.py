"""The simulator's trading side over real sockets: stream, REST and server-sent events."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from harness.waiting import eventually

from .trading_bench import (
    AUTHORIZED,
    LISTEN,
    LISTENING,
    MARKET_ORDER,
    RESTING_ORDER,
    Bench,
    bench,
)


@pytest.fixture
async def alpaca() -> AsyncIterator[Bench]:
    async with bench() as made:
        yield made


# The stream's protocol


@pytest.mark.parametrize("path", ["/stream", "/stream/", "/paper/stream", "/live/stream"])
async def test_a_fill_reaches_the_stream(alpaca: Bench, path: str) -> None:
    """Silent until spoken to; then authorized, listening, and every event of the account."""
    key = "AK1" if "live" in path else "PK1"
    async with alpaca.client(path) as client:
        await client.listen(key)
        await alpaca.order(key)
        await eventually(lambda: "fill" in client.events)
        page = await alpaca.page(key)
    assert client.events == ["pending_new", "new", "fill"]
    assert [update["event_id"] for update in client.updates] == page["connections"][0]["sent"]
    assert [event["sent_on"] for event in page["events"]] == [[1]] * 3
    assert all(isinstance(frame, bytes) for frame in client.frames)
    assert client.messages[:2] == [AUTHORIZED, LISTENING]


async def test_keys_choose_the_kind_of_account(alpaca: Bench) -> None:
    await alpaca.order("AK1")
    await alpaca.order("PK1")
    accounts = (await alpaca.call("GET", "/trading/ledger")).body["accounts"]
    assert (list(accounts["paper"]), list(accounts["live"])) == (["PK1"], ["AK1"])


async def test_text_frames_are_an_option() -> None:
    async with bench(trading_text_frames=True) as alpaca, alpaca.client() as client:
        await client.listen()
        assert all(isinstance(frame, str) for frame in client.frames)


async def test_msgpack_by_content_type(alpaca: Bench) -> None:
    encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
    async with connect(
        alpaca.streams + "/stream",
        additional_headers={"Content-Type": "application/msgpack"},
        proxy=None,
    ) as socket:
        await socket.send(encode({"action": "auth", "key": "PK1", "secret": "S"}))
        assert decode(await socket.recv()) == AUTHORIZED
        await socket.send(encode(LISTEN))
        assert decode(await socket.recv()) == LISTENING
        await alpaca.order()
        assert decode(await socket.recv())["data"]["event"] == "pending_new"


@pytest.mark.parametrize(
    "request_",
    [
        {"action": "auth", "key": "PK1", "secret": "S"},
        {"action": "authenticate", "data": {"key_id": "PK1", "secret_key": "S"}},
        {"action": "authenticate", "data": {"oauth_token": "S"}},
    ],
)
async def test_every_form_of_authentication(request_: dict[str, Any]) -> None:
    async with bench(accounts={"PK1": "S"}) as alpaca, alpaca.client() as client:
        assert await client.ask(request_) == AUTHORIZED
        assert (await alpaca.page())["open"] == 1


async def test_headers_authenticate_and_nothing_is_said(alpaca: Bench) -> None:
    headers = {"APCA-API-KEY-ID": "PK1", "APCA-API-SECRET-KEY": "S"}
    async with alpaca.client(headers=headers) as client:
        assert await client.ask(LISTEN) == LISTENING
        assert client.messages == [LISTENING]


@pytest.mark.parametrize(
    ("request_", "action"),
    [
        ({"action": "auth", "key": "PK1", "secret": "wrong"}, "authenticate"),
        ({"action": "auth", "key": "nobody", "secret": "S"}, "authenticate"),
        ({"action": "authenticate", "data": {}}, "authenticate"),
        ({"action": "authenticate"}, "authenticate"),
        (LISTEN, "listen"),
    ],
)
async def test_unauthorized(request_: dict[str, Any], action: str) -> None:
    async with bench(accounts={"PK1": "S"}) as alpaca, alpaca.client() as client:
        answer = await client.ask(request_)
        assert answer == {
            "stream": "authorization",
            "data": {"status": "unauthorized", "action": action},
        }
        await client.listen()  # the socket is still good


@pytest.mark.parametrize(("path", "key"), [("/paper/stream", "AK1"), ("/live/stream", "PK1")])
async def test_a_key_of_the_other_kind_is_unauthorized(alpaca: Bench, path: str, key: str) -> None:
    async with alpaca.client(path) as client:
        answer = await client.ask({"action": "auth", "key": key, "secret": "S"})
        assert answer["data"]["status"] == "unauthorized"


async def test_listen_replaces_the_set(alpaca: Bench) -> None:
    async with alpaca.client() as client:
        await client.listen()
        for streams, known in (
            (["account_updates", "trade_updates"], ["trade_updates"]),
            (["nothing"], []),
            ([], []),
            (None, []),
        ):
            answer = await client.ask({"action": "listen", "data": {"streams": streams}})
            assert answer == {"stream": "listening", "data": {"streams": known}}
        order = await alpaca.order()
        await eventually(
            lambda: order["id"] not in alpaca.desk.engine.accounts["paper", "PK1"].working
        )
        assert client.updates == []


@pytest.mark.parametrize("payload", ["{", "[]", '{"action":"dance"}', "\x01"])
async def test_nonsense_ends_the_stream(alpaca: Bench, payload: str) -> None:
    async with alpaca.client() as client:
        await client.socket.send(payload)
        await eventually(lambda: client.ended)
        assert client.messages[0]["action"] == "error"


# One connection per account


async def test_a_second_connection_is_refused_at_the_upgrade(alpaca: Bench) -> None:
    async with alpaca.client() as client:
        await client.listen()
        with pytest.raises(InvalidStatus) as refusal:
            async with alpaca.client():
                pass
        assert refusal.value.response.status_code == 429
        headers = {"APCA-API-KEY-ID": "PK1", "APCA-API-SECRET-KEY": "S"}
        with pytest.raises(InvalidStatus):
            async with alpaca.client("/paper/stream", headers):
                pass
        async with alpaca.client(headers=headers | {"APCA-API-KEY-ID": "PK2"}) as other:
            assert await other.ask(LISTEN) == LISTENING
    ledger = (await alpaca.call("GET", "/trading/ledger")).body
    assert ledger["refused_upgrades"] == {"/stream": 1, "/paper/stream": 1}
    assert ledger["accounts"]["paper"]["PK1"]["peak_open"] == 1


async def test_configured_accounts_have_a_slot_each() -> None:
    async with (
        bench(accounts={"PK1": "S", "PK2": "S"}) as alpaca,
        alpaca.client() as first,
        alpaca.client() as second,
    ):
        with pytest.raises(InvalidStatus):
            async with alpaca.client():
                pass
        await first.listen("PK1")
        await second.listen("PK2")


async def test_a_second_connection_may_be_refused_in_the_stream() -> None:
    async with bench(trading_refusal="in_stream") as alpaca, alpaca.client() as first:
        await first.listen()
        async with alpaca.client() as second:
            answer = await second.ask({"action": "auth", "key": "PK1", "secret": "S"})
            assert answer["data"]["status"] == "exceeded"
            await eventually(lambda: second.ended)
        assert (await alpaca.page())["peak_open"] == 1


async def test_a_clean_close_frees_the_slot_at_once_an_unclean_end_later(alpaca: Bench) -> None:
    for _ in range(2):
        async with alpaca.client() as client:
            await client.listen()
    async with alpaca.client() as client:
        await client.listen()
        client.socket.transport.abort()
        await eventually(lambda: not alpaca.desk.sessions)
        with pytest.raises(InvalidStatus):
            async with alpaca.client():
                pass
    await eventually(lambda: alpaca.desk.room(None))
    async with alpaca.client() as client:
        await client.listen()
    endings = [connection["ended"] for connection in (await alpaca.page())["connections"]]
    assert endings == ["clean", "clean", "unclean", "clean"]


async def test_who_never_authenticates_is_sent_away() -> None:
    async with bench(authentication_seconds=0.2) as alpaca, alpaca.client() as client:
        await eventually(lambda: client.ended)
        assert client.messages == []


# REST


async def test_orders_over_rest(alpaca: Bench) -> None:
    """Place, look, replace, cancel; the three prefixes are the same account."""
    placed = await alpaca.call("POST", "/v2/orders", RESTING_ORDER | {"client_order_id": "mine"})
    assert (placed.status, placed.body["status"]) == (200, "pending_new")
    order_id = placed.body["id"]
    by_name = await alpaca.call("GET", "/paper/v2/orders:by_client_order_id?client_order_id=mine")
    assert by_name.body["id"] == order_id
    changed = await alpaca.call("PATCH", f"/v2/orders/{order_id}", {"limit_price": 11})
    new_id = changed.body["id"]
    assert changed.body["replaces"] == order_id
    account = alpaca.desk.engine.accounts["paper", "PK1"]
    await eventually(lambda: account.orders[new_id].status == "new")
    assert (await alpaca.call("DELETE", f"/v2/orders/{new_id}")).status == 204
    await eventually(lambda: not account.working)
    listed = (await alpaca.call("GET", "/v2/orders?status=all&direction=asc")).body
    assert [order["status"] for order in listed] == ["replaced", "canceled"]
    page = await alpaca.page()
    assert page["rest_calls"]["POST /v2/orders 200"] == 1
    assert page["rest_calls"]["GET /v2/orders:by_client_order_id 200"] == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v2/orders", MARKET_ORDER | {"symbol": "NOSUCH"}, 422, 42210000),
        ("POST", "/v2/orders", MARKET_ORDER | {"qty": 100_000}, 403, 40310000),
        ("POST", "/v2/orders", b"{", 400, 40010000),
        ("POST", "/v2/orders", [], 400, 40010000),
        ("GET", "/v2/orders/nothing", None, 404, 40410000),
        ("DELETE", "/v2/orders/nothing", None, 404, 40410000),
        ("PATCH", "/v2/orders/nothing", {"qty": 1}, 404, 40410000),
        ("GET", "/v2/orders?limit=501", None, 422, 42210000),
        ("GET", "/v2/orders?limit=²", None, 422, 42210000),
        ("GET", "/v2/orders?after=yesterday", None, 422, 42210000),
        ("GET", "/v2/positions/AAPL", None, 404, 40410000),
        ("GET", "/v2/assets/NOSUCH", None, 404, 40410000),
        ("GET", "/v2/account/activities/FILL?page_token=x", None, 422, 42210000),
        ("GET", "/v2/events/trades?since=2026-01-01&since_id=01", None, 422, 42210000),
        ("GET", "/v2/events/trades?since_id=nonsense", None, 422, 42210000),
        ("GET", "/v2/calendar?start=x", None, 422, 42210000),
    ],
)
async def test_errors_have_alpacas_shape(
    alpaca: Bench, method: str, path: str, body: Any, status: int, code: int
) -> None:
    reply = await alpaca.call(method, urllib.request.quote(path, safe="/?=&:,"), body)
    assert (reply.status, reply.body["code"]) == (status, code)
    assert reply.body["message"]


async def test_strangers_are_401() -> None:
    async with bench(accounts={"PK1": "S"}) as alpaca:
        for key, secret, path in (
            (None, "", "/v2/account"),
            ("PK1", "wrong", "/v2/account"),
            ("PK1", "S", "/live/v2/account"),
        ):
            reply = await alpaca.call("GET", path, key=key, secret=secret)
            assert (reply.status, reply.body["code"]) == (401, 40110000)
        assert (await alpaca.call("GET", "/paper/v2/account")).body["cash"] == "100000"


async def test_a_denied_account_is_403() -> None:
    async with bench(denied_feeds=frozenset({"trading-live"})) as alpaca:
        assert (await alpaca.call("GET", "/v2/account", key="AK1")).status == 403
        assert (await alpaca.call("GET", "/v2/account", key="PK1")).status == 200


async def test_the_rate_limit_tells_when_to_come_back() -> None:
    async with bench(trading_rate_limit=2) as alpaca:
        replies = [await alpaca.call("GET", "/v2/account") for _ in range(3)]
        # A minute may end between two calls; then the third is the next minute's.
        statuses = [reply.status for reply in replies]
        if statuses[-1] == 200:
            replies = [await alpaca.call("GET", "/v2/account") for _ in range(3)]
        assert replies[-1].status == 429
        assert replies[-1].body["code"] == 42910000
        headers = {name.lower(): value for name, value in replies[-1].headers.items()}
        assert headers["x-ratelimit-limit"] == "2"
        assert headers["x-ratelimit-remaining"] == "0"
        assert 0 < int(headers["retry-after"]) <= 60


# Server-sent events


async def read_events(
    alpaca: Bench, query: str, count: int | None, heartbeats: bool = False
) -> list[Any]:
    """So many events of the stream, or all until it ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(alpaca.http.rpartition(":")[2]))
    writer.write(
        f"GET /v2/events/trades{query} HTTP/1.0\r\nHost: 127.0.0.1\r\n"
        "APCA-API-KEY-ID: PK1\r\nAPCA-API-SECRET-KEY: S\r\n\r\n".encode()
    )
    found: list[Any] = []
    try:
        async with asyncio.timeout(10):
            assert b" 200 " in await reader.readline()
            while count is None or len(found) < count:
                line = await reader.readline()
                if not line:
                    break
                if line.startswith(b"data: "):
                    found.append(json.loads(line[6:]))
                elif heartbeats and line.startswith(b":"):
                    found.append(line)
    finally:
        writer.close()
    return found


async def test_events_are_replayed_from_an_id_or_a_time(alpaca: Bench) -> None:
    await alpaca.order()
    account = alpaca.desk.engine.accounts["paper", "PK1"]
    await eventually(lambda: len(account.events) == 3)
    first, second, third = (event.data for event in account.events)
    assert await read_events(alpaca, f"?since={first['at']}", 3) == [first, second, third]
    assert await read_events(alpaca, f"?since_id={second['event_id']}", 2) == [second, third]
    until = f"?since_id={first['event_id']}&until_id={second['event_id']}"
    assert await read_events(alpaca, until, None) == [first, second]
    until = f"?since={first['at']}&until={first['at']}"
    assert await read_events(alpaca, until, None) == [first]


async def test_without_since_only_what_comes_is_sent(alpaca: Bench) -> None:
    await alpaca.order()
    account = alpaca.desk.engine.accounts["paper", "PK1"]
    await eventually(lambda: len(account.events) == 3)
    reading = asyncio.create_task(read_events(alpaca, "", 1))
    calls = alpaca.desk.ledger
    await eventually(lambda: "GET /v2/events/trades 200" in calls.page(account)["rest_calls"])
    await alpaca.order(symbol="MSFT")
    assert (await reading)[0]["order"]["symbol"] == "MSFT"


async def test_comments_keep_an_event_stream_alive(alpaca: Bench) -> None:
    assert await read_events(alpaca, "", 3, heartbeats=True) == [b": heartbeat\n"] * 3


async def test_an_account_may_have_no_event_stream() -> None:
    async with bench(trading_events=False) as alpaca:
        assert (await alpaca.call("GET", "/v2/events/trades")).status == 404


async def test_orders_trade_at_what_is_streamed(alpaca: Bench) -> None:
    """With a subscriber on the stock feed, fills are within its quotes, not somewhere else."""
    async with connect(alpaca.streams + "/v2/iex", proxy=None) as socket:
        for message in (
            {"action": "auth", "key": "any", "secret": "any"},
            {"action": "subscribe", "quotes": ["AAPL"]},
        ):
            await socket.send(json.dumps(message))
        await eventually(lambda: "iex" in alpaca.simulator.endpoints)
        endpoint = alpaca.simulator.endpoints["iex"]
        await eventually(lambda: endpoint.watched)
        await alpaca.call("POST", "/hold")
        endpoint.running = True  # watched, but between two ticks
        best = endpoint.market.best("AAPL")  # type: ignore[attr-defined]
        quote = alpaca.desk.engine.market.quote("AAPL", 0)
        assert quote is not None
        assert (float(quote.bid), float(quote.ask)) == (best.bid, best.ask)
