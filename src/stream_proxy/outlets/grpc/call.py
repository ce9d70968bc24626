"""One streaming call, whatever it streams: its outbox, its end, and what is told of it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import Message
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from stream_proxy.outlets.consumer_status import ConsumerStatus, consumer_status
from stream_proxy.outlets.grpc.refusals import going_down, too_slow
from stream_proxy.outlets.grpc.writer import StreamWriter
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb
from stream_proxy.wire.grpc.framing import grpc_message
from stream_proxy.wire.grpc.timestamp import timestamp

if TYPE_CHECKING:
    from stream_proxy.outlets.grpc.outlet import GrpcOutlet

_FAREWELL_SECONDS = 5.0
"""How long a caller may take to read why its call ends."""


T = TypeVar("T")


class StreamingCall(ABC):
    """What both kinds of calls share.

    Args:
        identity: the name of the access token it shows.
        response: the message that notices come in.
    """

    def __init__(
        self,
        outlet: GrpcOutlet,
        stream: Stream[Any, Any],
        identity: str,
        response: type[Message],
        notices: bool,
    ) -> None:
        self.outlet = outlet
        self.identity = identity
        address = stream.peer.addr()
        self.peer = f"{address[0]}:{address[1]}" if address else "unknown"
        self.connected_ns = outlet.clock.now_ns()
        self._stream = stream
        self._response = response
        self.notices = notices
        self._loop = asyncio.get_running_loop()
        self._ending: asyncio.Future[GRPCError] = self._loop.create_future()
        limits = outlet.limits
        self.writer = StreamWriter(
            stream._stream,
            outlet.shared_frames,
            limits.outbox_bytes,
            int(limits.outbox_age_seconds * 1e9),
            self._overflow,
            self.drained,
        )
        self.outbox = self.writer.outbox

    # The life of a call

    async def begin(self, metadata: Mapping[str, str]) -> None:
        """Say that the call is served; what was handed to it goes out behind this."""
        await self._stream.send_initial_metadata(metadata=dict(metadata))

    async def run(self) -> None:
        """Stream until the caller or we have enough.

        Raises:
            GRPCError: why it ended.
        """
        await self.writer.run()

    async def heed(self, answer: asyncio.Future[T]) -> T:
        """Wait for an answer, or for the end of the call.

        Raises:
            GRPCError: it ended.
        """
        either: list[asyncio.Future[Any]] = [answer, self._ending]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._ending.done():
            raise self._ending.result()
        return answer.result()

    def release(self) -> None:
        """Let go of everything that the call holds; more than once does nothing more."""
        self.outbox.close()
        self.writer.close()
        self.outlet.counts.leave(self.identity, self.outbox)

    def end(self, error: GRPCError) -> None:
        """End with a status, which goes out behind what was written; at once if it can't."""
        self.release()
        self.writer.end(error)
        if not self._ending.done():
            self._ending.set_result(error)
        self._loop.call_later(_FAREWELL_SECONDS, self._abandon)

    def _abandon(self) -> None:
        """The status still waits: nothing at all is read at the other end."""
        if self in self.outlet.calls:
            self._stream._stream._transport.abort()

    def _overflow(self) -> None:
        self.outlet.counts.slow_consumers += 1
        # Not now: the hub may be in the middle of writing to this consumer's group.
        self._loop.call_soon(self._cut)

    def _cut(self) -> None:
        self.outlet.log_cut(self)
        self.end(too_slow())

    def drained(self) -> None:  # noqa: B027 (only what waits elsewhere has to be told)
        """The caller has taken all that waited."""

    @property
    def waits(self) -> bool:
        """Whether anything waits for the caller to read."""
        return bool(self.outbox.queued_bytes or self.writer.unsent_bytes)

    def goodbye(self) -> None:
        """The proxy goes down."""
        self.end(going_down())

    def tick(self, now: float) -> None:
        """Once a second: the age of what waits."""
        self.writer.tick(now)

    # What is told

    def notice(
        self,
        kind: pb.NoticeKind,
        text: str,
        *,
        since_ns: int = 0,
        until_ns: int = 0,
        epoch: str = "",
        sequence: int = 0,
        messages_lost: int = 0,
        gap: int = 0,
        symbols: Sequence[str] = (),
        filled: bool = False,
        urgent: bool = False,
    ) -> None:
        """Tell something about the stream itself, in its place, to those who asked for that.

        Args:
            urgent: before everything that waits instead.
        """
        if not self.notices:
            return
        notice = pb.Notice(
            kind=kind,
            text=text,
            since=timestamp(since_ns) if since_ns else None,
            until=timestamp(until_ns) if until_ns else None,
            epoch=epoch,
            sequence=sequence,
            messages_lost=messages_lost,
            gap=gap,
            symbols=symbols,
            filled=filled,
        )
        message = self._response(notice=notice)
        payload = grpc_message(message.SerializeToString())
        if urgent:
            self.outbox.urgent(payload)
        else:
            self.outbox.control(payload)

    @abstractmethod
    def status(self, now_ns: int) -> ConsumerStatus:
        """What can be told of the call; ``now_ns`` is wall-clock time."""

    def _status(self, **more: Any) -> ConsumerStatus:
        return consumer_status(
            "grpc",
            self.peer,
            self.identity,
            connected_ns=self.connected_ns,
            outbox=self.outbox,
            outbox_now_ns=int(self._loop.time() * 1e9),
            lag_ns=self.writer.held_ns(),
            **more,
        )
