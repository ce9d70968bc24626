"""HOT PATH. How a batch becomes WebSocket frames, per upstream and downstream codec.

A shape belongs to many consumers: a batch is joined and framed once for all that share it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

from stream_proxy.wire.alpaca.codec import JSON, MSGPACK, Codec, FrameDamaged, Item
from stream_proxy.wire.alpaca.merge import merge
from stream_proxy.wire.alpaca.transcode import NotTranscodable, to_json, to_msgpack
from stream_proxy.wire.websocket import frame, payload_start

MAX_FRAME_BYTES = 512 * 1024
"""The official Python SDKs close the connection at 1 MiB."""


class WebSocketShape:
    """Frames for consumers of ``codec``, from items in ``upstream``'s."""

    def __init__(self, upstream: Codec, codec: Codec) -> None:
        self.codec = codec
        self.protocol = "websocket"
        self.letters: frozenset[str] | None = None
        self.at_once = 1000
        self.transcode_whole = None
        self.transcode: Callable[[Sequence[Item], Sequence[int], int], list[bytes | None]] | None
        self.transcode = None
        if upstream is not codec:
            translate = to_json if codec is JSON else to_msgpack

            def transcode(
                items: Sequence[Item], sequences: Sequence[int] = (), received_ns: int = 0
            ) -> list[bytes | None]:
                return [_or_none(translate, item) for item in items]

            self.transcode = transcode

    def classify(self, frames: Sequence[bytes]) -> dict[str, int]:
        """Count the messages in frames by their type."""
        counts: Counter[str] = Counter()
        for one in frames:
            try:
                types, _, _ = self.codec.ticks.split(one[payload_start(one) :])
            except FrameDamaged:
                continue
            counts.update(types)
        return counts

    def whole(self, payloads: Sequence[bytes]) -> list[bytes] | None:
        """One frame of all these, items as they came, or None where that can't be."""
        if sum(map(len, payloads)) > MAX_FRAME_BYTES:
            return None
        try:
            return [frame(merge(self.codec, payloads), self.codec.binary)]
        except FrameDamaged:
            return None

    def frames(self, items: Sequence[Item]) -> list[bytes]:
        """One frame, or several where one would grow too large."""
        return self._framed(items)

    def _framed(self, items: Sequence[Item]) -> list[bytes]:
        payload = self.codec.join(items)
        if len(payload) <= MAX_FRAME_BYTES or len(items) == 1:
            return [frame(payload, self.codec.binary)]
        half = len(items) // 2
        return self._framed(items[:half]) + self._framed(items[half:])


def _or_none(translate: Callable[[Item], bytes], item: Item) -> bytes | None:
    try:
        return translate(item)
    except NotTranscodable:
        return None


@cache
def shape_for(upstream_name: str, codec_name: str) -> WebSocketShape:
    """The one shape of this pair: consumers share frames only through the same object."""
    codecs = {codec.name: codec for codec in (JSON, MSGPACK)}
    return WebSocketShape(codecs[upstream_name], codecs[codec_name])
