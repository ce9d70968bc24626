"""Nanosecond time, both ways, against an independent reading."""

from __future__ import annotations

from datetime import UTC, datetime

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import Ext, encode

from stream_proxy.model.time import parse_rfc3339, rfc3339, timestamp_ns, to_timestamp

nanoseconds = st.integers(0, 253_402_300_799_999_999_999)


@pytest.mark.parametrize(
    ("ns", "hexadecimal"),
    [
        (1_614_871_000_000_000_000, "d6ff6040f9d8"),
        (1_614_871_000_165_123_789, "d7ff275e5b346040f9d8"),
        (17_179_869_189_000_000_001, "c70cff000000010000000400000005"),
    ],
)
def test_the_three_forms_of_the_specification(ns: int, hexadecimal: str) -> None:
    """32, 64 and 96 bits, byte for byte as the protocol's examples have them."""
    assert encode(to_timestamp(ns)).hex() == hexadecimal
    assert timestamp_ns(to_timestamp(ns)) == ns


@given(nanoseconds)
def test_msgpack_reads_what_we_write(ns: int) -> None:
    """The msgpack library, which the SDKs use, sees the same instant."""
    stamp = msgpack.unpackb(encode(to_timestamp(ns)))
    assert stamp.seconds * 10**9 + stamp.nanoseconds == ns


@given(nanoseconds)
def test_text_round_trip(ns: int) -> None:
    """Writing and reading RFC 3339 keeps every nanosecond."""
    assert parse_rfc3339(rfc3339(ns)) == ns


@given(nanoseconds)
def test_text_agrees_with_datetime_to_the_microsecond(ns: int) -> None:
    """Python's own calendar agrees as far as it can see."""
    text = rfc3339(ns - ns % 1000)
    assert datetime.fromisoformat(text) == datetime.fromtimestamp(ns // 10**9, UTC).replace(
        microsecond=ns % 10**9 // 1000
    )


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2021-02-22T15:51:44.208Z", 1_614_009_104_208_000_000),
        ("2023-04-06T11:54:21.670905508Z", 1_680_782_061_670_905_508),
        ("2021-02-22T19:15:00Z", 1_614_021_300_000_000_000),
    ],
)
def test_trailing_zeros_are_cut_as_alpaca_does(text: str, ns: int) -> None:
    """The documented examples come out letter for letter."""
    assert rfc3339(ns) == text
    assert parse_rfc3339(text) == ns


def test_offsets_are_understood() -> None:
    """Order fields carry a zone offset."""
    assert parse_rfc3339("2022-04-19T13:45:04.981350886-04:00") == parse_rfc3339(
        "2022-04-19T17:45:04.981350886Z"
    )


@pytest.mark.parametrize("text", ["", "2021-02-22", "yesterday", "2021-13-01T00:00:00Z", "1" * 50])
def test_what_is_no_time_is_refused(text: str) -> None:
    """Nonsense is an error, not a guess."""
    with pytest.raises(ValueError, match="not an RFC 3339 time"):
        parse_rfc3339(text)


def test_other_extensions_are_refused() -> None:
    """Only type -1 in one of its three lengths is a timestamp."""
    for other in (Ext(1, b"1234"), Ext(-1, b"123")):
        with pytest.raises(ValueError, match="not a msgpack timestamp"):
            timestamp_ns(other)
