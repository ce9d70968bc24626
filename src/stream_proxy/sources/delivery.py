"""Of what REST says of a gap, hand out what was missed indeed, each message once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from stream_proxy.feed.back_fill import Missed, hand_out
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.runtime.clock import Clock
from stream_proxy.sources.asking import TICKS, Doubt, Item
from stream_proxy.sources.received import Key, Numbering, ReceivedKeys
from stream_proxy.sources.window import Window
from stream_proxy.state.gaps import Gap
from stream_proxy.wire.alpaca.historical import StreamItems
from stream_proxy.wire.alpaca.transcode import NotTranscodable

LATE_NS = 30 * NS_PER_SECOND
"""What the stream brings so long after a gap isn't of its time."""
_ON_ITS_WAY_SECONDS = 2.0
"""What happened behind a gap comes by itself, most often no later than this after REST has it."""
_LOOK_SECONDS = 0.5
_PORTION = 500
_SORTED_AT_ONCE = 5000
_LETTERS = {"trades": "t", "quotes": "q", "bars": "b", "updatedBars": "u", "news": "n"}


class Delivery:
    """Hands out what one gap lacks.

    Args:
        received: what came around it.
        others: what came around other gaps that wait, where an instant may be of their time.
    """

    def __init__(
        self,
        handler: FeedHandler,
        clock: Clock,
        gap: Gap,
        window: Window,
        received: ReceivedKeys,
        others: Callable[[int], Iterable[ReceivedKeys]],
    ) -> None:
        self._handler = handler
        self._clock = clock
        self._gap = gap
        self._window = window
        self._received = received
        self._others = others

    async def hand_out(self, items: list[Item], doubt: Doubt) -> bool:
        """Hand out what was missed of an answer.

        And tell whether there is anything else that wasn't received as far as is known: what came
        when is forgotten may have come.

        Args:
            doubt: called for each symbol with an item that can't be used.
        """
        new, unclear = await self._unknown(items)
        youngest_ns = max((item[0] for item, _ in new), default=0)
        if youngest_ns > self._window.to_ns:
            await asyncio.sleep(_ON_ITS_WAY_SECONDS)
            await self._until_heard(youngest_ns)
            new, unclear = await self._unknown(items)
        await self._hand_out(new, doubt)
        return unclear

    async def _until_heard(self, at_ns: int) -> None:
        """Wait until the stream is past an instant, or could not be that late."""
        await self._received.read()
        while self._received.heard_ns <= at_ns:
            if self._clock.monotonic_ns() - self._window.ended_ns > LATE_NS:
                break
            await asyncio.sleep(_LOOK_SECONDS)
            await self._received.read()

    async def _unknown(self, items: list[Item]) -> tuple[list[tuple[Item, Key]], bool]:
        """What was missed, in the order in which it happened; and whether the rest is unclear."""
        received = self._received
        await received.read()
        key_of = Numbering()
        new: dict[object, tuple[Item, Key]] = {}
        unclear = False
        for number, one in enumerate(items):
            if number % _SORTED_AT_ONCE == 0:
                await asyncio.sleep(0)
            at_ns, channel, symbol, item = one
            key = key_of(channel, symbol, item, at_ns)
            if received.has(channel, key):
                continue
            if channel in TICKS and at_ns < self._window.at(received.since_ns):
                unclear = True
            else:
                new.setdefault((channel, key), (one, key))
        return sorted(new.values(), key=lambda one: one[0][0]), unclear

    async def _hand_out(self, new: list[tuple[Item, Key]], doubt: Doubt) -> None:
        handler, received = self._handler, self._received
        writers: dict[str, tuple[StreamItems, StreamItems]] = {}
        for start in range(0, len(new), _PORTION):
            # What has come in the meantime isn't said twice.
            await received.read()
            missed = []
            for (at_ns, channel, symbol, item), key in new[start : start + _PORTION]:
                if channel not in writers:
                    writers[channel] = (
                        StreamItems(handler.feed, channel, handler.codec),
                        StreamItems(handler.feed, channel, handler.codec, backfilled=True),
                    )
                if received.has(channel, key):
                    continue
                plain, marked = writers[channel]
                try:
                    made = plain.write(symbol, item), marked.write(symbol, item)
                except NotTranscodable:
                    doubt(symbol)
                    continue
                about = item.get("symbols", []) if channel == "news" else symbol
                missed.append(Missed(_LETTERS[channel], about, *made))
                received.add_back_filled(channel, key)
                # Gaps that touch are tried again long after the ring has forgotten this.
                for other in self._others(at_ns):
                    other.add_back_filled(channel, key)
            if missed:
                hand_out(handler, missed, self._clock.now_ns())
                # Here, since it may be cancelled behind any portion.
                self._gap.messages += len(missed)
                handler.gaps.back_filled += len(missed)
            await asyncio.sleep(0)
