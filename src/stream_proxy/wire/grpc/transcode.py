"""HOT PATH. Quotes, trades and bars from msgpack to protobuf, bytes to bytes.

Worth it only when compiled (see ``docs/performance.md``): then it takes a sixtieth of the time of
``messages.py``, interpreted it takes twice as long. A layout says which key of an item becomes
which field. The item's map is walked once, and each value is written where it comes, since protobuf
doesn't care for order. Only the forms that Alpaca sends are known here: anything else, damage above
all, is left to ``messages.py``, and a test holds both to the same result.

Sources: the msgpack specification, "Formats"; "Protocol Buffers: Encoding"; "gRPC over HTTP2",
Length-Prefixed-Message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from librt.strings import (
    BytesWriter,
    read_i32_be,
    read_i64_be,
    write_f64_le,
    write_i16_le,
    write_i32_le,
    write_i64_le,
)
from mypy_extensions import i16, i64, u8

COMPILED: Final = not __file__.endswith((".py", ".pyc"))

TYPE: Final = 1
TEXT: Final = 2
TEXTS: Final = 3
DOUBLE: Final = 4
INT32: Final = 5
INT64: Final = 6
TIME: Final = 7

_PAIRS: Final = 128
_TKS: Final = 128 + 1024
_SLOTS: Final = 128 + 1024 + 1

_MOST_INT32: Final = (1 << 31) - 1
_MOST_INNER: Final = 127
_UNUSUAL: Final = 255


def layout(fields: Mapping[str, tuple[int, int]]) -> bytes:
    """Make the table of an item's keys: for each what it holds and its field number.

    Keys have one letter or two small ones; ``tks`` is the only longer one. Numbers are below 16.
    """
    slots = bytearray(_SLOTS)
    for key, (kind, number) in {**fields, "T": (TYPE, 0)}.items():
        if key == "tks":
            slot = _TKS
        elif len(key) == 1:
            slot = ord(key)
        else:
            slot = _PAIRS + ((ord(key[0]) & 0x1F) << 5 | (ord(key[1]) & 0x1F))
        slots[slot] = kind << 4 | number
    return bytes(slots)


def _sizes() -> bytes:
    """By first byte: how many bytes a value has that is no text and holds no other."""
    sizes = [_UNUSUAL] * 256
    for first in (*range(0x00, 0x80), *range(0xE0, 0x100)):
        sizes[first] = 1  # small numbers
    for first, size in {
        **{0xC0: 1, 0xC2: 1, 0xC3: 1},  # nil, false, true
        **{0xCA: 5, 0xCB: 9},  # floats
        **{0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9},  # integers
        **{0xD6: 6, 0xD7: 10},  # timestamps of 4 and 8 bytes
    }.items():
        sizes[first] = size
    return bytes(sizes)


_SIZES: Final[bytes] = _sizes()


def transcode(item: bytes, table: bytes, letter: int) -> bytes:
    """Serialize the response to one item, or give nothing when that is not for here."""
    writer = BytesWriter()
    try:
        if _response(writer, item, table, letter):
            return writer.getvalue()
    except IndexError:
        pass
    return b""


def transcode_batch(
    items: list[Any],
    sequences: list[int],
    tail: bytes,
    received_ns: int,
    table: bytes,
    letter: int,
    otherwise: Callable[[bytes], bytes],
) -> list[bytes]:
    """Give length-prefixed responses, item by item; nothing for what can't be encoded.

    Args:
        tail: fields that all of them end with, and ``received_ns`` one more of these.
        table, letter: how to read items, and the type they must have.
        otherwise: serializes what isn't for here; gives nothing if it can't either.
    """
    made: list[bytes] = []
    writer = BytesWriter()
    tail = _tail(writer, tail, received_ns)
    for index in range(len(items)):
        writer.truncate(0)
        _message(writer, items[index], sequences[index], tail, table, letter, otherwise)
        made.append(writer.getvalue())
    return made


def transcode_joined(
    items: list[Any],
    sequences: list[int],
    tail: bytes,
    received_ns: int,
    table: bytes,
    letter: int,
    otherwise: Callable[[bytes], bytes],
) -> tuple[bytes, int]:
    """The same responses in one piece, and how many there are."""
    count: i64 = 0
    writer = BytesWriter()
    tail = _tail(writer, tail, received_ns)
    writer.truncate(0)
    for index in range(len(items)):
        if _message(writer, items[index], sequences[index], tail, table, letter, otherwise):
            count += 1
    return writer.getvalue(), int(count)


def _tail(writer: BytesWriter, tail: bytes, received_ns: i64) -> bytes:
    write_i16_le(writer, 0x06B2)  # field 102, a message
    writer.append(0)
    _instant(writer, received_ns // 1_000_000_000, received_ns % 1_000_000_000)
    return writer.getvalue() + tail


def _message(
    writer: BytesWriter,
    item: Any,
    sequence: i64,
    tail: bytes,
    table: bytes,
    letter: i64,
    otherwise: Callable[[bytes], bytes],
) -> bool:
    """Write a whole message, or nothing if that can't be."""
    data: bytes = item if isinstance(item, bytes) else bytes(item)
    start: i64 = len(writer)
    write_i32_le(writer, 0)  # the prefix: not compressed, and four bytes of length
    writer.append(0)
    known = False
    try:
        known = _response(writer, data, table, letter)
    except IndexError:
        pass
    if not known:
        body = otherwise(data)
        if not body:
            writer.truncate(start)
            return False
        writer.truncate(start + 5)
        writer.write(body)
    if sequence != 0:
        write_i16_le(writer, 0x06A0)  # field 100, a varint
        _varint(writer, sequence)
    writer.write(tail)
    _set_length(writer, start)
    return True


