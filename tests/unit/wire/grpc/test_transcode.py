"""Bytes to bytes gives what objects give, compiled and interpreted, or leaves it to them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from stream_proxy.model.messages import Trade
from stream_proxy.model.time import to_timestamp
from stream_proxy.wire.alpaca import walk
from stream_proxy.wire.alpaca.codec import MSGPACK
from stream_proxy.wire.grpc import layouts, transcode
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb
from stream_proxy.wire.grpc.encode import encode_batch, encode_joined, encoder_for
from stream_proxy.wire.grpc.messages import NotEncodable

ROOT = Path(__file__).parents[4]

LAYOUTS = {
    "StreamQuotes": layouts.QUOTE,
    "StreamTrades": layouts.TRADE,
    "StreamBars": layouts.BAR,
    "StreamOptionQuotes": layouts.OPTION_QUOTE,
    "StreamOptionTrades": layouts.OPTION_TRADE,
    "StreamCryptoQuotes": layouts.CRYPTO_QUOTE,
    "StreamCryptoTrades": layouts.CRYPTO_TRADE,
    "StreamCryptoBars": layouts.CRYPTO_BAR,
}
"""For each message that is made of bytes, one method that carries it."""


def interpreted() -> ModuleType:
    """The same source, not compiled."""
    source = ROOT / "src" / Path(*transcode.__name__.split(".")).with_suffix(".py")
    spec = importlib.util.spec_from_file_location("interpreted_transcode", source)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


FORMS = [pytest.param(transcode, id="installed"), pytest.param(interpreted(), id="interpreted")]

# What Alpaca sends, by key
prices = st.floats(0, 1e6).map(lambda f: round(f, 2)) | st.floats() | st.integers(0, 2**53)
sizes = st.integers(0, 300) | st.sampled_from([127, 128, 255, 256, 65_535, 65_536, 2**31 - 1])
counts = sizes | st.integers(0, 2**63 - 1)
amounts = prices | sizes
letters = st.text("AQZ. /@", max_size=3)
symbols = st.sampled_from(["A", "BRK.B", "BTC/USD", "SPXW240327P04925000", ""])
instants = st.integers(0, 2**34 - 1).flatmap(
    lambda second: st.integers(0, 10**9 - 1).map(lambda nanos: to_timestamp(second * 10**9 + nanos))
) | st.integers(0, 2**32 - 1).map(lambda second: to_timestamp(second * 10**9))

_COMMON = {"S": symbols, "t": instants}
_SIDES = {"bx": letters, "bp": prices, "bs": sizes, "ax": letters, "ap": prices, "as": sizes}
_TAPE = {"c": st.lists(letters, max_size=4), "z": letters}
_BAR = {**dict.fromkeys(("o", "h", "l", "c", "vw"), prices), "v": counts, "n": sizes}
USUAL = {
    "StreamQuotes": _COMMON | _SIDES | _TAPE,
    "StreamTrades": _COMMON | _TAPE | {"i": counts, "x": letters, "p": prices, "s": sizes},
    "StreamBars": _COMMON | _BAR,
    "StreamOptionQuotes": _COMMON | _SIDES | {"c": letters},
    "StreamOptionTrades": _COMMON | {"p": prices, "s": sizes, "x": letters, "c": letters},
    "StreamCryptoQuotes": _COMMON | dict.fromkeys(("bp", "bs", "ap", "as"), amounts),
    "StreamCryptoTrades": _COMMON | {"p": prices, "s": amounts, "i": counts, "tks": letters},
    "StreamCryptoBars": _COMMON | _BAR | {"v": amounts, "n": counts},
}

# What it might send
numbers = (
    st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.sampled_from([0, 0.0, -0.0, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63])
)
times = (
    st.integers(-(2**64), 2**70).map(to_timestamp)
    | st.builds(Ext, st.sampled_from([-1, 1]), st.binary(min_size=4, max_size=4))
    | st.builds(Ext, st.sampled_from([-1, 1]), st.binary(min_size=8, max_size=8))
)
texts = st.text("AQµ€. ", max_size=4) | st.text(max_size=40)
lists = st.lists(texts, max_size=4) | st.lists(letters, max_size=20)
anything = numbers | times | texts | lists | st.none() | st.booleans() | st.binary(max_size=3)
new_keys = st.sampled_from(
    ["r", "zz", "tk", "tkz", "\x00", "µ", "Bp", "BP", "B", "\x02P", "key"]
) | st.text(max_size=3)


@st.composite
def items(draw: st.DrawFn, method: str) -> dict[str, Any]:
    """An item as Alpaca sends it, some keys missing; sometimes one that is strange."""
    usual = USUAL[method]
    item: dict[str, Any] = {"T": encoder_for(method).type}
    item |= draw(st.fixed_dictionaries({}, optional=usual))
    if draw(st.booleans()):
        item[draw(st.sampled_from(["T", *usual]))] = draw(anything)
    if draw(st.booleans()):
        item[draw(new_keys)] = draw(anything)
    return dict(draw(st.permutations(list(item.items()))))


def agrees(form: ModuleType, method: str, item: bytes) -> bool:
    """Whether the bytes were taken as they are; if so, with the same result as by objects."""
    encoder = encoder_for(method)
    made: bytes = form.transcode(item, LAYOUTS[method], ord(encoder.type))
    if made:
        built = encoder.build_or_nothing(item)
        assert built, "what objects refuse was taken"
        assert form_of(method, made) == form_of(method, built)
        assert len(made) == len(built), "something was written that needs no saying"
    return bool(made)


def form_of(method: str, body: bytes) -> bytes:
    """A response as protobuf itself writes it, so that NaN equals NaN."""
    service = pb.DESCRIPTOR.services_by_name["StreamProxyService"]
    kind = getattr(pb, service.methods_by_name[method].output_type.name)
    written: bytes = kind.FromString(body).SerializeToString(deterministic=True)
    return written


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=300)
@given(method=st.sampled_from(sorted(LAYOUTS)), data=st.data())
def test_any_item(form: ModuleType, method: str, data: st.DataObject) -> None:
    """Whatever it holds, in whatever form and order."""
    agrees(form, method, MSGPACK.encode(data.draw(items(method))))


EDGES = [
    *(0, 1, 127, 128, 255, 256, 65_535, 65_536, -1, -32, -33, -129, -(2**15) - 1, -(2**31) - 1),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)),
    *(0.0, -0.0, 1.0, 1.5, 1e300, float("inf"), float("nan"), None, True, False),
    *("", "A", "A" * 31, "A" * 32, "µ", [], [""], ["A"], ["A"] * 15, ["A"] * 16, ["A" * 20] * 8),
    *([["A"]], {}, {"p": 1}, b"", b"A", Ext(5, b"1234"), Ext(-1, b"1234"), Ext(-1, b"\xff" * 4)),
    *(Ext(-1, b"\xff" * 8), Ext(-1, bytes(8)), Ext(-1, bytes(4)), Ext(-1, bytes(12)), Ext(-1, b"")),
    *(to_timestamp(-1), to_timestamp(10**18), to_timestamp(10**18 + 999_999_999)),
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", LAYOUTS)
def test_every_key_with_every_strange_value(form: ModuleType, method: str) -> None:
    letter = encoder_for(method).type
    # Among the new ones are some that the table must not take for those it knows.
    for key in ("T", *USUAL[method], "tk", "tkz", "BP", "S\x10", "\x02", "new"):
        for value in EDGES:
            agrees(form, method, MSGPACK.encode({"T": letter, "S": "A", key: value}))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", LAYOUTS)
@settings(max_examples=20)
@given(data=st.data())
def test_what_is_usual_is_taken(form: ModuleType, method: str, data: st.DataObject) -> None:
    """Ordinary items don't fall back, or all this would gain nothing."""
    item = data.draw(st.fixed_dictionaries(USUAL[method]))
    assert agrees(form, method, MSGPACK.encode({"T": encoder_for(method).type, **item}))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=200)
