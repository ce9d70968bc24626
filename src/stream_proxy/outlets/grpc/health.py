"""The standard health service, per feed and per account, and always about this very moment.

Source: "GRPC Health Checking Protocol" (`grpc.health.v1`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from grpclib.const import Status
from grpclib.health.v1.health_grpc import HealthBase
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpclib.server import Stream

from stream_proxy.outlets.grpc.refusals import going_down, refusal
from stream_proxy.outlets.grpc.requests import receive
from stream_proxy.outlets.limits import ConsumerLimits

_LOOK_SECONDS = 0.2
_MOST_WATCHERS = 1000
"""At once. Watching needs no token, and each name is looked at five times a second: so many cost
a hundredth of a core, and no fleet of load balancers needs more."""

Serving = Callable[[str], bool | None]
"""Whether a service of this name serves; None if there is none."""


class Health(HealthBase):
    """Answers for the whole proxy (``""``), the service, each feed and each account.

    Args:
        serving: asked anew each time.
    """

    def __init__(self, serving: Serving, limits: ConsumerLimits) -> None:
        self.watchers = 0
        self._serving = serving
        self._limits = limits
        self._ending = asyncio.Event()

    def end(self) -> None:
        """The proxy goes down: tell all who watch, and end their calls."""
        self._ending.set()

    async def Check(self, stream: Stream[HealthCheckRequest, HealthCheckResponse]) -> None:
        request = await receive(stream, HealthCheckRequest, self._limits)
        serving = self._serving(request.service)
        if serving is None:
            await stream.send_trailing_metadata(
                status=Status.NOT_FOUND, status_message="no such service"
            )
        else:
            await stream.send_message(_answer(serving))

    async def Watch(self, stream: Stream[HealthCheckRequest, HealthCheckResponse]) -> None:
        name = (await receive(stream, HealthCheckRequest, self._limits)).service
        if self.watchers >= _MOST_WATCHERS:
            raise refusal(
                Status.RESOURCE_EXHAUSTED,
                f"{_MOST_WATCHERS} calls watch health already",
                "TOO_MANY_WATCHERS",
                "Ask with Check",
            )
        said: Any = _NOTHING
        self.watchers += 1
        try:
            while True:
                serving = self._serving(name)
                if serving != said:
                    said = serving
                    await stream.send_message(_answer(serving))
                if self._ending.is_set():
                    raise going_down()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._ending.wait()
        finally:
            self.watchers -= 1


_NOTHING = object()


def _answer(serving: bool | None) -> HealthCheckResponse:
    if serving is None:
        return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
    if serving:
        return HealthCheckResponse(status=HealthCheckResponse.SERVING)
    return HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING)
