"""The one connection to an account's trading stream, and what makes up for its silences.

Two tasks an account. One connects, authorizes, listens, watches for silence and connects again.
The other reconciles: at once after each connect, a few times soon after (REST lags), now and then
while all seems well, and often while there is no stream at all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TypeVar

import structlog

from stream_proxy.feed.orders import OrderFeed
from stream_proxy.feed.upstream_status import Cause, UpstreamState
from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.runtime.backoff import Backoff
from stream_proxy.runtime.clock import Clock
from stream_proxy.runtime.tracing import NO_TRACER, Span, Tracer
from stream_proxy.sources.connection_trace import ConnectionTrace
from stream_proxy.sources.connector import Connect, ConnectFailed, Connection
from stream_proxy.sources.trading.reconcile import OVERLAP_NS, Position, reconcile, standing_orders
from stream_proxy.sources.trading.rest import RestFailed, TradingRest
from stream_proxy.wire.alpaca.codec import FrameDamaged
from stream_proxy.wire.alpaca.requests import Credentials
from stream_proxy.wire.alpaca.trading_session import (
    Broken,
    Listening,
    TradingSession,
    TradingState,
    Unauthorized,
    Unexpected,
    Update,
)

T = TypeVar("T")

_WATCH_SECONDS = 0.25
_APART_SECONDS = 0.3
"""How far Alpaca's clock may be from ours, its message's way included."""
_HELD_RETRY_SECONDS = 1.0
"""The longest wait after a failure of REST while fresh events wait, too."""
_SOON_AFTER_SECONDS = (3.0, 15.0, 60.0)
"""After a connect, until REST has surely caught up with what happened before it."""


@dataclass(frozen=True, slots=True)
class TradingTimings:
    """All the waits of a trading source, in seconds."""

    connect_seconds: float = 10.0
    handshake_seconds: float = 10.0
    ping_seconds: float = 10.0
    pong_seconds: float = 10.0
    probe_seconds: float = 30.0
    """How often the server is asked to say that we still listen."""
    probe_answer_seconds: float = 10.0
    close_seconds: float = 5.0
    backoff_initial_seconds: float = 0.5
    backoff_max_seconds: float = 30.0
    hold_seconds: float = 5.0
    """How long fresh events wait for what was missed before them."""
    reconcile_seconds: float = 300.0
    """How often the record is compared while all seems well."""
    reconcile_away_seconds: float = 5.0
    """The same while there is no stream: so late is then what happens, at the most. An account
    may ask some 200 times a minute, and we aren't the only one who does."""
    settle_seconds: float = 2.0
    """What happened so shortly ago may still come by the stream."""


