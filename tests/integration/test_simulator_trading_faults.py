"""The trading side's control API, and every fault that it can commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from harness.waiting import eventually
from stream_proxy.simulator.faults import TRADING_ARMED, TRADING_NOW

from .trading_bench import (
    AUTHORIZED,
    LISTEN,
    RESTING_ORDER,
    Bench,
    bench,
)


@pytest.fixture
async def alpaca() -> AsyncIterator[Bench]:
    async with bench() as made:
        yield made


async def test_any_event_can_be_forced(alpaca: Bench) -> None:
    async with alpaca.client() as client:
        await client.listen()
        order = await alpaca.order(**RESTING_ORDER)
        await eventually(lambda: "new" in client.events)
        for event in ("partial_fill", "done_for_day", "new", "suspended", "restated", "fill"):
            reply = await alpaca.call(
                "POST", "/trading/force", {"order_id": order["id"], "event": event}
            )
            assert reply.status == 200, reply.body
        await eventually(lambda: "fill" in client.events)
        assert client.events[2:] == [
            *("partial_fill", "done_for_day", "new", "suspended", "restated", "fill")
        ]
        again = await alpaca.call(
            "POST", "/trading/force", {"order_id": order["id"], "event": "fill"}
        )
        assert again.status == 422


async def test_chatter_fills_the_stream(alpaca: Bench) -> None:
    async with alpaca.client() as client:
        await client.listen()
        await alpaca.call("POST", "/trading/chatter", {"account": "PK1", "rate": 200})
        await eventually(lambda: client.events.count("fill") > 10)
        await alpaca.call("POST", "/trading/chatter", {"account": "PK1", "rate": 0})


@pytest.mark.parametrize("kind", ["drop", "reset", "half_message", "close"])
async def test_the_socket_can_end_in_every_way(alpaca: Bench, kind: str) -> None:
    async with alpaca.client() as client:
        await client.listen()
        assert await alpaca.fault(kind) == 1
        await eventually(lambda: client.ended)


async def test_what_is_muted_is_withheld(alpaca: Bench) -> None:
    async with alpaca.client() as client:
        await client.listen()
        await alpaca.fault("mute", seconds=3600)
        await alpaca.order()
        account = alpaca.desk.engine.accounts["paper", "PK1"]
        await eventually(lambda: len(account.events) == 3)
        await (await client.socket.ping())  # alive, only silent
        assert client.updates == []
        assert (await alpaca.page())["connections"][0]["withheld"] == 3


async def test_half_open_accepts_bytes_and_says_nothing(alpaca: Bench) -> None:
    async with alpaca.client() as client:
        await client.listen()
        await alpaca.fault("stall", seconds=3600)
        pong = await client.socket.ping()
        await alpaca.order()
        account = alpaca.desk.engine.accounts["paper", "PK1"]
        await eventually(lambda: len(account.events) == 3)
        assert not pong.done() and client.updates == []
        await alpaca.fault("drop")


async def test_orders_fill_while_nobody_is_there(alpaca: Bench) -> None:
    async with alpaca.client() as client:
        await client.listen()
        await alpaca.order(**RESTING_ORDER)
        await eventually(lambda: "new" in client.events)
        assert await alpaca.fault("fill_in_gap") == 1
        await eventually(lambda: client.ended)
    page = await alpaca.page()
    assert [(event["event"], event["sent_on"]) for event in page["events"]][-1] == ("fill", [])
    fills = (await alpaca.call("GET", "/v2/account/activities/FILL")).body
    assert [fill["qty"] for fill in fills] == ["3"]


async def test_events_can_come_twice_never_or_swapped(alpaca: Bench) -> None:
    async with alpaca.client() as client:
        await client.listen()
        await alpaca.fault("duplicate_event")
        await alpaca.order(**RESTING_ORDER)
        await eventually(lambda: "new" in client.events)
        assert client.events == ["pending_new", "pending_new", "new"]
        await alpaca.fault("duplicate")
        await eventually(lambda: client.events[3:] == ["new"])
        await alpaca.fault("lose_event")
        await alpaca.order()
        await eventually(lambda: client.events[4:] == ["new", "fill"])
        await alpaca.fault("swap_events")
        await alpaca.order()
        await eventually(lambda: client.events[6:] == ["new", "pending_new", "fill"])
        sent = (await alpaca.page())["connections"][0]["sent"]
        assert sent == [update["event_id"] for update in client.updates]


@pytest.mark.parametrize("kind", ["error", "unauthorized"])
async def test_words_before_the_end(alpaca: Bench, kind: str) -> None:
    async with alpaca.client() as client:
        await client.listen()
        await alpaca.fault(kind)
        await eventually(lambda: client.ended)
    said = {
        "error": {"action": "error", "data": {"error_message": "internal server error"}},
        "unauthorized": {
            "stream": "authorization",
            "data": {"status": "unauthorized", "action": "listen"},
        },
    }
    assert client.messages[-1] == said[kind]


async def test_malformed_json_can_be_sent(alpaca: Bench) -> None:
    async with alpaca.client() as client:
        await client.listen()
        await alpaca.fault("garbage")
        await eventually(lambda: client.messages[-1] is None)
        await alpaca.order()
        await eventually(lambda: "fill" in client.events)


async def test_the_handshake_and_authentication_can_be_refused(alpaca: Bench) -> None:
    await alpaca.fault("refuse_upgrade", code=503, seconds=7)
    with pytest.raises(InvalidStatus) as refusal:
        async with alpaca.client():
            pass
    assert refusal.value.response.status_code == 503
    assert refusal.value.response.headers["Retry-After"] == "7"
    await alpaca.fault("refuse_auth")
    async with alpaca.client() as client:
        answer = await client.ask({"action": "auth", "key": "PK1", "secret": "S"})
        assert answer["data"]["status"] == "unauthorized"
        await client.listen()


async def test_faults_can_be_for_one_account(alpaca: Bench) -> None:
    await alpaca.fault("rest_status", code=500, account="PK2", times=2)
    assert (await alpaca.call("GET", "/v2/account", key="PK1")).status == 200
    assert (await alpaca.call("GET", "/v2/account", key="PK2")).status == 500
    await alpaca.fault("rest_status", code=500, feed="trading-live")
    assert (await alpaca.call("GET", "/v2/account", key="PK1")).status == 200


async def test_rest_can_fail_for_some_calls(alpaca: Bench) -> None:
    await alpaca.fault("rest_status", code=429, seconds=3, times=2)
    replies = [await alpaca.call("GET", "/v2/account") for _ in range(3)]
    assert [reply.status for reply in replies] == [429, 429, 200]
    headers = {name.lower(): value for name, value in replies[0].headers.items()}
    assert headers["retry-after"] == "3"
    assert replies[0].body == {"code": 42910000, "message": "rate limit exceeded"}


async def test_rest_can_lag_behind_the_stream(alpaca: Bench) -> None:
    await alpaca.fault("rest_lag", seconds=3600)
    await alpaca.order()
    account = alpaca.desk.engine.accounts["paper", "PK1"]
    await eventually(lambda: len(account.events) == 3)
    for path in ("/v2/orders?status=all", "/v2/account/activities/FILL", "/v2/positions"):
        assert (await alpaca.call("GET", path)).body == [], path
    assert (await alpaca.call("GET", "/v2/account")).body["cash"] == "100000"
    await alpaca.call("DELETE", "/faults")
    assert len((await alpaca.call("GET", "/v2/account/activities/FILL")).body) == 1


async def test_pages_can_be_wrong(alpaca: Bench) -> None:
    account = alpaca.desk.account("paper", "PK1")
    for _ in range(4):
        await alpaca.order(qty=1)
    await eventually(lambda: len(account.executions) == 4)
    path = "/v2/account/activities/FILL?page_size=2&direction=asc"
    first = (await alpaca.call("GET", path)).body
    await alpaca.fault("repeat_page")
    following = f"{path}&page_token={first[-1]['id']}"
    assert (await alpaca.call("GET", following)).body == first
    second = (await alpaca.call("GET", following)).body
    assert {item["id"] for item in first}.isdisjoint(item["id"] for item in second)
    await alpaca.fault("empty_page")
    assert (await alpaca.call("GET", path)).body == []
    assert (await alpaca.call("GET", path)).body == first


async def test_the_conversation_can_break_at_each_step(alpaca: Bench) -> None:
    for kind in ("end_at_auth", "end_at_subscribe", "flap"):
        await alpaca.fault(kind)
        async with alpaca.client() as client:
            await client.say({"action": "auth", "key": "PK1", "secret": "S"})
            await client.say(LISTEN)
            await eventually(lambda client=client: client.ended, what=kind)  # type: ignore[misc]
    await alpaca.fault("no_acks")
    async with alpaca.client() as client:
        assert await client.ask({"action": "auth", "key": "PK1", "secret": "S"}) == AUTHORIZED
        await client.say(LISTEN)
        await (await client.socket.ping())
        assert client.messages == [AUTHORIZED]


async def test_rest_can_be_slow(alpaca: Bench) -> None:
    began = asyncio.get_running_loop().time()
    await alpaca.fault("rest_delay", seconds=0.3)
    assert (await alpaca.call("GET", "/v2/account")).status == 200
    assert asyncio.get_running_loop().time() - began >= 0.3


async def test_the_event_stream_can_vanish(alpaca: Bench) -> None:
    await alpaca.fault("no_event_stream")
    for _ in range(2):
        assert (await alpaca.call("GET", "/v2/events/trades")).status == 404


def test_every_trading_fault_is_tried() -> None:
    """A new one needs a test here."""
    tried = Path(__file__).read_text()
    assert [kind for kind in (*TRADING_NOW, *TRADING_ARMED) if f'"{kind}"' not in tried] == []
