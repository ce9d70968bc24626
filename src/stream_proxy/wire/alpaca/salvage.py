"""Save the good items of a damaged frame.

When a frame as a whole can't be split (cut off, one item with a wrong type, not JSON at all),
each item is looked at alone, so that only the bad ones are lost. Never on the hot path.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stream_proxy.wire.alpaca.codec import Codec, Columns, FrameDamaged, Splitter

_MOST_BYTES = 1 << 20
"""Damage is walked byte by byte in Python, about 0.1 s a MiB: what lies beyond is lost."""
_MOST_LOSSES = 1000
"""Each costs some 10 us, so a frame of nothing else would stop everybody for seconds."""


def salvage(codec: Codec, splitter: Splitter, payload: bytes) -> tuple[Columns, list[str]]:
    """Give what can be read, and a short reason for each thing lost."""
    payload = payload[:_MOST_BYTES]
    types: list[str] = []
    symbols: list[Any] = []
    items: list[bytes] = []
    losses: list[str] = []
    pieces = _msgpack_pieces(payload) if codec.binary else _json_pieces(payload)
    while True:
        if len(losses) == _MOST_LOSSES:
            losses.append(f"{_MOST_LOSSES} damaged items: the rest of the frame is given up")
            break
        try:
            piece = next(pieces)
        except StopIteration:
            break
        except ValueError as error:
            losses.append(str(error))
            break
        try:
            kind, symbol, item = splitter.split(codec.join([piece]))
        except FrameDamaged as error:
            losses.append(str(error))
            continue
        if not item:  # nothing between two commas
            losses.append("an empty item")
            continue
        types += kind
        symbols += symbol
        items.append(bytes(item[0]))
    return (types, symbols, items), losses


def _json_pieces(payload: bytes) -> Iterator[bytes]:
    """Cut a JSON array at its top-level commas, minding strings and nesting."""
    body = payload.strip()
    if not body.startswith(b"["):
        raise ValueError("not an array")
    depth = 0
    quoted = escaped = False
    start = 1
    for index in range(1, len(body)):
        byte = body[index]
        if quoted:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                quoted = False
        elif byte == 0x22:
            quoted = True
        elif byte in b"{[":
            depth += 1
        elif byte in b"}]":
            if depth == 0:
                if body[start:index].strip():
                    yield body[start:index]
                if index + 1 < len(body):
                    raise ValueError("something follows the array")
                return
            depth -= 1
        elif byte == 0x2C and depth == 0:
            yield body[start:index]
            start = index + 1
    if depth == 0 and not quoted and body[start:].strip():
        yield body[start:]
    raise ValueError("array cut off")


def _msgpack_pieces(payload: bytes) -> Iterator[bytes]:
    """Walk a msgpack array item by item."""
    try:
        count, position = _array_start(payload)
        for _ in range(count):
            end = _skip(payload, position)
            if end > len(payload):
                raise ValueError("array cut off")
            yield payload[position:end]
            position = end
        if position < len(payload):
            raise ValueError("something follows the array")
    except IndexError:
        raise ValueError("array cut off") from None


def _array_start(data: bytes) -> tuple[int, int]:
    first = data[0]
    if 0x90 <= first <= 0x9F:
        return first & 0x0F, 1
    if first == 0xDC:
        return _length(data, 1, 2), 3
    if first == 0xDD:
        return _length(data, 1, 4), 5
    raise ValueError("not an array")


# First byte -> (bytes that hold a length, bytes besides them and the payload).
_SIZED = {
    0xC4: (1, 0),
    0xC5: (2, 0),
    0xC6: (4, 0),
    0xC7: (1, 1),
    0xC8: (2, 1),
    0xC9: (4, 1),
    0xD9: (1, 0),
    0xDA: (2, 0),
    0xDB: (4, 0),
}
_FIXED = {
    0xC0: 0,
    0xC2: 0,
    0xC3: 0,
    0xCA: 4,
    0xCB: 8,
    0xCC: 1,
    0xCD: 2,
    0xCE: 4,
    0xCF: 8,
    0xD0: 1,
    0xD1: 2,
    0xD2: 4,
    0xD3: 8,
    0xD4: 2,
    0xD5: 3,
    0xD6: 5,
    0xD7: 9,
    0xD8: 17,
}


def _length(data: bytes, position: int, width: int) -> int:
    if position + width > len(data):
        raise IndexError
    return int.from_bytes(data[position : position + width], "big")


def _skip(data: bytes, position: int) -> int:
    """The position after the value at ``position``, however deeply it is nested."""
    left = 1
    while left:
        left -= 1
        first = data[position]
        position += 1
        if first in _FIXED:
            position += _FIXED[first]
        elif 0xA0 <= first <= 0xBF:
            position += first & 0x1F
        elif first in _SIZED:
            width, extra = _SIZED[first]
            length = _length(data, position, width)
            position += width + extra + length
        elif 0x80 <= first <= 0x9F:
            left += (first & 0x0F) * (2 if first < 0x90 else 1)
        elif first in (0xDC, 0xDD, 0xDE, 0xDF):
            width = 2 if first in (0xDC, 0xDE) else 4
            children = _length(data, position, width)
            left += children * (2 if first >= 0xDE else 1)
            position += width
        elif first == 0xC1:
            raise ValueError("not msgpack: byte 0xc1")
        # All others are small numbers, whole in one byte.
    return position
