"""Channels, and sets of subscriptions.

A subscription set says, channel by channel, which symbols somebody wants; ``*`` stands for all.
As on Alpaca's wire, ``*`` is one more literal in the list: removing ``AAPL`` leaves it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

WILDCARD = "*"

Channel: TypeAlias = str
Symbol: TypeAlias = str

# Corrections and cancels are never asked for: they follow trades (Alpaca, "Real-time Stock Data").
FOLLOWERS_OF_TRADES = ("corrections", "cancelErrors")


class SubscriptionSet:
    """Ordered symbols by channel; a small value type with set algebra.

    Order of first mention is kept, so that an acknowledgement lists symbols as they were asked.
    """

    __slots__ = ("_channels",)

    def __init__(self, channels: Mapping[Channel, Iterable[Symbol]] | None = None) -> None:
        self._channels: dict[Channel, dict[Symbol, None]] = {}
        for channel, symbols in (channels or {}).items():
            kept = dict.fromkeys(symbols)
            if kept:
                self._channels[channel] = kept

    def __bool__(self) -> bool:
        return bool(self._channels)

    def __len__(self) -> int:
        """The number of topics: one symbol on two channels counts twice, as Alpaca counts."""
        return sum(map(len, self._channels.values()))

    def __eq__(self, other: object) -> bool:
        # Symbol order is a courtesy to readers, not part of the value.
        return isinstance(other, SubscriptionSet) and self._channels == other._channels

    def __hash__(self) -> int:
        return hash(self.key())

    def __repr__(self) -> str:
        shown = ", ".join(f"{c}={list(s)}" for c, s in self._channels.items())
        return f"SubscriptionSet({shown})"

    def __iter__(self) -> Iterator[tuple[Channel, Symbol]]:
        for channel, symbols in self._channels.items():
            for symbol in symbols:
                yield channel, symbol

    def __contains__(self, topic: tuple[Channel, Symbol]) -> bool:
        channel, symbol = topic
        return symbol in self._channels.get(channel, ())

    def symbols(self, channel: Channel) -> tuple[Symbol, ...]:
        """The symbols of one channel, in the order in which they were asked."""
        return tuple(self._channels.get(channel, ()))

    def channels(self) -> tuple[Channel, ...]:
        return tuple(self._channels)

    def covers(self, channel: Channel, symbol: Symbol) -> bool:
        """Whether messages of this topic belong to this set, by name or by ``*``."""
        symbols = self._channels.get(channel, ())
        return symbol in symbols or WILDCARD in symbols

    def key(self) -> frozenset[tuple[Channel, frozenset[Symbol]]]:
        """A hashable value: equal for sets that want the same."""
        return frozenset(
            (channel, frozenset(symbols)) for channel, symbols in self._channels.items()
        )

    def copy(self) -> SubscriptionSet:
        return SubscriptionSet(self._channels)

    def __or__(self, other: SubscriptionSet) -> SubscriptionSet:
        merged = {channel: dict(symbols) for channel, symbols in self._channels.items()}
        for channel, symbols in other._channels.items():
            merged.setdefault(channel, {}).update(symbols)
        return SubscriptionSet(merged)

    def __sub__(self, other: SubscriptionSet) -> SubscriptionSet:
        return SubscriptionSet(
            {
                channel: [s for s in symbols if s not in other._channels.get(channel, ())]
                for channel, symbols in self._channels.items()
            }
        )

    def __and__(self, other: SubscriptionSet) -> SubscriptionSet:
        return SubscriptionSet(
            {
                channel: [s for s in symbols if s in other._channels.get(channel, ())]
                for channel, symbols in self._channels.items()
            }
        )

    def as_dict(self) -> dict[Channel, list[Symbol]]:
        return {channel: list(symbols) for channel, symbols in self._channels.items()}

    @classmethod
    def of(cls, topics: Iterable[tuple[Channel, Symbol]]) -> SubscriptionSet:
        """Collect single topics."""
        channels: dict[Channel, dict[Symbol, None]] = {}
        for channel, symbol in topics:
            channels.setdefault(channel, {})[symbol] = None
        made = cls()
        made._channels = channels
        return made
