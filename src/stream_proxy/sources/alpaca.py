"""The one connection to an Alpaca endpoint: make it, keep it, make it again.

One task per feed runs `AlpacaSource.run`: connect, authenticate, keep what is asked in step with
what is wanted, watch for silence, and after an end wait as long as its cause demands. Messages do
not pass through the task: the socket calls `on_messages`, which hands them to the feed handler.

At most one socket is open at any instant: the next one is opened only after the last one's close
handshake has ended or its time-out aborted it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import structlog

from stream_proxy.feed.handler import CONTROL_TYPES, FeedHandler
from stream_proxy.feed.upstream_status import Cause, UpstreamState
from stream_proxy.model.time import NS_PER_SECOND, rfc3339
from stream_proxy.runtime.backoff import Backoff
from stream_proxy.runtime.clock import Clock
from stream_proxy.runtime.tracing import NO_TRACER, Tracer
from stream_proxy.sources.connection_trace import ConnectionTrace
from stream_proxy.sources.connector import Connect, ConnectFailed, Connection
from stream_proxy.sources.latest_check import LatestCheck, NoLatestCheck
from stream_proxy.sources.liveness import Liveness
from stream_proxy.sources.liveness_advice import Reconnect, Resubscribe
from stream_proxy.sources.liveness_monitor import LivenessMonitor
from stream_proxy.sources.market_hours import MarketHours
from stream_proxy.sources.pings import Pings
from stream_proxy.wire.alpaca.codec import FrameDamaged
from stream_proxy.wire.alpaca.codes import CONNECTION_LIMIT, ErrorCode, Verdict
from stream_proxy.wire.alpaca.requests import Credentials
from stream_proxy.wire.alpaca.upstream import (
    Acknowledged,
    Event,
    Failed,
    Ready,
    Refused,
    State,
    Surprise,
    UpstreamSession,
)

_WATCH_SECONDS = 0.25
"""How often time-outs are looked at. Nothing per message waits for it."""


@dataclass(frozen=True, slots=True)
class SourceTimings:
    """All the waits of a source, in seconds."""

    connect_seconds: float = 10.0
    handshake_seconds: float = 10.0
    ping_seconds: float = 10.0
    pong_seconds: float = 10.0
    acknowledgement_seconds: float = 10.0
    close_seconds: float = 5.0
    backoff_initial_seconds: float = 0.5
    backoff_max_seconds: float = 30.0
    slot_seconds: float = 90.0
    silence_shortest_seconds: float = 5.0
    silence_longest_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a connection ended and what that means."""

    why: str
    cause: Cause = Cause.LOST
    verdict: Verdict = Verdict.RETRY
    error: ErrorCode | None = None
    wait_seconds: float | None = None


