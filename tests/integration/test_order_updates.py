"""Order updates through the whole proxy: live, over gaps, over restarts, from any position."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.order_client import OrderClient
from harness.proxies import proxy_process, running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.model.orders import FILLS

KEY = "PKTESTKEY"
TRACED = FILLS | {"new", "canceled", "expired", "rejected", "replaced"}


@pytest.fixture
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator() as running:
        yield running


def addresses(alpaca: SimulatorProcess) -> dict[str, str]:
    return {
        "paper_stream_url": f"{alpaca.streams}/paper/stream",
        "live_stream_url": f"{alpaca.streams}/live/stream",
        "paper_api_url": f"{alpaca.control}/paper",
        "live_api_url": f"{alpaca.control}/live",
    }


@contextlib.asynccontextmanager
async def proxied(alpaca: SimulatorProcess, state_dir: Path, **settings: Any) -> AsyncIterator[App]:
    settings = addresses(alpaca) | {"orders": "on", "state_dir": state_dir} | settings
    async with running_app(alpaca.streams, **settings) as app:
        await eventually(lambda: all(f.ready for f in app.desk.feeds.values()), 15, "ready")
        yield app


def url(app: App, path: str = "/stream") -> str:
    return app.addresses()[0] + path


async def buy(alpaca: SimulatorProcess, account: str = KEY, **order: Any) -> None:
    order = {
        "symbol": "AAPL",
        "qty": 1,
        "side": "buy",
        "type": "market",
        "time_in_force": "day",
    } | order
    await alpaca.order("/trading/orders", account=account, order=order)


def happened(
    alpaca: SimulatorProcess, account: str = KEY, kind: str = "paper"
) -> list[dict[str, Any]]:
    """Every event of the account, in order, by the simulator's own ledger."""
    events: list[dict[str, Any]] = alpaca.get(f"/trading/ledger?account={account}&kind={kind}")[
        "events"
    ]
    return events


def somebody_listens(alpaca: SimulatorProcess) -> bool:
    page = alpaca.get("/trading/ledger")["accounts"]["paper"].get(KEY, {"connections": []})
    return any(connection["listening"] for connection in page["connections"])


async def settled(alpaca: SimulatorProcess, orders: int) -> list[str]:
    """Wait until so many orders are filled; give the ids of all events."""
    await eventually(
        lambda: sum(e["event"] == "fill" for e in happened(alpaca)) >= orders, 10, "filled"
    )
    return [event["event_id"] for event in happened(alpaca)]


async def test_every_client_gets_every_update(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """Alpaca's protocol and the plain one, on all of their paths, at the same time."""
    async with proxied(alpaca, tmp_path) as app, contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(OrderClient(url(app, path), plain=plain))
            for path, plain in (
                ("/stream", False),
                ("/stream/", False),
                ("/paper/stream", False),
                ("/trade-updates-paper", True),
                ("/paper", True),
            )
        ]
        await eventually(lambda: len(app.outlet.order_consumers()) == 5)
        for _ in range(5):
            await buy(alpaca)
        ids = await settled(alpaca, 5)
        for client in clients:
            await eventually(lambda c=client: len(c.updates) == len(ids), 10, "all updates")
            assert client.ids == ids
            assert all(set(update) == {"stream", "data"} for update in client.updates)
        assert [client.binary for client in clients] == [{True}] * 3 + [{False}] * 2
        page = alpaca.get(f"/trading/ledger?account={KEY}")
        assert page["peak_open"] == 1


