"""A reader of order updates that stops reading: cut with everything kept, and resumed."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from harness.order_client import OrderClient
from harness.order_ledger import KEY, addresses, happened
from harness.proxies import running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually

OUTBOX_BYTES = 65536
FILLS_A_ROUND = 20
"""Less than an outbox: nobody who reads is ever cut."""
MOST_ROUNDS = 400
CUT = 4408


@contextlib.asynccontextmanager
async def sleeper(address: str) -> AsyncIterator[ClientConnection]:
    """A client that listens with numbers and then reads nothing by itself."""
    parts = urlsplit(address)
    raw = socket.socket()
    # Before connecting: a small window, so that the kernel hides little of the stall.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect((parts.hostname, parts.port))
    async with connect(
        f"{address}/stream?numbered=1", sock=raw, compression=None, max_queue=1, ping_interval=None
    ) as client:
        login = {"action": "authenticate", "data": {"key_id": "any", "secret_key": "any"}}
        await client.send(json.dumps(login))
        await client.send(json.dumps({"action": "listen", "data": {"streams": ["trade_updates"]}}))
        while json.loads(await client.recv())["stream"] != "position":
            pass
        yield client


async def awakened(client: ClientConnection) -> list[dict[str, Any]]:
    """All that it gets until its connection is closed."""
    updates = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            updates.append(json.loads(await client.recv()))
    return updates


async def resting_order(alpaca: SimulatorProcess) -> str:
    """An order that nothing happens to unless it is made to."""
    order = {
        "symbol": "AAPL",
        "qty": MOST_ROUNDS * FILLS_A_ROUND + 1,
        "side": "buy",
        "type": "limit",
        "limit_price": "0.01",
        "time_in_force": "gtc",
    }
    answer = await alpaca.order("/trading/orders", account=KEY, order=order)
    return str(answer["id"])


async def test_a_stalled_order_consumer_is_cut_and_resumes(tmp_path: Path) -> None:
    """Lost, twice, reordered: nothing, for it as for the others, who don't notice."""
    with simulator() as alpaca:
        settings = addresses(alpaca) | {"orders": "on", "state_dir": tmp_path}
        async with running_app(alpaca.streams, outbox_bytes=OUTBOX_BYTES, **settings) as app:
            await eventually(lambda: app.desk.feeds["paper"].ready, 15, "ready")
            address = app.addresses()[0]
            async with (
                OrderClient(f"{address}/stream?numbered=1") as healthy,
                sleeper(address) as stalled,
            ):
                await eventually(lambda: len(app.outlet.order_consumers()) == 2)
                order_id = await resting_order(alpaca)
                fill = {"order_id": order_id, "event": "partial_fill", "qty": 1}
                for _ in range(MOST_ROUNDS):
                    await alpaca.order("/trading/force", times=FILLS_A_ROUND, **fill)
                    ids = [event["event_id"] for event in happened(alpaca)]
                    await eventually(lambda n=len(ids): len(healthy.ids) == n, 10, "all updates")
                    if app.outlet.counts.slow_consumers:
                        break
                await eventually(lambda: len(app.outlet.order_consumers()) == 1, 10, "it is cut")
                before = await awakened(stalled)
            assert stalled.close_code == CUT
            assert "resume with since or cursor" in (stalled.close_reason or "")
            assert healthy.ids == ids
            got = [update["data"]["event_id"] for update in before]
            assert got == ids[: len(got)]
            assert 0 < len(got) < len(ids)
            last = before[-1]["sequence"]
            # What it missed is much more than its outbox holds: a replay waits for its reader.
            await alpaca.order("/trading/force", times=300, **fill)
            ids = [event["event_id"] for event in happened(alpaca)]
            async with OrderClient(f"{address}/stream?since={last}") as resumed:
                await eventually(lambda: got + resumed.ids == ids, 10, "exactly the rest")
                await alpaca.order("/trading/force", times=1, **fill)
                ids = [event["event_id"] for event in happened(alpaca)]
                await eventually(lambda: got + resumed.ids == ids, 10, "and what comes later")
                assert resumed.sequences == list(range(last + 1, len(ids) + 1))
            assert app.outlet.counts.slow_consumers == 1
