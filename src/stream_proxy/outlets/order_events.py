"""Order updates as server-sent events: Alpaca's replayable stream of them over plain HTTP.

``GET /v2/events/trades`` with ``since`` and ``until`` (RFC 3339) or ``since_id`` and ``until_id``
(ULID): first what the journal has, then what comes, until the end that was asked for. Each event is
a line ``data: {…}`` with the data object of a trade update; comments are heartbeats. Which HTTP
server carries it is not known here. Source: Alpaca, "Subscribe to Trade Events (SSE)".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass

import structlog

from stream_proxy.feed.order_position import OLDEST, CannotResume, Joined, Start
from stream_proxy.feed.orders import OrderConsumer, OrderFeed
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.orders import OrderRecord
from stream_proxy.model.time import NS_PER_SECOND, parse_rfc3339, rfc3339
from stream_proxy.outlets.consumer_status import ConsumerStatus, consumer_status
from stream_proxy.outlets.limits import ConsumerLimits, OneTooMany, OutletCounts
from stream_proxy.runtime.clock import Clock

_CHUNK_BYTES = 64 * 1024
"""So much may wait to be sent before the outbox begins to queue, as a socket's buffer would."""
_SETTLE_NS = NS_PER_SECOND
"""After the end of a range: what happened in its last instant may still be on its way here."""
_LOOK_AGAIN_SECONDS = 0.2
"""While an end is over and the record isn't known to be complete up to it."""
_ULID_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID_LENGTH = 26
_RANDOM_BITS = 80
_NS_PER_MS = 1_000_000


class BadRange(ValueError):
    """A query that contradicts itself or can't be read; the text is for its sender."""


class JournalSilent(Exception):
    """The journal didn't answer in time; the text says what is known of it."""


@dataclass(frozen=True, slots=True)
class EventRange:
    """Which events are asked for.

    Attributes:
        since: a time or ``oldest``; empty for live events alone, unless ``since_id`` is there.
        since_id: the last event that the client has; what is behind it comes.
        until_ns: the last instant that is asked for; None goes on for ever.
        until_id: the same as an event's id, or empty.
    """

    since: str = ""
    since_id: str = ""
    until_ns: int | None = None
    until_id: str = ""

    def beyond(self, record: OrderRecord) -> bool:
        """Whether an event happened after the end."""
        event = record.event
        if self.until_id and event.event_id:
            return event.event_id > self.until_id
        return self.until_ns is not None and event.timestamp_ns > self.until_ns


def read_range(query: Mapping[str, str]) -> EventRange:
    """Read a query.

    Raises:
        BadRange: times and ids are mixed, an end has no beginning, or one can't be read.
    """
    since, until = query.get("since", ""), query.get("until", "")
    since_id, until_id = query.get("since_id", ""), query.get("until_id", "")
    if (since or until) and (since_id or until_id):
        raise BadRange("since and until are times, since_id and until_id are ids: don't mix them")
    if (until and not since) or (until_id and not since_id):
        raise BadRange("an end needs a beginning: until goes with since, until_id with since_id")
    if since and since != OLDEST:
        _instant("since", since)
    if since_id:
        ulid_milliseconds("since_id", since_id)
    until_ns = None
    if until:
        until_ns = _instant("until", until)
    elif until_id:
        until_ns = (ulid_milliseconds("until_id", until_id) + 1) * _NS_PER_MS - 1
    return EventRange(since, since_id, until_ns, until_id)


def _instant(name: str, text: str) -> int:
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise BadRange(f"{name} is no RFC 3339 time, such as 2026-01-31T14:30:00Z") from None


def ulid_milliseconds(name: str, text: str) -> int:
    """When a ULID was made, in milliseconds since 1970.

    Raises:
        BadRange: it is none.
    """
    value = 0
    for letter in text:
        digit = _ULID_DIGITS.find(letter)
        if digit < 0 or len(text) != _ULID_LENGTH:
            raise BadRange(f"{name} is no event id: a ULID of {_ULID_LENGTH} letters and digits")
        value = value * 32 + digit
    return value >> _RANDOM_BITS


def event_lines(record: OrderRecord) -> bytes:
    """An event as it goes over the wire."""
    data = record.event.data
    if b"\n" in data or b"\r" in data:
        # Between the parts of JSON they mean nothing; here they would end the event.
        data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"data: " + data + b"\n\n"