@given(method=st.sampled_from(sorted(LAYOUTS)), data=st.data())
def test_damaged_items(form: ModuleType, method: str, data: st.DataObject) -> None:
    """Bytes that are cut out, added or changed."""
    whole = MSGPACK.encode(data.draw(items(method)))
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 3)))
    agrees(form, method, whole[:start] + data.draw(st.binary(max_size=3)) + whole[end:])


@pytest.mark.parametrize("form", FORMS)
def test_every_byte_changed_to_any_other(form: ModuleType) -> None:
    """One after the other, in an item that has everything."""
    trade = Trade("BRK.B", 2**40, "Q", 1.5, 300, ["@", " "], "C", to_timestamp(10**18 + 7))
    whole = MSGPACK.encode({**MSGPACK.decode_fields(MSGPACK.encode(trade)), "new": "x", "n": 1})
    for place in range(len(whole)):
        for byte in range(256):
            agrees(form, "StreamTrades", whole[:place] + bytes((byte,)) + whole[place + 1 :])


@pytest.mark.parametrize("form", FORMS)
@given(st.sampled_from(sorted(LAYOUTS)), st.binary(max_size=60))
def test_garbage(form: ModuleType, method: str, item: bytes) -> None:
    """Bytes that never were an item."""
    letter = encoder_for(method).type.encode()
    agrees(form, method, item)
    agrees(form, method, b"\x83\xa1T\xa1" + letter + b"\xa1S\xa1A\xa1t" + item)


