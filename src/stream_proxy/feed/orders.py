"""The middle of one account's order updates: in from the source, through the journal, to consumers.

Nothing is handed to a consumer before the journal has it on the disk, and everything goes out in
the order of its sequence. A consumer that joins with a position is first served from the journal;
since reads and appends go through the journal in one order, the seam shows neither a hole nor a
duplicate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

import structlog

from stream_proxy.feed import order_position
from stream_proxy.feed.order_flow import OrderFlow
from stream_proxy.feed.order_position import CannotResume, Joined, Start
from stream_proxy.feed.upstream_status import UpstreamStatus
from stream_proxy.hub.latency import Latency
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.fills import Fill
from stream_proxy.model.orders import KnownOrder, OrderEvent, OrderRecord, Origin
from stream_proxy.runtime.clock import Clock
from stream_proxy.state.journal import READ_LIMIT, AccountState, Journal, JournalError
from stream_proxy.state.journal_writer import Cancel, Writer
from stream_proxy.wire.alpaca.codec import FrameDamaged
from stream_proxy.wire.alpaca.trade_updates import read_event

_UNANSWERED = "the order journal could not answer; the proxy's log says why"


class Environment(Enum):
    """Which of Alpaca's trading hosts an account belongs to."""

    PAPER = "paper"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Account:
    """An account whose order updates are served. The name is ours."""

    name: str
    environment: Environment


@dataclass(eq=False, slots=True)
class OrderConsumer:
    """One subscriber of an account's updates.

    Attributes:
        frame: makes the frame of a record.
        on_lost: called when what it still had to read isn't kept any more; it was taken out.
        position: the sequence that it has got so far, once it is known.
        live: whether it gets new events at once; until then it is served from the journal.
    """

    name: str
    outbox: Outbox
    frame: Callable[[OrderRecord], bytes]
    on_lost: Callable[[CannotResume], None] = lambda refusal: None
    position: int = 0
    live: bool = False
    gone: bool = False
    waiting: bool = False
    """Whether reading on waits until the socket has taken what was read."""
    reading: Cancel = lambda: None
    """Takes back what was asked of the journal last."""
    protocol: str = "websocket"


@dataclass(slots=True)
class OrderCounts:
    """Plain integers for whoever asks."""

    received: int = 0
    journalled: int = 0
    replayed: int = 0
    reconstructed: int = 0
    duplicates: int = 0
    unreadable: int = 0
    passed_early: int = 0
    """How often fresh updates waited no longer for what was missed before them."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What reconciling starts from."""

    state: AccountState
    open_orders: dict[str, KnownOrder] = field(default_factory=dict)


