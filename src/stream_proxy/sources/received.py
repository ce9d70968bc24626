"""What a feed has received around a gap, by the keys that tell two messages apart."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from stream_proxy.feed.handler import FeedHandler
from stream_proxy.model.time import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_SECOND
from stream_proxy.model.topics import Channel
from stream_proxy.runtime.clock import Clock
from stream_proxy.sources.instant import instant_of
from stream_proxy.state.ring import Stretch
from stream_proxy.wire.alpaca.codec import FrameDamaged

Key = tuple[Any, ...]

_PORTION = 2000
_FOLLOW_SECONDS = 0.25
_TICKS_NS = 10 * NS_PER_SECOND
_SLOW_NS = 3 * NS_PER_MINUTE
"""So far back before a gap what came is looked at: of ticks a little, of bars some minutes."""
_TICKING = frozenset({"t", "q"})
_WITHOUT_IDS = frozenset({"trades", "quotes"})
"""Channels that have messages without ids: quotes, and trades of options."""


class ReceivedKeys:
    """Reads the ring from shortly before a gap on, as soon as it opens: later it may be forgotten.

    Args:
        began_ns: when the gap began, monotonic; it may be noticed minutes later.
        channels: those that are of interest.

    Attributes:
        since_ns: since when it knows of everything, monotonic.
        until_ns: what comes live later can't be of the gap's time, monotonic; None while it lasts.
    """

    def __init__(
        self, handler: FeedHandler, clock: Clock, began_ns: int, channels: Collection[Channel]
    ) -> None:
        self._handler = handler
        self._clock = clock
        self._ticks_from_ns = began_ns - _TICKS_NS
        self._position = handler.ring.before(began_ns - _SLOW_NS)
        self._channels = {
            letter: channel
            for letter, channel in handler.feed.types.items()
            if channel in channels and letter in "tqbun"
        }
        self._found: dict[Channel, dict[Key, tuple[Any, int]]] = {c: {} for c in channels}
        self._back_filled: dict[Channel, set[Key]] = {c: set() for c in channels}
        self._symbols: dict[Channel, set[str]] = {c: set() for c in channels}
        self._key_of = Numbering()
        self.heard_ns = 0
        """When what came live last happened, by the exchange's clock."""
        self.since_ns = handler.ring.since_ns
        self.until_ns: int | None = None
        self._knows_all = False

    async def follow(self, most: int) -> None:
        """Read what came before, and then whatever may be forgotten, until the gap is long over.

        What stays in the ring is read when it is needed: to take apart all that comes live would
        cost those who listen. Ends after so many messages, too.
        """
        await self.read()
        while not self._knows_all and sum(map(len, self._found.values())) < most:
            await asyncio.sleep(_FOLLOW_SECONDS)
            if self._is_past() or self._handler.ring.may_forget(self._position):
                await self.read()

    def _is_past(self) -> bool:
        return self.until_ns is not None and self._clock.monotonic_ns() > self.until_ns

    async def read(self) -> None:
        """Take in what has come since the last time."""
        ring = self._handler.ring
        is_past = self._is_past()
        while self._position < ring.last:
            if self._position < ring.first - 1:
                self._position = ring.first - 1
                if not self._knows_all:
                    self.since_ns = ring.since_ns
            for stretch in ring.after(self._position, _PORTION):
                is_later = self.until_ns is not None and stretch.kept_ns > self.until_ns
                if stretch.back_filled or not is_later:
                    self._read(stretch)
                self._position = stretch.first + stretch.messages - 1
            if self._position < ring.last:
                await asyncio.sleep(0)
        self._knows_all |= is_past

    def forget(self) -> None:
        """Nobody asks any more."""
        self._knows_all = True
        self._key_of = Numbering()
        for known in (self._found, self._back_filled, self._symbols):
            known.clear()

    def __len__(self) -> int:
        """How many keys it remembers."""
        return sum(map(len, (*self._found.values(), *self._back_filled.values())))

    def _read(self, stretch: Stretch) -> None:
        handler, is_early = self._handler, stretch.kept_ns < self._ticks_from_ns
        types, symbols, items = handler.split(stretch.payloads)
        for kind, symbol, item in zip(types, symbols, items, strict=True):
            channel = self._channels.get(kind)
            if channel is None or (is_early and kind in _TICKING):
                continue
            try:
                fields = handler.codec.decode_fields(item)
            except FrameDamaged:
                continue
            at_ns = instant_of(fields)
            if at_ns is not None:
                self._add(channel, symbol, fields, at_ns, back_filled=stretch.back_filled)
            if isinstance(symbol, str):
                self._symbols[channel].add(symbol)

    def _add(
        self,
        channel: Channel,
        symbol: Any,
        fields: Mapping[str, Any],
        at_ns: int,
        *,
        back_filled: bool,
    ) -> None:
        if not has_key(channel, symbol, fields):
            return
        key = self._key_of(channel, symbol, fields, at_ns)
        if back_filled:
            self._back_filled[channel].add(key)
        else:
            self._found[channel][key] = (symbol, at_ns)
            self.heard_ns = max(self.heard_ns, at_ns)

    def add_back_filled(self, channel: Channel, key: Key) -> None:
        """Remember one that was handed out as missed."""
        if channel in self._back_filled:
            self._back_filled[channel].add(key)

    def has(self, channel: Channel, key: Key) -> bool:
        """Whether a message was received, live or as missed."""
        return key in self._found.get(channel, ()) or key in self._back_filled.get(channel, ())

    def symbols(self, channel: Channel) -> set[str]:
        """Those that anything came for."""
        return set(self._symbols.get(channel, ()))

    def between(self, channel: Channel, from_ns: int, to_ns: int) -> list[tuple[Any, Key]]:
        """Symbol and key of what came live and happened in an interval, by the exchange's clock."""
        return [
            (symbol, key)
            for key, (symbol, at_ns) in self._found.get(channel, {}).items()
            if from_ns <= at_ns <= to_ns
        ]


def has_key(channel: Channel, symbol: Any, fields: Mapping[str, Any]) -> bool:
    """Whether a message's key is one: fields may be of a kind that can't be compared."""
    try:
        hash(key_of(channel, symbol, fields, 0))
    except TypeError:
        return False
    return True


class Numbering:
    """Gives messages their keys; those that have no id and are alike are counted.

    Called for all messages of a time in their order, it gives the same keys in the stream and in
    REST, as far as both have them.
    """

    def __init__(self) -> None:
        self._alike: dict[Key, int] = {}

    def __call__(self, channel: Channel, symbol: Any, fields: Mapping[str, Any], at_ns: int) -> Key:
        key = key_of(channel, symbol, fields, at_ns)
        if channel not in _WITHOUT_IDS or "i" in fields:
            return key
        number = self._alike[key] = self._alike.get(key, 0) + 1
        return *key, number


def key_of(channel: Channel, symbol: Any, fields: Mapping[str, Any], at_ns: int) -> Key:
    """What tells a message from all others of its channel, in the stream's form and in REST's.

    A trade has an id that is unique by exchange and day; trades of options have none. The hour
    stands for the day here: an exchange's midnight is at a full one, in summer and winter.

    Args:
        at_ns: when it happened.
    """
    if channel == "news":
        return fields.get("id"), at_ns
    if channel in ("bars", "updatedBars"):
        return symbol, at_ns
    if channel == "trades" and "i" in fields:
        return symbol, fields.get("x"), fields["i"], at_ns // NS_PER_HOUR
    names = ("x", "p", "s") if channel == "trades" else ("bx", "bp", "bs", "ax", "ap", "as")
    return symbol, at_ns, *(fields.get(name) for name in names)
