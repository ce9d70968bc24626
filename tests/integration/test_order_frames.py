"""Text or binary: the frames of order updates are what the client's SDK can read."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect

from harness.order_client import OrderClient
from harness.order_ledger import addresses, buy, settled
from harness.proxies import running_app
from harness.simulated import simulator
from harness.waiting import eventually

ALPACAS_PATHS = ("/stream", "/stream/", "/paper/stream", "/stream?numbered=1", "/stream?since=0")
PLAIN_PATHS = ("/paper", "/trade-updates-paper", "/paper?since=0")


@pytest.mark.parametrize(("setting", "upstream"), [("binary", "text"), ("text", "binary")])
async def test_frames_as_set(tmp_path: Path, setting: str, upstream: str) -> None:
    """On Alpaca's paths by the setting, whatever upstream sends; on the plain ones always text."""
    options = ["--trading-text-frames"] if upstream == "text" else []
    with simulator(*options) as alpaca:
        settings = addresses(alpaca) | {"orders": "on", "state_dir": tmp_path}
        async with (
            running_app(alpaca.streams, order_frames=setting, **settings) as app,
            contextlib.AsyncExitStack() as stack,
        ):
            await eventually(lambda: app.desk.feeds["paper"].ready, 15, "ready")
            address = app.addresses()[0]
            clients = {
                path: await stack.enter_async_context(
                    OrderClient(address + path, plain=path in PLAIN_PATHS)
                )
                for path in ALPACAS_PATHS + PLAIN_PATHS
            }
            await eventually(lambda: len(app.outlet.order_consumers()) == len(clients))
            await buy(alpaca)
            ids = await settled(alpaca, 1)
            for client in clients.values():
                await eventually(lambda c=client: c.ids == ids, 10, "all updates")
                await client.say(action="nonsense")
                await eventually(lambda c=client: "nonsense" in json.dumps(c.controls))
            expected = {path: {setting == "binary"} for path in ALPACAS_PATHS}
            expected |= {path: {False} for path in PLAIN_PATHS}
            assert {path: client.binary for path, client in clients.items()} == expected


@pytest.mark.parametrize("setting", ["binary", "text"])
async def test_msgpack_is_binary_whatever_is_set(tmp_path: Path, setting: str) -> None:
    """Who asks for msgpack by its header can't be given text."""
    with simulator() as alpaca:
        settings = addresses(alpaca) | {"orders": "on", "state_dir": tmp_path}
        async with running_app(alpaca.streams, order_frames=setting, **settings) as app:
            await eventually(lambda: app.desk.feeds["paper"].ready, 15, "ready")
            await buy(alpaca)
            ids = await settled(alpaca, 1)
            await eventually(lambda: app.desk.feeds["paper"].last_sequence == len(ids))
            for path in ("/stream", "/paper"):
                assert await read_msgpack(app.addresses()[0] + path, len(ids)) == ids


async def read_msgpack(url: str, count: int) -> list[str]:
    """The ids of the first updates since the beginning."""
    header = {"Content-Type": "application/msgpack"}
    login = {"key_id": "any", "secret_key": "any"}
    async with connect(
        f"{url}?since=0", additional_headers=header, compression=None, proxy=None
    ) as socket:
        await socket.send(msgspec.msgpack.encode({"action": "authenticate", "data": login}))
        listen: dict[str, Any] = {"action": "listen", "data": {"streams": ["trade_updates"]}}
        await socket.send(msgspec.msgpack.encode(listen))
        ids: list[str] = []
        while len(ids) < count:
            payload = await socket.recv()
            assert isinstance(payload, bytes)
            message = msgspec.msgpack.decode(payload)
            if isinstance(message, dict) and message["stream"] == "trade_updates":
                ids.append(message["data"]["event_id"])
    return ids
