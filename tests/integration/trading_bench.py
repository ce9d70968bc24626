"""A simulator's trading side in this process, and clients for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from harness.waiting import eventually
from stream_proxy.runtime.http_server import HttpServer
from stream_proxy.simulator.control import control_api
from stream_proxy.simulator.options import SimulatorOptions
from stream_proxy.simulator.server import Simulator

OPTIONS = SimulatorOptions(port=0, control_port=0, slot_seconds=0.7, trading_heartbeat_seconds=0.2)
MARKET_ORDER = {
    "symbol": "AAPL",
    "qty": "3",
    "side": "buy",
    "type": "market",
    "time_in_force": "day",
}
RESTING_ORDER = MARKET_ORDER | {"type": "limit", "limit_price": "10", "time_in_force": "gtc"}
AUTHORIZED = {
    "stream": "authorization",
    "data": {"status": "authorized", "action": "authenticate"},
}
LISTEN = {"action": "listen", "data": {"streams": ["trade_updates"]}}
LISTENING = {"stream": "listening", "data": {"streams": ["trade_updates"]}}


@dataclass
class Reply:
    """An HTTP answer."""

    status: int
    body: Any
    headers: dict[str, str]


class Listener:
    """A client of the trading stream that reads all the time."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.frames: list[str | bytes] = []
        self.messages: list[Any] = []
        self.ended: ConnectionClosed | None = None
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for frame in self.socket:
                self.frames.append(frame)
                try:
                    self.messages.append(json.loads(frame))
                except ValueError:
                    self.messages.append(None)
        except ConnectionClosed:
            pass
        self.ended = ConnectionClosed(None, None)

    async def say(self, message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def ask(self, message: Any) -> Any:
        """Say something and take the next message as the answer."""
        before = len(self.messages)
        await self.say(message)
        await eventually(lambda: len(self.messages) > before, what=f"an answer to {message}")
        return self.messages[before]

    async def listen(self, key: str = "PK1") -> Listener:
        data = {"key_id": key, "secret_key": "S"}
        assert await self.ask({"action": "authenticate", "data": data}) == AUTHORIZED
        assert await self.ask(LISTEN) == LISTENING
        return self

    @property
    def updates(self) -> list[dict[str, Any]]:
        return [m["data"] for m in self.messages if m and m.get("stream") == "trade_updates"]

    @property
    def events(self) -> list[str]:
        return [update["event"] for update in self.updates]

    async def close(self) -> None:
        await self.socket.close()
        await self.reader


class Bench:
    """A simulator in this process, with its HTTP side."""

    def __init__(self, simulator: Simulator, port: int, control_port: int) -> None:
        self.simulator = simulator
        self.desk = simulator.trading
        self.streams = f"ws://127.0.0.1:{port}"
        self.http = f"http://127.0.0.1:{control_port}"

    @contextlib.asynccontextmanager
    async def client(
        self, path: str = "/stream", headers: dict[str, str] | None = None
    ) -> AsyncIterator[Listener]:
        async with connect(
            self.streams + path, additional_headers=headers, proxy=None, close_timeout=1
        ) as socket:
            made = Listener(socket)
            try:
                yield made
            finally:
                await made.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        key: str | None = "PK1",
        secret: str = "S",
    ) -> Reply:
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers |= {"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": secret}
        data = (
            None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        request = urllib.request.Request(self.http + path, data, headers, method=method)

        def ask() -> Reply:
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    content = answer.read()
                    return Reply(answer.status, _json(content), dict(answer.headers))
            except urllib.error.HTTPError as error:
                return Reply(error.code, _json(error.read()), dict(error.headers))

        return await asyncio.to_thread(ask)

    async def order(self, key: str = "PK1", **fields: Any) -> dict[str, Any]:
        """Place an order by the control API."""
        wish = {"account": key, "order": MARKET_ORDER | fields}
        return dict((await self.call("POST", "/trading/orders", wish)).body)

    async def page(self, key: str = "PK1") -> dict[str, Any]:
        return dict((await self.call("GET", f"/trading/ledger?account={key}")).body)

    async def fault(self, kind: str, **details: Any) -> int:
        order = {"kind": kind, "feed": "trading"} | details
        reply = await self.call("POST", "/faults", order)
        assert reply.status == 200, reply.body
        return int(reply.body["hit"])


def _json(content: bytes) -> Any:
    return json.loads(content) if content else None


@contextlib.asynccontextmanager
async def bench(**options: Any) -> AsyncIterator[Bench]:
    simulator = Simulator(replace(OPTIONS, **options))
    port = await simulator.start()
    http = HttpServer(control_api(simulator), "127.0.0.1", 0)
    try:
        yield Bench(simulator, port, await http.start())
    finally:
        simulator.trading.stop()
        await http.stop()
        await simulator.stop()
