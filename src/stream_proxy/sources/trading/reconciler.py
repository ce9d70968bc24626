"""When the record is compared with Alpaca's, and what becomes of what is found.

At once after each connect, a few times soon after (REST lags), now and then while all seems well,
and often while there is no stream at all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from random import Random
from typing import TypeVar

import structlog

from stream_proxy.feed.orders import OrderFeed
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.runtime.backoff import Backoff
from stream_proxy.runtime.clock import Clock
from stream_proxy.runtime.tracing import Span
from stream_proxy.sources.connection_trace import ConnectionTrace
from stream_proxy.sources.trading.extent import RecordExtent
from stream_proxy.sources.trading.reconcile import OVERLAP_NS, Position, reconcile, standing_orders
from stream_proxy.sources.trading.rest import RestFailed, TradingRest
from stream_proxy.sources.trading.server_clock import ServerClock

T = TypeVar("T")

_APART_SECONDS = 0.3
"""How far Alpaca's clock may be from what we take for it, its message's way included."""
_HELD_RETRY_SECONDS = 1.0
"""The longest wait after a failure of REST while fresh events wait, too."""
_SOON_AFTER_SECONDS = (3.0, 15.0, 60.0)
"""After a connect, until REST has surely caught up with what happened before it."""


class Reconciler:
    """Keeps an account's record complete, by its REST.

    Args:
        trace: what the spans of comparisons belong to.
        every_seconds: how often the record is compared while all seems well.
        away_seconds: the same while there is no stream.
        settle_seconds: what happened so shortly ago may still come by the stream.
    """

    def __init__(
        self,
        feed: OrderFeed,
        rest: TradingRest,
        trace: ConnectionTrace,
        *,
        clock: Clock,
        every_seconds: float,
        away_seconds: float,
        settle_seconds: float,
    ) -> None:
        self._feed = feed
        self._rest = rest
        self._trace = trace
        self._monotonic_ns = clock.monotonic_ns
        self._every_seconds = every_seconds
        self._away_seconds = away_seconds
        self._settle_ns = int(settle_seconds * NS_PER_SECOND)
        self._log = structlog.get_logger("stream_proxy.trading").bind(account=feed.account.name)
        self._alpaca = ServerClock(clock, self._log)
        self._extent: RecordExtent | None = None
        self._listening_since = 0
        """By the monotonic clock; tells one connection from another, too."""
        self._left_out_since: int | None = None
        self._due = asyncio.Event()
        self._soon: list[float] = []
        feed.on_doubt = self._compare_soon

    def listens(self) -> None:
        """From here on the stream tells; what was before has to be asked for."""
        self._listening_since = self._monotonic_ns()
        self._compare_soon()

    def doubt(self) -> None:
        """The stream brought something that can't be read, so only a comparison can tell."""
        self._feed.doubt()
        self._compare_soon()

    def _compare_soon(self) -> None:
        self._soon = list(_SOON_AFTER_SECONDS)
        self._due.set()

    async def run(self) -> None:
        """Compare again and again, until cancelled."""
        failures = Backoff(0.5, 30.0, Random(0))  # noqa: S311 (spread is not needed here)
        while True:
            with self._trace.part("alpaca.reconcile") as span:
                try:
                    await self._compare(span)
                    failures.reset()
                    seconds = self._next_seconds()
                except RestFailed as failure:
                    seconds = failures.next_delay_seconds()
                    if self._feed.holding:
                        seconds = min(seconds, _HELD_RETRY_SECONDS)
                    span.fail(str(failure))
                    self._log.warning(
                        "trading.reconcile_failed",
                        reason=str(failure),
                        meaning="events of the last gap may be missing until this works",
                        next_attempt_seconds=round(seconds, 2),
                    )
                except Exception as error:
                    seconds = failures.next_delay_seconds()
                    span.fail(type(error).__name__)
                    self._log.exception("trading.internal_error")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._due.wait()
            self._due.clear()

    def _next_seconds(self) -> float:
        if self._feed.upstream.state is not UpstreamState.CONNECTED:
            return self._away_seconds
        return self._soon.pop(0) if self._soon else self._every_seconds

    async def _compare(self, span: Span) -> None:
        """Compare the record with Alpaca's, and fill in what is missing.

        All instants here are Alpaca's.
        """
        feed, alpaca = self._feed, self._alpaca
        listening_since, losses = self._listening_since, feed.losses
        listens = feed.upstream.state is UpstreamState.CONNECTED
        standing = await self._ask(feed.standing)
        self._extent = self._extent or RecordExtent(standing.state)
        if listens:
            # What was on its way when we began to listen arrives, and clocks may differ.
            listened = (self._monotonic_ns() - listening_since) / NS_PER_SECOND
            await asyncio.sleep(max(0.0, _APART_SECONDS - listened))
        await alpaca.compare(self._rest.time)
        started_ns = alpaca.now_ns()
        extent = self._extent.at(standing.state, started_ns, alpaca.offset_ns, alpaca.doubt_ns)
        correction = self._extent.correction
        if correction is not None and standing.state.since_ns == correction[0]:
            feed.correct_beginning(*correction)
        if extent.until_ns < extent.since_ns + OVERLAP_NS:
            # The record begins now: what was before isn't ours to tell.
            feed.note_orders(await standing_orders(self._rest))
        findings = await reconcile(
            self._rest,
            Position(extent.since_ns, extent.until_ns, standing.open_orders),
            started_ns,
            told=lambda ids: self._ask(partial(feed.fills_told, ids)),
            aggregate=self._is_tired_of_waiting(),
        )
        found = findings.events
        span.set({"events": len(found), "exact": findings.exact})
        settled_ns = started_ns - self._settle_ns
        if not findings.exact:
            # What happened after we listened comes by the stream, unless it had time enough.
            listening_ns = alpaca.at(listening_since) + int(_APART_SECONDS * NS_PER_SECOND)
            limit_ns = max(settled_ns, listening_ns) if listens else started_ns
            # Where the stream has brought the event itself, that one takes its place.
            held = {event.kind: event for event in feed.held()}
            found = [held.get(e.kind, e) for e in found if e.timestamp_ns <= limit_ns]
        if self._listening_since != listening_since:
            # There is one more gap before what is held now, and the next round begins at once.
            # What was found waits with it, lest fresh events pass it when the hold is over.
            feed.found(found, settles=False)
            return
        feed.found(found, settles=not (findings.left_out or findings.unreadable))
        if findings.unreadable:
            feed.doubt()
            self._log.warning(
                "trading.unreadable_record", events=findings.unreadable, reason=findings.reason
            )
            raise RestFailed(f"{findings.unreadable} events of Alpaca's record can't be read")
        if findings.left_out:
            if self._left_out_since is None:
                self._left_out_since = self._monotonic_ns()
            raise RestFailed(f"fills of {findings.left_out} orders are not shown yet")
        self._left_out_since = None
        # Before it began nothing is missing: who reads otherwise takes its beginning for wrong.
        until_ns = max(extent.since_ns, started_ns if listens else settled_ns)
        self._extent.complete_until(until_ns)
        complete = listens and feed.upstream.state is UpstreamState.CONNECTED
        feed.note_reconciled(until_ns, complete=complete, losses=losses)

    def _is_tired_of_waiting(self) -> bool:
        """Whether fills that REST doesn't show have had time enough."""
        since = self._left_out_since
        if since is None:
            return False
        return self._monotonic_ns() - since > _SOON_AFTER_SECONDS[-1] * NS_PER_SECOND

    async def _ask(self, question: Callable[[Callable[[T], None]], None]) -> T:
        """Wait for the journal's answer."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def done(value: T) -> None:
            if not answer.done():
                answer.set_result(value)

        question(done)
        return await answer
