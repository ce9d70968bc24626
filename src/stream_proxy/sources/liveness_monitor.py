"""Shows `Liveness` what a feed has received, and asks REST for it.

Everything is read from what the feed's middle keeps anyway: counters and last values. Only statuses
and price bands are looked into, which are few.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from msgspec.msgpack import Ext

from stream_proxy.feed.handler import FeedHandler
from stream_proxy.feed.upstream_status import UpstreamStatus
from stream_proxy.model.time import parse_rfc3339, timestamp_ns
from stream_proxy.model.topics import WILDCARD, Channel, SubscriptionSet, Symbol
from stream_proxy.runtime.clock import Clock
from stream_proxy.sources.halts import HALT_TYPES
from stream_proxy.sources.latest_check import LatestCheck
from stream_proxy.sources.liveness import Liveness
from stream_proxy.sources.liveness_advice import Ask, Reconnect, Resubscribe
from stream_proxy.sources.market_hours import MarketHours, period_of
from stream_proxy.sources.window import exchange_ns
from stream_proxy.wire.alpaca.codec import FrameDamaged

_TELLING = frozenset({"statuses", "lulds"})
_ANSWER_SECONDS = 3.0
_ASKED_OF_ALL = 20
"""Symbols that stand for ``*``."""


class LivenessMonitor:
    """Looks a few times a second.

    Args:
        handler: the feed's middle.
        latest: asks REST.

    Attributes:
        hears_halts: whether statuses or price bands are subscribed: only then frames are read.
    """

    def __init__(
        self,
        handler: FeedHandler,
        clock: Clock,
        hours: MarketHours,
        latest: LatestCheck,
        *,
        shortest_seconds: float,
        longest_seconds: float,
    ) -> None:
        self._handler = handler
        self._clock = clock
        self._hours = hours
        self._latest = latest
        self._log = structlog.get_logger("stream_proxy.liveness").bind(feed=handler.feed.name)
        self.hears_halts = False
        self._received = handler.received
        self._statuses = 0
        self._asking: asyncio.Task[None] | None = None
        key = b"\xa1T\xa1%s" if handler.codec.binary else b'"T":"%s"'
        self._marks = [key % kind.encode() for kind in HALT_TYPES]
        self.liveness = Liveness(handler.feed, shortest_seconds, longest_seconds)

    def hold(self, topics: SubscriptionSet) -> None:
        """Upstream said what it sends from now on."""
        self.hears_halts = not _TELLING.isdisjoint(topics.channels())
        self.liveness.hold(
            topics,
            self._clock.monotonic_ns(),
            self._handler.last_values.get,
        )

    def lost(self) -> None:
        """The connection is gone."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        self.liveness.lost()

    def look(self, now_ns: int) -> Resubscribe | Reconnect | None:
        """See what came; give what is to be done with the connection."""
        handler, wall_ns = self._handler, self._clock.now_ns()
        advice = self.liveness.look(
            now_ns,
            wall_ns,
            period_of(self._hours, handler.feed, wall_ns),
            handler.hub.messages,
            handler.received,
            handler.last_values.get,
        )
        if isinstance(advice, Ask):
            self._asking = asyncio.get_running_loop().create_task(self._ask(advice))
            return None
        return advice

    def tell(self, status: UpstreamStatus, now_ns: int) -> None:
        """Note for the status page how it is."""
        liveness = self.liveness
        status.data = liveness.condition(now_ns).value
        status.market_phase = liveness.period.phase.value

    async def _ask(self, ask: Ask) -> None:
        symbols: Sequence[Symbol] = ask.symbols
        if symbols == (WILDCARD,):
            # Who spoke first is at the beginning, and speaks often.
            symbols = self._handler.last_values.symbols(ask.channel)[:_ASKED_OF_ALL]
        found = None
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                found = await self._latest.latest_ns(ask.channel, symbols) if symbols else None
        except TimeoutError:
            pass  # as good as none
        except Exception:
            # A bug of ours must not keep the feed from being judged.
            self._log.exception("liveness.internal_error")
        self._asking = None
        now_ns, wall_ns = self._clock.monotonic_ns(), self._clock.now_ns()
        at_exchange_ns = exchange_ns(self._handler, now_ns, wall_ns, self._latest.now_ns())
        self.liveness.answered(ask, found, self._happened, now_ns, at_exchange_ns)

    def _happened(self, channel: Channel, symbol: Symbol) -> int:
        """When the last message of a topic happened, by its own account."""
        item = self._handler.last_values.get(channel, symbol)
        if item is None:
            return 0
        try:
            at = self._handler.codec.decode_fields(item).get("t")
            return timestamp_ns(at) if isinstance(at, Ext) else parse_rfc3339(str(at))
        except ValueError:
            return self._clock.now_ns()  # it can't be shown that anything is newer

    def read_statuses(self, payloads: Sequence[bytes]) -> None:
        """Look for halts in the frames of a read, if it brought statuses or price bands."""
        statuses = sum([self._received.get(kind, 0) for kind in HALT_TYPES])
        if statuses == self._statuses:
            return
        self._statuses = statuses
        codec = self._handler.codec
        wall_ns = self._clock.now_ns()
        marked = [one for one in payloads if any(mark in one for mark in self._marks)]
        for payload in marked or payloads:
            try:
                types, _, items = codec.ticks.split(payload)
                for kind, item in zip(types, items, strict=True):
                    if kind in HALT_TYPES:
                        self.liveness.status(codec.decode_fields(item), wall_ns)
            except FrameDamaged:
                continue  # whoever routes it has counted it
