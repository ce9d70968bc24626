"""The one connection to an account's trading stream: make it, keep it, make it again.

Two tasks an account. This one connects, authorizes, listens, watches for silence and connects
again; the other makes up for the silences (see ``reconciler.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import structlog

from stream_proxy.feed.orders import OrderFeed
from stream_proxy.feed.upstream_status import Cause, UpstreamState
from stream_proxy.model.time import NS_PER_SECOND, rfc3339
from stream_proxy.runtime.backoff import Backoff
from stream_proxy.runtime.clock import Clock
from stream_proxy.runtime.tracing import NO_TRACER, Tracer
from stream_proxy.sources.connection_trace import ConnectionTrace
from stream_proxy.sources.connector import Connect, ConnectFailed, Connection
from stream_proxy.sources.trading.reconciler import Reconciler
from stream_proxy.sources.trading.rest import TradingRest
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

_WATCH_SECONDS = 0.25
_REFUSED_OFTEN, _REFUSED_LONG_SECONDS = 3, 60.0
"""So many refusals in a row, over such a time, aren't an incident: then the keys are wrong."""
_LONGEST_PAUSE_SECONDS = 600.0
"""Also where a server asks for more: a mistaken day must not become a day without updates."""


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
        self._connect = connect
        self._clock = clock
        self._timings = timings
        self._backoff = Backoff(
            timings.backoff_initial_seconds, timings.backoff_max_seconds, random
        )
        self._log = structlog.get_logger("stream_proxy.trading").bind(account=feed.account.name)
        self._trace = ConnectionTrace(tracer, {"alpaca.account": feed.account.name})
        self._reconciler = Reconciler(
            feed,
            rest,
            self._trace,
            clock=clock,
            every_seconds=timings.reconcile_seconds,
            away_seconds=timings.reconcile_away_seconds,
            settle_seconds=timings.settle_seconds,
        )
        self._session: TradingSession | None = None
        self._connection: Connection | None = None
        self._ending = ""
        self._cause = Cause.LOST
        self._wake = asyncio.Event()
        self._stopping = False
        self._pong_due_ns = 0
        self._pinged_ns = 0
        self._probed_ns = 0
        self._holds = 0
        self._wish_seconds: float | None = None
        """How long to wait before the next attempt, where the last one told."""
        self._refusals = self._refused_since = 0
        self._told_refusal: tuple[str, bool] | None = None
        self.on_status: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Keep the stream connected and the record complete, until `stop`."""
        reconciling = asyncio.create_task(self._reconciler.run())
        try:
            while not self._stopping:
                try:
                    why = await self._live_and_die()
                except Exception:
                    # A bug of ours must not take the account away for good.
                    self._log.exception("trading.internal_error")
                    why = "an internal error of the proxy, see the log"
                    self._cause = Cause.INTERNAL
                    self._feed.stream_lost()
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
            self._wish_seconds = self._wish(failure)
            return f"can't connect: {failure.reason}"
        self._connection = connection
        status.connections += 1
        status.open_connections += 1
        status.peak_open_connections = max(status.peak_open_connections, status.open_connections)
        try:
            self._trace.step("alpaca.authenticate")
            self._set_state(UpstreamState.AUTHENTICATING, "connected")
            opened_ns = self._pinged_ns = self._clock.monotonic_ns()
            self._pong_due_ns = 0
            self._send()
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

    def _wish(self, failure: ConnectFailed) -> float | None:
        """How long to wait because of an HTTP status, in seconds; None where it doesn't matter."""
        match failure.status:
            case 429 if failure.retry_after_seconds is not None:
                return max(1.0, min(failure.retry_after_seconds, _LONGEST_PAUSE_SECONDS))
            case 401 | 403 | 404:
                # Seen during incidents: not worth dying for, nor a hurry.
                return self._timings.backoff_max_seconds
            case _:
                return None

    async def _wait_after(self, why: str) -> None:
        status = self._feed.upstream
        seconds, self._wish_seconds = self._wish_seconds, None
        if seconds is None:
            seconds = self._backoff.next_delay_seconds()
        status.interrupted(self._cause)
        if status.state is UpstreamState.REFUSED:
            self._tell_refusal(seconds)
        else:
            if status.state is not UpstreamState.SLOT_TAKEN:
                self._set_state(UpstreamState.RECONNECTING, why)
            self._log.warning(
                "trading.interrupted", why=why, next_attempt_seconds=round(seconds, 2)
            )
        self._trace.waits(seconds)
        self._ending = ""
        until_ns = self._clock.monotonic_ns() + int(seconds * NS_PER_SECOND)
        while not self._stopping and (left := until_ns - self._clock.monotonic_ns()) > 0:
            await self._nap(left / NS_PER_SECOND)

    def _tell_refusal(self, seconds: float) -> None:
        """Say when the keys are tried again; in the log only what is new."""
        why = self._feed.upstream.why
        told = (why, seconds >= _LONGEST_PAUSE_SECONDS)
        if told != self._told_refusal:
            self._told_refusal = told
            self._log.error("trading.refused", why=why, next_attempt_seconds=round(seconds, 2))
        next_ns = self._clock.now_ns() + int(seconds) * NS_PER_SECOND
        at = rfc3339(next_ns - next_ns % NS_PER_SECOND)
        self._set_state(UpstreamState.REFUSED, f"{why}; the next attempt is at {at}")

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
                # It may have been a fill.
                self._feed.counts.unreadable += 1
                self._log.warning("trading.unreadable", reason=str(damage)[:120])
                self._reconciler.doubt()
                continue
            if session.state is not before and session.state is TradingState.LISTENING:
                self._trace.step("alpaca.subscribe")
            match event:
                case Update(data):
                    self._backoff.reset()
                    if not self._feed.receive(data):
                        self._reconciler.doubt()
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
        self._refusals, self._told_refusal = 0, None
        self._probed_ns = self._clock.monotonic_ns()
        if self._feed.hold():
            self._holds += 1
            asyncio.get_running_loop().call_later(
                self._timings.hold_seconds, self._let_go, self._holds
            )
        self._set_state(UpstreamState.CONNECTED, "listening")
        self._reconciler.listens()

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
        now = self._clock.monotonic_ns()
        self._refused_since = self._refused_since if self._refusals else now
        self._refusals += 1
        long_ago = now - self._refused_since > _REFUSED_LONG_SECONDS * NS_PER_SECOND
        if self._refusals >= _REFUSED_OFTEN and long_ago:
            self._wish_seconds = _LONGEST_PAUSE_SECONDS
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