class OrderFeed:
    """One account's updates.

    Args:
        account: whose.
        writer: the journal.
    """

    def __init__(self, account: Account, writer: Writer, clock: Clock) -> None:
        self.account = account
        self.upstream = UpstreamStatus()
        self.counts = OrderCounts()
        self.consumers: dict[OrderConsumer, None] = {}
        self.state: AccountState | None = None
        self.last_sequence = 0
        self.reconciled = False
        """Whether the record was compared with Alpaca's since the stream was last connected."""
        self.reconciled_until_ns = 0
        self.trouble: JournalError | None = None
        self.on_change: Callable[[], None] = lambda: None
        self.journal_latency = Latency()
        """From received to on the disk and handed out."""
        self.flow = OrderFlow()
        self.lag = Latency()
        """From an event's own time to our receiving it."""
        self._writer = writer
        self._clock = clock
        self._held: list[OrderEvent] | None = None
        self._early: list[Callable[[], None]] = []
        """Who came before the account's record was open."""
        self.losses = 0
        """How often something may have been missed."""
        self.on_doubt: Callable[[], None] = lambda: None
        """Called when events have to be asked for again."""
        self._log = structlog.get_logger("stream_proxy.orders").bind(account=account.name)

    def open(self) -> None:
        """Begin the account's record in the journal, or go on with it."""
        now_ns = self._clock.now_ns()
        self._writer.submit(lambda j: j.open_account(self.account.name, now_ns), self._opened)

    def _opened(self, state: AccountState) -> None:
        self.state = state
        self.last_sequence = state.last_sequence
        self.reconciled_until_ns = state.reconciled_until_ns
        early, self._early = self._early, []
        for join in early:
            join()
        self.on_change()

    @property
    def ready(self) -> bool:
        """Whether an execution engine may trust that it has seen everything."""
        return self.reconciled and self.trouble is None

    # Events, from the source

    def receive(self, data: bytes) -> bool:
        """Take an event of the stream; False if it can't be read."""
        try:
            event = read_event(data, Origin.STREAM)
        except FrameDamaged as damage:
            self.counts.unreadable += 1
            self._log.warning("orders.unreadable", reason=str(damage)[:120])
            return False
        self.counts.received += 1
        now_ns = self.upstream.last_message_ns = self._clock.now_ns()
        self.lag.observe(now_ns - event.timestamp_ns)
        if self._held is not None:
            self._held.append(event)
        else:
            self.append([event])
        return True

    def hold(self) -> bool:
        """Keep the stream's events back: what was missed before them is being asked for.

        False if they were held already. They stay so when the stream goes again.
        """
        if self._held is not None:
            return False
        self._held = []
        return True

    @property
    def holding(self) -> bool:
        """Whether the stream's events are kept back."""
        return self._held is not None

    def held(self) -> Sequence[OrderEvent]:
        return self._held or ()

    def found(self, events: Sequence[OrderEvent], *, settles: bool) -> None:
        """Take what was missed; ``settles`` says that nothing before the held events is missing.

        Held and found events go out together, each in its place.
        """
        if settles or self._held is None:
            self.release(events)
        else:
            # A later round finds the same again.
            self._held = list(dict.fromkeys((*events, *self._held)))

    def release(self, found: Sequence[OrderEvent] = ()) -> None:
        """Let the stream's events through, each in its place among what was found."""
        known = set(found)
        events = [*found, *(event for event in self.held() if event not in known)]
        self._held = None
        if all(event.event_id for event in events):
            # Alpaca's ids are ordered by when they were given.
            events.sort(key=lambda event: event.event_id)
        else:
            events.sort(key=lambda event: event.place)
        if events:
            self.append(events)

    def append(self, events: Sequence[OrderEvent]) -> None:
        """Write events to the journal; consumers get what is new once it is on the disk."""
        name, now_ns, count = self.account.name, self._clock.now_ns(), len(events)
        begun_ns = self._clock.monotonic_ns()

        def work(journal: Journal) -> list[OrderRecord]:
            return journal.append(name, events, now_ns)

        def done(records: list[OrderRecord]) -> None:
            self.counts.duplicates += count - len(records)
            self.flow.begin(begun_ns)
            self._deliver(records)
            now_ns = self._clock.monotonic_ns()
            self.flow.end(now_ns)
            self.journal_latency.observe(now_ns - begun_ns, count)

        def failed(mistake: Exception) -> None:
            # Not the disk: a mistake of ours. The events are asked for again by reconciling.
            self.doubt()
            self.on_doubt()

        self._writer.submit(work, done, failed)

    def _deliver(self, records: list[OrderRecord]) -> None:
        counts = self.counts
        for record in records:
            counts.journalled += 1
            counts.replayed += record.event.origin is Origin.REPLAYED
            counts.reconstructed += record.event.origin is Origin.RECONSTRUCTED
            self.last_sequence = record.sequence
        for consumer in list(self.consumers):
            if consumer.live:
                self._guarded(consumer, self._offer, records)

    def _guarded(
        self,
        consumer: OrderConsumer,
        serve: Callable[[OrderConsumer, Sequence[OrderRecord]], object],
        records: Sequence[OrderRecord],
    ) -> bool:
        """Serve one consumer; what goes wrong with it concerns no other. Whether it went well."""
        try:
            serve(consumer, records)
        except Exception as mistake:
            # Without the event itself: its text is nobody's business but the consumers'.
            self._log.error(
                "orders.consumer_failed",
                consumer=consumer.name,
                behind=consumer.position,
                mistake=type(mistake).__name__,
            )
            self._lose(consumer, f"event {consumer.position + 1} can't be put into this form")
            return False
        return True

    def _offer(self, consumer: OrderConsumer, records: Sequence[OrderRecord]) -> None:
        frames = []
        for record in records:
            if record.sequence > consumer.position:
                frames.append(consumer.frame(record))
                consumer.position = record.sequence
        wanted = [frame for frame in frames if frame]
        self.flow.offer(consumer.protocol, len(frames), len(wanted))
        if wanted:
            consumer.outbox.offer(wanted, len(wanted))

    def _offer_page(self, consumer: OrderConsumer, records: Sequence[OrderRecord]) -> None:
        """Hand out what was read as far as the socket takes it.

        Nothing of the past fills the outbox, which is there for what comes live.
        """
        for record in records:
            if consumer.outbox.paused:
                return
            self._offer(consumer, [record])

    # Reconciling, by the source

    def standing(self, done: Callable[[Standing], None]) -> None:
        """Ask the journal where every open order stands."""
        name = self.account.name

        def work(journal: Journal) -> Standing:
            return Standing(journal.account(name), journal.open_orders(name))

        self._writer.submit(work, done)

    def fills_told(
        self, order_ids: Sequence[str], done: Callable[[dict[str, list[Fill]]], None]
    ) -> None:
        """Ask the journal which fills of some orders it has."""
        name = self.account.name
        self._writer.submit(lambda j: j.fills_told(name, order_ids), done)

    def note_orders(self, orders: Sequence[KnownOrder]) -> None:
        """Remember where orders stand that had no event."""
        name = self.account.name

        def work(journal: Journal) -> None:
            for order in orders:
                if journal.order(name, order.order_id) is None:
                    journal.note_order(name, order)

        self._writer.submit(work, lambda nothing: None)

    def correct_beginning(self, noted_ns: int, since_ns: int) -> None:
        """Write down when the record began indeed, where it was noted by a wrong clock."""
        name = self.account.name

        def work(journal: Journal) -> None:
            journal.correct_beginning(name, noted_ns, since_ns)

        self._writer.submit(work, lambda nothing: None)

    def note_reconciled(self, until_ns: int, *, complete: bool, losses: int | None = None) -> None:
        """The record was compared with Alpaca's up to an instant.

        ``complete`` says that the stream has been listening since then. ``losses`` is what was
        counted when comparing began; what was lost since then is not in it.
        """
        name = self.account.name
        losses = self.losses if losses is None else losses

        def done(nothing: None) -> None:
            self.reconciled_until_ns = max(self.reconciled_until_ns, until_ns)
            # The stream may have gone while the journal was writing this.
            if complete and losses == self.losses and not self.reconciled:
                self.reconciled = True
                self.on_change()

        self._writer.submit(lambda j: j.note_reconciled(name, until_ns), done)

    def stream_lost(self) -> None:
        """The stream is gone: from now on something may be missed."""
        self.doubt()

    def doubt(self) -> None:
        """Something may have been missed: complete is only what is compared from now on."""
        self.losses += 1
        if self.reconciled:
            self.reconciled = False
            self.on_change()

    # Consumers

    def join(
        self,
        consumer: OrderConsumer,
        start: Start,
        joined: Callable[[Joined | CannotResume], None],
    ) -> None:
        """Serve a consumer from where it wants to start, without a seam into what comes live.

        ``joined`` is called before its first event, when ``consumer.position`` is known, or with
        the reason why it can't be served from there.
        """
        self.consumers[consumer] = None
        consumer.outbox.meter = self.flow.meter(consumer.protocol)
        if self.state is None:
            self._early.append(partial(self._join, consumer, start, joined))
        else:
            self._join(consumer, start, joined)

    def _join(
        self,
        consumer: OrderConsumer,
        start: Start,
        joined: Callable[[Joined | CannotResume], None],
    ) -> None:
        if consumer.gone:
            return
        name, now_ns = self.account.name, self._clock.now_ns()
        # Now is now: what comes while the journal is busy with others belongs to this consumer.
        now_sequence = self.last_sequence

        def work(journal: Journal) -> tuple[Joined | CannotResume, list[OrderRecord]]:
            found = order_position.join(journal, name, start, now_ns, now_sequence)
            if isinstance(found, CannotResume):
                return found, []
            return found, journal.read(name, found.position)

        def done(result: tuple[Joined | CannotResume, list[OrderRecord]]) -> None:
            if consumer.gone:
                return
            found, records = result
            if isinstance(found, CannotResume):
                self.leave(consumer)
                joined(found)
                return
            consumer.position = found.position
            joined(found)
            self._continue(consumer, records)

        def failed(mistake: Exception) -> None:
            if not consumer.gone:
                self.leave(consumer)
                joined(CannotResume(_UNANSWERED))

        consumer.reading = self._writer.submit(work, done, failed, patient=True)

    def _continue(self, consumer: OrderConsumer, records: list[OrderRecord]) -> None:
        """Hand out what was read; read on until there is no more, then go live."""
        if not self._guarded(consumer, self._offer_page, records):
            return
        if consumer.outbox.paused:
            # Also where the last of them filled it: what is behind is read when it has room.
            consumer.waiting = True
        elif len(records) < READ_LIMIT:
            consumer.live = True
        else:
            self._read_on(consumer)

    def _read_on(self, consumer: OrderConsumer) -> None:
        name, after = self.account.name, consumer.position

        def work(journal: Journal) -> tuple[int, list[OrderRecord]]:
            return journal.account(name).first_sequence, journal.read(name, after)

        def done(found: tuple[int, list[OrderRecord]]) -> None:
            first, records = found
            if consumer.gone:
                return
            if first > after + 1:
                self._lose(consumer, f"events {after + 1} to {first - 1} are not kept any more")
            else:
                self._continue(consumer, records)

        def failed(mistake: Exception) -> None:
            if not consumer.gone:
                self._lose(consumer, _UNANSWERED)

        consumer.reading = self._writer.submit(work, done, failed, patient=True)

    def _lose(self, consumer: OrderConsumer, reason: str) -> None:
        self.leave(consumer)
        consumer.on_lost(CannotResume(reason))

    def drained(self, consumer: OrderConsumer) -> None:
        """The consumer's socket takes bytes again."""
        if consumer.waiting and not consumer.outbox.paused:
            consumer.waiting = False
            self._read_on(consumer)

    def leave(self, consumer: OrderConsumer) -> None:
        """Hand out nothing more to it; what its outbox holds is its own affair."""
        consumer.gone, consumer.waiting = True, False
        consumer.reading()
        self.consumers.pop(consumer, None)

    def acknowledge(self, cursor: str, sequence: int, acknowledged: Callable[[int], None]) -> None:
        """Move a durable position; ``acknowledged`` hears where it stands once it is on disk."""
        name, now_ns = self.account.name, self._clock.now_ns()
        self._writer.submit(lambda j: j.acknowledge(name, cursor, sequence, now_ns), acknowledged)
