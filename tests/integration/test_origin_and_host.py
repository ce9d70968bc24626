"""A web page must not read a local feed, whatever name or origin it comes with."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus

from browser.reading import BrowserMissing, read_from_page
from harness.consumers import consumer
from harness.proxies import running_app
from harness.simulated import SimulatorProcess, simulator

SUBSCRIBE = {"trades": ["*"], "quotes": ["*"]}
FRIEND = "https://dashboard.example"


@pytest.fixture(scope="module")
def alpaca() -> object:
    with simulator("--rate", "200") as process:
        yield process


def _evil_origins(port: str) -> list[str]:
    return [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        f"http://localhost:{port}@evil.example",
        f"http://localhost:{port}",
        "http://127.0.0.1",
        f"http://127.0.0.1:{port}/",
        "http://127.0.0.1:1",
        "file://",
        "",
        f"{FRIEND}.evil.example",
        f"{FRIEND}:8443",
        FRIEND.replace("https", "http"),
        FRIEND.upper(),
        f"{FRIEND}/",
        f"{FRIEND}, https://evil.example",
        "chrome-extension://abc",
    ]


def _evil_hosts(port: str) -> list[str]:
    return [
        f"evil.example:{port}",
        "evil.example",
        f"localhost.evil.example:{port}",
        f"127.0.0.1.evil.example:{port}",
        f"127.0.0.1@evil.example:{port}",
        f"127.0.0.2:{port}",
        "",
        f"[::2]:{port}",
        f"localhost:{port}:80",
        "0.0.0.0",
    ]


async def _status(url: str, headers: dict[str, str]) -> int:
    """The HTTP status of a handshake with these headers, sent raw: 101 when it is accepted."""
    host, port = url.removeprefix("ws://").split("/")[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = {"Host": f"{host}:{port}"} | headers
    request = "GET /v2/iex HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items())
    request += (
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    writer.write(request.encode())
    try:
        return int((await asyncio.wait_for(reader.readline(), 10)).split()[1])
    finally:
        writer.close()
        await writer.wait_closed()


async def test_foreign_origins_are_refused(alpaca: SimulatorProcess) -> None:
    """Evil, null, look-alike and nearly right origins get 403; an exact friend and none get in."""
    async with running_app(alpaca.streams, allowed_origins=FRIEND) as app:
        url = app.addresses()[0]
        for origin in _evil_origins(url.rsplit(":", 1)[1]):
            assert await _status(url, {"Origin": origin}) == 403, origin
        assert await _status(url, {"Origin": FRIEND}) == 101
        assert await _status(url, {}) == 101
        # The address itself: websocket-client says it, and no page but ours can.
        assert await _status(url, {"Origin": url.replace("ws://", "http://")}) == 101
        assert app.outlet.counts.rejected == len(_evil_origins("0"))


async def test_foreign_hosts_are_refused(alpaca: SimulatorProcess) -> None:
    """After DNS rebinding the Host header tells: only our own names are served."""
    async with running_app(alpaca.streams, allowed_hosts="proxy.lan") as app:
        url = app.addresses()[0]
        port = url.rsplit(":", 1)[1]
        for host in _evil_hosts(port):
            # An empty Host is already malformed for the HTTP parser.
            assert await _status(url, {"Host": host}) in (400, 421), host
        for host in (
            f"localhost:{port}",
            f"127.0.0.1:{port}",
            f"[::1]:{port}",
            "LOCALHOST",
            f"proxy.lan:{port}",
        ):
            assert await _status(url, {"Host": host}) == 101, host


async def test_a_refusal_says_what_to_do(alpaca: SimulatorProcess) -> None:
    """The body names the setting that would let the page in."""
    async with running_app(alpaca.streams) as app:
        with pytest.raises(InvalidStatus) as refused:
            async with consumer(
                f"{app.addresses()[0]}/v2/iex", headers={"Origin": "https://evil.example"}
            ):
                pass
        body = (refused.value.response.body or b"").decode()
        assert "STREAM_PROXY_ALLOWED_ORIGINS" in body


async def _permissive(socket: ServerConnection) -> None:
    """A server that never looks at Origin, as most are: greeting, auth, ack, a trade."""
    await socket.send('[{"T":"success","msg":"connected"}]')
    await socket.recv()
    await socket.send('[{"T":"success","msg":"authenticated"}]')
    await socket.recv()
    await socket.send('[{"T":"subscription","trades":["*"]}]')
    await socket.send('[{"T":"t","S":"AAPL","p":1}]')
    await socket.wait_closed()


@pytest.mark.slow
async def test_a_real_page_of_another_origin_reads_nothing(alpaca: SimulatorProcess) -> None:
    """Chromium opens a page from another origin: a careless server is readable, ours is not."""
    async with running_app(alpaca.streams) as app, serve(_permissive, "127.0.0.1", 0) as careless:
        port = next(iter(careless.sockets)).getsockname()[1]
        try:
            read = await asyncio.to_thread(
                read_from_page, 0, f"ws://127.0.0.1:{port}/", subscribe=SUBSCRIBE, enough=1
            )
        except BrowserMissing:
            print("\n*** Chromium is missing: no real page was tried ***", file=sys.__stdout__)
            assert not os.environ.get("CI"), "CI must have Chromium"
            pytest.skip("no Chromium on this machine")
        assert read["opened"]
        assert read["messages"], "the page must be able to read, or its silence proves nothing"

        ours = await asyncio.to_thread(
            read_from_page, 0, f"{app.addresses()[0]}/v2/iex", subscribe=SUBSCRIBE, enough=1
        )
        assert not ours["opened"]
        assert not ours["messages"]
        assert app.outlet.counts.rejected == 1
