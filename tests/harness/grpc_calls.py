"""gRPC calls of a test: grpcio on the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from harness.waiting import eventually
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb

SERVICE = "cream.v1.StreamProxyService"
_HEALTH = "/grpc.health.v1.Health"
_PATIENCE_SECONDS = 15.0


@dataclass(frozen=True)
class Refusal:
    """How a call ended, with what its status says beside the text."""

    code: str
    text: str
    reason: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    retry_seconds: int = 0

    @property
    def more(self) -> dict[str, str]:
        return dict(self.metadata)


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    trailers = dict(error.trailing_metadata() or ())
    details = Status.FromString(trailers.get("grpc-status-details-bin", b""))
    info, retry = ErrorInfo(), RetryInfo()
    for detail in details.details:
        assert detail.Unpack(info) or detail.Unpack(retry), detail.type_url
    return Refusal(
        error.code().name,
        error.details() or "",
        info.reason,
        tuple(sorted(info.metadata.items())),
        retry.retry_delay.seconds,
    )


class StreamingCall:
    """A call that reads all the time; ``async with`` it."""

    def __init__(self, call: Any) -> None:
        self.responses: list[Any] = []
        self.refusal: Refusal | None = None
        self._call = call
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for response in self._call:
                self.responses.append(response)
        except grpc.aio.AioRpcError as error:
            self.refusal = refusal_of(error)

    async def __aenter__(self) -> StreamingCall:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    async def begun(self) -> dict[str, str]:
        """Wait until the call is served; give its metadata."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return dict(await self._call.initial_metadata())

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        await eventually(
            lambda: condition() or self.refusal, _PATIENCE_SECONDS, what or "its responses"
        )
        assert condition(), f"{what}: {self.refusal}"

    async def refused(self) -> Refusal:
        """Wait for its end."""
        await eventually(lambda: self.refusal, _PATIENCE_SECONDS, "its end")
        assert self.refusal is not None
        return self.refusal

    @property
    def notices(self) -> list[pb.Notice]:
        return [r.notice for r in self.responses if r.HasField("notice")]

    @property
    def items(self) -> list[Any]:
        return [r for r in self.responses if not r.HasField("notice")]


class GrpcClient:
    """A channel to a proxy."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def stream(self, method: str, **fields: Any) -> StreamingCall:
        """Begin a streaming call of our service."""
        multicallable = self._channel.unary_stream(
            f"/{SERVICE}/{method}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=getattr(pb, f"{method}Response").FromString,
        )
        return StreamingCall(multicallable(getattr(pb, f"{method}Request")(**fields)))

    async def ask(self, method: str, **fields: Any) -> Any:
        """Make a unary call of our service; an error is given as its refusal."""
        multicallable = self._channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=getattr(pb, f"{method}Response").FromString,
        )
        try:
            request = getattr(pb, f"{method}Request")(**fields)
            return await multicallable(request, timeout=_PATIENCE_SECONDS)
        except grpc.aio.AioRpcError as error:
            return refusal_of(error)

    async def healthy(self, service: str) -> str:
        """What the health service says of a name, or the code that it refuses it with."""
        multicallable = self._channel.unary_unary(
            f"{_HEALTH}/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        try:
            answer = await multicallable(HealthCheckRequest(service=service), timeout=5)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return str(HealthCheckResponse.ServingStatus.Name(answer.status))

    def watch(self, service: str) -> StreamingCall:
        """Everything that the health service says of a name from now on."""
        multicallable = self._channel.unary_stream(
            f"{_HEALTH}/Watch",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        return StreamingCall(multicallable(HealthCheckRequest(service=service)))


@contextlib.asynccontextmanager
async def grpc_client(address: str, **options: Any) -> AsyncIterator[GrpcClient]:
    async with grpc.aio.insecure_channel(address, **options) as channel:
        yield GrpcClient(channel)
