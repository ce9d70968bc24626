"""HOT PATH. HTTP/2 DATA frames around gRPC messages (RFC 9113, section 6.1).

Most consumers have one call on one connection, so the same stream number and the same largest
frame: a batch is framed once for all of them, and each write is one shared object.
"""

from __future__ import annotations

import struct

from stream_proxy.wire.grpc.boundaries import PREFIX_BYTES, whole_bytes

_header = struct.Struct(">HBBBL").pack
HEADER_BYTES = 9


def data_frames(payload: bytes | memoryview, stream_id: int, most: int) -> bytes:
    """Frames of at most so many bytes each, headers apart."""
    parts: list[bytes | memoryview] = []
    view = memoryview(payload)
    for start in range(0, len(view), most):
        part = view[start : start + most]
        parts.append(_header(len(part) >> 8, len(part) & 0xFF, 0, 0, stream_id))
        parts.append(part)
    return b"".join(parts)


class SharedDataFrames:
    """Frames of the payload that is being written to one consumer after the other."""

    __slots__ = ("_made", "_payload")

    def __init__(self) -> None:
        self._payload = b""
        self._made: dict[tuple[int, int], bytes] = {}

    def of(self, payload: bytes, stream_id: int, most: int) -> bytes:
        """As `data_frames`, made once for all who share a payload."""
        if payload is not self._payload:
            self._payload = payload
            self._made = {}
        key = stream_id, most
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = data_frames(payload, stream_id, most)
        return made


def message_bytes(payload: bytes | memoryview, at: int = 0) -> int:
    """The size of the message that begins there, prefix included."""
    return PREFIX_BYTES + int.from_bytes(payload[at + 1 : at + PREFIX_BYTES], "big")


def whole_messages(payload: bytes | memoryview, room: int) -> int:
    """How many bytes the messages have that fit, so that none is cut in two."""
    return whole_bytes(bytes(payload[:room]))
