"""What a feed has received around a gap, by the keys that tell two messages apart."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from msgspec.msgpack import Ext

from stream_proxy.feed.handler import FeedHandler
from stream_proxy.model.time import NS_PER_MINUTE, parse_rfc3339, timestamp_ns
from stream_proxy.model.topics import Channel
from stream_proxy.state.ring import Stretch
from stream_proxy.wire.alpaca.codec import FrameDamaged

Key = tuple[Any, ...]

_PORTION = 2000
_LATE_NS = NS_PER_MINUTE
"""What comes so long after a gap isn't of its time any more."""


class ReceivedKeys:
    """Reads the ring, and remembers what of it happened in an interval.

    Args:
        from_ns, to_ns: by the exchange's clock.
        channels: those that are of interest.
    """

    def __init__(
        self, handler: FeedHandler, from_ns: int, to_ns: int, channels: Collection[Channel]
    ) -> None:
        self._handler = handler
        self._from_ns, self._to_ns = from_ns, to_ns
        stretches = handler.ring.since(from_ns)
        self._position = stretches[0].first - 1 if stretches else handler.ring.last
        self._channels = {
            letter: channel
            for letter, channel in handler.feed.types.items()
            if channel in channels and letter in "tqbun"
        }
        self._found: dict[Channel, dict[Key, tuple[str, int]]] = {c: {} for c in channels}
        self._symbols: dict[Channel, set[str]] = {c: set() for c in channels}

    async def read(self) -> None:
        """Take in what has come since the last time."""
        ring = self._handler.ring
        while self._position < ring.last:
            self._position = max(self._position, ring.first - 1)
            for stretch in ring.after(self._position, _PORTION):
                if stretch.back_filled or stretch.received_ns < self._to_ns + _LATE_NS:
                    self._read(stretch)
                self._position = stretch.first + stretch.messages - 1
            if self._position < ring.last:
                await asyncio.sleep(0)

    def _read(self, stretch: Stretch) -> None:
        handler = self._handler
        types, symbols, items = handler.split(stretch.payloads)
        for kind, symbol, item in zip(types, symbols, items, strict=True):
            channel = self._channels.get(kind)
            if channel is None:
                continue
            try:
                fields = handler.codec.decode_fields(item)
            except FrameDamaged:
                continue
            at_ns = instant_of(fields)
            if at_ns is None:
                continue
            if isinstance(symbol, str):
                self._symbols[channel].add(symbol)
            if self._from_ns <= at_ns <= self._to_ns:
                self._found[channel][key_of(channel, symbol, fields)] = (symbol, at_ns)

    def keys(self, channel: Channel) -> Collection[Key]:
        """Of all messages of a channel in the interval."""
        return self._found.get(channel, {}).keys()

    def symbols(self, channel: Channel) -> set[str]:
        """Those that anything came for."""
        return set(self._symbols.get(channel, ()))

    def between(self, channel: Channel, from_ns: int, to_ns: int) -> list[tuple[str, Key]]:
        """Symbol and key of what happened in a part of the interval."""
        return [
            (symbol, key)
            for key, (symbol, at_ns) in self._found.get(channel, {}).items()
            if from_ns <= at_ns <= to_ns
        ]


def instant_of(fields: Mapping[str, Any]) -> int | None:
    """When something happened, by the exchange's clock; None where that can't be read."""
    value = fields.get("t", fields.get("created_at"))
    try:
        return timestamp_ns(value) if isinstance(value, Ext) else parse_rfc3339(str(value))
    except ValueError:
        return None


def key_of(channel: Channel, symbol: Any, fields: Mapping[str, Any]) -> Key:
    """What tells a message from all others of its channel, in the stream's form and in REST's.

    A trade has an id that is unique by exchange and day; trades of options have none.
    """
    if channel == "news":
        return (fields.get("id"),)
    if channel in ("bars", "updatedBars"):
        return symbol, instant_of(fields)
    if channel == "trades" and "i" in fields:
        return symbol, fields.get("x"), fields["i"]
    names = ("x", "p", "s") if channel == "trades" else ("bx", "bp", "bs", "ax", "ap", "as")
    return symbol, instant_of(fields), *(fields.get(name) for name in names)
