"""The gRPC outlet: its methods, its calls, and what they share."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Protocol

import structlog
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.reflection.service import ServerReflection
from grpclib.server import Stream

from stream_proxy.feed.handler import FeedHandler
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.feeds import Feed
from stream_proxy.outlets.consumer_status import ConsumerStatus
from stream_proxy.outlets.doorkeeper import Doorkeeper
from stream_proxy.outlets.farewell import say_goodbye
from stream_proxy.outlets.grpc.back_fill import GrpcForm
from stream_proxy.outlets.grpc.call import StreamingCall
from stream_proxy.outlets.grpc.call_spans import call_span
from stream_proxy.outlets.grpc.health import Health, Serving
from stream_proxy.outlets.grpc.market_data import MarketDataCall, stream_market_data
from stream_proxy.outlets.grpc.orders import (
    OrderCall,
    acknowledge_order_updates,
    stream_order_updates,
)
from stream_proxy.outlets.grpc.refusals import (
    going_down,
    invalid_symbol,
    refusal,
    too_many_newcomers,
)
from stream_proxy.outlets.grpc.requests import MARKET_DATA, credentials_of, receive
from stream_proxy.outlets.grpc.shapes import GrpcShape
from stream_proxy.outlets.limits import ConsumerLimits, OneTooMany, OutletCounts
from stream_proxy.outlets.orders import OrderPath
from stream_proxy.outlets.turnstile import Turnstile
from stream_proxy.runtime.clock import Clock
from stream_proxy.runtime.tracing import NO_TRACER, Tracer
from stream_proxy.state.gaps import Gap
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb
from stream_proxy.wire.grpc.data_frames import SharedDataFrames
from stream_proxy.wire.grpc.occ import matches_underlying

SERVICE = "cream.v1.StreamProxyService"


_MOST_UNDERLYINGS = 50
_UNDERLYING = re.compile(r"[A-Z][A-Z0-9.]{0,9}")


class GrpcLobby(Protocol):
    """What calls lead to."""

    def handler_for(self, feed: Feed) -> FeedHandler | None:
        """A feed's middle, its upstream started; None if it isn't configured."""

    def orders_for_path(self, path: str) -> OrderPath | None:
        """What a path of the trading stream leads to."""

    def connection_status(self) -> pb.ConnectionStatus:
        """How everything stands."""

    async def list_contracts(self, underlying: str) -> list[str]:
        """The option contracts of an underlying, as REST lists them; none if it doesn't."""


