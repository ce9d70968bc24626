"""Splitting, joining, transcoding and salvaging, against the plain libraries' reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_proxy.model.time import parse_rfc3339, timestamp_ns, to_timestamp
from stream_proxy.wire.alpaca.codec import JSON, MSGPACK, Codec, FrameDamaged
from stream_proxy.wire.alpaca.merge import merge
from stream_proxy.wire.alpaca.salvage import salvage
from stream_proxy.wire.alpaca.transcode import NotTranscodable, to_json, to_msgpack

instants = st.integers(0, 2**34 * 10**9 - 1)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    """A data message with any further keys: Alpaca may add fields at any time."""
    extra = draw(st.dictionaries(st.text().filter(lambda k: k not in "TSt"), values, max_size=4))
    return {"T": draw(st.text(min_size=1, max_size=3)), "S": draw(st.text())} | extra


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda c: c.name)
@given(batch=st.lists(messages(), max_size=40))
def test_splitting_and_joining_keeps_every_byte(codec: Codec, batch: list[dict[str, Any]]) -> None:
    """The joined items of a frame are the frame, whatever they hold."""
    items = [codec.encode(message) for message in batch]
    frame = codec.join(items)
    types, symbols, raws = codec.ticks.split(frame)

    assert types == [m["T"] for m in batch]
    assert symbols == [m["S"] for m in batch]
    assert [bytes(raw) for raw in raws] == items
    assert codec.join(raws) == frame
    read = msgpack.unpackb(frame) if codec.binary else json.loads(frame)
    assert len(read) == len(batch)


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda c: c.name)
@given(batches=st.lists(st.lists(messages(), max_size=40), min_size=1, max_size=6))
def test_merging_frames(codec: Codec, batches: list[list[dict[str, Any]]]) -> None:
    """The frames of a socket read become one with all their items, in order."""
    frames = [codec.join([codec.encode(message) for message in batch]) for batch in batches]
    merged = merge(codec, frames)
    assert merged == codec.join([item for frame in frames for item in codec.ticks.items(frame)])


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda c: c.name)
@given(batches=st.lists(st.lists(messages(), max_size=4), min_size=2, max_size=4), data=st.data())
def test_a_damaged_frame_among_others(
    codec: Codec, batches: list[list[dict[str, Any]]], data: st.DataObject
) -> None:
    """A frame that can't be split can't be split among good ones either, wherever it is cut."""
    frames = [codec.join([codec.encode(message) for message in batch]) for batch in batches]
    victim = data.draw(st.integers(0, len(frames) - 1))
    start = data.draw(st.integers(0, len(frames[victim])))
    end = data.draw(st.integers(start, len(frames[victim])))
    damaged = frames[victim][:start] + data.draw(st.binary(max_size=3)) + frames[victim][end:]
    frames[victim] = damaged
    try:
        alone = [codec.ticks.split(frame) for frame in frames]
    except FrameDamaged:
        with pytest.raises(FrameDamaged):
            codec.ticks.split_all(frames)
    else:
        together = codec.ticks.split_all(frames)
        assert together[0] == [kind for types, _, _ in alone for kind in types]
        assert list(map(bytes, together[2])) == [bytes(i) for _, _, items in alone for i in items]


@pytest.mark.parametrize(
    ("codec", "frames"),
    [
        (JSON, [b'[{"T":"q","S":"A","c":["R"]', b'["x"],"z":"C"}]']),
        (MSGPACK, [b"\x91\x82\xa1T\xa1q\xa1S\xa8AB", b"\x91\x82\xa1T\xa1b\xa1S\xa1B"]),
    ],
    ids=["json", "msgpack"],
)
def test_two_halves_make_no_whole(codec: Codec, frames: list[bytes]) -> None:
    """Damage that would fit together as one array stays damage."""
    with pytest.raises(FrameDamaged):
        codec.ticks.split_all(frames)


@given(message=messages(), ns=instants)
def test_transcoding_there_and_back(message: dict[str, Any], ns: int) -> None:
    """From msgpack to JSON and back: every key, integer and nanosecond survives."""
    item = MSGPACK.encode(message | {"t": to_timestamp(ns)})
    text = to_json(item)
    assert parse_rfc3339(json.loads(text)["t"]) == ns

    again = MSGPACK.decode_fields(to_msgpack(text))
    assert timestamp_ns(again.pop("t")) == ns
    assert again == message
    assert {k: type(v) for k, v in again.items()} == {k: type(v) for k, v in message.items()}


def test_t_comes_first_in_msgpack_whatever_the_order_in_json() -> None:
    """The Go SDK refuses a map whose first key isn't T."""
    item = to_msgpack(b'{"S":"A","t":"2021-02-22T19:15:00Z","T":"q","bs":3}')
    assert next(iter(msgpack.unpackb(item, timestamp=0))) == "T"


