"""Walking a frame gives what msgspec gives, compiled and interpreted, or leaves it alone."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from stream_proxy.hub import distribute
from stream_proxy.model.messages import Quote
from stream_proxy.model.time import to_timestamp
from stream_proxy.wire.alpaca import walk
from stream_proxy.wire.alpaca.codec import MSGPACK, FrameDamaged, Head, Splitter
from stream_proxy.wire.grpc import boundaries, transcode

ROOT = Path(__file__).parents[3]
MSGSPEC = Splitter(
    msgspec.msgpack.Decoder(list[Head]).decode,
    msgspec.msgpack.Decoder(list[msgspec.Raw]).decode,
    False,
)


def interpreted(module: ModuleType) -> ModuleType:
    """The same source, not compiled."""
    source = ROOT / "src" / Path(*module.__name__.split(".")).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(f"interpreted_{source.stem}", source)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


FORMS = [pytest.param(walk, id="installed"), pytest.param(interpreted(walk), id="interpreted")]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.binary(max_size=10)
    | st.integers(0, 1 << 62).map(to_timestamp)
    | st.builds(Ext, st.integers(-128, 127), st.binary(max_size=20)),
    lambda inner: (
        st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=30,
)
items = st.dictionaries(
    st.sampled_from(["T", "S", "bp", "x", "", "a much longer key than Alpaca has, so long"]),
    values,
    max_size=6,
).flatmap(
    lambda others: st.builds(
        lambda kind, symbol: others | kind | symbol,
        st.fixed_dictionaries({}, optional={"T": st.sampled_from(["q", "t", "µ", "success", ""])}),
        st.fixed_dictionaries({}, optional={"S": st.text(max_size=40)}),
    )
)


def agrees(form: ModuleType, frame: bytes) -> bool:
    """Whether the walk took the frame; if so, with msgspec's result."""
    walked = form.walk([frame])
    if walked is None:
        return False
    types, symbols, raws = MSGSPEC.split(frame)
    assert walked == (types, symbols, [bytes(raw) for raw in raws])
    return True


@pytest.mark.parametrize("form", FORMS)
@given(batch=st.lists(items, max_size=20))
def test_any_frame(form: ModuleType, batch: list[dict[str, Any]]) -> None:
    """Whatever is in a frame: the same result as msgspec's, or none."""
    agrees(form, MSGPACK.join([MSGPACK.encode(item) for item in batch]))


@pytest.mark.parametrize("form", FORMS)
@given(batch=st.lists(items, min_size=1, max_size=3), data=st.data())
def test_damaged_frames(form: ModuleType, batch: list[dict[str, Any]], data: st.DataObject) -> None:
    """Bytes that are cut out, added or changed: never another result than msgspec's."""
    frame = MSGPACK.join([MSGPACK.encode(item) for item in batch])
    start = data.draw(st.integers(0, len(frame)))
    end = data.draw(st.integers(start, min(len(frame), start + 3)))
    agrees(form, frame[:start] + data.draw(st.binary(max_size=3)) + frame[end:])


@pytest.mark.parametrize("form", FORMS)
@given(batches=st.lists(st.lists(items, max_size=4), max_size=5), data=st.data())
def test_frames_of_one_read_never_mix(
    form: ModuleType, batches: list[list[dict[str, Any]]], data: st.DataObject
) -> None:
    """All frames as if each came alone; a damaged one never takes from its neighbours."""
    frames = [MSGPACK.join([MSGPACK.encode(item) for item in batch]) for batch in batches]
    if frames and data.draw(st.booleans()):
        victim = data.draw(st.integers(0, len(frames) - 1))
        frames[victim] = frames[victim][: data.draw(st.integers(0, len(frames[victim])))]
    walked = form.walk(frames)
    if walked is None:
        return
    alone = [MSGSPEC.split(frame) for frame in frames]
    assert walked[0] == [kind for types, _, _ in alone for kind in types]
    assert walked[1] == [symbol for _, symbols, _ in alone for symbol in symbols]
    assert walked[2] == [bytes(raw) for _, _, raws in alone for raw in raws]


