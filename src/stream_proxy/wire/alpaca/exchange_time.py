"""HOT PATH. When a message happened, by its own account, read without decoding the rest."""

from __future__ import annotations

from stream_proxy.model.time import NS_PER_SECOND, parse_rfc3339

_NANOSECOND_BITS = 34
_MSGPACK_KEY = b"\xa1t\xd7\xff"
"""The key ``t`` with a timestamp of 8 bytes (msgpack specification, "Timestamp extension type")."""
_JSON_KEY = b'"t":"'


def time_of_msgpack(item: bytes) -> int:
    """Nanoseconds since 1970; 0 where there is no timestamp of the usual form."""
    data = bytes(item)
    at = data.rfind(_MSGPACK_KEY)
    if at < 0:
        return 0
    value = int.from_bytes(data[at + 4 : at + 12], "big")
    seconds = value & ((1 << _NANOSECOND_BITS) - 1)
    return seconds * NS_PER_SECOND + (value >> _NANOSECOND_BITS)


def time_of_json(item: bytes) -> int:
    """The same for JSON."""
    data = bytes(item)
    at = data.rfind(_JSON_KEY) + len(_JSON_KEY)
    if at < len(_JSON_KEY):
        return 0
    try:
        return parse_rfc3339(data[at : data.index(b'"', at)].decode())
    except ValueError:
        return 0