def test_the_flag_of_an_order_book_is_no_time() -> None:
    """``r`` is a received-at time on ticks, and a flag on order books."""
    book = MSGPACK.decode_fields(to_msgpack(b'{"T":"o","S":"BTC/USD","b":[],"a":[],"r":true}'))
    assert book["r"] is True
    tick = MSGPACK.decode_fields(to_msgpack(b'{"T":"t","S":"A","r":"2021-02-22T19:15:00.5Z"}'))
    assert timestamp_ns(tick["r"]) == 1_614_021_300_500_000_000


@pytest.mark.parametrize("item", [b"\xc1", b"\x81\xa1T\xc7\x01\x05x", b"\x81\xa1T\xc4\x01x", b""])
def test_what_json_cannot_say_is_refused(item: bytes) -> None:
    """Damaged items, unknown extensions and binary strings are an error of their own."""
    with pytest.raises(NotTranscodable):
        to_json(item)


def test_documented_messages_pass_through_both_codecs(recorded_data: Path) -> None:
    """Every message of Alpaca's documentation goes to msgpack and back unchanged."""
    lines = (recorded_data / "alpaca-messages.jsonl").read_text().splitlines()
    checked = 0
    for line in lines:
        example = json.loads(line)
        if not isinstance(example["json"], list) or example["stream"] == "control":
            continue
        for message in example["json"]:
            text = msgspec.json.encode(message)
            assert json.loads(to_json(to_msgpack(text))) == message
            checked += 1
    assert checked > 20


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda c: c.name)
@given(batch=st.lists(messages(), min_size=1, max_size=6), data=st.data())
def test_a_cut_frame_loses_only_its_tail(
    codec: Codec, batch: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Whatever is cut off, the whole items before the cut are saved, in order."""
    items = [codec.encode(message) for message in batch]
    frame = codec.join(items)
    cut = data.draw(st.integers(1, len(frame) - 1))
    (types, symbols, saved), losses = salvage(codec, codec.ticks, frame[:cut])

    assert losses
    assert [bytes(item) for item in saved] == items[: len(saved)]
    header = len(frame) - len(b"".join(items)) if codec.binary else 1
    whole, end = 0, header
    for item in items:
        end += len(item)
        whole += end <= cut
        end += 0 if codec.binary else 1
    assert len(types) == len(symbols) == len(saved) == whole


@given(st.binary(max_size=300))
def test_garbage_never_escapes_as_another_error(payload: bytes) -> None:
    """Any bytes end as items or as `FrameDamaged`, and salvaging always ends."""
    for codec in (JSON, MSGPACK):
        try:
            codec.ticks.split(payload)
        except FrameDamaged:
            (types, symbols, items), losses = salvage(codec, codec.ticks, payload)
            assert losses
            assert len(types) == len(symbols) == len(items)


@pytest.mark.parametrize(
    ("codec", "bomb"),
    [(JSON, b"[" * 100_000), (MSGPACK, b"\x91" * 100_000)],
    ids=["json", "msgpack"],
)
def test_a_depth_bomb_is_only_damage(codec: Codec, bomb: bytes) -> None:
    """A hundred thousand brackets don't overflow a stack."""
    with pytest.raises(FrameDamaged):
        codec.ticks.split(bomb)
    (_, _, items), losses = salvage(codec, codec.ticks, bomb)
    assert not items
    assert losses


def test_one_bad_item_among_good_ones() -> None:
    """A null symbol, a number as type and NaN are lost alone; their neighbours stay."""
    frame = (
        b'[{"T":"t","S":"A","c":["x,]\\"}"]},{"T":"q","S":null},{"T":7,"S":"B"},'
        b'{"T":"q","S":"C","bp":NaN},{"T":"new","S":"D"}]'
    )
    (_, symbols, items), losses = salvage(JSON, JSON.ticks, frame)
    assert symbols == ["A", "D"]
    assert len(items) == 2
    assert len(losses) == 3
