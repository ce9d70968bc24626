"""What the gRPC callers of the benchmark count, and how they find it in HTTP/2 frames."""

from __future__ import annotations

from typing import Any

import pytest
from bench.grpc_sinks import Counter, GrpcRoom, GrpcSink, http2_frame
from bench.traffic import Case, Crowd, Traffic
from hpack import Encoder

from stream_proxy.wire.grpc.data_frames import data_frames
from stream_proxy.wire.grpc.encode import encode_batch
from stream_proxy.wire.grpc.framing import feed_fields, grpc_message

EPOCH = "0123456789ab"
CASE = Case("one of each", (Crowd(1), Crowd(1, 5)), symbols=50)


class Wire:
    """What a caller says."""

    def __init__(self) -> None:
        self.said = b""

    def write(self, data: bytes) -> None:
        self.said += data


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return Traffic(CASE)


def messages_for(traffic: Traffic, sink: GrpcSink, many: int) -> list[bytes]:
    """The first messages of the traffic that a caller wants, as the outlet writes them."""
    chosen = [
        (number, item)
        for number, (symbol, item) in enumerate(
            zip(traffic.symbols[:many], traffic.items["msgpack"], strict=False)
        )
        if symbol in sink.wish.symbols or "*" in sink.wish.symbols
    ]
    tail = feed_fields(EPOCH, "alpaca")
    numbers = [number for number, _ in chosen]
    return encode_batch("StreamQuotes", [item for _, item in chosen], numbers, tail, 1)


def hear(sink: GrpcSink, data: bytes, step: int) -> None:
    """Give a caller bytes as a socket might, in pieces."""
    for start in range(0, len(data), step):
        piece = data[start : start + step]
        sink.get_buffer(-1)[: len(piece)] = piece
        sink.buffer_updated(len(piece))


@pytest.mark.parametrize("step", [1, 7, 9, 1000, 200_000])
def test_every_message_is_counted_wherever_reads_and_frames_cut_it(
    traffic: Traffic, step: int, capsys: pytest.CaptureFixture[str]
) -> None:
    room = GrpcRoom(traffic, GrpcSink)
    room.expect(3000)
    for sink in room.sinks:
        assert isinstance(sink, GrpcSink)
        sink.connection_made(Wire())
        payload = b"".join(messages_for(traffic, sink, 3000))
        headers = http2_frame(1, 4, 1, Encoder().encode([(":status", "200"), ("epoch", EPOCH)]))
        hear(sink, http2_frame(4, 0, 0, b"") + headers + data_frames(payload, 1, 16_384), step)
        assert sink.seen == sink.expected > 0
    room.check()
    assert '"exact": true' in capsys.readouterr().out


def test_a_message_too_few_or_another_one_is_told(
    traffic: Traffic, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(change: Any) -> str:
        room = GrpcRoom(traffic, GrpcSink)
        room.expect(100)
        for sink in room.sinks:
            assert isinstance(sink, GrpcSink)
            sink.connection_made(Wire())
            made = change(messages_for(traffic, sink, 100))
            headers = Encoder().encode([("epoch", EPOCH)])
            frames = data_frames(b"".join(made), 1, 16_384)
            hear(sink, http2_frame(1, 4, 1, headers) + frames, 1 << 16)
        room.check()
        return capsys.readouterr().out

    assert '"exact": true' in said(lambda made: made)
    assert "instead of" in said(lambda made: made[1:])
    assert "checksum" in said(lambda made: [made[0], *made[:1], *made[2:]])


def test_messages_are_counted_across_pieces() -> None:
    counter, data = Counter(), grpc_message(b"abc") + grpc_message(b"") + grpc_message(b"d" * 300)
    ends = [end for end in range(len(data)) if counter.count(data[end : end + 1])]
    assert ends == [7, 12, len(data) - 1]
    assert counter.count(data + data[:4]) == 3
    assert counter.count(data[4:]) == 3
