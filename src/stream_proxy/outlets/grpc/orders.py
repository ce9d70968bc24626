"""Order updates as a gRPC stream: from any place in the record, then live, each exactly once."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from stream_proxy.feed.order_position import CannotResume, Joined, Start
from stream_proxy.feed.orders import OrderConsumer, OrderFeed
from stream_proxy.model.orders import OrderRecord
from stream_proxy.outlets.consumer_status import ConsumerStatus
from stream_proxy.outlets.grpc.call import StreamingCall
from stream_proxy.outlets.grpc.refusals import refusal
from stream_proxy.outlets.grpc.requests import credentials_of, receive
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb
from stream_proxy.wire.grpc.framing import grpc_message
from stream_proxy.wire.grpc.orders import order_updates_response

if TYPE_CHECKING:
    from stream_proxy.outlets.grpc.outlet import GrpcOutlet

_ANSWER_SECONDS = 10.0
"""Longest wait for the journal."""


async def stream_order_updates(outlet: GrpcOutlet, stream: Stream[Any, Any]) -> None:
    """Serve a call.

    Raises:
        GRPCError: why it can't be served, or no longer.
    """
    identity = outlet.identify(stream)
    request = await receive(stream, pb.StreamOrderUpdatesRequest, outlet.limits)
    start = _start(request)
    feed = _feed(outlet, stream, request.account)
    call = OrderCall(outlet, stream, identity, feed, request)
    with outlet.serving(call):
        found = await call.join(start)
        await call.begin({"account": feed.account.name, "epoch": found.state.epoch})
        await call.run()


async def acknowledge_order_updates(outlet: GrpcOutlet, stream: Stream[Any, Any]) -> None:
    """Move a cursor.

    Raises:
        GRPCError: it can't be moved there.
    """
    outlet.identify(stream)
    request = await receive(stream, pb.AcknowledgeOrderUpdatesRequest, outlet.limits)
    if not request.cursor:
        raise refusal(Status.INVALID_ARGUMENT, "cursor is empty", "NO_CURSOR")
    feed = _feed(outlet, stream, request.account)
    state = feed.state
    if state is not None and request.epoch and request.epoch != state.epoch:
        raise _out_of_range(f"epoch {request.epoch[:40]} is over: it is {state.epoch} now")
    if request.sequence > feed.last_sequence:
        raise _out_of_range(
            f"{request.sequence} was not sent yet: the last was {feed.last_sequence}"
        )
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    feed.acknowledge(
        request.cursor,
        request.sequence,
        lambda sequence: None if answer.done() else answer.set_result(sequence),
    )
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            sequence = await answer
    except TimeoutError:
        raise _silent(feed) from None
    await stream.send_message(pb.AcknowledgeOrderUpdatesResponse(sequence=sequence))


def _start(request: pb.StreamOrderUpdatesRequest) -> Start:
    since = request.since[:200]
    if request.HasField("from_sequence"):
        if since:
            raise refusal(
                Status.INVALID_ARGUMENT, "since and from_sequence contradict", "TWO_POSITIONS"
            )
        since = str(max(request.from_sequence - 1, 0))
    return Start(request.cursor[:200], since, request.epoch[:200])


def _feed(outlet: GrpcOutlet, stream: Stream[Any, Any], account: str) -> OrderFeed:
    path = outlet.lobby.orders_for_path(f"/{account}/stream" if account else "/stream")
    if path is None:
        raise refusal(
            Status.FAILED_PRECONDITION if not account else Status.INVALID_ARGUMENT,
            f"there is no account {account!r}" if account else "order updates are not served",
            "NO_ACCOUNT",
            "Use paper, live or a name of [accounts], or set STREAM_PROXY_ORDERS",
        )
    if path.missing:
        raise refusal(Status.FAILED_PRECONDITION, path.missing, "ACCOUNT_NOT_CONFIGURED")
    feed = path.feed_for(credentials_of(stream))
    if isinstance(feed, str):
        raise refusal(Status.UNAVAILABLE, feed, "JOURNAL_UNUSABLE", retry_seconds=5)
    return feed


class OrderCall(StreamingCall):
    """A consumer of an account's order updates."""

    def __init__(
        self,
        outlet: GrpcOutlet,
        stream: Stream[Any, Any],
        identity: str,
        feed: OrderFeed,
        request: pb.StreamOrderUpdatesRequest,
    ) -> None:
        super().__init__(outlet, stream, identity, pb.StreamOrderUpdatesResponse, request.notices)
        self.feed = feed
        self._order_ids = frozenset(request.order_ids)
        self._symbols = frozenset(request.symbols)
        self.consumer = OrderConsumer(
            self.peer, self.outbox, self._frame, self._lost, protocol="grpc"
        )

    async def join(self, start: Start) -> Joined:
        """Become a consumer; what comes waits until the call has begun.

        Raises:
            GRPCError: the position can't be had, or the journal is silent.
        """
        answer: asyncio.Future[Joined | CannotResume] = self._loop.create_future()

        def joined(found: Joined | CannotResume) -> None:
            if isinstance(found, Joined):
                self.notice(
                    pb.NOTICE_KIND_POSITION,
                    "the cursor is new: it begins here" if found.new else "it begins here",
                    epoch=found.state.epoch,
                    sequence=found.position,
                )
            if not answer.done():
                answer.set_result(found)

        self.feed.join(self.consumer, start, joined)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                found = await self.heed(answer)
        except TimeoutError:
            raise _silent(self.feed) from None
        if isinstance(found, CannotResume) and found.unreadable:
            raise refusal(Status.INVALID_ARGUMENT, found.reason, "NO_POSITION")
        if isinstance(found, CannotResume):
            raise _out_of_range(found.reason)
        return found

    def _frame(self, record: OrderRecord) -> bytes:
        told = _told(record, self.feed.account.environment.value)
        if self._order_ids and told.order_id not in self._order_ids:
            return b""
        if self._symbols and told.symbol not in self._symbols:
            return b""
        return told.message

    def _lost(self, refused: CannotResume) -> None:
        self.end(_out_of_range(refused.reason))

    def trouble(self, text: str | None) -> None:
        """Events wait because of something, or no longer."""
        if text is None:
            self.notice(pb.NOTICE_KIND_RESUMED, "order updates flow again")
        else:
            self.notice(pb.NOTICE_KIND_GAP, text)

    def refuse(self, text: str) -> None:
        """There is nothing to wait for."""
        self.end(refusal(Status.UNAVAILABLE, text, "JOURNAL_UNUSABLE", retry_seconds=5))

    def drained(self) -> None:
        """The caller takes more: what waits in the journal goes on."""
        self.feed.drained(self.consumer)

    def release(self) -> None:
        self.feed.leave(self.consumer)
        super().release()

    def status(self, now_ns: int) -> ConsumerStatus:
        return self._status(account=self.feed.account.name)


class _Told(NamedTuple):
    order_id: str
    symbol: str
    message: bytes


@lru_cache(maxsize=1000)
def _told(record: OrderRecord, source: str) -> _Told:
    """An event as it goes out, made once for all who get it."""
    response = order_updates_response(record, source)
    order = response.update.order
    return _Told(order.id, order.symbol, grpc_message(response.SerializeToString()))


def _out_of_range(text: str) -> GRPCError:
    return refusal(
        Status.OUT_OF_RANGE,
        text,
        "POSITION_LOST",
        "Begin with since=oldest for all that is kept, or since=now",
    )


def _silent(feed: OrderFeed) -> GRPCError:
    why = str(feed.trouble or "the order journal is busy")
    return refusal(Status.UNAVAILABLE, why, "JOURNAL_SILENT", retry_seconds=1)