def _set_length(writer: BytesWriter, start: i64) -> None:
    length: i64 = len(writer) - start - 5
    writer[start + 1] = u8(length >> 24 & 0xFF)
    writer[start + 2] = u8(length >> 16 & 0xFF)
    writer[start + 3] = u8(length >> 8 & 0xFF)
    writer[start + 4] = u8(length & 0xFF)


def _response(writer: BytesWriter, data: bytes, table: bytes, letter: i64) -> bool:
    """Write a response with its item as field 1; False if there is something unusual."""
    write_i16_le(writer, 0x000A)  # and a byte for the item's length
    start: i64 = len(writer)
    if not _item(writer, data, table, letter):
        return False
    length: i64 = len(writer) - start
    if length > _MOST_INNER:
        return False
    writer[start - 1] = u8(length)
    return True


def _item(writer: BytesWriter, data: bytes, table: bytes, letter: i64) -> bool:
    byte: i64 = data[0]
    if byte < 0x80 or byte > 0x8F:
        return False
    pairs: i64 = byte & 0x0F
    at: i64 = 1
    seen: i64 = 0
    while pairs > 0:
        pairs -= 1
        slot: i64 = 0
        byte = data[at]
        if byte == 0xA1:
            slot = data[at + 1]
            at += 2
            if slot > 0x7F:
                return False
        elif byte == 0xA2:
            first: i64 = data[at + 1]
            second: i64 = data[at + 2]
            at += 3
            if first > 0x7F or second > 0x7F:
                return False
            if 0x60 < first < 0x7B and 0x60 < second < 0x7B:
                slot = _PAIRS + ((first & 0x1F) << 5 | (second & 0x1F))
        elif byte == 0xA3 and data[at + 1 : at + 4] == b"tks":
            at += 4
            slot = _TKS
        else:
            at = _skip_text(data, at)
            if at < 0:
                return False
        field: i64 = table[slot]
        if field == 0:
            at = _skip(data, at)
            if at < 0:
                return False
            continue
        number: i64 = field & 0x0F
        kind: i64 = field >> 4
        if seen >> number & 1:
            return False  # the last one would count
        seen |= i64(1) << number
        byte = data[at]
        if kind == TYPE:
            if byte != 0xA1 or data[at + 1] != letter:
                return False
            at += 2
        elif byte == 0xC0:
            at += 1
        elif kind == DOUBLE:
            at = _double(writer, data, at, number)
        elif kind == TEXT:
            at = _text(writer, data, at, number, False)
        elif kind == TIME:
            at = _time(writer, data, at, number)
        elif kind == TEXTS:
            if byte & 0xF0 != 0x90:
                return False
            count: i64 = byte & 0x0F
            at += 1
            while count > 0 and at > 0:
                count -= 1
                at = _text(writer, data, at, number, True)
        else:
            value = _whole(data, at)
            if value < 0 or (kind == INT32 and value > _MOST_INT32):
                return False
            at += _SIZES[byte]
            if value != 0:
                writer.append(u8(number << 3))
                _varint(writer, value)
        if at < 0:
            return False
    return seen & 1 == 1 and at == len(data)


