"""HOT PATH (`FeedHandler.receive`). One feed: what comes in, who gets it, what is asked for.

The source hands over what a socket read brought, the outlets bring consumers. In between
everything is synchronous: the frames are split, routed, remembered, and written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from stream_proxy.feed.consumer import Consumer, Pending, Settle
from stream_proxy.feed.replay import Offer, Replay, Resuming
from stream_proxy.feed.upstream_status import UpstreamStatus
from stream_proxy.hub.demand import Demand, Topic
from stream_proxy.hub.flow import Counts
from stream_proxy.hub.hub import Hub
from stream_proxy.hub.latency import Latency
from stream_proxy.model.feeds import Feed
from stream_proxy.model.topics import WILDCARD, SubscriptionSet
from stream_proxy.runtime.clock import Clock
from stream_proxy.state.coverage import Coverage
from stream_proxy.state.gaps import Gap, GapLog
from stream_proxy.state.last_values import LastValues
from stream_proxy.state.order_books import OrderBooks
from stream_proxy.state.ring import Ring
from stream_proxy.wire.alpaca.codec import Codec, Columns, FrameDamaged
from stream_proxy.wire.alpaca.codes import INVALID_SYNTAX, SYMBOL_LIMIT, ErrorCode
from stream_proxy.wire.alpaca.exchange_time import time_of_json, time_of_msgpack
from stream_proxy.wire.alpaca.salvage import salvage

_EACH = 7
"""Of eight reads one is looked at for the exchange's time."""
_REASONS_TOLD = 100
"""Of the damages in one frame."""
_TICKS = frozenset({"t", "q"})
CONTROL_TYPES = frozenset({"success", "error", "subscription"})