class TradingSource:
    """Holds an account's one stream.

    Args:
        feed: the account's middle.
        url: the stream's whole address.
        rest: where missed events are asked for.
    """

    def __init__(
        self,
        feed: OrderFeed,
        url: str,
        credentials: Credentials,
        rest: TradingRest,
        *,
        connect: Connect,
        clock: Clock,
        random: Random,
        timings: TradingTimings,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._feed = feed
        self._url = url
        self._credentials = credentials
        self._rest = rest
        self._connect = connect
        self._clock = clock
        self._timings = timings
        self._backoff = Backoff(
            timings.backoff_initial_seconds, timings.backoff_max_seconds, random
        )
        self._log = structlog.get_logger("stream_proxy.trading").bind(account=feed.account.name)
        self._trace = ConnectionTrace(tracer, {"alpaca.account": feed.account.name})
        self._session: TradingSession | None = None
        self._connection: Connection | None = None
        self._ending = ""
        self._cause = Cause.LOST
        self._wake = asyncio.Event()
        self._stopping = False
        self._listening_ns = 0
        self._pong_due_ns = 0
        self._pinged_ns = 0
        self._probed_ns = 0
        self._due = asyncio.Event()
        self._soon: list[float] = []
        self._holds = 0
        self._left_out_since_ns = 0
        self.on_status: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Keep the stream connected and the record complete, until `stop`."""
        reconciling = asyncio.create_task(self._reconcile_for_ever())
        try:
            while not self._stopping:
                why = await self._live_and_die()
                self._trace_end(why)
                if not self._stopping:
                    await self._wait_after(why)
        finally:
            reconciling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reconciling
            self._trace.stopped()
            self._set_state(UpstreamState.STOPPED, "stopped")

    async def stop(self) -> None:
        """Ask `run` to end, with a close frame."""
        self._stopping = True
        self._end("stopped by us")
        self._wake.set()

    # The connection

    async def _live_and_die(self) -> str:
        """One connection from connect to close; give why it ended."""
        status = self._feed.upstream
        status.attempts += 1
        self._trace.begin(status.attempts)
        self._ending = ""
        self._wake.clear()
        self._session = session = TradingSession(self._credentials)
        self._set_state(UpstreamState.CONNECTING, "connecting")
        try:
            connection = await self._connect(
                self._url,
                {"User-Agent": "alpaca-stream-proxy"},
                self,
                self._timings.connect_seconds,
            )
        except ConnectFailed as failure:
            self._set_state(
                UpstreamState.SLOT_TAKEN if failure.status == 429 else UpstreamState.RECONNECTING,
                failure.reason,
            )
            self._cause = failure.cause
            return f"can't connect: {failure.reason}"
        self._connection = connection
        self._trace.step("alpaca.authenticate")
        status.connections += 1
        status.open_connections += 1
        status.peak_open_connections = max(status.peak_open_connections, status.open_connections)
        self._set_state(UpstreamState.AUTHENTICATING, "connected")
        opened_ns = self._pinged_ns = self._clock.monotonic_ns()
        self._pong_due_ns = 0
        self._send()
        try:
            while not self._ending:
                await self._nap(_WATCH_SECONDS)
                self._watch(session, opened_ns)
        finally:
            # Said before the close, which may take a while.
            self._connection = None
            self._feed.stream_lost()
            self._trace_end(self._ending)
            if status.state is UpstreamState.CONNECTED:
                self._set_state(UpstreamState.RECONNECTING, self._ending)
            try:
                await connection.close(1000, self._timings.close_seconds)
            finally:
                status.open_connections -= 1
        return self._ending

    async def _nap(self, seconds: float) -> None:
        self._wake.clear()
        if not self._ending:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()

    async def _wait_after(self, why: str) -> None:
        seconds = self._backoff.next_delay_seconds()
        self._feed.upstream.interrupted(self._cause)
        if self._feed.upstream.state not in (UpstreamState.REFUSED, UpstreamState.SLOT_TAKEN):
            self._set_state(UpstreamState.RECONNECTING, why)
        self._log.warning("trading.interrupted", why=why, next_attempt_seconds=round(seconds, 2))
        self._trace.waits(seconds)
        self._ending = ""
        until_ns = self._clock.monotonic_ns() + int(seconds * NS_PER_SECOND)
        while not self._stopping and (left := until_ns - self._clock.monotonic_ns()) > 0:
            await self._nap(left / NS_PER_SECOND)

    # What the socket brings

    def on_messages(self, payloads: list[bytes]) -> None:
        session = self._session
        for payload in payloads:
            if session is None or self._ending:
                return
            before = session.state
            try:
                event = session.receive(payload)
            except FrameDamaged as damage:
                # It may have been a fill: only a comparison can tell.
                self._feed.counts.unreadable += 1
                self._log.warning("trading.unreadable", reason=str(damage)[:120])
                self._reconcile_soon()
                continue
            if session.state is not before and session.state is TradingState.LISTENING:
                self._trace.step("alpaca.subscribe")
            match event:
                case Update(data):
                    self._backoff.reset()
                    if not self._feed.receive(data):
                        self._reconcile_soon()
                case Listening(first):
                    if first:
                        self._listens()
                    else:
                        # It answered a probe, so this connection is good, however quiet.
                        self._backoff.reset()
                case Unauthorized(status):
                    self._refuse(status)
                case Broken(reason):
                    self._end(f"Alpaca says: {reason}", Cause.ERROR)
                case Unexpected(text):
                    self._surprised(text)
        self._send()

    def on_pong(self) -> None:
        self._pong_due_ns = 0

    def on_lost(self, why: str) -> None:
        self._end(why)

    def _listens(self) -> None:
        """From here on the stream tells; what was before has to be asked for."""
        self._trace.ready()
        self._listening_ns = self._clock.now_ns()
        self._probed_ns = self._clock.monotonic_ns()
        if self._feed.hold():
            self._holds += 1
            asyncio.get_running_loop().call_later(
                self._timings.hold_seconds, self._let_go, self._holds
            )
        self._set_state(UpstreamState.CONNECTED, "listening")
        self._soon = list(_SOON_AFTER_SECONDS)
        self._reconcile_soon()

    def _let_go(self, hold: int) -> None:
        """What was missed isn't known after all this time: fresh events wait no longer."""
        if hold != self._holds or not self._feed.holding:
            return
        if self._feed.held():
            self._feed.counts.passed_early += 1
            self._log.warning(
                "trading.order_not_kept",
                meaning="fresh updates are passed on although earlier ones may be missing; these "
                "will follow as soon as Alpaca's REST tells them",
            )
        # Also with nothing held: what comes from now on has waited long enough as well.
        self._feed.release()

    def _refuse(self, status: str) -> None:
        self._set_state(
            UpstreamState.REFUSED,
            f"{status}: check key and secret of the account {self._feed.account.name}; "
            f"paper keys don't work for live, nor live keys for paper",
        )
        self._log.error("trading.refused", status=status)
        self._end(status, Cause.ERROR)

    def _send(self) -> None:
        session, connection = self._session, self._connection
        if session is not None and connection is not None:
            for payload in session.frames_to_send():
                connection.send(payload, False)

    def _watch(self, session: TradingSession, opened_ns: int) -> None:
        """Look at every time-out."""
        connection = self._connection
        if self._ending or connection is None:
            return
        now_ns = self._clock.monotonic_ns()
        timings = self._timings
        if session.state is not TradingState.READY:
            if now_ns - opened_ns > timings.handshake_seconds * NS_PER_SECOND:
                why = f"no {session.state.value} within {timings.handshake_seconds:g} s"
                self._end(why, Cause.UNANSWERED)
            return
        if self._pong_due_ns and now_ns > self._pong_due_ns:
            why = f"no pong within {timings.pong_seconds:g} s: the connection is half open"
            self._end(why, Cause.HALF_OPEN)
            return
        if now_ns - self._pinged_ns >= timings.ping_seconds * NS_PER_SECOND:
            self._pinged_ns = now_ns
            if not self._pong_due_ns:
                self._pong_due_ns = now_ns + int(timings.pong_seconds * NS_PER_SECOND)
            connection.ping()
        since_probe_ns = now_ns - self._probed_ns
        if session.unanswered:
            if since_probe_ns > timings.probe_answer_seconds * NS_PER_SECOND:
                self._end(
                    f"no answer to listen within {timings.probe_answer_seconds:g} s: the server "
                    "answers pings and nothing else",
                    Cause.UNANSWERED,
                )
        elif since_probe_ns > timings.probe_seconds * NS_PER_SECOND:
            self._probed_ns = now_ns
            session.probe()
            self._send()

    # Reconciling

    def _reconcile_soon(self) -> None:
        self._due.set()

    async def _reconcile_for_ever(self) -> None:
        failures = Backoff(0.5, 30.0, Random(0))  # noqa: S311 (spread is not needed here)
        while True:
            with self._trace.part("alpaca.reconcile") as span:
                try:
                    await self._reconcile(span)
                    failures.reset()
                    seconds = self._next_reconcile_seconds()
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

    def _next_reconcile_seconds(self) -> float:
        if self._feed.upstream.state is not UpstreamState.CONNECTED:
            return self._timings.reconcile_away_seconds
        return self._soon.pop(0) if self._soon else self._timings.reconcile_seconds

    async def _reconcile(self, span: Span) -> None:
        """Compare the record with Alpaca's, and fill in what is missing."""
        feed = self._feed
        listening_ns = self._listening_ns
        listens = feed.upstream.state is UpstreamState.CONNECTED
        standing = await self._ask(feed.standing)
        state = standing.state
        if listens:
            # What was on its way when we began to listen arrives, and clocks may differ.
            listened = (self._clock.now_ns() - listening_ns) / NS_PER_SECOND
            await asyncio.sleep(max(0.0, _APART_SECONDS - listened))
        started_ns = self._clock.now_ns()
        if state.reconciled_until_ns < state.since_ns + OVERLAP_NS:
            # The record begins now: what was before isn't ours to tell.
            feed.note_orders(await standing_orders(self._rest))
        position = Position(
            state.since_ns, max(state.reconciled_until_ns, state.since_ns), standing.open_orders
        )
        findings = await reconcile(
            self._rest,
            position,
            started_ns,
            told=lambda ids: self._ask(partial(feed.fills_told, ids)),
            aggregate=self._is_tired_of_waiting(started_ns),
        )
        found = findings.events
        span.set({"events": len(found), "exact": findings.exact})
        settled_ns = started_ns - int(self._timings.settle_seconds * NS_PER_SECOND)
        if not findings.exact:
            # What happened after we listened comes by the stream, unless it had time enough.
            apart_ns = int(_APART_SECONDS * NS_PER_SECOND)
            limit_ns = max(settled_ns, listening_ns + apart_ns) if listens else started_ns
            # Where the stream has brought the event itself, that one takes its place.
            held = {event.kind: event for event in feed.held()}
            found = [held.get(e.kind, e) for e in found if e.timestamp_ns <= limit_ns]
        if self._listening_ns != listening_ns:
            # There is one more gap before what is held now, and the next round begins at once.
            # What was found waits with it, lest fresh events pass it when the hold is over.
            feed.found(found, settles=False)
            return
        feed.found(found, settles=not (findings.left_out or findings.unreadable))
        if findings.unreadable:
            self._log.warning(
                "trading.unreadable_record", events=findings.unreadable, reason=findings.reason
            )
            raise RestFailed(f"{findings.unreadable} events of Alpaca's record can't be read")
        if findings.left_out:
            self._left_out_since_ns = self._left_out_since_ns or started_ns
            raise RestFailed(f"fills of {findings.left_out} orders are not shown yet")
        self._left_out_since_ns = 0
        complete = listens and feed.upstream.state is UpstreamState.CONNECTED
        feed.note_reconciled(started_ns if listens else settled_ns, complete=complete)

    def _is_tired_of_waiting(self, now_ns: int) -> bool:
        """Whether fills that REST doesn't show have had time enough."""
        since_ns = self._left_out_since_ns
        return bool(since_ns) and now_ns - since_ns > _SOON_AFTER_SECONDS[-1] * NS_PER_SECOND

    async def _ask(self, question: Callable[[Callable[[T], None]], None]) -> T:
        """Wait for the journal's answer."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def done(value: T) -> None:
            if not answer.done():
                answer.set_result(value)

        question(done)
        return await answer

    # Bookkeeping

    def _trace_end(self, why: str) -> None:
        self._trace.ended(why, self._cause.value, wanted=self._stopping)

    def _end(self, why: str, cause: Cause = Cause.LOST) -> None:
        if not self._ending:
            self._ending, self._cause = why, cause
        self._wake.set()

    def _surprised(self, text: str) -> None:
        counts = self._feed.upstream.surprises
        counts[text] = counts.get(text, 0) + 1

    def _set_state(self, state: UpstreamState, why: str) -> None:
        status = self._feed.upstream
        status.enter(state, why, self._clock.now_ns())
        if state is UpstreamState.CONNECTED:
            self._log.info("trading.connected", attempts=status.attempts)
        self.on_status()