# Each of these gives the place behind the value, or -1 for a form that isn't known here.


def _text(writer: BytesWriter, data: bytes, at: i64, number: i64, empty: bool) -> i64:
    byte: i64 = data[at]
    if byte & 0xE0 != 0xA0:
        return -1
    size: i64 = byte & 0x1F
    at += 1
    if size == 0 and not empty:
        return at
    writer.append(u8(number << 3 | 2))
    writer.append(u8(size))
    end: i64 = at + size
    while at < end:
        byte = data[at]
        if byte > 0x7F:
            return -1
        writer.append(u8(byte))
        at += 1
    return at


def _double(writer: BytesWriter, data: bytes, at: i64, number: i64) -> i64:
    byte: i64 = data[at]
    if byte == 0xCB:
        bits = read_i64_be(data, at + 1)
        if bits != 0:
            writer.append(u8(number << 3 | 1))
            write_i64_le(writer, bits)
        return at + 9
    value = _whole(data, at)
    if value < 0:
        return -1
    if value != 0:
        writer.append(u8(number << 3 | 1))
        write_f64_le(writer, float(value))
    return at + _SIZES[byte]


def _time(writer: BytesWriter, data: bytes, at: i64, number: i64) -> i64:
    byte: i64 = data[at]
    seconds: i64
    nanos: i64 = 0
    if data[at + 1] != 0xFF:
        return -1
    if byte == 0xD7:
        packed = read_i64_be(data, at + 2)
        nanos = packed >> 34 & 0x3FFF_FFFF
        seconds = packed & 0x3_FFFF_FFFF
        at += 10
    elif byte == 0xD6:
        seconds = i64(read_i32_be(data, at + 2)) & 0xFFFF_FFFF  # it isn't signed
        at += 6
    else:
        return -1
    if nanos > 999_999_999:
        return -1
    write_i16_le(writer, i16(number << 3 | 2))  # and a byte for its length
    _instant(writer, seconds, nanos)
    return at


def _instant(writer: BytesWriter, seconds: i64, nanos: i64) -> None:
    """Write a ``google.protobuf.Timestamp``; the byte before it becomes its length."""
    start: i64 = len(writer)
    if seconds != 0:
        writer.append(0x08)
        _varint(writer, seconds)
    if nanos != 0:
        writer.append(0x10)
        _varint(writer, nanos)
    writer[start - 1] = u8(len(writer) - start)


def _whole(data: bytes, at: i64) -> i64:
    """A whole number that isn't negative; -1 for anything else."""
    byte: i64 = data[at]
    if byte < 0x80:
        return byte
    if byte < 0xCC or byte > 0xD3:
        return -1
    end: i64 = at + _SIZES[byte]
    at += 1
    value: i64 = data[at]
    if value > 0x7F and byte >= 0xCF:
        return -1  # negative, or too large
    at += 1
    while at < end:
        value = value << 8 | data[at]
        at += 1
    return value


def _skip(data: bytes, at: i64) -> i64:
    byte: i64 = data[at]
    size: i64 = _SIZES[byte]
    return _skip_text(data, at) if size == _UNUSUAL else at + size


def _skip_text(data: bytes, at: i64) -> i64:
    byte: i64 = data[at]
    if byte & 0xE0 != 0xA0:
        return -1
    end: i64 = at + 1 + (byte & 0x1F)
    at += 1
    while at < end:
        if data[at] > 0x7F:
            return -1
        at += 1
    return at


def _varint(writer: BytesWriter, value: i64) -> None:
    while value > 0x7F:
        writer.append(u8(value & 0x7F | 0x80))
        value >>= 7
    writer.append(u8(value))
