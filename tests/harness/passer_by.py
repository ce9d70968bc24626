"""Clients on bare sockets that come and go in thousands: quick, and as rude as the test wants."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

_MASK = b"\x01\x02\x03\x04"


def _frame(message: dict[str, Any], opcode: int = 0x81) -> bytes:
    payload = json.dumps(message).encode() if opcode == 0x81 else struct.pack(">H", 1000)
    masked = bytes(byte ^ _MASK[i % 4] for i, byte in enumerate(payload))
    length = len(payload)
    head = bytes([opcode, 0x80 | length]) if length < 126 else bytes([opcode, 0xFE])
    return head + (b"" if length < 126 else struct.pack(">H", length)) + _MASK + masked


class PasserBy:
    """One connection to a feed's path."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def arrive(cls, address: str, path: str) -> PasserBy:
        """Connect, and send a whole handshake with credentials."""
        host, port = address.removeprefix("ws://").rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "APCA-API-KEY-ID: any\r\nAPCA-API-SECRET-KEY: any\r\n\r\n".encode()
        )
        return cls(reader, writer)

    async def subscribe(self, **channels: list[str]) -> None:
        """Subscribe, and wait for the acknowledgement."""
        self._writer.write(_frame({"action": "subscribe", **channels}))
        await self.hear(b'"subscription"')

    async def hear(self, text: bytes) -> None:
        await self._reader.readuntil(text)

    async def leave(self, how: str = "clean") -> None:
        """Go: ``clean`` by a close frame, ``reset``, or ``end`` (of TCP, without a word)."""
        if how == "reset":
            handle = self._writer.get_extra_info("socket")
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
        elif how == "clean":
            self._writer.write(_frame({}, 0x88))
            while await self._reader.read(65536):
                pass
        self._writer.close()


async def half_a_handshake(address: str) -> None:
    """Connect, send the beginning of a request, and go."""
    host, port = address.removeprefix("ws://").rsplit(":", 1)
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /v2/iex HTTP/1.1\r\nHost: loc")
    writer.close()
