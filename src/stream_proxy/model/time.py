"""Nanosecond time, as the wire carries it.

Inside the program an instant is an ``int``: nanoseconds since 1970-01-01 UTC, named ``*_ns``.
On the wire it is RFC 3339 text (JSON) or the msgpack timestamp extension, type -1.
``datetime`` keeps only microseconds, so it never touches market data.
"""

from __future__ import annotations

import re
from calendar import timegm
from functools import lru_cache
from time import gmtime, strftime

from msgspec.msgpack import Ext

TIMESTAMP_CODE = -1
NS_PER_SECOND = 1_000_000_000
NS_PER_MINUTE = 60 * NS_PER_SECOND
NS_PER_HOUR = 60 * NS_PER_MINUTE

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)"
)


def to_timestamp(ns: int) -> Ext:
    """Wrap an instant as the msgpack timestamp extension, in its shortest form.

    The three forms (4, 8 and 12 bytes) are those of the msgpack specification,
    "Timestamp extension type".
    """
    seconds, nanos = divmod(ns, NS_PER_SECOND)
    if 0 <= seconds < 1 << 34:
        if nanos == 0 and seconds < 1 << 32:
            return Ext(TIMESTAMP_CODE, seconds.to_bytes(4, "big"))
        return Ext(TIMESTAMP_CODE, (nanos << 34 | seconds).to_bytes(8, "big"))
    return Ext(TIMESTAMP_CODE, nanos.to_bytes(4, "big") + seconds.to_bytes(8, "big", signed=True))


def timestamp_ns(timestamp: Ext) -> int:
    """Read the msgpack timestamp extension in any of its three forms.

    Raises:
        ValueError: the extension is of another type or of an impossible length.
    """
    data = bytes(timestamp.data)
    if timestamp.code == TIMESTAMP_CODE:
        if len(data) == 8:
            packed = int.from_bytes(data, "big")
            return (packed & 0x3_FFFF_FFFF) * NS_PER_SECOND + (packed >> 34)
        if len(data) == 4:
            return int.from_bytes(data, "big") * NS_PER_SECOND
        if len(data) == 12:
            seconds = int.from_bytes(data[4:], "big", signed=True)
            return seconds * NS_PER_SECOND + int.from_bytes(data[:4], "big")
    raise ValueError(f"not a msgpack timestamp: type {timestamp.code}, {len(data)} bytes")


@lru_cache(maxsize=4096)
def _second_text(seconds: int) -> str:
    # Ticks of one second share this text: the cache turns 900 ns into 60.
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds))


def rfc3339(ns: int) -> str:
    """Write an instant as Alpaca does: UTC, ``Z``, up to nine decimals, trailing zeros cut."""
    seconds, nanos = divmod(ns, NS_PER_SECOND)
    if nanos == 0:
        return _second_text(seconds) + "Z"
    return f"{_second_text(seconds)}.{nanos:09d}".rstrip("0") + "Z"


def parse_rfc3339(text: str) -> int:
    """Read RFC 3339 text with any zone offset and up to nine decimals.

    Raises:
        ValueError: the text is not an RFC 3339 instant.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 time: {text[:40]!r}")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        raise ValueError(f"not an RFC 3339 time: {text[:40]!r}")
    seconds = timegm((year, month, day, hour, minute, second))
    zone = match[8]
    if zone not in "Zz":
        sign = -1 if zone[0] == "-" else 1
        seconds -= sign * (int(zone[1:3]) * 3600 + int(zone[4:6]) * 60)
    nanos = int((match[7] or "0").ljust(9, "0"))
    return seconds * NS_PER_SECOND + nanos
