"""HOT PATH. Split msgpack frames by hand: types, symbols and items in one walk over their bytes.

Worth it only when compiled (see ``docs/performance.md``): then it takes half the time of two
passes with msgspec, interpreted it takes ten times as long. It knows the forms that Alpaca sends
and leaves every other frame, damaged ones above all, to msgspec: what it accepts, msgspec accepts
with the same result, and a test holds it to that.

The bytes follow the msgpack specification, section "Formats".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mypy_extensions import i64

COMPILED: Final = not __file__.endswith((".py", ".pyc"))

_MOST_CONTAINERS: Final = 64
_MOST_SYMBOLS: Final = 100_000
_UNUSUAL: Final = 255


def _sizes() -> bytes:
    """By first byte: how many bytes a value has that holds no other; else `_UNUSUAL`."""
    sizes = [_UNUSUAL] * 256
    for first in (*range(0x00, 0x80), *range(0xE0, 0x100)):
        sizes[first] = 1  # small numbers
    for first in range(0xA0, 0xC0):
        sizes[first] = 1 + (first & 0x1F)  # short strings
    for first, size in {
        **{0xC0: 1, 0xC2: 1, 0xC3: 1},  # nil, false, true
        **{0xCA: 5, 0xCB: 9},  # floats
        **{0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9},  # integers
        **{0xD6: 6, 0xD7: 10},  # timestamps of 4 and 8 bytes
    }.items():
        sizes[first] = size
    return bytes(sizes)


_SIZES: Final[bytes] = _sizes()
_LETTERS: Final[list[str]] = [chr(number) for number in range(128)]
_symbols: Final[dict[bytes, str]] = {}


def walk(payloads: Sequence[bytes]) -> tuple[list[str], list[str], list[bytes]] | None:
    """Give types, symbols and items of all frames, or None when msgspec shall look at them."""
    types: list[str] = []
    symbols: list[str] = []
    items: list[bytes] = []
    try:
        for payload in payloads:
            if not _walk(payload, types, symbols, items):
                return None
    except (IndexError, UnicodeDecodeError):
        return None
    return types, symbols, items


def _walk(data: bytes, types: list[str], symbols: list[str], items: list[bytes]) -> bool:
    sizes = _SIZES
    end: i64 = len(data)
    byte: i64 = data[0]
    high: i64
    low: i64
    at: i64
    count: i64
    if 0x90 <= byte < 0xA0:
        count = byte & 0x0F
        at = 1
    elif byte == 0xDC:
        high = data[1]
        low = data[2]
        count = high << 8 | low
        at = 3
    else:
        return False
    while count > 0:
        count -= 1
        start: i64 = at
        kind = ""
        symbol = ""
        containers: i64 = 0
        byte = data[at]
        if byte < 0x80 or byte > 0x8F:
            return False
        pairs: i64 = byte & 0x0F
        at += 1
        while pairs > 0:
            pairs -= 1
            byte = data[at]
            if byte == 0xA1:
                byte = data[at + 1]
                at += 2
                if byte == 0x54:  # T
                    byte = data[at]
                    if byte == 0xA1:
                        byte = data[at + 1]
                        if byte > 0x7F:
                            return False
                        kind = _LETTERS[byte]
                        at += 2
                    elif 0xA0 < byte < 0xC0:
                        kind = data[at + 1 : at + 1 + (byte & 0x1F)].decode()
                        at += 1 + (byte & 0x1F)
                    else:
                        return False
                    continue
                if byte == 0x53:  # S
                    byte = data[at]
                    if byte < 0xA0 or byte > 0xBF:
                        return False
                    name = data[at + 1 : at + 1 + (byte & 0x1F)]
                    known = _symbols.get(name)
                    if known is None:
                        known = _new_symbol(name)
                    symbol = known
                    at += 1 + (byte & 0x1F)
                    continue
            elif byte > 0xA0 and byte < 0xC0:
                at += 1 + (byte & 0x1F)
            else:
                return False
            left: i64 = 1
            while left > 0:
                left -= 1
                byte = data[at]
                size: i64 = sizes[byte]
                if size != _UNUSUAL:
                    at += size
                elif byte & 0xF0 == 0x90:
                    left += byte & 0x0F
                    containers += 1
                    at += 1
                elif byte & 0xF0 == 0x80:
                    left += (byte & 0x0F) * 2
                    containers += 1
                    at += 1
                else:
                    return False
        if kind == "" or containers > _MOST_CONTAINERS:
            return False
        types.append(kind)
        symbols.append(symbol)
        items.append(data[start:at])
    return at == end


def _new_symbol(name: bytes) -> str:
    """Make symbols once and for all: a known one is compared by its address."""
    if len(_symbols) >= _MOST_SYMBOLS:
        _symbols.clear()
    symbol = name.decode()
    _symbols[name] = symbol
    return symbol
