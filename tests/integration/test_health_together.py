"""Alpaca is gone from one instant to the next: HTTP and gRPC say so at once, and take it back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import httpx
import pytest
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from harness.order_ledger import addresses
from harness.ports import free_port
from harness.proxies import ProxyProcess, proxy_process
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually

WITHIN_SECONDS = 1.0
NAMES = ("", "cream.v1.StreamProxyService", "iex", "paper")
HEALTH = "/grpc.health.v1.Health"


class Opinion:
    """What one way of asking says, each time it changes, and when it said that."""

    def __init__(self) -> None:
        self.changes: list[tuple[bool, float]] = []

    def note(self, green: bool) -> None:
        if not self.changes or self.changes[-1][0] is not green:
            self.changes.append((green, time.monotonic()))

    @property
    def green(self) -> bool:
        return bool(self.changes) and self.changes[-1][0]

    def red_after(self, moment: float) -> float:
        """Seconds from then until it was red."""
        return next(at for green, at in self.changes if not green) - moment


class Observer:
    """Asks ``/readyz`` and ``Check`` over and over, and watches."""

    def __init__(self, http: httpx.AsyncClient, channel: grpc.aio.Channel) -> None:
        self._http = http
        self._check = channel.unary_unary(
            f"{HEALTH}/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        self._watch = channel.unary_stream(
            f"{HEALTH}/Watch",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        self.opinions = {"/readyz": Opinion()}

    def tasks(self) -> list[Awaitable[None]]:
        """Everything that asks, to be run beside each other."""
        found: list[Awaitable[None]] = [self._over_and_over(self._readyz, "/readyz")]
        for name in NAMES:
            check, watch = f"Check of {name!r}", f"Watch of {name!r}"
            self.opinions |= {check: Opinion(), watch: Opinion()}
            found.append(self._over_and_over(lambda name=name: self._checked(name), check))  # type: ignore[misc]
            found.append(self._watched(name, watch))
        return found

    async def _over_and_over(self, ask: Callable[[], Awaitable[bool]], way: str) -> None:
        while True:
            self.opinions[way].note(await ask())
            await asyncio.sleep(0.02)

    async def _readyz(self) -> bool:
        return (await self._http.get("/readyz")).status_code == 200

    async def _checked(self, name: str) -> bool:
        answer = await self._check(HealthCheckRequest(service=name))
        return bool(answer.status == HealthCheckResponse.SERVING)

    async def _watched(self, name: str, way: str) -> None:
        async for answer in self._watch(HealthCheckRequest(service=name)):
            self.opinions[way].note(answer.status == HealthCheckResponse.SERVING)

    def all_green(self) -> bool:
        return all(opinion.green for opinion in self.opinions.values())

    def none_green(self) -> bool:
        return not any(opinion.green for opinion in self.opinions.values())


@contextlib.asynccontextmanager
async def observed(proxy: ProxyProcess) -> AsyncIterator[Observer]:
    """An observer of a running proxy, who asks for the length of a block."""
    async with (
        httpx.AsyncClient(base_url=proxy.http, timeout=20, trust_env=False) as http,
        grpc.aio.insecure_channel(proxy.grpc) as channel,
    ):
        observer = Observer(http, channel)
        asking = asyncio.gather(*observer.tasks())
        try:
            yield observer
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


def environment(alpaca: SimulatorProcess) -> dict[str, str]:
    """Both sides configured, and quick to come back."""
    settings = addresses(alpaca) | {
        "orders": "on",
        "backoff_initial_seconds": "0.1",
        "backoff_max_seconds": "0.5",
        "slot_seconds": "1",
        "drain_seconds": "1",
    }
    return {f"STREAM_PROXY_{name.upper()}": value for name, value in settings.items()}


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_killed_alpaca_is_red_everywhere_within_a_second(tmp_path: Path) -> None:
    places = ("--port", str(free_port()), "--control-port", str(free_port()))
    with contextlib.ExitStack() as stack:
        alpaca = stack.enter_context(simulator(*places))
        variables = environment(alpaca)
        proxy = stack.enter_context(
            proxy_process(alpaca.streams, tmp_path, "--feeds", "iex", **variables)
        )
        async with observed(proxy) as observer:
            await eventually(observer.all_green, 20, "green in every way")
            assert all(len(o.changes) <= 2 for o in observer.opinions.values()), "red, then green"
            for opinion in observer.opinions.values():
                del opinion.changes[:-1]
            # Its sockets end with it, between here and the end of `wait`: the earliest counts.
            killed = time.monotonic()
            alpaca.process.kill()
            await asyncio.to_thread(alpaca.process.wait)
            await eventually(observer.none_green, 10, "red in every way")
            took = {way: one.red_after(killed) for way, one in observer.opinions.items()}
            assert max(took.values()) < WITHIN_SECONDS, took
            stack.enter_context(simulator(*places))
            await eventually(observer.all_green, 30, "green again in every way")
            states = [[green for green, _ in one.changes] for one in observer.opinions.values()]
            assert all(found == [True, False, True] for found in states), states
