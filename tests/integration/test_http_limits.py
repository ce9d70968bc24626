"""Who connects to the HTTP ports and says or reads nothing: it ends, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from harness.proxies import running_app
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.runtime.http_server import BRIEF_CONNECTIONS, HttpLimits, HttpServer

NOWHERE = "ws://127.0.0.1:1"
LATE_SECONDS = 0.4
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextlib.asynccontextmanager
async def proxy(**settings: Any) -> AsyncIterator[App]:
    settings = {"consumer_handshake_seconds": LATE_SECONDS} | settings
    async with running_app(NOWHERE, **settings) as app:
        yield app


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = address.removeprefix("http://").rsplit(":", 1)
    return await asyncio.open_connection(host, int(port))


async def seconds_until_closed(reader: asyncio.StreamReader) -> float:
    begun = time.monotonic()
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            await reader.read()
    return time.monotonic() - begun


async def alive(app: App) -> bool:
    async with httpx.AsyncClient(base_url=app.http_address, trust_env=False) as client:
        return (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("said", [b"", b"G", REQUEST[:-2]], ids=["nothing", "a byte", "half"])
async def test_a_request_that_never_comes_is_not_waited_for(said: bytes) -> None:
    async with proxy() as app:
        reader, writer = await connect(app.http_address)
        writer.write(said)
        assert LATE_SECONDS / 2 < await seconds_until_closed(reader) < LATE_SECONDS + 1
        writer.close()


async def test_a_request_that_comes_bit_by_bit_is_not_waited_for() -> None:
    """Also behind a first one that was answered: each byte ends uvicorn's own time-out."""
    async with proxy() as app:
        for first in (b"", REQUEST):
            reader, writer = await connect(app.http_address)
            writer.write(first)
            if first:
                assert b"200" in await reader.readline()
            ended = asyncio.create_task(seconds_until_closed(reader))
            with contextlib.suppress(ConnectionError):
                for byte in b"GET /" + b"x" * 200:
                    if ended.done():
                        break
                    writer.write(bytes([byte]))
                    await asyncio.wait([ended], timeout=0.02)
            assert await ended < LATE_SECONDS + 1
            writer.close()


async def test_who_sends_whole_requests_stays() -> None:
    async with proxy() as app:
        reader, writer = await connect(app.http_address)
        begun = time.monotonic()
        while time.monotonic() - begun < 3 * LATE_SECONDS:
            writer.write(REQUEST)
            assert b"200" in await reader.readline()
            await reader.readuntil(b"}")
        writer.close()


async def test_connections_are_limited_and_said_to_be() -> None:
    async with proxy(max_connections=1, consumer_handshake_seconds=30) as app:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(1 + BRIEF_CONNECTIONS):
                _, writer = await connect(app.http_address)
                stack.callback(writer.close)
            with capture_logs() as lines:
                for _ in range(3):
                    reader, writer = await connect(app.http_address)
                    assert await seconds_until_closed(reader) < 5
                    writer.close()
            await eventually(lambda: app.events.counts.rejected == 3, 5, "counted")
            (told,) = [line for line in lines if line["event"] == "connections.full"]
            assert told["protocol"] == "sse"
        async with asyncio.timeout(5):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if await alive(app):
                        break


async def test_an_answer_that_nobody_reads_ends() -> None:
    """However large it is; somebody who reads slowly gets all of it."""

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(200):
            body = {"type": "http.response.body", "body": bytes(1 << 18), "more_body": True}
            await send(body)
        await send({"type": "http.response.body", "body": b""})

    server = HttpServer(large, "127.0.0.1", 0, HttpLimits(stalled_seconds=LATE_SECONDS))
    address = f"127.0.0.1:{await server.start()}"
    try:
        _, stalled = await connect(address)
        reader, reading = await connect(address)
        stalled.write(REQUEST)
        reading.write(REQUEST)
        got = 0
        async with asyncio.timeout(20):
            while chunk := await reader.read(1 << 20):
                got += len(chunk)
                if got >= 200 << 18 and chunk.endswith(b"0\r\n\r\n"):
                    break
        await eventually(
            lambda: len(server._server.server_state.connections) == 1, 5, "the other one is gone"
        )
        reading.close()
        stalled.close()
    finally:
        await server.stop()