class FeedHandler:
    """The middle of one feed.

    Args:
        feed: the endpoint.
        codec: upstream's codec, in which items are carried.
        on_demand: called when what should be asked of upstream may have changed.
        on_bad_message: called with the reason for each message that could not be read.
        epoch: names the numbering that begins now.
        ring_bytes, ring_seconds: how much of the recent past is kept, for who was away.
    """

    def __init__(
        self,
        feed: Feed,
        codec: Codec,
        clock: Clock,
        *,
        widen_above: int = 0,
        linger_seconds: float = 5.0,
        subscribe_chunk: int = 500,
        on_bad_message: Callable[[str], None] = lambda reason: None,
        epoch: str = "",
        ring_bytes: int = 0,
        ring_seconds: float = 0.0,
    ) -> None:
        self.feed = feed
        self.codec = codec
        self.hub = Hub(feed.types)
        self.last_values = LastValues()
        self.order_books = OrderBooks(codec)
        self.gaps = GapLog()
        self.coverage = Coverage()
        self.ring = Ring(ring_bytes, int(ring_seconds * 1e9))
        self.upstream = UpstreamStatus()
        self.demand: Demand[ErrorCode] = Demand(
            feed.wildcard_channels,
            missing=INVALID_SYNTAX,
            on_revoked=self._revoked,
            room_helps=lambda refusal: refusal.code == SYMBOL_LIMIT.code,
            widen_above=widen_above,
            linger_ns=int(linger_seconds * 1e9),
            chunk=subscribe_chunk,
        )
        self.consumers: dict[Consumer, None] = {}
        self.on_demand: Callable[[], None] = lambda: None
        self.on_gap: Callable[[Gap], None] = lambda gap: None
        """Called when a gap has opened or closed, or was filled as far as it can be."""
        self.on_control: Callable[[dict[str, Any]], bool] = lambda message: True
        """Called with each control message, after what came before it was routed and before what
        follows is. False says that what follows is of no use."""
        self.epoch = epoch
        self.began_ns = clock.now_ns()
        self.sequence = 0
        """Of the last message; each gets the next, in the order in which they came."""
        self.lag = Latency()
        """From the exchange's time to ours, of some messages; two clocks differ in it."""
        self.back_filled = 0
        """Messages that were asked for afterwards."""
        self.frames = 0
        self.bytes = 0
        self.bad_messages = 0
        self.unknown_messages = 0
        self._clock = clock
        self._received_ns = 0
        self._started_ns = 0
        self._reads = 0
        self._on_bad_message = on_bad_message
        self._splitter = codec.news if feed.kind == "news" else codec.ticks
        self._is_news = feed.kind == "news"
        self._has_books = "orderbooks" in feed.channels
        self._types = feed.types.keys()
        self._time_of = time_of_msgpack if codec.binary else time_of_json

    @property
    def received(self) -> Counts:
        """Messages by their wire type."""
        return self.hub.received

    @property
    def latency(self) -> Latency:
        """From received to written to the consumers' sockets."""
        return self.hub.latency

    def now_ns(self) -> int:
        """This moment, wall clock."""
        return self._clock.now_ns()

    # Messages

    def receive(self, payloads: Sequence[bytes]) -> None:
        """Route the frames of one socket read and write what they bring to whom."""
        self._received_ns = self._clock.now_ns()
        started_ns = self._started_ns = self._clock.monotonic_ns()
        self.hub.begin(started_ns)
        self.frames += len(payloads)
        batch_bytes = sum(map(len, payloads))
        self.bytes += batch_bytes
        try:
            columns = self._splitter.split_all(payloads)
        except FrameDamaged:
            self._receive_damaged(payloads)
        else:
            kinds = set(columns[0])
            if kinds <= self._types and not self._is_news:
                self._route(kinds, columns, batch_bytes, payloads)
            else:
                self._receive_mixed(columns, batch_bytes)
        self.hub.flush()
        self.hub.end(self._clock.monotonic_ns() - started_ns)

    def _route(
        self,
        kinds: set[str],
        columns: Columns,
        batch_bytes: int,
        payloads: Sequence[bytes] | None = None,
    ) -> None:
        """Route and remember a batch of known types."""
        types, symbols, items = columns
        if not items:
            return
        if len(kinds) == 1:
            received = {types[0]: len(types)}
        else:
            received = {kind: types.count(kind) for kind in kinds}
        received_ns = self._received_ns
        first = self.sequence + 1
        self.sequence += len(items)
        if payloads is None:
            payloads_kept: Sequence[bytes] = (self.codec.join(items),)
            batch_bytes = len(payloads_kept[0])
        else:
            payloads_kept = payloads
        self.ring.keep(first, len(items), received_ns, self._started_ns, payloads_kept, batch_bytes)
        self.hub.publish(received, types, symbols, items, payloads, first, received_ns)
        if not self._reads & _EACH and types[-1] in _TICKS:
            # A bar's time is its beginning, a minute or a day ago.
            happened_ns = self._time_of(items[-1])
            if happened_ns:
                self.lag.observe(received_ns - happened_ns)
        self._reads += 1
        self.last_values.remember(kinds, types, symbols, items, batch_bytes)
        if "o" in kinds and self._has_books:
            for kind, symbol, item in zip(types, symbols, items, strict=True):
                if kind == "o":
                    self.order_books.remember(symbol, item)

    def _receive_damaged(self, payloads: Sequence[bytes]) -> None:
        """Look at each frame alone, so that only what is damaged is lost."""
        for payload in payloads:
            try:
                columns = self._splitter.split(payload)
            except FrameDamaged:
                columns, losses = salvage(self.codec, self._splitter, payload)
                if losses:
                    self._lose(losses)
            if not self._receive_mixed(columns, len(payload)):
                return

    def _receive_mixed(self, columns: Columns, batch_bytes: int) -> bool:
        """Route a batch with news, control messages or unknown types among the rest, in order."""
        types, symbols, items = columns
        start = 0
        for index, kind in enumerate(types):
            if kind in self._types and not self._is_news:
                continue
            self._route_run(columns, start, index, batch_bytes)
            start = index + 1
            if kind in CONTROL_TYPES:
                if not self._control(items[index]):
                    return False
            elif kind == "n" and self._is_news:
                self._number_alone(items[index])
                self.hub.publish_news(
                    symbols[index], items[index], self.sequence, self._received_ns
                )
            else:
                self._number_alone(items[index])
                self.unknown_messages += 1
                symbol = "" if self._is_news else symbols[index]
                self.hub.publish_unknown(symbol, items[index], self.sequence)
        self._route_run(columns, start, len(types), batch_bytes)
        return True

    def _number_alone(self, item: Any) -> None:
        self.sequence += 1
        payload = self.codec.join((item,))
        self.ring.keep(
            self.sequence, 1, self._received_ns, self._started_ns, (payload,), len(payload)
        )

    def _route_run(self, columns: Columns, start: int, end: int, batch_bytes: int) -> None:
        if end > start:
            types, symbols, items = columns
            run = types[start:end], symbols[start:end], items[start:end]
            self._route(set(run[0]), run, batch_bytes)

    def _control(self, item: Any) -> bool:
        try:
            message = self.codec.decode(bytes(item))
        except FrameDamaged as damage:
            self._lose([str(damage)])
            return True
        # What came before it goes out before what it brings about.
        self.hub.flush()
        return self.on_control(message)

    def _lose(self, reasons: Sequence[str]) -> None:
        """Count messages that can't be read, and tell once that something is missing."""
        self.bad_messages += len(reasons)
        for reason in dict.fromkeys(reasons[:_REASONS_TOLD]):
            self._on_bad_message(reason)
        now_ns, wanted = self._received_ns, self.demand.wanted()
        why = "a message that can't be read"
        gap = self.gaps.note(now_ns, now_ns, why, wanted, self.sequence)
        if gap is not None:
            self.hub.flush()
            self.on_gap(gap)

    def split(self, payloads: Sequence[bytes]) -> Columns:
        """Frames of upstream's that were kept, taken apart once more."""
        return self._splitter.split_all(payloads)

    # Consumers

    def join(self, consumer: Consumer) -> None:
        """Welcome a consumer, which has no topics yet."""
        consumer.gaps_before = self.gaps.count
        self.consumers[consumer] = None
        self.on_demand()

    def leave(self, consumer: Consumer) -> None:
        """Forget a consumer and its interest; nobody else notices."""
        if self.consumers.pop(consumer, consumer) is consumer:
            return
        self.hub.remove(consumer.outbox)
        if consumer.replay is not None:
            consumer.replay.stop()
        interest = consumer.topics
        if consumer.pending is not None:
            if consumer.pending.request is not None:
                self.demand.abandon(consumer.pending.request)
            interest = interest | consumer.pending.topics
            consumer.pending = None
        self.demand.release(interest, self._clock.monotonic_ns())
        self.on_demand()

    def subscribe(self, consumer: Consumer, topics: SubscriptionSet, settle: Settle) -> None:
        """Add topics; ``settle`` hears None when upstream confirmed them, else the refusal.

        ``settle(None)`` is called after ``consumer.topics`` has grown and before the first of its
        messages. One request at a time per consumer.
        """
        added = topics - consumer.topics
        pending = consumer.pending = Pending(added, settle)
        request = self.demand.acquire(
            added, lambda refusal: self._settle(consumer, pending, refusal)
        )
        if consumer.pending is pending:
            pending.request = request
        self.on_demand()

    def accept_unconfirmed(self, consumer: Consumer) -> None:
        """Stop waiting: the interest stands, upstream is asked as soon as it can be."""
        pending = consumer.pending
        if pending is not None and pending.request is not None:
            self.demand.abandon(pending.request)
            self._settle(consumer, pending, None)
            self.open_gap(self._clock.now_ns(), "not confirmed by upstream yet", pending.topics)

    def _settle(self, consumer: Consumer, pending: Pending, refusal: ErrorCode | None) -> None:
        if consumer.pending is not pending:
            return
        consumer.pending = None
        if refusal is None:
            consumer.topics = consumer.topics | pending.topics
        pending.settle(refusal)
        if refusal is None and consumer in self.consumers:
            self._enter(consumer)

    def _enter(self, consumer: Consumer) -> None:
        """Serve a consumer what it wants now: from the hub, or from the ring until it is there."""
        if consumer.replay is None:
            self.hub.set_topics(consumer.outbox, consumer.shape, consumer.topics)
        else:
            consumer.replay.set_topics(consumer.topics)
            consumer.replay.begin()

    def unrecorded(
        self, topics: SubscriptionSet, after: int
    ) -> list[tuple[int, int, SubscriptionSet]]:
        """When upstream wasn't asked for some of these since a message: the ring lacks that."""
        now_ns = self._clock.now_ns()
        own, behind = self.ring.after(after - 1, 1), self.ring.after(after, 1)
        is_kept = bool(own) and own[0].first <= after
        since_ns = own[0].received_ns if is_kept else self.ring.time_at_or_before(after)
        since_ns = self.began_ns if since_ns is None else since_ns
        next_ns = behind[0].received_ns if behind else now_ns
        return [
            hole
            for hole in self.coverage.holes(topics, since_ns, now_ns)
            # Who subscribed behind this message and before the next was told this position then.
            if not (hole[0] == since_ns and hole[1] <= next_ns and hole[1] < now_ns)
        ]

    def resume(
        self,
        consumer: Consumer,
        after: int,
        offer: Offer,
        who: Resuming,
        later: Callable[[Callable[[], None]], object],
    ) -> bool:
        """Serve a consumer, whose topics are still to come, from behind a message on.

        False if that isn't kept any more. ``who.live`` is called when it has been entered into the
        hub, with everything before behind it.
        """
        if not self.ring.holds(after):
            return False
        consumer.replay = Replay(
            self.ring,
            self._splitter,
            self.feed.types,
            after,
            offer,
            _Entering(self, consumer, who),
            later,
        )
        return True

    def unsubscribe(self, consumer: Consumer, topics: SubscriptionSet) -> None:
        """Take topics away; those the consumer doesn't hold are ignored."""
        removed = consumer.topics & topics
        if removed:
            consumer.topics = consumer.topics - removed
            self._enter(consumer)
            self.demand.release(removed, self._clock.monotonic_ns())
            self.on_demand()

    def _revoked(self, topic: Topic, refusal: ErrorCode) -> None:
        lost = SubscriptionSet.of([topic])
        for consumer in list(self.consumers):
            if topic in consumer.topics:
                self.unsubscribe(consumer, lost)
                consumer.on_revoked(lost, refusal)

    def snapshot(self, topics: SubscriptionSet) -> list[Any]:
        """The last known trades and quotes of these topics, in upstream's codec."""
        items = []
        for channel, symbol in topics:
            symbols = self.last_values.symbols(channel) if symbol == WILDCARD else [symbol]
            items += [self.last_values.get(channel, name) for name in symbols]
        return [item for item in items if item is not None]

    def book_snapshot(self, topics: SubscriptionSet) -> list[bytes]:
        """The whole order books of these topics, as far as they are known."""
        symbols = topics.symbols("orderbooks")
        names = self.order_books.symbols() if WILDCARD in symbols else symbols
        books = [self.order_books.snapshot(name) for name in names]
        return [book for book in books if book is not None]

    def keep_back_filled(self, items: Sequence[bytes], received_ns: int) -> int:
        """Number messages that were asked for afterwards, and keep them for who was away.

        Returns:
            The sequence of the first; the others follow.
        """
        first = self.sequence + 1
        self.sequence += len(items)
        self.back_filled += len(items)
        payload = self.codec.join(items)
        now_ns = self._clock.monotonic_ns()
        self.ring.keep(
            first, len(items), received_ns, now_ns, (payload,), len(payload), back_filled=True
        )
        return first

    # Upstream's comings and goings, told by the source

    def upstream_ready(self) -> None:
        """A fresh connection holds nothing yet."""
        self.demand.connected()

    def upstream_holds(self, held: SubscriptionSet) -> None:
        """Upstream said what it sends from now on; what else we remember grows old: forget it."""
        if self._has_books:
            self.order_books.keep(held.symbols("orderbooks"))
        for channel in ("trades", "quotes"):
            self.last_values.keep(channel, held.symbols(channel))
        self.demand.acknowledged(held)
        self._cover(held)

    def _cover(self, held: SubscriptionSet) -> None:
        now_ns, at_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        self.coverage.hold(held, self.demand.wanted(), now_ns, at_ns)

    def upstream_lost(self, why: str) -> None:
        """The connection is gone; what was subscribed may be missed from the last message on.

        Where none has ever come, from the first confirmation on.
        """
        self.demand.disconnected()
        self.order_books.forget()
        now_ns = self._clock.now_ns()
        since_ns = self.upstream.last_message_ns or self.coverage.since_ns(now_ns)
        began_ns = self.upstream.last_heard_ns or None
        # Also what was given up since then: it was missed all the same.
        topics = self.demand.wanted() | self.coverage.asked_since(began_ns or 0)
        if topics:
            self.open_gap(since_ns, why, topics, began_ns=began_ns, whole_feed=True)

    def open_gap(
        self,
        from_ns: int,
        why: str,
        topics: SubscriptionSet,
        *,
        began_ns: int | None = None,
        whole_feed: bool = False,
    ) -> None:
        """Messages of these topics may be missed, or have been, from an instant on.

        Args:
            from_ns: wall clock.
            began_ns: the same instant, monotonic, if it is known.
        """
        now_ns = self._clock.now_ns()
        if began_ns is None:
            began_ns = self._clock.monotonic_ns() - max(now_ns - from_ns, 0)
        gap = self.gaps.begin(
            from_ns,
            why,
            topics,
            self.sequence,
            now_ns=now_ns,
            began_ns=began_ns,
            whole_feed=whole_feed,
        )
        if gap is not None:
            self.on_gap(gap)

    def upstream_complete(self) -> Gap | None:
        """Everything wanted is confirmed again; give the gap that ends with it."""
        if self.gaps.current is None:
            return None
        # What was given up or refused meanwhile is asked for no more, and nobody acknowledges that.
        self._cover(self.demand.confirmed())
        ended_ns = self._clock.monotonic_ns()
        gap = self.gaps.end(self._clock.now_ns(), self.sequence, ended_ns=ended_ns)
        if gap is not None:
            self.on_gap(gap)
        return gap

    def upstream_refused(self, error: ErrorCode) -> None:
        """Upstream won't serve this feed at all."""
        self.demand.refuse_waiting(error)


class _Entering:
    """A consumer that resumes: at the end it joins the others in the hub."""

    def __init__(self, handler: FeedHandler, consumer: Consumer, who: Resuming) -> None:
        self._handler = handler
        self._consumer = consumer
        self._who = who

    def lost(self, after: int, until: int) -> None:
        self._who.lost(after, until)

    def live(self) -> None:
        consumer = self._consumer
        consumer.replay = None
        self._handler.hub.set_topics(consumer.outbox, consumer.shape, consumer.topics)
        self._who.live()