class GrpcOutlet:
    """Serves `SERVICE`, and health and reflection beside it.

    Args:
        default_feeds: the feed of each kind for requests that name none.
        serving: what the health service says.
        turnstile: how fast streams are let in.
    """

    def __init__(
        self,
        lobby: GrpcLobby,
        doorkeeper: Doorkeeper,
        limits: ConsumerLimits,
        clock: Clock,
        default_feeds: dict[str, str],
        serving: Serving,
        turnstile: Turnstile,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self.lobby = lobby
        self.doorkeeper = doorkeeper
        self.limits = limits
        self.clock = clock
        self.default_feeds = default_feeds
        self.counts = OutletCounts()
        self.one_too_many = OneTooMany("grpc", self.counts, clock)
        self.calls: dict[StreamingCall, None] = {}
        self.shared_frames = SharedDataFrames()
        self.stopping = False
        self.turnstile = turnstile
        self._serving = serving
        self._health_service = Health(self._health, limits)
        self._tracer = tracer
        self._shapes: dict[tuple[str, str], GrpcShape] = {}
        self._forms: dict[tuple[str, str], GrpcForm] = {}
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("stream_proxy.grpc")

    # Methods

    def methods(self) -> dict[str, Handler]:
        """Every method by its path."""
        found: dict[str, Handler] = {}
        for method in MARKET_DATA:
            found[f"/{SERVICE}/{method.name}"] = Handler(
                partial(stream_market_data, self, method),
                Cardinality.UNARY_STREAM,
                method.request,
                method.response,
            )
        found |= {
            f"/{SERVICE}/StreamOrderUpdates": Handler(
                partial(stream_order_updates, self),
                Cardinality.UNARY_STREAM,
                pb.StreamOrderUpdatesRequest,
                pb.StreamOrderUpdatesResponse,
            ),
            f"/{SERVICE}/AcknowledgeOrderUpdates": Handler(
                partial(acknowledge_order_updates, self),
                Cardinality.UNARY_UNARY,
                pb.AcknowledgeOrderUpdatesRequest,
                pb.AcknowledgeOrderUpdatesResponse,
            ),
            f"/{SERVICE}/GetConnectionStatus": Handler(
                self._connection_status,
                Cardinality.UNARY_UNARY,
                pb.GetConnectionStatusRequest,
                pb.GetConnectionStatusResponse,
            ),
        }
        guarded = {path: self._guarded(path, handler) for path, handler in found.items()}
        services = ServerReflection.extend([_Service(guarded), self._health_service])
        return {path: h for service in services for path, h in service.__mapping__().items()}

    def _guarded(self, path: str, handler: Handler) -> Handler:
        """Refuse while going down, count what is refused, and trace all of it."""
        _, service, method = path.split("/")
        serve: Callable[[Stream[Any, Any]], Awaitable[None]] = handler.func
        lasts = handler.cardinality is Cardinality.UNARY_STREAM

        async def guarded(stream: Stream[Any, Any]) -> None:
            try:
                with call_span(self._tracer, service, method, stream):
                    if lasts:
                        await self._take_turn()
                    if self.stopping:
                        raise going_down()
                    await serve(stream)
            except GRPCError as error:
                # Nothing else: a caller that goes before it is served wasn't refused.
                self.counts.bad_requests += error.status is Status.INVALID_ARGUMENT
                self.counts.rejected += not stream._send_initial_metadata_done
                raise

        return handler._replace(func=guarded)

    async def _take_turn(self) -> None:
        wait_seconds = self.turnstile.wait_seconds(asyncio.get_running_loop().time())
        if wait_seconds is None:
            raise too_many_newcomers()
        if wait_seconds:
            await asyncio.sleep(wait_seconds)

    async def _connection_status(self, stream: Stream[Any, Any]) -> None:
        self.identify(stream)
        await receive(stream, pb.GetConnectionStatusRequest, self.limits)
        status = self.lobby.connection_status()
        await stream.send_message(pb.GetConnectionStatusResponse(status=status))

    def _health(self, name: str) -> bool | None:
        if self.stopping:
            return False
        return self._serving("" if name == SERVICE else name)

    # What calls ask for

    def identify(self, stream: Stream[Any, Any]) -> str:
        """The name of the access token that a call shows.

        Raises:
            GRPCError: it shows none, and needs one.
        """
        identity = self.doorkeeper.identify(credentials_of(stream))
        if identity is None:
            self.counts.authentications_failed += 1
            raise refusal(
                Status.UNAUTHENTICATED,
                "the call shows none of the proxy's access tokens",
                "UNAUTHENTICATED",
                "Send apca-api-key-id and apca-api-secret-key, or authorization: Bearer <secret>, "
                "in the metadata",
            )
        return identity

    def shape(self, method: str, handler: FeedHandler) -> GrpcShape:
        """The one shape of a method and a feed: calls share messages only through it."""
        key = method, handler.feed.name
        if key not in self._shapes:
            self._shapes[key] = GrpcShape(method, handler.codec, handler.epoch, "alpaca")
        return self._shapes[key]

    def back_fill_form(self, method: str, handler: FeedHandler) -> GrpcForm:
        """The one form of what was missed, of a method and a feed."""
        key = method, handler.feed.name
        if key not in self._forms:
            marked = GrpcShape(method, handler.codec, handler.epoch, "alpaca", back_filled=True)
            self._forms[key] = GrpcForm(self.shape(method, handler), marked)
        return self._forms[key]

    async def contracts_of(self, feed: Feed, underlyings: list[str]) -> list[str]:
        """The option contracts of these underlyings that REST lists or somebody asked for.

        Raises:
            GRPCError: there are none.
        """
        handler = self.lobby.handler_for(feed)
        asked = set[str]()
        if handler is not None:
            wanted = handler.demand.wanted()
            asked = {symbol for channel in wanted.channels() for symbol in wanted.symbols(channel)}
        found: dict[str, None] = {}
        wanted_names = list(dict.fromkeys(name.upper() for name in underlyings))
        if len(wanted_names) > _MOST_UNDERLYINGS:
            raise refusal(
                Status.RESOURCE_EXHAUSTED,
                f"{len(wanted_names)} underlyings in one call are too many",
                "TOO_MANY_UNDERLYINGS",
                f"Ask for {_MOST_UNDERLYINGS} at the most",
            )
        for underlying in wanted_names:
            if not _UNDERLYING.fullmatch(underlying):
                raise invalid_symbol(underlying, "is no underlying: one is called like AAPL")
            listed = await self.lobby.list_contracts(underlying)
            # What REST lists is right by itself: an index has contracts of several roots.
            mine = [*listed, *(name for name in asked if matches_underlying(name, underlying))]
            if not mine:
                raise refusal(
                    Status.FAILED_PRECONDITION,
                    f"no option contract of {underlying[:30]!r} is known",
                    "NO_CONTRACTS",
                    "Name the contracts in symbols, or give the proxy trading keys, so that it "
                    "can list them",
                )
            found |= dict.fromkeys(mine)
        return list(found)

    # Calls

    @contextlib.contextmanager
    def serving(self, call: StreamingCall) -> Iterator[None]:
        """Keep a call on the list as long as it lasts."""
        if len(self.calls) >= self.limits.connections:
            call.release()
            raise refusal(
                Status.RESOURCE_EXHAUSTED,
                "too many calls are open",
                "TOO_MANY_CALLS",
                "Raise STREAM_PROXY_MAX_CONNECTIONS",
            )
        self.calls[call] = None
        self.counts.accepted += 1
        try:
            yield
        finally:
            self.calls.pop(call, None)
            call.release()

    def upstream_changed(self, handler: FeedHandler) -> None:
        """Tell the calls of this feed."""
        for call in list(self.calls):
            if isinstance(call, MarketDataCall) and call.handler is handler:
                call.upstream_changed()

    def gap_changed(self, handler: FeedHandler, gap: Gap) -> None:
        """Tell the calls of this feed that asked for notices."""
        for call in list(self.calls):
            if isinstance(call, MarketDataCall) and call.handler is handler:
                call.gap_changed(gap)

    def order_trouble(self, text: str | None) -> None:
        for call in self._order_calls():
            call.trouble(text)

    def refuse_orders(self, text: str) -> None:
        for call in self._order_calls():
            call.refuse(text)

    def _order_calls(self) -> list[OrderCall]:
        return [call for call in self.calls if isinstance(call, OrderCall)]

    def log_cut(self, call: StreamingCall) -> None:
        self._log.warning(
            "grpc.consumer_cut",
            peer=call.peer,
            dropped=call.outbox.dropped_messages,
            meaning="it read too slowly; the status of its call says so",
        )

    # What is told of them

    def consumer_count(self) -> int:
        return len(self.calls)

    def consumer_statuses(self, now_ns: int) -> Iterator[ConsumerStatus]:
        for call in list(self.calls):
            yield call.status(now_ns)

    def outboxes(self) -> Iterator[tuple[str, Outbox]]:
        """The outbox of each consumer, with its token's name."""
        for call in list(self.calls):
            yield call.identity, call.outbox

    # Life

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1)
            self._tick(loop.time())

    def _tick(self, now: float) -> None:
        # By itself: a loop that sleeps would hold the call that it saw last.
        for call in list(self.calls):
            call.tick(now)

    def stop_accepting(self) -> None:
        """Refuse new calls, and say so in health; those that are served go on."""
        self.stopping = True

    async def stop(self, timeout_seconds: float) -> None:
        """End all calls with a hint to come back, and wait until they are gone."""
        self.stop_accepting()
        self._health_service.end()
        if self._task is not None:
            self._task.cancel()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        flushed_by = loop.time() + timeout_seconds / 4
        while loop.time() < flushed_by and any(call.waits for call in self.calls):
            await asyncio.sleep(0.02)
        await say_goodbye([call.goodbye for call in self.calls], timeout_seconds / 2)
        while self.calls or self._health_service.watchers:
            if loop.time() > deadline:
                break
            await asyncio.sleep(0.02)


class _Service:
    """Methods as grpclib wants them."""

    def __init__(self, mapping: dict[str, Handler]) -> None:
        self._mapping = mapping

    def __mapping__(self) -> dict[str, Handler]:
        return self._mapping
