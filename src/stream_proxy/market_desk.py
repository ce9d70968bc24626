"""The market-data side put together: feeds, their one connection each, what fills their gaps."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import structlog

from stream_proxy.config.schema import Settings
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.model.feeds import Feed
from stream_proxy.runtime.clock import Clock
from stream_proxy.runtime.tracing import NO_TRACER, Tracer
from stream_proxy.sources.alpaca import AlpacaSource, SourceTimings
from stream_proxy.sources.asking import BackFillLimits
from stream_proxy.sources.back_fill import BackFill
from stream_proxy.sources.connector import Connect
from stream_proxy.sources.latest_check import RestLatestCheck
from stream_proxy.sources.market_data_rest import MarketDataRest
from stream_proxy.sources.market_hours import MarketHours
from stream_proxy.sources.request_budget import RequestBudget
from stream_proxy.state.gaps import Gap
from stream_proxy.wire.alpaca.codec import CODECS, MSGPACK
from stream_proxy.wire.alpaca.requests import Credentials

_STAGGER_SECONDS = 0.3
"""Between the starts of feeds: several connects at once have earned HTTP 429."""
_MOST_KINDS_LOGGED = 200


@dataclass(slots=True)
class _RunningFeed:
    handler: FeedHandler
    source: AlpacaSource
    task: asyncio.Task[None]
    rest: MarketDataRest | None = None
    back_fill: BackFill | None = None
    filling: asyncio.Task[None] | None = None


class MarketDesk:
    """Runs the feeds, each from the moment when it is first asked for.

    Args:
        budget: of the requests that may be made with the account's keys.
        on_status: called when a feed's connection has changed its state.
        on_gap: called when a gap has opened, ended, or was filled as far as it can be.

    Attributes:
        hours: when markets are open; must be there before the first feed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        random: Random,
        connect: Connect,
        budget: RequestBudget,
        on_status: Callable[[FeedHandler], None],
        on_gap: Callable[[FeedHandler, Gap], None],
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self.hours: MarketHours | None = None
        self._settings = settings
        self._clock = clock
        self._random = random
        self._connect = connect
        self._budget = budget
        self._on_status = on_status
        self._on_gap = on_gap
        self._tracer = tracer
        self._feeds: dict[str, _RunningFeed] = {}
        self._next_start = 0.0
        self._logged_bad: set[tuple[str, str]] = set()
        self._log = structlog.get_logger("stream_proxy.market_data")

    @property
    def handlers(self) -> dict[str, FeedHandler]:
        """The middles of the feeds that were started, by name."""
        return {name: running.handler for name, running in self._feeds.items()}

    def handler_for(self, feed: Feed) -> FeedHandler | None:
        """The feed's middle; its upstream is started on the first call. None if it isn't served."""
        if self._settings.feeds and feed.name not in self._settings.feeds:
            return None
        if feed.name not in self._feeds:
            self._feeds[feed.name] = self._start(feed)
        return self._feeds[feed.name].handler

    def _start(self, feed: Feed) -> _RunningFeed:
        settings = self._settings
        handler = FeedHandler(
            feed,
            MSGPACK if feed.msgpack_only else CODECS[settings.upstream_codec],
            self._clock,
            widen_above=settings.widen_above,
            linger_seconds=settings.linger_seconds,
            subscribe_chunk=settings.subscribe_chunk,
            on_bad_message=lambda reason: self._bad_message(feed.name, reason),
            epoch=secrets.token_hex(6),
            ring_bytes=settings.ring_bytes,
            ring_seconds=settings.ring_seconds,
        )
        credentials = Credentials(
            settings.key.get_secret_value() if settings.key else "",
            settings.secret.get_secret_value() if settings.secret else "",
        )
        rest = self._rest(feed, credentials)
        assert self.hours is not None
        source = AlpacaSource(
            handler,
            settings.upstream_url.rstrip("/") + feed.path,
            credentials,
            connect=self._connect,
            clock=self._clock,
            random=self._random,
            hours=self.hours,
            timings=_timings(settings),
            tracer=self._tracer,
            latest=None if rest is None else RestLatestCheck(rest),
        )
        source.on_status = lambda: self._on_status(handler)
        loop = asyncio.get_running_loop()
        running = _RunningFeed(handler, source, loop.create_task(self._run(source)), rest)
        if rest is not None and settings.back_fill:
            running.back_fill = BackFill(handler, rest, self._clock, _back_fill_limits(settings))
            running.filling = loop.create_task(running.back_fill.run())
        handler.on_gap = lambda gap: self._gap_changed(running, gap)
        return running

    def _rest(self, feed: Feed, credentials: Credentials) -> MarketDataRest | None:
        url = self._settings.data_rest
        if url is None:
            return None
        return MarketDataRest(
            url, credentials, feed, budget=self._budget, random=self._random, tracer=self._tracer
        )

    async def _run(self, source: AlpacaSource) -> None:
        loop = asyncio.get_running_loop()
        start = max(loop.time(), self._next_start)
        self._next_start = start + _STAGGER_SECONDS
        await asyncio.sleep(start - loop.time())
        await source.run()

    def _gap_changed(self, running: _RunningFeed, gap: Gap) -> None:
        self._on_gap(running.handler, gap)
        if running.back_fill is not None:
            running.back_fill.gap_changed(gap)

    def _bad_message(self, feed: str, reason: str) -> None:
        """Log each kind of damage once per feed; all of it is counted by the handler."""
        kind = (feed, "".join(c for c in reason if not c.isdigit())[:80])
        if kind not in self._logged_bad and len(self._logged_bad) < _MOST_KINDS_LOGGED:
            self._logged_bad.add(kind)
            self._log.warning("upstream.bad_message", feed=feed, reason=reason[:200])

    # The end

    async def stop_upstream(self) -> None:
        """Free Alpaca's slots with close frames, and ask for nothing more."""
        for running in self._feeds.values():
            if running.filling is not None:
                running.filling.cancel()
        await asyncio.gather(*(running.source.stop() for running in self._feeds.values()))

    async def stop(self) -> None:
        """Wait for the connections to end."""
        tasks = [running.task for running in self._feeds.values()]
        if tasks:
            # The close handshake has its own time-out; this is for a connect that hangs.
            _, hanging = await asyncio.wait(tasks, timeout=6)
            for task in hanging:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for running in self._feeds.values():
            if running.rest is not None:
                await running.rest.close()

    def log_totals(self) -> None:
        """Say what each feed has seen."""
        for name, handler in self.handlers.items():
            self._log.info(
                "feed.total",
                feed=name,
                messages=handler.hub.messages,
                bad_messages=handler.bad_messages,
                unknown_messages=handler.unknown_messages,
                gaps=handler.gaps.count,
                back_filled=handler.back_filled,
                interruptions=handler.upstream.interruptions,
            )


def _back_fill_limits(settings: Settings) -> BackFillLimits:
    return BackFillLimits(
        quotes=settings.back_fill_quotes,
        messages=settings.back_fill_messages,
        seconds=settings.back_fill_seconds,
    )


def _timings(settings: Settings) -> SourceTimings:
    return SourceTimings(
        connect_seconds=settings.connect_timeout_seconds,
        handshake_seconds=settings.handshake_timeout_seconds,
        ping_seconds=settings.ping_interval_seconds,
        pong_seconds=settings.pong_timeout_seconds,
        acknowledgement_seconds=settings.acknowledgement_timeout_seconds,
        backoff_initial_seconds=settings.backoff_initial_seconds,
        backoff_max_seconds=settings.backoff_max_seconds,
        slot_seconds=settings.slot_seconds,
        silence_shortest_seconds=settings.silence_shortest_seconds,
        silence_longest_seconds=settings.silence_longest_seconds,
    )