@pytest.mark.parametrize("form", FORMS)
@given(st.binary(max_size=60))
def test_garbage(form: ModuleType, frame: bytes) -> None:
    """Bytes that never were a frame."""
    agrees(form, frame)
    agrees(form, b"\x91\x83\xa1T\xa1q\xa1S\xa1A\xa1x" + frame)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [0, 1, 15, 16, 300])
def test_what_alpaca_sends_is_walked(form: ModuleType, count: int) -> None:
    """Ordinary messages don't fall back, or all this would gain nothing."""
    quote = Quote("AAPL", "Q", 1.5, 100, "P", 1.6, 200, ["R"], "C", to_timestamp(1 << 60))
    plain = MSGPACK.encode(quote)
    book = MSGPACK.encode(
        {
            "T": "o",
            "S": "BTC/USD",
            "t": to_timestamp(1 << 60),
            "b": [{"p": 1.5, "s": 2}] * 15,
            "a": [],
        }
    )
    assert agrees(form, MSGPACK.join([plain] * count))
    assert agrees(form, MSGPACK.join([plain, book]))
    assert agrees(form, MSGPACK.join([MSGPACK.encode({"T": "success", "msg": "authenticated"})]))


@pytest.mark.parametrize("form", FORMS)
def test_symbols_are_not_kept_for_ever(form: ModuleType) -> None:
    """A hundred thousand made-up symbols and one: the table starts anew, results stay right."""
    for first in range(0, 101_000, 1000):
        batch = [{"T": "q", "S": f"X{number}"} for number in range(first, first + 1000)]
        assert agrees(form, MSGPACK.join([MSGPACK.encode(item) for item in batch]))
    assert len(form._symbols) <= 100_000


@pytest.mark.parametrize("form", FORMS)
def test_a_depth_bomb_is_left_to_msgspec(form: ModuleType) -> None:
    """Deep nesting would be walked without a stack; who reads it next may not be so lucky."""
    bomb = b"\x91\x82\xa1T\xa1q\xa1x" + b"\x91" * 5000 + b"\xc0"
    assert form.walk([bomb]) is None
    with pytest.raises(FrameDamaged):
        MSGPACK.ticks.split(bomb)


@pytest.mark.parametrize("form", [distribute, interpreted(distribute)], ids=["installed", "plain"])
def test_distributing(form: ModuleType) -> None:
    """Each item goes to its targets by type and symbol, in order."""
    one: list[Any] = []
    two: list[Any] = []
    all_: list[Any] = []
    tables = {"q": ({"A": [one, two], "B": [two]}, [all_]), "t": ({}, [])}
    targets = form.look_up(tables, ["q", "t", "q", "q", "q"], ["A", "A", "B", "C", "A"])
    form.distribute(targets, [1, 2, 3, 4, 5])
    assert (one, two, all_) == ([1, 5], [1, 3, 5], [4])


def test_compiled_where_it_can_be() -> None:
    """With a C compiler, `make` has compiled the hot modules, and from their present source."""
    headers = Path(sysconfig.get_path("include"), "Python.h")
    if os.environ.get("STREAM_PROXY_COMPILE") == "0" or not (
        shutil.which("cc") and headers.exists()
    ):
        assert not walk.COMPILED, "compiled, and yet there is no compiler: run make clean"
        return
    cure = "run: touch hatch_build.py; make test"
    for module in (walk, distribute, boundaries, transcode):
        compiled = Path(str(module.__file__))
        assert compiled.name.endswith(tuple(EXTENSION_SUFFIXES)), f"not compiled; {cure}"
        source = compiled.with_name(compiled.name.partition(".")[0] + ".py")
        assert compiled.stat().st_mtime >= source.stat().st_mtime, f"compiled long ago; {cure}"