class EventStream:
    """What one client gets.

    Args:
        cut: ends the client's connection at once, whatever is still to be sent.
    """

    def __init__(
        self,
        feed: OrderFeed,
        wanted: EventRange,
        peer: str,
        limits: ConsumerLimits,
        clock: Clock,
        cut: Callable[[], None],
        identity: str,
    ) -> None:
        self.peer = peer
        self.identity = identity
        self.feed = feed
        self._wanted = wanted
        self._limits = limits
        self._clock = clock
        self._cut = cut
        self._log = structlog.get_logger("stream_proxy.events")
        self._loop = asyncio.get_running_loop()
        self._ready: list[bytes] = []
        self._ready_bytes = 0
        self._wake = asyncio.Event()
        self._sending_since: float | None = None
        self._opened_at = self._last_sent = self._loop.time()
        self._farewell = b""
        self.outbox = Outbox(
            self._put,
            limits.outbox_bytes,
            int(limits.outbox_age_seconds * NS_PER_SECOND),
            self._overflow,
        )
        self.outbox.tick(clock.now_ns())
        self.consumer = self._as_consumer()
        self.too_slow = False

    # From the feed

    def _as_consumer(self) -> OrderConsumer:
        return OrderConsumer(self.peer, self.outbox, self._frame, self._lost, protocol="sse")

    async def join(self, start: Start) -> CannotResume | None:
        """Join the feed; the reason if it can't serve from there."""
        answer: asyncio.Future[CannotResume | None] = self._loop.create_future()

        def joined(found: Joined | CannotResume) -> None:
            if not answer.done():
                answer.set_result(found if isinstance(found, CannotResume) else None)

        self.consumer = self._as_consumer()
        self.feed.join(self.consumer, start, joined)
        return await answer

    def _frame(self, record: OrderRecord) -> bytes:
        return b"" if self._wanted.beyond(record) else event_lines(record)

    def _put(self, lines: bytes) -> None:
        if not lines:
            return
        self._ready.append(lines)
        self._ready_bytes += len(lines)
        self._wake.set()
        if self._ready_bytes >= _CHUNK_BYTES:
            self.outbox.pause()

    def _lost(self, refusal: CannotResume) -> None:
        self._log.warning("orders.position_lost", peer=self.peer, reason=refusal.reason)
        self.goodbye(refusal.reason)

    def _overflow(self) -> None:
        # Not now: the feed is in the middle of handing out.
        self._loop.call_soon(self._give_up)

    def _give_up(self) -> None:
        self.too_slow = True
        self.abort()

    # To the client

    async def chunks(self) -> AsyncIterator[bytes]:
        """Everything that is to be sent, heartbeats included; it ends where the range does."""
        # At once, so that the client sees the headers.
        chunk = self._heartbeat()
        while True:
            self._sending_since = self._loop.time()
            yield chunk
            self._sending_since = None
            self._last_sent = self._loop.time()
            self._sent()
            while not self._ready:
                if self._farewell:
                    yield self._farewell
                    return
                if self._over():
                    return
                if not await self._news() and self._silent_for() >= self._patience:
                    break
            chunk = b"".join(self._ready) or self._heartbeat()
            self._ready, self._ready_bytes = [], 0

    def _sent(self) -> None:
        """The client took a chunk: what waited behind it goes on."""
        if not self._ready and self.outbox.paused:
            self.outbox.resume(self._clock.monotonic_ns())
            self.feed.drained(self.consumer)

    async def _news(self) -> bool:
        """Wait for something to do; False when it is time to look around."""
        self._wake.clear()
        try:
            async with asyncio.timeout(self._seconds_to_wait()):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    @property
    def _patience(self) -> float:
        """After so many seconds without an event comes a heartbeat."""
        return self._limits.ping_seconds or float("inf")

    def _silent_for(self) -> float:
        return self._loop.time() - self._last_sent

    def _seconds_to_wait(self) -> float | None:
        seconds = max(self._patience - self._silent_for(), 0.0)
        until_ns = self._wanted.until_ns
        if until_ns is not None:
            left = (until_ns + _SETTLE_NS - self._clock.now_ns()) / NS_PER_SECOND
            seconds = min(seconds, max(left, _LOOK_AGAIN_SECONDS))
        return None if seconds == float("inf") else seconds

    def _over(self) -> bool:
        """Whether the end was reached and nothing before it can be missing."""
        until_ns, feed = self._wanted.until_ns, self.feed
        if until_ns is None or not self.consumer.live:
            return False
        # An answer that ends says "this is all": only a record that was compared can say it.
        complete = feed.ready or (feed.trouble is None and feed.reconciled_until_ns >= until_ns)
        return complete and self._clock.now_ns() > until_ns + _SETTLE_NS

    def _heartbeat(self) -> bytes:
        feed = self.feed
        if feed.trouble is not None:
            said = "events wait: the order journal can't be written"
        elif not feed.reconciled:
            said = f"events may be late: Alpaca's stream is {feed.upstream.state.value}"
        else:
            said = "heartbeat"
        return f": {said}\n\n".encode()

    # Ends

    def tick(self) -> None:
        """Once a second: the age of what waits."""
        self.outbox.tick(self._clock.now_ns())
        since, most = self._sending_since, self._limits.outbox_age_seconds
        if since is not None and self._loop.time() - since > most:
            self.outbox.overflow()

    def status(self, now_ns: int) -> ConsumerStatus:
        """What can be told of the client."""
        now = self._loop.time()
        held = 0.0 if self._sending_since is None else now - self._sending_since
        return consumer_status(
            "sse",
            self.peer,
            self.identity,
            connected_ns=now_ns - int((now - self._opened_at) * NS_PER_SECOND),
            outbox=self.outbox,
            outbox_now_ns=now_ns,
            account=self.feed.account.name,
            unsent_bytes=self._ready_bytes,
            lag_ns=int(held * NS_PER_SECOND),
        )

    def goodbye(self, reason: str) -> None:
        """End after what waits for the client now; what happens from here on is for its return."""
        self.feed.leave(self.consumer)
        self._farewell = f": {reason}\n\n".encode()
        self._wake.set()

    def abort(self) -> None:
        """End now, whatever is still to be sent."""
        self.close()
        self._cut()

    def close(self) -> None:
        """Let go of the feed."""
        self.feed.leave(self.consumer)
        self.outbox.close()


