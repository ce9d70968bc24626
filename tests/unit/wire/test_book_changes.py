"""Order book changes added up do exactly what they do one after the other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_proxy.model.time import to_timestamp
from stream_proxy.wire.alpaca.book_changes import BookChanges
from stream_proxy.wire.alpaca.codec import JSON, MSGPACK, Codec

Book = dict[str, dict[float, float]]

levels = st.dictionaries(st.sampled_from([1.0, 1.5, 2.0, 2.5]), st.sampled_from([0, 1, 7.5]))
changes = st.lists(st.tuples(levels, levels, st.booleans()), min_size=1, max_size=8)


def applied(book: Book, message: dict[str, Any]) -> Book:
    """A client's book after a message, as Alpaca's page has it."""
    new: Book = {"b": {}, "a": {}} if message.get("r") else {s: dict(book[s]) for s in "ba"}
    for side in "ba":
        for level in message[side]:
            if level["s"]:
                new[side][level["p"]] = level["s"]
            else:
                new[side].pop(level["p"], None)
    return new


def encoded(codec: Codec, bids: dict[float, float], asks: dict[float, float], r: bool) -> bytes:
    time = to_timestamp(1_710_000_000_000_000_001) if codec.binary else "2024-03-12T10:38:50.7Z"
    sides = {s: [{"p": p, "s": n} for p, n in one.items()] for s, one in (("b", bids), ("a", asks))}
    return codec.encode(
        {"T": "o", "S": "BTC/USD", "t": time, **sides, **({"r": True} if r else {})}
    )


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])
@given(before=st.tuples(levels, levels), parts=changes)
def test_one_does_what_all_do(codec: Codec, before: Any, parts: Any) -> None:
    items = [encoded(codec, bids, asks, r) for bids, asks, r in parts]
    summed = BookChanges.of(codec, items[0])
    assert summed is not None
    assert all(summed.add(item) for item in items[1:])
    bids, asks = before
    start = applied({"b": {}, "a": {}}, codec.decode_fields(encoded(codec, bids, asks, True)))
    one_by_one = start
    for item in items:
        one_by_one = applied(one_by_one, codec.decode_fields(item))
    whole = codec.decode_fields(summed.whole())
    assert applied(start, whole) == one_by_one
    assert whole["t"] == codec.decode_fields(items[-1])["t"]
    assert bool(whole.get("r")) == any(r for _, _, r in parts)


@pytest.mark.parametrize("item", [b"\xc1", MSGPACK.encode({"T": "o", "b": [{"p": 1}], "a": []})])
def test_what_cannot_be_read_changes_nothing(item: bytes) -> None:
    first = encoded(MSGPACK, {1.0: 5}, {}, True)
    summed = BookChanges.of(MSGPACK, first)
    assert summed is not None
    assert not summed.add(item)
    assert summed.whole() == first
    assert BookChanges.of(MSGPACK, item) is None
