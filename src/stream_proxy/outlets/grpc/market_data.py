"""The market-data methods: one call is one consumer of one channel."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from grpclib.const import Status
from grpclib.server import Stream

from stream_proxy.feed.back_fill import BARS
from stream_proxy.feed.consumer import Consumer
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.model.slow_policy import SlowPolicy
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.consumer_status import ConsumerStatus
from stream_proxy.outlets.grpc.call import StreamingCall
from stream_proxy.outlets.grpc.continuity import CallContinuity
from stream_proxy.outlets.grpc.refusals import refusal, refused_upstream
from stream_proxy.outlets.grpc.requests import (
    MarketDataMethod,
    feed_of,
    receive,
    slow_policy_of,
    topics_of,
)
from stream_proxy.outlets.slow import LagReport, SlowConsumer
from stream_proxy.state.gaps import Gap
from stream_proxy.wire.alpaca.codes import INTERNAL_ERROR, ErrorCode
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb

if TYPE_CHECKING:
    from stream_proxy.outlets.grpc.outlet import GrpcOutlet


async def stream_market_data(
    outlet: GrpcOutlet, method: MarketDataMethod, stream: Stream[Any, Any]
) -> None:
    """Serve a call.

    Raises:
        GRPCError: why it can't be served, or no longer.
    """
    identity = outlet.identify(stream)
    request: Any = await receive(stream, method.request, outlet.limits)
    policy = slow_policy_of(stream, request.slow_policy)
    feed = feed_of(method, request.feed, outlet.default_feeds[method.kind])
    symbols = list(request.symbols)
    underlyings = list(getattr(request, "underlyings", ()))
    if underlyings:
        symbols += await outlet.contracts_of(feed, underlyings)
    topics = topics_of(method, feed, symbols, outlet.limits.subscriptions)
    handler = outlet.lobby.handler_for(feed)
    if handler is None:
        raise refusal(
            Status.FAILED_PRECONDITION,
            f"the feed {feed.name} is not configured",
            "FEED_NOT_CONFIGURED",
            f"Add {feed.name} to STREAM_PROXY_FEEDS, or name another in the request",
        )
    call = MarketDataCall(
        outlet,
        stream,
        identity,
        method,
        handler,
        policy or outlet.doorkeeper.slow_policy(identity) or outlet.limits.slow_policy,
        notices=request.notices,
        resume=request.resume,
    )
    with outlet.serving(call):
        await call.subscribe(topics)
        await call.begin({"feed": feed.name, "epoch": handler.epoch})
        await call.run()


class MarketDataCall(StreamingCall):
    """A consumer of a feed."""

    def __init__(
        self,
        outlet: GrpcOutlet,
        stream: Stream[Any, Any],
        identity: str,
        method: MarketDataMethod,
        handler: FeedHandler,
        policy: SlowPolicy,
        *,
        notices: bool,
        resume: str,
    ) -> None:
        super().__init__(outlet, stream, identity, method.response, notices)
        self.handler = handler
        self._method = method
        self._upstream = asyncio.Event()
        form = outlet.back_fill_form(method.name, handler)
        self.consumer = Consumer(
            self.peer,
            self.outbox,
            form.shape,
            self._revoked,
            # Bars come to all, as they would have come; other things to who asked to be told.
            back_fill=form if notices or (form.letters and form.letters <= BARS) else None,
        )
        self._continuity = CallContinuity(self, form, resume)
        handler.join(self.consumer)
        self._slow = SlowConsumer(
            policy, handler, self.consumer, self._tell_lag, self.writer.held_ns
        )

    # Subscribing

    async def subscribe(self, topics: SubscriptionSet) -> None:
        """Become a consumer; returns once upstream confirmed that, or when it is away too long.

        Raises:
            GRPCError: upstream refuses.
        """
        patience = self.outlet.limits.acknowledgement_seconds
        deadline = self._loop.time() + patience
        await self._upstream_speaks(deadline)
        answer: asyncio.Future[ErrorCode | None] = self._loop.create_future()

        def settle(code: ErrorCode | None) -> None:
            if not answer.done():
                answer.set_result(code)
            if code is None:
                # Now, before the first of its messages.
                self._continuity.begin()
                self.send_books()

        self._continuity.prepare()
        self.handler.subscribe(self.consumer, topics, settle)
        try:
            async with asyncio.timeout_at(deadline):
                await self.heed(answer)
        except TimeoutError:
            # It will be made good: the interest stands, and a gap is open until then.
            self.outlet.counts.unconfirmed_acknowledgements += 1
            self.handler.accept_unconfirmed(self.consumer)
        if answer.done() and (code := answer.result()) is not None:
            raise refused_upstream(code, await self._refused_symbols(topics, code))
        self.upstream_changed()

    async def _upstream_speaks(self, deadline: float) -> None:
        """Wait until upstream is there, or known to be away."""
        while True:
            upstream = self.handler.upstream
            if upstream.state is UpstreamState.REFUSED:
                raise refused_upstream(upstream.error or INTERNAL_ERROR)
            if upstream.state is UpstreamState.CONNECTED or upstream.interruptions:
                return
            self._upstream.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._upstream.wait()
            except TimeoutError:
                return

    async def _refused_symbols(self, topics: SubscriptionSet, code: ErrorCode) -> str:
        """Which of them it was: Alpaca refuses a request as a whole and doesn't say."""
        names = sorted(topics.symbols(self._method.channel))
        if len(names) == 1 or code.code != INVALID_SYNTAX_CODE:
            return ", ".join(names[:_NAMED_AT_MOST])
        for name in names[:_TRIED_AT_MOST]:
            answer: asyncio.Future[ErrorCode | None] = self._loop.create_future()
            one = SubscriptionSet({self._method.channel: [name]})
            self.handler.subscribe(self.consumer, one, answer.set_result)
            try:
                async with asyncio.timeout(self.outlet.limits.acknowledgement_seconds):
                    if await asyncio.shield(answer) is not None:
                        return name
            except TimeoutError:
                break
        return ", ".join(names[:_NAMED_AT_MOST])

    def send_books(self) -> None:
        """Whole order books first: what follows only changes them."""
        if self.consumer.replay is not None:
            return  # they are of now, and it is still in the past
        items = list(self.handler.book_snapshot(self.consumer.topics))
        if items:
            number = self.handler.sequence
            shape = self.consumer.shape
            assert shape.transcode is not None
            made = shape.transcode(items, [number] * len(items), self.outlet.clock.now_ns())
            messages = [message for message in made if message is not None]
            if messages:
                frames = shape.frames(messages)
                meter = self.outbox.meter = self.handler.hub.meter(shape)
                meter.flow.aside({"o": len(messages)})
                self.outbox.offer(frames, len(messages))

    def _revoked(self, topics: SubscriptionSet, code: ErrorCode) -> None:
        symbols = ", ".join(sorted(topics.symbols(self._method.channel))[:_NAMED_AT_MOST])
        self._loop.call_soon(self.end, refused_upstream(code, symbols))

    def _tell_lag(self, report: LagReport) -> None:
        """Say that it is behind, or has caught up, before everything that waits."""
        now_ns = self.outlet.clock.now_ns()
        self.notice(
            pb.NOTICE_KIND_SLOW,
            report.sentence(),
            since_ns=now_ns - report.lag_ms * 1_000_000,
            until_ns=now_ns if report.state == "live" else 0,
            epoch=self.handler.epoch,
            messages_lost=report.merged + report.left_out,
            urgent=True,
        )

    # Upstream's comings and goings

    def upstream_changed(self) -> None:
        """End when no data will ever come again."""
        self._upstream.set()
        upstream = self.handler.upstream
        if upstream.state is UpstreamState.REFUSED:
            self.end(refused_upstream(upstream.error or INTERNAL_ERROR))

    def gap_changed(self, gap: Gap) -> None:
        """A gap has opened, ended, or was filled as far as it can be."""
        self._continuity.tell(gap)

    def drained(self) -> None:
        if self.consumer.replay is not None:
            self.consumer.replay.drained()

    def release(self) -> None:
        self._slow.close()
        self.handler.leave(self.consumer)
        super().release()

    def status(self, now_ns: int) -> ConsumerStatus:
        return self._status(
            feed=self.handler.feed.name, topics=self.consumer.topics, slow=self._slow
        )


INVALID_SYNTAX_CODE = 400
_NAMED_AT_MOST = 20
_TRIED_AT_MOST = 200
