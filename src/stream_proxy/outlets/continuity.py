"""What a WebSocket client hears about completeness, if it asks: positions, gaps, its own lag.

``?continuity=1``, or the header ``Stream-Proxy-Continuity: 1``, adds control messages to Alpaca's
protocol, in the client's codec. Every frame of data ends with a position, behind which the client
can go on later with ``?resume=<epoch>:<sequence>``. The page ``docs/continuity.md`` is about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stream_proxy.model.feeds import Feed
from stream_proxy.model.time import rfc3339
from stream_proxy.model.topics import WILDCARD, SubscriptionSet
from stream_proxy.outlets.shapes import MAX_FRAME_BYTES, WebSocketShape
from stream_proxy.state.gaps import Filling, Gap
from stream_proxy.wire.alpaca.codec import Codec, Item
from stream_proxy.wire.websocket import frame

HEADER = "Stream-Proxy-Continuity"
CONTROL = frozenset({"position", "gap", "lag"})
_SYMBOLS_NAMED = 500
_YES = ("1", "true", "yes")


class Asked:
    """What a client asks for when it connects.

    Attributes:
        continuity: whether it wants to be told.
        resume: the position behind which it wants to go on; empty for what comes next.
    """

    __slots__ = ("continuity", "resume")

    def __init__(self, query: Mapping[str, Sequence[str]], header: str | None) -> None:
        self.resume = query.get("resume", [""])[-1]
        said = query.get("continuity", [header or "0"])[-1]
        self.continuity = said.lower() in _YES or bool(self.resume)


class PositionedShape(WebSocketShape):
    """Frames that end with the position of their last message.

    One for all such clients of a feed and codec. The hub transcodes a batch before it flushes any
    of it, so the last sequence that came by is the position of all frames that are made then.
    """

    def __init__(self, upstream: Codec, codec: Codec, epoch: str) -> None:
        super().__init__(upstream, codec)
        self.epoch = epoch
        self._sequence = 0
        self._translate = self.transcode
        self.transcode = self._note

    def _note(
        self, items: Sequence[Item], sequences: Sequence[int] = (), received_ns: int = 0
    ) -> list[Any]:
        if sequences:
            self._sequence = sequences[-1]
        return self.translated(items)

    def translated(self, items: Sequence[Item]) -> list[Any]:
        """The items in the clients' codec; None for each that can't be made."""
        return list(items) if self._translate is None else self._translate(items, (), 0)

    def classify(self, frames: Sequence[bytes]) -> dict[str, int]:
        counts = super().classify(frames)
        return {kind: number for kind, number in counts.items() if kind not in CONTROL}

    def whole(self, payloads: Sequence[bytes]) -> list[bytes] | None:
        return None

    def frames(self, items: Sequence[Item]) -> list[bytes]:
        return self.frames_until(items, self._sequence)

    def frames_until(self, items: Sequence[Item], sequence: int) -> list[bytes]:
        """Frames of these, with a position behind the last of them."""
        position = self.position(sequence)
        payload = self.codec.join([*items, position])
        if len(payload) <= MAX_FRAME_BYTES:
            return [frame(payload, self.codec.binary)]
        end = frame(self.codec.join([position]), self.codec.binary)
        return [*self._framed(items), end]

    def position(self, sequence: int) -> bytes:
        """The control message alone, without a frame or list around it."""
        said = {"T": "position", "epoch": self.epoch, "sequence": sequence}
        return self.codec.encode(said)


def start_of(
    epoch: str, sequence: int, *, why_not: str = "", resumed: bool = False, live: bool = True
) -> dict[str, Any]:
    """Where a client's messages begin: behind this position.

    Args:
        resumed: the client gets everything behind the position that it named.
        why_not: it named one, and that can't be honoured.
        live: what comes now is not the past.
    """
    said: dict[str, Any] = {"T": "position", "epoch": epoch, "sequence": sequence, "live": live}
    if resumed or why_not:
        said["resumed"] = resumed
    if why_not:
        said["why"] = why_not
    return said


def gap_message(gap: Gap, topics: SubscriptionSet, feed: Feed) -> dict[str, Any]:
    """A gap as it concerns a client that holds these topics; a later one with its ``id`` is news
    of it.

    What comes with them, and can't be asked for, isn't part of what was filled.
    """
    missed = affected(topics, gap.topics)
    symbols = sorted({symbol for _, symbol in missed})
    if len(missed) == len(topics) or len(symbols) > _SYMBOLS_NAMED:
        symbols = [WILDCARD]
    said: dict[str, Any] = {
        "T": "gap",
        "id": gap.number,
        "from": rfc3339(gap.from_ns),
        "to": None if gap.to_ns is None else rfc3339(gap.to_ns),
        "channels": list(missed.channels()),
        "symbols": symbols,
        "why": gap.why,
        "filled": gap.to_ns is not None and not lacking(missed, gap),
        "filling": gap.filling.value,
        "messages": gap.messages,
    }
    if unknown := feed.followers_of(missed.channels()):
        said["unknown"] = list(unknown)
    if gap.trouble:
        said["trouble"] = gap.trouble
    return said


def forgotten_message(
    from_ns: int | None, to_ns: int, why: str, topics: SubscriptionSet | None = None
) -> dict[str, Any]:
    """What a client that comes back can't be given; of all its topics, or of these."""
    symbols = [WILDCARD] if topics is None else sorted({symbol for _, symbol in topics})
    return {
        "T": "gap",
        "id": 0,
        "from": None if from_ns is None else rfc3339(from_ns),
        "to": rfc3339(to_ns),
        "symbols": symbols if len(symbols) <= _SYMBOLS_NAMED else [WILDCARD],
        "why": why,
        "filled": False,
        "filling": Filling.NOT.value,
        "messages": 0,
    }


def affected(topics: SubscriptionSet, gap: SubscriptionSet) -> SubscriptionSet:
    """Those of a client's topics of which messages may be missing."""
    return SubscriptionSet.of(
        (channel, symbol)
        for channel, symbol in topics
        if gap.covers(channel, symbol) or (symbol == WILDCARD and gap.symbols(channel))
    )


def lacking(missed: SubscriptionSet, gap: Gap) -> SubscriptionSet:
    """Those of the topics that a gap concerns of which messages are still missing."""
    return SubscriptionSet.of(topic for topic in missed if topic not in gap.filled)


def read_position(text: str) -> tuple[str, int] | None:
    """``<epoch>:<sequence>``; None for anything else."""
    epoch, colon, number = text.rpartition(":")
    if not colon or not epoch or not number.isascii() or not number.isdigit() or len(number) > 18:
        return None
    return epoch, int(number)