class OrderEventOutlet:
    """All clients of the event stream.

    Args:
        answer_seconds: longest wait for the journal before a client is refused.
    """

    def __init__(self, limits: ConsumerLimits, clock: Clock, answer_seconds: float = 10.0) -> None:
        self.streams: dict[EventStream, None] = {}
        self.counts = OutletCounts()
        self.one_too_many = OneTooMany("sse", self.counts, clock)
        self._limits = limits
        self._clock = clock
        self._answer_seconds = answer_seconds
        self._log = structlog.get_logger("stream_proxy.events")
        self._task: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether there are as many clients as may be."""
        return len(self.streams) >= self._limits.connections

    def consumer_count(self) -> int:
        """How many clients are served."""
        return len(self.streams)

    def consumer_statuses(self, now_ns: int) -> Iterator[ConsumerStatus]:
        """Each of them, longest connected first."""
        return (stream.status(now_ns) for stream in list(self.streams))

    async def open(
        self,
        feed: OrderFeed,
        wanted: EventRange,
        peer: str,
        cut: Callable[[], None],
        identity: str = "anybody",
    ) -> EventStream | CannotResume:
        """Begin to serve a client, or say why its beginning can't be had.

        Args:
            cut: ends its connection at once.
            identity: the name of the access token that it showed.

        Raises:
            JournalSilent: the journal didn't answer in time.
        """
        stream = EventStream(feed, wanted, peer, self._limits, self._clock, cut, identity)
        self.streams[stream] = None
        try:
            async with asyncio.timeout(self._answer_seconds):
                refusal = await stream.join(Start(since=wanted.since_id or wanted.since))
                if refusal is not None and wanted.since_id:
                    # Not an id of ours: then its time says where it belongs.
                    at_ns = ulid_milliseconds("since_id", wanted.since_id) * _NS_PER_MS
                    refusal = await stream.join(Start(since=rfc3339(at_ns)))
        except TimeoutError:
            self.forget(stream)
            raise JournalSilent(str(feed.trouble or "the order journal is busy")) from None
        except BaseException:
            self.forget(stream)
            raise
        if refusal is not None:
            self.forget(stream)
            self.counts.rejected += 1
            return refusal
        self.counts.accepted += 1
        return stream

    def forget(self, stream: EventStream) -> None:
        """The client is gone."""
        stream.close()
        self.streams.pop(stream, None)
        self.counts.leave(stream.identity, stream.outbox)
        if stream.too_slow:
            stream.too_slow = False
            self.counts.slow_consumers += 1
            self._log.warning(
                "orders.consumer_cut",
                peer=stream.peer,
                meaning="it read too slowly; nothing is lost, it can resume with since_id",
            )

    def outboxes(self) -> Iterator[tuple[str, Outbox]]:
        """Of each client, the name of its access token and what it is sent by."""
        for stream in self.streams:
            yield stream.identity, stream.outbox

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._tick()

    def _tick(self) -> None:
        # By itself: a loop that sleeps would hold the client that it saw last.
        for stream in list(self.streams):
            stream.tick()

    async def stop(self, timeout_seconds: float) -> None:
        """Say goodbye to all, wait until they are gone, and cut those that don't listen."""
        if self._task is not None:
            self._task.cancel()
        for stream in self.streams:
            stream.goodbye("the proxy is going down; come back with since_id")
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while self.streams and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        for stream in list(self.streams):
            stream.abort()
