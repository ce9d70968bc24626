"""SIGTERM under load: everybody is told, nothing is lost, and it is over in time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.rpc.status_pb2 import Status
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from harness.consumers import TestConsumer, consumer
from harness.order_client import OrderClient
from harness.order_ledger import KEY, addresses, happened, page
from harness.proxies import ProxyProcess, proxy_process
from harness.raw_grpc import SERVICE, details_of, raw_grpc
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb

DRAIN_SECONDS = 3
BOUND_SECONDS = 3.0
"""On top: the listeners' end, the last connections, the journal, the interpreter."""
SYMBOLS = ["AAPL", "MSFT", "NVDA", "TSLA"]
GOING_AWAY = 1001
BURST = 4_000
"""Order updates at once: they wait in the journal, in sockets and for readers."""


class Call:
    """A gRPC call that is read all the time."""

    def __init__(self, channel: grpc.aio.Channel, method: str, request: Any) -> None:
        response = getattr(pb, f"{method}Response")
        stream = channel.unary_stream(
            f"{SERVICE}/{method}", response_deserializer=response.FromString
        )
        self._call = stream(request.SerializeToString())
        self.messages = 0
        self.sequences: list[int] = []
        self.ids: list[str] = []
        self.error: grpc.aio.AioRpcError | None = None
        self.task = asyncio.create_task(self._read())

    async def begun(self) -> None:
        await self._call.initial_metadata()

    async def _read(self) -> None:
        try:
            async for response in self._call:
                self.messages += 1
                if isinstance(response, pb.StreamOrderUpdatesResponse):
                    self.sequences.append(response.sequence)
                    self.ids.append(response.update.event_id)
        except grpc.aio.AioRpcError as error:
            self.error = error

    def check_goodbye(self) -> None:
        """It was told to come back."""
        assert self.error is not None
        assert self.error.code() is grpc.StatusCode.UNAVAILABLE
        details = dict(self.error.trailing_metadata() or ())["grpc-status-details-bin"]
        assert isinstance(details, bytes)
        info, retry = details_of(Status.FromString(details))
        assert info.reason == "DRAINING"
        assert retry is not None and retry.retry_delay.seconds == 1


class Events:
    """A reader of order events over HTTP."""

    def __init__(self, client: httpx.AsyncClient, query: str = "") -> None:
        self._client, self._query = client, query
        self.ids: list[str] = []
        self.begun = self.ended_well = False
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        path = f"/v2/events/trades{self._query}"
        async with self._client.stream("GET", path) as answer:
            async for line in answer.aiter_lines():
                self.begun = True
                if line.startswith("data: "):
                    self.ids.append(json.loads(line[6:])["event_id"])
        self.ended_well = True