@given(st.sampled_from([*LAYOUTS, "StreamNews", "StreamCryptoOrderBooks"]), st.binary(max_size=60))
def test_nothing_but_a_refusal_comes_of_garbage(method: str, item: bytes) -> None:
    """From what is used: no other error, alone and in a batch."""
    encoder = encoder_for(method)
    for one in (item, b"\x82\xa1T\xa1" + encoder.type.encode() + b"\xa1t" + item):
        (together,) = encode_batch(method, [one], [0], b"", 0)
        try:
            alone = encoder.encode(one)
        except NotEncodable:
            assert together == b""
        else:
            assert together[5:].startswith(alone)


@given(
    st.sampled_from(["StreamQuotes", "StreamNews"]),
    st.lists(st.tuples(st.booleans(), st.binary(max_size=60)), max_size=6),
    st.integers(0, 1 << 40),
)
def test_in_one_piece_is_the_same_as_one_by_one(
    method: str, wanted: list[tuple[bool, bytes]], first: int
) -> None:
    """Good items among garbage: what can't be said leaves no trace."""
    good = MSGPACK.encode({"T": encoder_for(method).type, "S": "A", "id": 1, "bp": 1.5})
    items = [good if is_good else garbage for is_good, garbage in wanted]
    numbers = list(range(first, first + len(items)))
    made = encode_batch(method, items, numbers, b"\xaa\x06\x01e", 1_700_000_000_000_000_000)
    joined = encode_joined(method, items, numbers, b"\xaa\x06\x01e", 1_700_000_000_000_000_000)
    assert joined == (b"".join(made), len([one for one in made if one]))


@pytest.mark.parametrize("form", FORMS)
def test_a_key_that_comes_twice_counts_the_second_time(form: ModuleType) -> None:
    twice = b"\x83\xa1T\xa1q\xa2bp\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\xa2bp\x00"
    assert not agrees(form, "StreamQuotes", twice)
    body = encoder_for("StreamQuotes").encode(twice)
    assert pb.StreamQuotesResponse.FromString(body).quote.bid_price == 0


def test_compiled_where_the_others_are() -> None:
    """And from the present source."""
    assert transcode.COMPILED is walk.COMPILED
    if transcode.COMPILED:
        compiled = Path(str(transcode.__file__))
        source = compiled.with_name("transcode.py")
        assert compiled.stat().st_mtime >= source.stat().st_mtime, "run: touch hatch_build.py; make"


def test_layouts_know_every_key_that_has_a_field() -> None:
    """What a layout leaves out would be lost without a word."""
    for method, table in LAYOUTS.items():
        service = pb.DESCRIPTOR.services_by_name["StreamProxyService"]
        (item,) = (
            f.message_type
            for f in service.methods_by_name[method].output_type.fields
            if f.number == 1
        )
        known = {slot & 0x0F for slot in table if slot and slot >> 4 != transcode.TYPE}
        assert known == {field.number for field in item.fields if field.number < 100}
