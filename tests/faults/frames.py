"""WebSocket frames, written and read by hand: what both simulated peers of the proxy speak."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

from stream_proxy.wire.websocket import frame_header

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_FIN = 0x80


def accept_key(key: bytes) -> str:
    """What a server answers to ``Sec-WebSocket-Key`` (RFC 6455, section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()


def server_frame(opcode: int, payload: bytes) -> bytes:
    """A whole message without a mask."""
    return frame_header(len(payload), _FIN | opcode) + payload


def client_frame(opcode: int, payload: bytes) -> bytes:
    """A whole message under a mask of zeros, which changes nothing."""
    header = bytearray(frame_header(len(payload), _FIN | opcode))
    header[1] |= 0x80
    return bytes(header) + b"\0\0\0\0" + payload


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return server_frame(CLOSE, code.to_bytes(2, "big") + reason)


class FrameReader:
    """Cuts bytes into an HTTP head, then frames. Messages are never fragmented here."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def head(self, data: bytes) -> bytes | None:
        """Take bytes; give the HTTP head once it is whole."""
        self._bytes += data
        end = self._bytes.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._bytes[:end])
        del self._bytes[: end + 4]
        return head

    def frames(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Take bytes; give the frames that are whole now, as opcode and payload."""
        buffer = self._bytes
        buffer += data
        while len(buffer) >= 2:
            length, start = buffer[1] & 0x7F, 2
            if length == 126:
                length, start = int.from_bytes(buffer[2:4], "big"), 4
            elif length == 127:
                length, start = int.from_bytes(buffer[2:10], "big"), 10
            mask = b""
            if buffer[1] & 0x80:
                mask = bytes(buffer[start : start + 4])
                start += 4
            if len(buffer) < start + length:
                return
            opcode, payload = buffer[0] & 0x0F, bytes(buffer[start : start + length])
            del buffer[: start + length]
            yield opcode, _unmask(payload, mask)


def _unmask(payload: bytes, mask: bytes) -> bytes:
    if not any(mask):
        return payload
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
