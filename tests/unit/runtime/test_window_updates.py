"""WINDOW_UPDATE frames, with the library itself as the oracle."""

from __future__ import annotations

from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from hyperframe.frame import Frame, PingFrame, WindowUpdateFrame
from hypothesis import given
from hypothesis import strategies as st

from stream_proxy.runtime.window_updates import take_window_updates

HEADERS = [
    (":method", "POST"),
    (":path", "/a/b"),
    (":scheme", "http"),
    (":authority", "localhost"),
]
MOST = (1 << 31) - 1


def server() -> H2Connection:
    """A connection with the streams 1 and 3 open, and 5 closed."""
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    made = H2Connection(H2Configuration(client_side=False))
    made.initiate_connection()
    for stream in (1, 3, 5):
        client.send_headers(stream, HEADERS, end_stream=stream == 3)
    made.receive_data(client.data_to_send())
    made.reset_stream(5)
    made.data_to_send()
    return made


def update(stream: int, increment: int) -> bytes:
    return WindowUpdateFrame(stream, window_increment=increment).serialize()


def windows(h2: H2Connection) -> list[int]:
    return [
        h2.outbound_flow_control_window,
        *(h2.streams[stream].outbound_flow_control_window for stream in (1, 3)),
    ]


frames = st.one_of(
    st.builds(update, st.sampled_from([0, 1, 3]), st.integers(1, 1 << 20)),
    st.just(PingFrame(0, opaque_data=b"12345678").serialize()),
)


@given(st.lists(frames, max_size=12))
def test_it_does_what_the_library_does(sent: list[bytes]) -> None:
    """In any order, with other frames in between: the same windows, and the same streams woken."""
    ours, theirs = server(), server()
    data = b"".join(sent)
    taken, streams = take_window_updates(ours, data)
    if taken < len(data):
        ours.receive_data(data[taken:])
    theirs.receive_data(data)
    assert windows(ours) == windows(theirs)
    first = [int.from_bytes(one[5:9], "big") for one in _leading(sent)]
    assert streams == set(first) and taken == 13 * len(first)
    ours.data_to_send()
    theirs.data_to_send()


def _leading(sent: list[bytes]) -> list[bytes]:
    found = []
    for one in sent:
        if one[3] != WindowUpdateFrame.type:
            break
        found.append(one)
    return found


@pytest.mark.parametrize(
    "data",
    [
        update(1, 5)[:12],
        b"\x00\x00\x04\x08\x00" + (1).to_bytes(4, "big") + bytes(4),
        b"\x00\x00\x04\x08\x00" + (1).to_bytes(4, "big") + (1 << 31).to_bytes(4, "big"),
        update(5, 5),
        update(99, 5),
        update(1, MOST),
        update(0, MOST),
        Frame.serialize(PingFrame(0, opaque_data=b"12345678")),
    ],
    ids=[
        "cut off",
        "zero",
        "reserved bit",
        "closed",
        "unknown",
        "too much",
        "too much of all",
        "ping",
    ],
)
def test_what_is_doubtful_is_the_library_s(data: bytes) -> None:
    h2 = server()
    before = windows(h2)
    assert take_window_updates(h2, data) == (0, set())
    assert windows(h2) == before


def test_not_in_the_middle_of_another_frame() -> None:
    """What looks like one may be the payload of an unfinished frame."""
    h2 = server()
    h2.receive_data(PingFrame(0, opaque_data=b"12345678").serialize()[:10])
    assert take_window_updates(h2, update(1, 5)) == (0, set())


def test_not_before_the_preface_nor_after_the_end() -> None:
    fresh: Any = H2Connection(H2Configuration(client_side=False))
    assert take_window_updates(fresh, update(0, 5)) == (0, set())
    h2 = server()
    h2.close_connection(ErrorCodes.NO_ERROR)
    assert take_window_updates(h2, update(0, 5)) == (0, set())
