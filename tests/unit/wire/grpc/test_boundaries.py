"""Where messages end: compiled and interpreted alike, and never in the middle of one."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_proxy.wire.grpc import boundaries
from stream_proxy.wire.grpc.framing import grpc_message


def interpreted() -> ModuleType:
    """The same source, not compiled."""
    source = str(boundaries.__file__).partition(".cpython")[0].removesuffix(".py") + ".py"
    spec = importlib.util.spec_from_file_location("boundaries_interpreted", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not module.COMPILED
    return module


forms = pytest.mark.parametrize("form", [boundaries, interpreted()], ids=["installed", "plain"])


@forms
@given(st.lists(st.integers(0, 700), max_size=20), st.integers(0, 3000))
def test_only_whole_messages_fit(form: ModuleType, sizes: list[int], room: int) -> None:
    """Whatever the bodies hold: they may look like prefixes."""
    messages = [grpc_message(bytes(size)) for size in sizes]
    data = b"".join(messages)
    ends = [0]
    for message in messages:
        ends.append(ends[-1] + len(message))
    assert form.whole_bytes(data[:room]) == max(end for end in ends if end <= room)
    assert form.count_messages(data) == len(sizes)


@forms
def test_lengths_have_four_bytes(form: ModuleType) -> None:
    """Messages beyond 64 KiB count once, and one that has only begun not at all."""
    data = grpc_message(bytes(70_000)) + grpc_message(b"\xff" * 20_000_000)
    assert form.count_messages(data) == 2
    assert form.whole_bytes(data) == len(data)
    assert form.whole_bytes(data[:-1]) == 70_005
    assert form.whole_bytes(b"\x00\xff\xff\xff\xff" + bytes(1000)) == 0
