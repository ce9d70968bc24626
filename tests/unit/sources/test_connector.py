"""The upstream socket against a server that we write byte by byte."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable

import pytest

from harness.waiting import eventually
from stream_proxy.sources.connector import ConnectFailed, Connection, PicowsConnect

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Ears:
    """Notes what the socket brings."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def on_messages(self, payloads: list[bytes]) -> None:
        self.heard.append(tuple(payloads))

    def on_pong(self) -> None:
        self.heard.append("pong")

    def on_lost(self, why: str) -> None:
        self.heard.append(why)


@contextlib.asynccontextmanager
async def server(
    after_handshake: bytes,
    response: Callable[[bytes], bytes] | None = None,
    *,
    then_end: bool = False,
) -> AsyncIterator[str]:
    """Answer the handshake, send these bytes in one write, then wait for the client to go."""

    open_sockets: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_sockets.append(writer)
        request = await reader.readuntil(b"\r\n\r\n")
        if response is not None:
            writer.write(response(request))
            return
        key = (
            next(
                line
                for line in request.split(b"\r\n")
                if line.lower().startswith(b"sec-websocket-key:")
            )
            .split(b":")[1]
            .strip()
        )
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        writer.write(after_handshake)
        if then_end:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v2/iex"
    finally:
        listener.close()
        for writer in open_sockets:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def connected(url: str, ears: Ears) -> Connection:
    return await PicowsConnect()(url, {"X-Key": "secret"}, ears, 5)


def text(payload: bytes, first: int = 0x81) -> bytes:
    return bytes((first, len(payload))) + payload


async def test_a_pong_behind_messages_ends_the_read() -> None:
    """Otherwise the messages would wait for the next read, and at night that is long."""
    ears = Ears()
    async with server(text(b"[1]") + text(b"[2]") + b"\x8a\x00") as url:
        connection = await connected(url, ears)
        await eventually(lambda: len(ears.heard) == 2)
        assert sorted(map(str, ears.heard)) == ["(b'[1]', b'[2]')", "pong"]
        await connection.close(1000, 1)


async def test_a_ping_behind_messages_ends_the_read() -> None:
    """It is answered, and holds nothing back."""
    ears = Ears()
    async with server(text(b"[1]") + text(b"[2]") + b"\x89\x00") as url:
        connection = await connected(url, ears)
        await eventually(lambda: ears.heard == [(b"[1]", b"[2]")])
        await connection.close(1000, 1)


async def test_messages_before_a_sudden_end_are_delivered() -> None:
    """Half a frame behind them, then nothing more: what was whole counts."""
    ears = Ears()
    async with server(text(b"[1]") + b"\x89\x00" + b"\x81\x7e", then_end=True) as url:
        await connected(url, ears)
        await eventually(lambda: len(ears.heard) == 2)
        assert ears.heard[0] == (b"[1]",)
        assert "connection lost" in str(ears.heard[1])


async def test_fragments_become_one_message() -> None:
    """Three pieces with a ping between them."""
    ears = Ears()
    pieces = text(b"[1", 0x01) + b"\x89\x00" + text(b",2", 0x00) + text(b"]", 0x80)
    async with server(pieces) as url:
        connection = await connected(url, ears)
        await eventually(lambda: any(isinstance(e, tuple) for e in ears.heard))
        assert (b"[1,2]",) in ears.heard
        await connection.close(1000, 1)


@pytest.mark.parametrize(
    "bad",
    [
        text(b"[1]", 0xC1),  # a reserved bit
        text(b"[1]", 0x80),  # a continuation of nothing
        text(b"[1", 0x01) + text(b"[2]"),  # a message inside a message
        b"\x81\xff" + (1 << 40).to_bytes(8, "big"),  # a terabyte announced, and masked
        b"\x83\x00",  # an opcode that doesn't exist
    ],
    ids=["reserved", "continuation", "interleaved", "huge", "opcode"],
)
async def test_a_server_that_breaks_the_protocol_is_left(bad: bytes) -> None:
    """The connection ends, its reason is told, nothing of it is taken for data."""
    ears = Ears()
    async with server(bad) as url:
        connection = await connected(url, ears)
        await eventually(
            lambda: any(
                (isinstance(e, str) and "connection" in e) or "violation" in str(e)
                for e in ears.heard
            )
        )
        assert not any(isinstance(e, tuple) for e in ears.heard)
        await connection.close(1000, 1)


async def test_http_refusals_carry_status_and_retry_after() -> None:
    """429 is told apart, with the time that the server asks for."""
    async with server(
        b"",
        lambda request: (
            b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
        ),
    ) as url:
        with pytest.raises(ConnectFailed) as failed:
            await connected(url, Ears())
    assert failed.value.status == 429
    assert failed.value.retry_after_seconds == 7


async def test_a_redirect_is_not_followed() -> None:
    """It would carry the key to another host."""
    asked: list[bytes] = []

    def elsewhere(request: bytes) -> bytes:
        asked.append(request)
        return b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n"

    async with server(b"", elsewhere) as target:
        redirect = (
            b"HTTP/1.1 302 Found\r\nLocation: " + target.encode() + b"\r\nContent-Length: 0\r\n\r\n"
        )
        async with server(b"", lambda request: redirect) as url:
            with pytest.raises(ConnectFailed) as failed:
                await connected(url, Ears())
    assert failed.value.status == 302
    assert asked == []


async def test_nobody_listens() -> None:
    """A refused connection is a sentence, not a traceback."""
    with pytest.raises(ConnectFailed, match="ConnectionRefusedError"):
        await connected("ws://127.0.0.1:1/v2/iex", Ears())


async def test_a_wrong_accept_key_is_refused() -> None:
    """Something that isn't a WebSocket server can't pretend to be one."""
    answer = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n"
    )
    async with server(b"", lambda request: answer) as url:
        with pytest.raises(ConnectFailed):
            await connected(url, Ears())


async def test_a_server_that_never_answers() -> None:
    """The handshake's time-out ends the wait."""
    async with server(b"", lambda request: b"") as url:
        with pytest.raises(ConnectFailed, match="no answer"):
            await PicowsConnect()(url, {}, Ears(), 0.2)


async def test_an_attempt_that_was_given_up_leaves_no_socket() -> None:
    """A second one may be opened right after; the library leaves that of a cancelled one open."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        ears = Ears()
        with pytest.raises(ConnectFailed, match="no answer within"):
            await PicowsConnect()(f"ws://127.0.0.1:{port}/", {}, ears, 0.3)
        await eventually(ended.is_set, 1, "the server has seen its end")
        assert ears.heard == []