async def test_paper_and_live_at_once(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """Each account has its own updates, and its own one connection."""
    settings = {"live_key": "AKLIVE", "live_secret": "a-secret-of-the-live-account"}
    async with (
        proxied(alpaca, tmp_path, **settings) as app,
        OrderClient(url(app, "/stream")) as paper,
        OrderClient(url(app, "/trade-updates-live"), plain=True) as live,
    ):
        await eventually(lambda: len(app.outlet.order_consumers()) == 2)
        await buy(alpaca)
        await buy(alpaca, "AKLIVE")
        await eventually(lambda: len(paper.updates) >= 3 and len(live.updates) >= 3)
        assert paper.ids == [e["event_id"] for e in happened(alpaca)]
        assert live.ids == [e["event_id"] for e in happened(alpaca, "AKLIVE", "live")]


async def test_a_live_path_without_live_keys(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """It is refused with what to do about it, in full and in the close reason."""
    async with proxied(alpaca, tmp_path) as app:
        for path in ("/trade-updates-live", "/live", "/live/stream"):
            async with OrderClient(url(app, path)) as client:
                await eventually(lambda c=client: c.closed is not None)
                assert client.closed is not None and client.closed.rcvd is not None
                assert client.closed.rcvd.code == 1008
                assert "ALPACA_LIVE_API_KEY" in client.closed.rcvd.reason


@pytest.mark.parametrize("has_events", [True, False], ids=["event record", "orders and fills"])
async def test_fills_during_a_gap(
    alpaca: SimulatorProcess, tmp_path: Path, has_events: bool
) -> None:
    """What happens while the stream is away reaches a client that never noticed."""
    if not has_events:
        await alpaca.fault("no_event_stream", feed="trading")
    async with proxied(alpaca, tmp_path) as app, OrderClient(url(app)) as client:
        await eventually(lambda: len(app.outlet.order_consumers()) == 1)
        await buy(alpaca)
        await settled(alpaca, 1)
        await eventually(lambda: len(client.updates) >= 3)
        await alpaca.fault("refuse_upgrade", feed="trading", code=503, times=2)
        await alpaca.fault("drop", feed="trading")
        for _ in range(3):
            await buy(alpaca)
        ids = await settled(alpaca, 4)
        await eventually(lambda: app.desk.feeds["paper"].ready, 15, "ready again")
        events = happened(alpaca)
        if has_events:
            await eventually(lambda: len(client.updates) >= len(ids), 10, "all updates")
            assert client.ids == ids
            return
        wanted = [(e["order_id"], e["event"]) for e in events if e["event"] in TRACED]

        def heard() -> list[tuple[str, str]]:
            told = [(u["data"]["order"]["id"], u["data"]["event"]) for u in client.updates]
            return [one for one in told if one[1] in TRACED]

        await eventually(lambda: len(heard()) >= len(wanted), 15, "all updates")
        assert sorted(heard()) == sorted(wanted)
        made = [u["data"] for u in client.updates if u["data"].get("reconstructed")]
        assert len(made) >= 6
        assert app.desk.feeds["paper"].counts.reconstructed == len(made)


async def test_fresh_updates_don_t_wait_for_ever(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """With REST down from the start, the first fill comes once the hold is over."""
    await alpaca.fault("rest_status", feed="trading", code=503, times=10_000)
    settings = addresses(alpaca) | {"orders": "on", "state_dir": tmp_path}
    async with (
        running_app(alpaca.streams, order_hold_seconds=0.3, **settings) as app,
        OrderClient(url(app)) as client,
    ):
        feed = app.desk.feeds["paper"]
        await eventually(lambda: somebody_listens(alpaca) and feed.upstream.connections == 1)
        await eventually(lambda: not feed.holding, 10, "the hold is over, with nothing held")
        await buy(alpaca)
        await eventually(lambda: len(client.updates) >= 3, 10, "it came all the same")
        assert not feed.ready


async def test_resuming_from_every_position(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """From each sequence, id and time on: exactly the rest, then live."""
    async with proxied(alpaca, tmp_path) as app:
        for _ in range(4):
            await buy(alpaca)
        ids = await settled(alpaca, 4)
        feed = app.desk.feeds["paper"]
        await eventually(lambda: feed.last_sequence == len(ids))
        for position in range(len(ids) + 1):
            starts = [str(position), f"{feed.state.epoch}:{position}"] if feed.state else []
            starts += [ids[position - 1]] if position else ["oldest"]
            for since in starts:
                async with OrderClient(url(app, f"/stream?since={since}")) as client:
                    rest = len(ids) - position
                    await eventually(lambda c=client: c.stream("position"))
                    await eventually(lambda c=client, n=rest: len(c.updates) == n)
                    assert client.ids == ids[position:]
                    assert client.sequences == list(range(position + 1, len(ids) + 1))
                    (told,) = client.stream("position")
                    assert told["sequence"] == position and told["last_sequence"] == len(ids)
        async with OrderClient(url(app, "/stream?since=oldest")) as client:
            await eventually(lambda: len(client.updates) == len(ids))
            await buy(alpaca)
            ids = await settled(alpaca, 5)
            await eventually(lambda: len(client.updates) == len(ids))
            assert client.ids == ids


async def test_a_position_that_can_t_be_honoured(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """The reason comes as a message, and the close code says not to come back with it."""
    async with (
        proxied(alpaca, tmp_path) as app,
        OrderClient(url(app, "/stream?since=99")) as client,
    ):
        await eventually(lambda: client.closed is not None)
        assert client.closed is not None and client.closed.rcvd is not None
        assert client.closed.rcvd.code == 4410
        (error,) = [m for m in client.controls if m.get("action") == "error"]
        assert "ahead of the record" in error["data"]["error_message"]


async def test_a_cursor_over_a_restart(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """What was acknowledged doesn't come again; what happened while all were away does."""
    async with proxied(alpaca, tmp_path) as app:
        async with OrderClient(url(app, "/stream?cursor=bot")) as client:
            await eventually(lambda: client.stream("position"))
            await buy(alpaca)
            await settled(alpaca, 1)
            await eventually(lambda: len(client.updates) == 3)
            await client.say(action="ack", data={"sequence": 2})
            await eventually(lambda: client.stream("ack"))
            assert client.stream("ack") == [{"cursor": "bot", "sequence": 2}]
            await client.say(action="ack", data={"sequence": 50})
            await eventually(lambda: "not sent yet" in json.dumps(client.controls))
        await buy(alpaca)
        await settled(alpaca, 2)
    await buy(alpaca)
    ids = await settled(alpaca, 3)
    async with (
        proxied(alpaca, tmp_path) as app,
        OrderClient(url(app, "/stream?cursor=bot")) as client,
    ):
        await eventually(lambda: len(client.updates) == len(ids) - 2, 10, "the rest")
        assert client.ids == ids[2:]
        assert client.sequences == list(range(3, len(ids) + 1))


async def test_kill_9_loses_nothing(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """A process that is shot in the middle of trading, and one that takes over."""
    variables = {f"STREAM_PROXY_{name.upper()}": value for name, value in addresses(alpaca).items()}
    seen: list[str] = []
    for life in range(3):
        with proxy_process(
            alpaca.streams, tmp_path, STREAM_PROXY_ORDERS="on", **variables
        ) as proxy:
            start = "oldest" if not life else str(len(seen))
            async with OrderClient(f"{proxy.addresses[0]}/stream?since={start}") as client:
                if life == 0:
                    await eventually(lambda: somebody_listens(alpaca), 20, "it listens")
                    await alpaca.order("/trading/chatter", account=KEY, rate=40, seed=3)
                await eventually(lambda c=client: len(c.updates) > 30, 20, "some updates")
                if life == 2:
                    await alpaca.order("/trading/chatter", account=KEY, rate=0)
                    # Orders that rest are filled at any later time, too. And Alpaca may keep the
                    # dead proxy's slot: then they come from its REST, now and then.
                    missing = len(happened(alpaca)) - len(seen)
                    await eventually(
                        lambda c=client, n=missing: len(c.updates) >= n,
                        20,
                        "what happened while there was trading",
                    )
                    told = seen + client.ids
                    assert told == [e["event_id"] for e in happened(alpaca)][: len(told)]
                else:
                    proxy.process.kill()
                    await eventually(lambda c=client: c.closed is not None)
                assert client.sequences == list(
                    range(len(seen) + 1, len(seen) + 1 + len(client.updates))
                )
                seen += client.ids
