"""HOT PATH when consumers use the other codec. Turn one item from msgpack to JSON and back.

Done at most once per message, whatever the number of consumers. Unknown keys survive, nanoseconds
survive, integers stay integers (the Go SDK refuses a float where it wants a size), and ``T`` comes
first (the Go SDK refuses the whole message otherwise).
"""

from __future__ import annotations

from typing import Any

import msgspec

from stream_proxy.model.time import parse_rfc3339, to_timestamp
from stream_proxy.wire.alpaca.codec import Fields, Item, text_of

_read_msgpack = msgspec.msgpack.Decoder(Fields).decode
_read_json = msgspec.json.Decoder(dict[str, Any]).decode
_write_json = msgspec.json.Encoder(enc_hook=text_of).encode
_write_msgpack = msgspec.msgpack.Encoder().encode

_HOPELESS = (
    msgspec.MsgspecError,
    ValueError,
    OverflowError,
    RecursionError,
    KeyError,
    NotImplementedError,
)
_TIME_KEYS = ("t", "created_at", "updated_at", "r", "ft")


class NotTranscodable(ValueError):
    """An item that the other codec has no form for."""


def to_json(item: Item) -> bytes:
    """Write a msgpack item as JSON.

    Raises:
        NotTranscodable: the item is damaged or holds something that JSON can't say.
    """
    try:
        return _write_json(_read_msgpack(item))
    except _HOPELESS as error:
        raise NotTranscodable(str(error)) from error


def to_msgpack(item: Item) -> bytes:
    """Write a JSON item as msgpack, its times as timestamp extensions.

    Raises:
        NotTranscodable: the item is damaged.
    """
    try:
        fields = _read_json(item)
        for key in _TIME_KEYS:
            value = fields.get(key)
            # Only what reads as an instant becomes one: `r` is also the flag of order books.
            if isinstance(value, str) and value[4:5] == "-":
                fields[key] = to_timestamp(parse_rfc3339(value))
        if next(iter(fields), "T") != "T":
            fields = {"T": fields.pop("T"), **fields}
        return _write_msgpack(fields)
    except _HOPELESS as error:
        raise NotTranscodable(str(error)) from error