class Watch:
    """What the health service says of the proxy, until it ends."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.said: list[int] = []
        self.code: grpc.StatusCode | None = None
        self._call = channel.unary_stream(
            "/grpc.health.v1.Health/Watch", response_deserializer=HealthCheckResponse.FromString
        )(HealthCheckRequest().SerializeToString())
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for response in self._call:
                self.said.append(response.status)
        except grpc.aio.AioRpcError as error:
            self.code = error.code()


@contextlib.asynccontextmanager
async def served(
    alpaca: SimulatorProcess, state_dir: Path
) -> AsyncIterator[tuple[ProxyProcess, AsyncExitStack]]:
    """A proxy process for market data and orders, and a place for its clients."""
    environment = {f"STREAM_PROXY_{k.upper()}": v for k, v in addresses(alpaca).items()}
    environment |= {
        "STREAM_PROXY_ORDERS": "on",
        "STREAM_PROXY_DRAIN_SECONDS": str(DRAIN_SECONDS),
        "STREAM_PROXY_SLOT_SECONDS": "1",
    }
    with proxy_process(alpaca.streams, state_dir, "--feeds", "sip", **environment) as proxy:
        async with AsyncExitStack() as stack, httpx.AsyncClient(trust_env=False) as client:

            async def ready() -> None:
                while (await client.get(f"{proxy.http}/readyz")).status_code != 200:
                    await asyncio.sleep(0.05)

            await asyncio.wait_for(ready(), 20)
            yield proxy, stack


@dataclass(frozen=True)
class Sizes:
    """How many of each kind."""

    market: int = 0
    orders: int = 0
    events: int = 0
    data_calls: int = 0
    order_calls: int = 0


HUNDRED = Sizes(market=30, orders=20, events=10, data_calls=25, order_calls=12)


class Crowd:
    """Consumers of all kinds, and one that watches health."""

    def __init__(self, proxy: ProxyProcess, stack: AsyncExitStack, sizes: Sizes) -> None:
        self._proxy = proxy
        self._stack = stack
        self._sizes = sizes
        self.market: list[TestConsumer] = []
        self.orders: list[OrderClient] = []
        self.events: list[Events] = []
        self.data_calls: list[Call] = []
        self.order_calls: list[Call] = []
        self.watch: Watch

    async def come(self) -> None:
        url, address, sizes = self._proxy.addresses[0], self._proxy.grpc, self._sizes
        enter = self._stack.enter_async_context
        options = (("grpc.use_local_subchannel_pool", 1),)
        channels = [
            await enter(grpc.aio.insecure_channel(address, options=options)) for _ in range(10)
        ]
        for number in range(sizes.market):
            one = await enter(consumer(f"{url}/v2/sip", ("json", "msgpack")[number % 2]))
            name = SYMBOLS[number % len(SYMBOLS)]
            await one.subscribe(trades=[name], quotes=[name])
            self.market.append(one)
        for _ in range(sizes.orders):
            self.orders.append(await enter(OrderClient(f"{url}/stream?numbered=1")))
        client = await enter(
            httpx.AsyncClient(base_url=self._proxy.http, timeout=60, trust_env=False)
        )
        self.events = [Events(client) for _ in range(sizes.events)]
        await eventually(lambda: all(one.begun for one in self.events), 10, "event streams")
        for number in range(sizes.data_calls):
            request = pb.StreamQuotesRequest(symbols=[SYMBOLS[number % 4]], feed="sip")
            self.data_calls.append(Call(channels[number % 10], "StreamQuotes", request))
        for number in range(sizes.order_calls):
            request = pb.StreamOrderUpdatesRequest(account="paper")
            self.order_calls.append(Call(channels[number % 10], "StreamOrderUpdates", request))
        for call in [*self.data_calls, *self.order_calls]:
            await call.begun()
        self.watch = Watch(channels[0])

    def flows(self) -> bool:
        """Whether everybody has got something."""
        return (
            all(one.messages > 5 for one in [*self.market, *self.data_calls])
            and all(len(one.updates) > 5 for one in self.orders)
            and all(len(one.ids) > 5 for one in [*self.events, *self.order_calls])
            and self.watch.said == [HealthCheckResponse.SERVING]
        )

    def gone(self) -> bool:
        """Whether everybody has noticed the end."""
        tasks = [one.task for one in [*self.events, *self.data_calls, *self.order_calls]]
        return all(task.done() for task in [*tasks, self.watch.task]) and all(
            one.socket.close_code is not None for one in [*self.market, *self.orders]
        )

    def check_goodbyes(self) -> None:
        for one in [*self.market, *self.orders]:
            assert one.socket.close_code == GOING_AWAY
        assert all(one.ended_well for one in self.events)
        for call in [*self.data_calls, *self.order_calls]:
            call.check_goodbye()
        assert self.watch.said == [HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING]
        assert self.watch.code is grpc.StatusCode.UNAVAILABLE


async def large_order(alpaca: SimulatorProcess) -> dict[str, Any]:
    """Place an order that is filled by hand alone; give what fills a bit of it."""
    order = {"symbol": "AAPL", "qty": 1_000_000, "side": "buy", "type": "limit"}
    order |= {"limit_price": "0.01", "time_in_force": "gtc"}
    answer = await alpaca.order("/trading/orders", account=KEY, order=order)
    return {"order_id": answer["id"], "event": "partial_fill", "qty": 1}


async def trade(alpaca: SimulatorProcess, stop: asyncio.Event) -> None:
    """Fill one large order bit by bit."""
    fill = await large_order(alpaca)
    while not stop.is_set():
        await alpaca.order("/trading/force", **fill)


async def end(proxy: ProxyProcess) -> float:
    """Ask the process to end; give the seconds that it took.

    Those in which its event loop had work and no core are others' (Linux alone tells them): a busy
    machine makes no drain wrong.
    """
    pid = proxy.process.pid
    begun = time.monotonic() - seconds_without_a_core(pid)
    proxy.process.send_signal(signal.SIGTERM)
    await eventually(lambda: ended(pid), 60, "the process has ended")
    seconds = time.monotonic() - seconds_without_a_core(pid) - begun
    proxy.process.wait(5)
    return seconds


def ended(pid: int) -> bool:
    """Whether a child has ended; it stays to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def seconds_without_a_core(pid: int) -> float:
    """How long a process's first thread has waited for one since its start (proc(5))."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except FileNotFoundError:
        return 0.0


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_sigterm_under_load_with_a_hundred_consumers(tmp_path: Path) -> None:
    """Also with two consumers that read nothing at all; afterwards all orders go on where they were."""
    with simulator("--rate", "2000", "--symbols", "20") as alpaca:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(trade(alpaca, stop))
            await drained_and_resumed(alpaca, tmp_path)
            stop.set()


async def drained_and_resumed(alpaca: SimulatorProcess, state_dir: Path) -> None:
    async with served(alpaca, state_dir) as (proxy, stack):
        crowd = Crowd(proxy, stack, HUNDRED)
        await crowd.come()
        kept = await stack.enter_async_context(raw_grpc(proxy.grpc))
        for socket_buffer in (0, 4096):
            frozen = await stack.enter_async_context(
                raw_grpc(proxy.grpc, window=1 << 30, socket_buffer=socket_buffer)
            )
            await frozen.call("StreamQuotes", pb.StreamQuotesRequest(feed="sip"))
        await eventually(crowd.flows, 30, "everybody has got something")

        seconds = await end(proxy)
        assert proxy.process.returncode == 0
        assert seconds <= DRAIN_SECONDS + BOUND_SECONDS
        await eventually(crowd.gone, 5, "everybody has noticed")
        crowd.check_goodbyes()
        await kept.until_closed()
        assert kept.went_away
        (upstream,) = alpaca.connections("sip")
        (trading_stream,) = page(alpaca)["connections"]
        assert (upstream["ended"], trading_stream["ended"]) == ("clean", "clean")
        wrong = [line for line in proxy.log if "Traceback" in line or "error" in line.lower()]
        assert not wrong

    before = len(happened(alpaca))
    await eventually(lambda: len(happened(alpaca)) > before + 10, 10, "events in between")
    async with served(alpaca, state_dir) as (proxy, stack):
        await resumed(alpaca, crowd, proxy, stack)


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_sigterm_while_thousands_of_updates_are_on_their_way(tmp_path: Path) -> None:
    """They hold nothing up: what was not told in time is told after the return, all of it, once."""
    with simulator("--rate", "50", "--symbols", "4") as alpaca:
        async with served(alpaca, tmp_path) as (proxy, stack):
            crowd = Crowd(proxy, stack, Sizes(orders=6, events=6, order_calls=6))
            await crowd.come()
            fill = await large_order(alpaca)
            await alpaca.order("/trading/force", **fill, times=10)
            await eventually(crowd.flows, 10, "everybody has got something")
            burst = asyncio.create_task(alpaca.order("/trading/force", **fill, times=BURST))
            await eventually(lambda: len(crowd.orders[0].updates) > 500, 20, "the burst has begun")
            assert len(crowd.orders[0].updates) < BURST, "and has not ended"
            seconds = await end(proxy)
            assert proxy.process.returncode == 0
            assert seconds <= DRAIN_SECONDS + BOUND_SECONDS
            await eventually(crowd.gone, 5, "everybody has noticed")
            crowd.check_goodbyes()
            (stream,) = page(alpaca)["connections"]
            assert stream["ended"] == "clean"
        await burst
        async with served(alpaca, tmp_path) as (proxy, stack):
            await resumed(alpaca, crowd, proxy, stack)


async def resumed(
    alpaca: SimulatorProcess, crowd: Crowd, proxy: ProxyProcess, stack: AsyncExitStack
) -> None:
    """One of each kind goes on behind its last event, and then has all, each once, in order."""
    old_socket, old_events, old_call = crowd.orders[0], crowd.events[0], crowd.order_calls[0]
    since = old_socket.sequences[-1]
    url = f"{proxy.addresses[0]}/stream?numbered=1&since={since}"
    socket = await stack.enter_async_context(OrderClient(url))
    http = await stack.enter_async_context(httpx.AsyncClient(base_url=proxy.http, trust_env=False))
    events = Events(http, f"?since_id={old_events.ids[-1]}")
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(proxy.grpc))
    request = pb.StreamOrderUpdatesRequest(account="paper")
    request.from_sequence = old_call.sequences[-1] + 1
    call = Call(channel, "StreamOrderUpdates", request)
    ledger = [event["event_id"] for event in happened(alpaca)]

    def whole(old: list[str], new: list[str]) -> bool:
        found, first = old + new, ledger.index(old[0])
        return found[: len(ledger) - first] == ledger[first:]

    await eventually(lambda: whole(old_socket.ids, socket.ids), 15, "the WebSocket's rest")
    await eventually(lambda: whole(old_events.ids, events.ids), 15, "the event stream's rest")
    await eventually(lambda: whole(old_call.ids, call.ids), 15, "the call's rest")
    for task in (events.task, call.task):
        task.cancel()
    await asyncio.gather(events.task, call.task, return_exceptions=True)
