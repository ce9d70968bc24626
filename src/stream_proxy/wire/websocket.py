"""HOT PATH. Server-to-client WebSocket frames (RFC 6455, section 5.2), built once and shared.

A server's frames carry no mask, so the same bytes serve any number of clients.
"""

from __future__ import annotations

TEXT = 0x81
BINARY = 0x82


def frame_header(length: int, opcode: int) -> bytes:
    """The header of one unfragmented frame; ``opcode`` has the FIN bit set."""
    if length < 126:
        return bytes((opcode, length))
    if length < 1 << 16:
        return bytes((opcode, 126)) + length.to_bytes(2, "big")
    return bytes((opcode, 127)) + length.to_bytes(8, "big")


def frame(payload: bytes, binary: bool) -> bytes:
    """One whole message, ready for the socket."""
    return frame_header(len(payload), BINARY if binary else TEXT) + payload


def payload_start(frame: bytes) -> int:
    """Where the payload of a frame of ours begins."""
    return {126: 4, 127: 10}.get(frame[1], 2)