class AlpacaSource:
    """Holds the one upstream connection of a feed.

    Args:
        handler: the feed's middle; gets every message, says what is wanted.
        url: the whole endpoint address.
        connect: opens a socket.
        latest: asks REST whether what is silent is mute.
    """

    def __init__(
        self,
        handler: FeedHandler,
        url: str,
        credentials: Credentials,
        *,
        connect: Connect,
        clock: Clock,
        random: Random,
        hours: MarketHours,
        timings: SourceTimings,
        tracer: Tracer = NO_TRACER,
        latest: LatestCheck | None = None,
    ) -> None:
        self._handler = handler
        self._url = url
        self._credentials = credentials
        self._connect = connect
        self._clock = clock
        self._random = random
        self._timings = timings
        self._log = structlog.get_logger("stream_proxy.upstream").bind(feed=handler.feed.name)
        self._trace = ConnectionTrace(tracer, {"alpaca.feed": handler.feed.name})
        self._backoff = Backoff(
            timings.backoff_initial_seconds, timings.backoff_max_seconds, random
        )
        self._monitor = LivenessMonitor(
            handler,
            clock,
            hours,
            NoLatestCheck() if latest is None else latest,
            shortest_seconds=timings.silence_shortest_seconds,
            longest_seconds=timings.silence_longest_seconds,
        )
        self._session: UpstreamSession | None = None
        self._connection: Connection | None = None
        self._ending: Ending | None = None
        self._wake = asyncio.Event()
        self._stopping = False
        self._ready = False
        self._seen_messages = 0
        self._looked = 0, 0
        self._pings = Pings(timings.ping_seconds, timings.pong_seconds)
        self._suspected_ns = 0
        self._mute: Resubscribe | None = None
        self._asked_ns = 0
        self._slot_refusals = 0
        self._logged_surprises: set[str] = set()
        self.on_status: Callable[[], None] = lambda: None
        handler.on_demand = self._pump
        handler.on_control = self._control

    @property
    def liveness(self) -> Liveness:
        """Whether the feed is closed, quiet, halted or mute, and which of its symbols are."""
        return self._monitor.liveness

    # The task

    async def run(self) -> None:
        """Keep the feed connected until `stop`, or until Alpaca refuses for good."""
        while not self._stopping:
            try:
                ending = await self._live_and_die()
            except Exception:
                # A bug of ours must not take the feed away for good.
                self._log.exception("upstream.internal_error")
                ending = Ending("an internal error of the proxy, see the log", Cause.INTERNAL)
                self._handler.upstream_lost(ending.why)
            self._trace_end(ending)
            if self._stopping:
                break
            self._handler.upstream.interrupted(ending.cause)
            if ending.verdict is Verdict.GIVE_UP:
                self._give_up(ending)
                return
            await self._wait_after(ending)
        self._trace.stopped()
        self._set_state(UpstreamState.STOPPED, "stopped")

    async def stop(self) -> None:
        """Ask `run` to end: it closes with a close frame, so that the slot is free at once."""
        self._stopping = True
        self._end(Ending("stopped by us"))
        self._wake.set()

    async def _live_and_die(self) -> Ending:
        """One connection from connect to close."""
        status = self._handler.upstream
        status.attempts += 1
        self._trace.begin(status.attempts)
        self._ending = None
        self._ready = False
        self._wake.clear()
        self._session = UpstreamSession(self._handler.feed, self._handler.codec, self._credentials)
        self._set_state(UpstreamState.CONNECTING, "connecting")
        codec = self._handler.codec
        headers = {"Content-Type": f"application/{codec.name}", "User-Agent": "alpaca-stream-proxy"}
        try:
            connection = await self._connect(
                self._url, headers, self, self._timings.connect_seconds
            )
        except ConnectFailed as failure:
            return self._refused_upgrade(failure)
        self._connection = connection
        self._trace.step("alpaca.authenticate")
        status.connections += 1
        status.open_connections += 1
        status.peak_open_connections = max(status.peak_open_connections, status.open_connections)
        self._set_state(UpstreamState.AUTHENTICATING, "connected, waiting for the greeting")
        self._suspected_ns = 0
        self._mute = None
        opened_ns = self._clock.monotonic_ns()
        self._pings.opened(opened_ns)
        self._send()  # the greeting may have come before the connection was known
        try:
            while self._ending is None:
                await self._nap(_WATCH_SECONDS)
                self._watch(opened_ns)
        finally:
            # Said before the close, which may take a while.
            self._ready = False
            self._connection = None
            self._monitor.lost()
            if self._ending is not None:
                self._set_state(UpstreamState.RECONNECTING, self._ending.why, self._ending.error)
                self._handler.upstream_lost(self._ending.why)
                self._trace_end(self._ending)
            try:
                await connection.close(1000, self._timings.close_seconds)
            finally:
                status.open_connections -= 1
        return self._ending

    async def _nap(self, seconds: float) -> None:
        self._wake.clear()
        if self._ending is None and not (self._stopping and self._connection is None):
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _wait_after(self, ending: Ending) -> None:
        seconds = ending.wait_seconds
        if seconds is None:
            seconds = self._backoff.next_delay_seconds()
        if ending.verdict is Verdict.WAIT_FOR_SLOT:
            self._set_state(UpstreamState.SLOT_TAKEN, ending.why, ending.error)
        else:
            self._set_state(UpstreamState.RECONNECTING, ending.why, ending.error)
        self._log.warning(
            "upstream.interrupted", why=ending.why, next_attempt_seconds=round(seconds, 2)
        )
        self._trace.waits(seconds)
        self._ending = None
        until_ns = self._clock.monotonic_ns() + int(seconds * NS_PER_SECOND)
        while not self._stopping and (left := until_ns - self._clock.monotonic_ns()) > 0:
            await self._nap(left / NS_PER_SECOND)

    def _give_up(self, ending: Ending) -> None:
        error = ending.error
        self._set_state(UpstreamState.REFUSED, ending.why, error)
        cure = error.cure if error is not None else "Check the address and the keys."
        cure += " Then restart the proxy."
        self._log.error("upstream.refused", why=ending.why, cure=cure)
        self._trace.stopped(ending.why)
        if error is not None:
            self._handler.upstream_refused(error)

    # What the socket brings

    def on_messages(self, payloads: list[bytes]) -> None:
        """HOT PATH. What a socket read brought: to the handler, once the handshake is over."""
        if self._ready:
            self._handler.receive(payloads)
            if self._monitor.hears_halts:
                self._monitor.read_statuses(payloads)
            return
        for number, payload in enumerate(payloads):
            self._handshake(payload)
            if self._ready:
                if rest := payloads[number + 1 :]:
                    self._handler.receive(rest)
                return

    def on_pong(self) -> None:
        self._pings.ponged()

    def on_lost(self, why: str) -> None:
        self._end(Ending(why))

    def _handshake(self, payload: bytes) -> None:
        try:
            messages = self._handler.codec.decode(payload)
        except FrameDamaged:
            self._surprised("an unreadable message during the handshake")
            return
        for message in messages if isinstance(messages, list) else [messages]:
            if isinstance(message, dict) and message.get("T") in CONTROL_TYPES:
                self._control(message)

    def _control(self, message: dict[str, Any]) -> bool:
        """Let the session judge; False when the connection has come to its end."""
        session = self._session
        if session is None or self._ending is not None:
            return False
        self._act(session.receive(message))
        self._send()
        return self._ending is None

    def _act(self, event: Event | None) -> None:
        match event:
            case Ready():
                self._ready = True
                self._trace.ready()
                self._slot_refusals = 0
                self._seen_messages = self._handler.hub.messages
                self._looked = self._clock.now_ns(), self._clock.monotonic_ns()
                self._handler.upstream_ready()
                self._set_state(UpstreamState.CONNECTED, "authenticated")
                self._pump()
            case Acknowledged(topics):
                self._trace.answered()
                self._handler.upstream_holds(topics)
                self._monitor.hold(topics)
                self._pump()
            case Refused(error):
                self._handler.upstream.failed(error)
                self._trace.answered(f"{error.code} {error.text}")
                self._surprised(f"a request was refused with {error.code} {error.text}")
                self._handler.demand.refused(error)
                self._pump()
            case Failed(error):
                self._handler.upstream.failed(error)
                self._end(self._failure(error))
            case Surprise(text):
                self._surprised(text)

    def _failure(self, error: ErrorCode) -> Ending:
        why = f"{error.code} {error.text}: {error.cure}"
        if error.verdict is not Verdict.WAIT_FOR_SLOT:
            return Ending(why, Cause.ERROR, error.verdict, error)
        wait = self._slot_wait_seconds()
        return Ending(why, Cause.SLOT_TAKEN, error.verdict, error, wait)

    def _slot_wait_seconds(self) -> float:
        """Ask early once, since the holder may just have left; then wait the window out.

        Past the window somebody else holds the slot: ask rarely, never fight.
        """
        self._slot_refusals += 1
        share = (1 / 18, 1 / 6, 1 / 3, 1 / 2)[min(self._slot_refusals, 4) - 1]
        return self._timings.slot_seconds * share * self._random.uniform(1.0, 1.1)

    def _refused_upgrade(self, failure: ConnectFailed) -> Ending:
        why = f"can't connect: {failure.reason}"
        match failure.status:
            case 429:
                # Bounded: a mistaken day must not become a day without data.
                asked = failure.retry_after_seconds
                wait = self._slot_wait_seconds() if asked is None else max(1.0, min(asked, 600.0))
                why = f"{why}. {CONNECTION_LIMIT.cure}"
                return Ending(why, failure.cause, Verdict.WAIT_FOR_SLOT, None, wait)
            case 401 | 403 | 404:
                # Seen on retired hosts and during incidents: not worth dying for, nor a hurry.
                wait = self._timings.backoff_max_seconds
                return Ending(why, failure.cause, wait_seconds=wait)
            case _:
                return Ending(why, failure.cause)

    # Keeping upstream in step

    def _pump(self) -> None:
        """Send the next subscribe or unsubscribe, if one is due and none is in flight."""
        session = self._session
        if not self._ready or session is None or session.asked is not None:
            return
        demand = self._handler.demand
        step = demand.next_step(self._clock.monotonic_ns())
        if step is None:
            gap = self._handler.upstream_complete()
            if gap is not None and gap.to_ns is not None:
                seconds = round((gap.to_ns - gap.from_ns) / NS_PER_SECOND, 3)
                self._trace.event("gap", {"seconds": seconds, "topics": len(gap.topics)})
                self._log.warning(
                    "feed.gap",
                    seconds=seconds,
                    since=rfc3339(gap.from_ns),
                    until=rfc3339(gap.to_ns),
                    topics=len(gap.topics),
                    why=gap.why,
                )
            return
        session.ask(step.add, step.topics)
        name = "alpaca.subscribe" if step.add else "alpaca.unsubscribe"
        self._trace.ask(name, {"topics": len(step.topics)})
        self._asked_ns = self._clock.monotonic_ns()
        self._send()

    def _send(self) -> None:
        session, connection = self._session, self._connection
        if session is not None and connection is not None:
            for payload in session.frames_to_send():
                connection.send(payload, self._handler.codec.binary)

    def _watch(self, opened_ns: int) -> None:
        """Look at every time-out."""
        if self._ending is not None or self._connection is None or self._session is None:
            return
        now_ns = self._clock.monotonic_ns()
        timings = self._timings
        if self._session.state is not State.READY:
            if now_ns - opened_ns > timings.handshake_seconds * NS_PER_SECOND:
                state = self._session.state.value
                why = f"no {state} within {timings.handshake_seconds:g} s"
                self._end(Ending(why, Cause.UNANSWERED))
            return
        if self._session.asked is not None:
            if now_ns - self._asked_ns > timings.acknowledgement_seconds * NS_PER_SECOND:
                self._end(
                    Ending(
                        "no acknowledgement of a subscription within "
                        f"{timings.acknowledgement_seconds:g} s",
                        Cause.UNANSWERED,
                    )
                )
                return
        elif self._mute is not None:
            self._subscribe_anew(self._mute)
        else:
            self._pump()
        self._listen(now_ns)
        self._keep_alive(now_ns)

    def _keep_alive(self, now_ns: int) -> None:
        if self._connection is None or self._ending is not None:
            return
        if self._pings.overdue(now_ns):
            why = f"no pong within {self._timings.pong_seconds:g} s: the connection is half open"
            self._end(Ending(why, Cause.HALF_OPEN))
        elif self._pings.due(now_ns):
            self._ping(now_ns)

    def _ping(self, now_ns: int) -> None:
        if self._connection is not None:
            self._pings.sent(now_ns)
            self._connection.ping()

    def _listen(self, now_ns: int) -> None:
        """Notice data, and its absence."""
        handler = self._handler
        messages = handler.hub.messages
        looked, self._looked = self._looked, (self._clock.now_ns(), now_ns)
        if messages != self._seen_messages:
            self._seen_messages = messages
            # They came since the last look. A gap starts here, so rather too early than too late.
            handler.upstream.last_message_ns, handler.upstream.last_heard_ns = looked
            self._backoff.reset()
        self.liveness.unanswered = self._pings.slow(now_ns)
        advice = self._monitor.look(now_ns)
        self._monitor.tell(handler.upstream, now_ns)
        if isinstance(advice, Reconnect):
            self._suspect(advice, now_ns)
        else:
            self._suspected_ns = 0
        if isinstance(advice, Resubscribe):
            self._mute = advice

    def _suspect(self, advice: Reconnect, now_ns: int) -> None:
        """End a mute connection, but not one whose data is held up on the way.

        A pong comes behind the data that was sent before it.
        """
        if not self._suspected_ns:
            self._suspected_ns = now_ns
        if advice.at_once or self._pings.answered_since(self._suspected_ns):
            self._end(Ending(advice.why, Cause.MUTE))
        elif not self._pings.awaited:
            self._ping(now_ns)

    def _subscribe_anew(self, mute: Resubscribe) -> None:
        """Give topics back that don't come, so that `_pump` asks for them again.

        What was missed of them since they were heard is a gap, which ends when they are confirmed.
        """
        self._mute = None
        handler, session = self._handler, self._session
        topics = mute.topics & handler.demand.confirmed()
        if not topics or session is None:
            return
        why = "connected but mute: subscribed anew"
        self._log.warning("upstream.topics_mute", topics=topics.as_dict())
        from_ns = self._clock.now_ns() - mute.silent_ns
        handler.open_gap(from_ns, why, topics)
        session.ask(False, topics)
        self._trace.ask("alpaca.unsubscribe", {"topics": len(topics), "why": why})
        self._asked_ns = self._clock.monotonic_ns()
        self._send()

    # Bookkeeping

    def _trace_end(self, ending: Ending) -> None:
        self._trace.ended(ending.why, ending.cause.value, wanted=self._stopping)

    def _end(self, ending: Ending) -> None:
        if self._ending is None:
            self._ending = ending
            self._ready = False
        self._wake.set()

    def _surprised(self, text: str) -> None:
        counts = self._handler.upstream.surprises
        counts[text] = counts.get(text, 0) + 1
        if text not in self._logged_surprises and len(self._logged_surprises) < 100:
            self._logged_surprises.add(text)
            self._log.warning("upstream.surprise", what=text)

    def _set_state(self, state: UpstreamState, why: str, error: ErrorCode | None = None) -> None:
        status = self._handler.upstream
        status.enter(state, why, self._clock.now_ns(), error)
        if state is UpstreamState.CONNECTED:
            self._log.info("upstream.connected", attempts=status.attempts)
        self.on_status()
