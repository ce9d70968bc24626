"""HOT PATH. Upstream's items as gRPC messages: made once per item, joined once per group."""

from __future__ import annotations

from collections.abc import Sequence

from stream_proxy.wire.alpaca.codec import Codec, Item
from stream_proxy.wire.alpaca.transcode import NotTranscodable, to_msgpack
from stream_proxy.wire.grpc.boundaries import count_messages
from stream_proxy.wire.grpc.encode import encode_batch, encode_joined, encoder_for
from stream_proxy.wire.grpc.framing import feed_fields


class GrpcShape:
    """Length-prefixed responses of one method, from one feed's items.

    Args:
        codec: upstream's.
        epoch: the feed's numbering.
        source: where the feed comes from.
        back_filled: whether its messages were asked for afterwards.
    """

    protocol = "grpc"

    def __init__(
        self, method: str, codec: Codec, epoch: str, source: str, *, back_filled: bool = False
    ) -> None:
        self.method = method
        self.letters: frozenset[str] | None = encoder_for(method).types
        (self._letter,) = self.letters
        self.at_once = 10_000 if encoder_for(method).table else 200
        self._payload, self._messages = b"", 0
        """Made last: most often that is what is to be counted."""
        self._json = not codec.binary
        self._tail = feed_fields(epoch, source, back_filled=back_filled)

    def transcode(
        self, items: Sequence[Item], sequences: Sequence[int], received_ns: int
    ) -> Sequence[bytes | None]:
        """Finished messages; None for what the contract can't say."""
        batch = self._in_msgpack(items)
        made = encode_batch(self.method, batch, list(sequences), self._tail, received_ns)
        return [message or None for message in made] if b"" in made else made

    def transcode_whole(
        self, items: Sequence[Item], sequences: Sequence[int], received_ns: int
    ) -> tuple[list[bytes], int]:
        """One payload of all that the contract can say, and how many messages that is."""
        batch = self._in_msgpack(items)
        self._payload, self._messages = encode_joined(
            self.method, batch, list(sequences), self._tail, received_ns
        )
        return [self._payload] if self._messages else [], self._messages

    def _in_msgpack(self, items: Sequence[Item]) -> list[Item]:
        return [_msgpack(item) for item in items] if self._json else list(items)

    def classify(self, frames: Sequence[bytes]) -> dict[str, int]:
        return {self._letter: sum(map(self._count, frames))}

    def _count(self, payload: bytes) -> int:
        return self._messages if payload is self._payload else count_messages(payload)

    def frames(self, items: Sequence[Item]) -> list[bytes]:
        """One payload of all: HTTP/2 frames have their own bounds."""
        self._payload, self._messages = b"".join(items), len(items)
        return [self._payload]

    def whole(self, payloads: Sequence[bytes]) -> list[bytes] | None:
        """Upstream's frames are of no use here."""
        return None


def _msgpack(item: Item) -> bytes:
    try:
        return to_msgpack(item)
    except NotTranscodable:
        return b""
