"""Which key of an item becomes which field of the contract, for the types that come most."""

from __future__ import annotations

from stream_proxy.wire.grpc.transcode import (
    DOUBLE,
    INT32,
    INT64,
    TEXT,
    TEXTS,
    TIME,
    layout,
)

QUOTE = layout(
    {
        "S": (TEXT, 1),
        "t": (TIME, 2),
        "bx": (TEXT, 3),
        "bp": (DOUBLE, 4),
        "bs": (INT32, 5),
        "ax": (TEXT, 6),
        "ap": (DOUBLE, 7),
        "as": (INT32, 8),
        "c": (TEXTS, 9),
        "z": (TEXT, 10),
    }
)

TRADE = layout(
    {
        "S": (TEXT, 1),
        "t": (TIME, 2),
        "i": (INT64, 3),
        "x": (TEXT, 4),
        "p": (DOUBLE, 5),
        "s": (INT32, 6),
        "c": (TEXTS, 7),
        "z": (TEXT, 8),
    }
)

BAR = layout(
    {
        "S": (TEXT, 1),
        "t": (TIME, 2),
        "o": (DOUBLE, 3),
        "h": (DOUBLE, 4),
        "l": (DOUBLE, 5),
        "c": (DOUBLE, 6),
        "v": (INT64, 7),
        "vw": (DOUBLE, 8),
        "n": (INT32, 9),
    }
)

OPTION_QUOTE = layout(
    {
        "S": (TEXT, 1),
        "t": (TIME, 2),
        "bx": (TEXT, 3),
        "bp": (DOUBLE, 4),
        "bs": (INT32, 5),
        "ax": (TEXT, 6),
        "ap": (DOUBLE, 7),
        "as": (INT32, 8),
        "c": (TEXT, 9),
    }
)

OPTION_TRADE = layout(
    {
        "S": (TEXT, 1),
        "t": (TIME, 2),
        "p": (DOUBLE, 3),
        "s": (INT32, 4),
        "x": (TEXT, 5),
        "c": (TEXT, 6),
    }
)

CRYPTO_QUOTE = layout(
    {
        "S": (TEXT, 1),
        "t": (TIME, 2),
        "bp": (DOUBLE, 3),
        "bs": (DOUBLE, 4),
        "ap": (DOUBLE, 5),
        "as": (DOUBLE, 6),
    }
)

CRYPTO_TRADE = layout(
    {
        "S": (TEXT, 1),
        "t": (TIME, 2),
        "i": (INT64, 3),
        "p": (DOUBLE, 4),
        "s": (DOUBLE, 5),
        "tks": (TEXT, 6),
    }
)

CRYPTO_BAR = layout(
    {
        "S": (TEXT, 1),
        "t": (TIME, 2),
        "o": (DOUBLE, 3),
        "h": (DOUBLE, 4),
        "l": (DOUBLE, 5),
        "c": (DOUBLE, 6),
        "v": (DOUBLE, 7),
        "vw": (DOUBLE, 8),
        "n": (INT64, 9),
    }
)
