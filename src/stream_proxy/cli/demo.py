"""``stream-proxy demo``: the whole thing in one command, without keys.

A simulated Alpaca in a process of its own, the proxy here, and four consumers of different kinds
on real sockets: three of market data, one of order updates.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from stream_proxy.app import App
from stream_proxy.cli.demo_orders import (
    KEY,
    ORDERS_PER_SECOND,
    OrderSample,
    consume_orders,
    journalled,
)
from stream_proxy.cli.demo_view import DemoView, Sample, WarningsSeen, alpaca_py_lines, summary
from stream_proxy.cli.simulator_process import SimulatorProcess, start_simulator
from stream_proxy.cli.subscriber import open_stream
from stream_proxy.cli.tail import parse_topics
from stream_proxy.config.schema import Settings
from stream_proxy.errors import AddressInUse, StreamProxyError
from stream_proxy.model.feeds import FEEDS, Feed
from stream_proxy.runtime.logs import set_up_logs
from stream_proxy.runtime.loop import run, stop_on_signals
from stream_proxy.wire.alpaca.codec import CODECS
from stream_proxy.wire.alpaca.requests import Credentials

_STATUS_SECONDS = 2.0
_SETTLE_SECONDS = 3.0
"""How long the last messages may take from the simulator to the consumers."""


class _NeverCloses:
    """The simulator trades around the clock, so silence always means something."""

    def expects_data(self, feed: Feed, now_ns: int) -> bool:
        return feed.kind != "news"


def demo(
    duration: Annotated[
        float | None, typer.Option(min=0.5, help="End after so many seconds; else with Ctrl-C.")
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the streams; a free one if taken.")
    ] = 8099,
    rate: Annotated[
        float, typer.Option(min=1, max=100_000, help="Simulated messages per second and stream.")
    ] = 200.0,
) -> None:
    """See it work, without keys: a simulated Alpaca, the proxy, and four consumers."""
    raise typer.Exit(run(_Demo(duration, port, rate).run()))


def _samples() -> list[Sample]:
    return [
        Sample("trading bot", FEEDS["iex"], "json", "trades:AAPL,MSFT quotes:AAPL,MSFT,NVDA"),
        Sample("dashboard", FEEDS["iex"], "msgpack", "quotes:* bars:SPY"),
        Sample(
            "crypto book",
            FEEDS["crypto-us"],
            "msgpack",
            "orderbooks:BTC/USD,ETH/USD quotes:BTC/USD",
        ),
    ]


_OTHER_PORTS = ("http_port", "grpc_port", "metrics_port")


def _usual(name: str) -> int:
    """The port that the documents name, or any where that is taken."""
    port = int(Settings.model_fields[name].default)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


class _Demo:
    """One run of the demo."""

    def __init__(self, duration: float | None, port: int, rate: float) -> None:
        self._duration = duration
        self._port = port
        self._rate = rate
        self._console = Console()
        self._warnings = WarningsSeen()
        self._samples = _samples()
        self._orders = OrderSample()
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Everything from start to summary; give the exit status."""
        stop_on_signals(self._stop)
        live = self._console.is_terminal
        set_up_logs("warning", "console", [], self._warnings if live else sys.stderr)
        simulator = await start_simulator(rate=self._rate, chatter=ORDERS_PER_SECOND)
        try:
            # A journal of its own: invented orders must never get into a real record.
            with tempfile.TemporaryDirectory(prefix="stream-proxy-demo-") as state_dir:
                app, address = await self._start_proxy(simulator, Path(state_dir))
                try:
                    return await self._show(app, address, simulator, live)
                finally:
                    await app.stop()
        finally:
            await simulator.stop()

    async def _start_proxy(self, simulator: SimulatorProcess, state_dir: Path) -> tuple[App, str]:
        """On the port asked for, or on a free one if that is taken."""
        try:
            app = await self._listen(simulator, state_dir, self._port)
        except AddressInUse:
            app = await self._listen(simulator, state_dir, 0)
            print(
                f"NOTE: port {self._port} is taken, perhaps by a proxy that runs already. "
                f"This demo serves on {app.addresses()[0]} instead.\n"
            )
        return app, app.addresses()[0]

    async def _listen(self, simulator: SimulatorProcess, state_dir: Path, port: int) -> App:
        # Nothing is read from the environment: the demo never touches anybody's keys.
        settings = Settings.model_validate(
            {
                "key": KEY,
                "secret": "demo",
                "upstream_url": simulator.streams,
                "data_api_url": simulator.control,
                "orders": "on",
                "paper_stream_url": f"{simulator.streams}/paper/stream",
                "paper_api_url": f"{simulator.control}/paper",
                "state_dir": state_dir,
                "port": port,
                **{name: _usual(name) if port else 0 for name in _OTHER_PORTS},
                "drain_seconds": 1,
            }
        )
        app = App(settings, hours=_NeverCloses())
        await app.start()
        return app

    async def _show(self, app: App, address: str, simulator: SimulatorProcess, live: bool) -> int:
        print(
            f"A simulated Alpaca sends to the proxy on {address}, and four consumers read from "
            "it.\nPoint your own code at it as well; with alpaca-py that is four lines:\n"
        )
        print(alpaca_py_lines(address))
        print(
            f'Order updates: TradingStream("any", "any", url_override="{address}/stream")\n'
            f"Health: {app.http_address}/health   gRPC: {app.grpc_address}   "
            f"metrics: {app.metrics_address}/metrics\n",
            flush=True,
        )
        view = DemoView(app, self._samples, self._orders, address, self._warnings)
        started = time.monotonic()
        reading = [asyncio.create_task(_consume(sample, address)) for sample in self._samples]
        reading.append(asyncio.create_task(consume_orders(self._orders, address)))
        try:
            await (self._live(view, reading) if live else self._report(view, reading))
        finally:
            seconds = time.monotonic() - started
            ledger = await self._settle(simulator, view)
            trading = await self._settle_orders(simulator, app)
            for task in reading:
                task.cancel()
            ended = await asyncio.gather(*reading, return_exceptions=True)
        print(summary(seconds, view, self._samples, ledger, trading))
        return self._verdict(ended)

    def _verdict(self, ended: list[Any]) -> int:
        names = [*(sample.name for sample in self._samples), self._orders.name]
        for name, failure in zip(names, ended, strict=True):
            if isinstance(failure, StreamProxyError):
                typer.echo(f"error: the consumer '{name}' ended early: {failure}", err=True)
                return 1
            if isinstance(failure, Exception):
                raise failure
        if not self._stop.is_set() and not all(sample.messages for sample in self._samples):
            typer.echo(
                "error: nothing flowed to at least one consumer. Give it longer (--duration 10); "
                "if that doesn't help, a firewall on this machine may block loopback connections.",
                err=True,
            )
            return 1
        return 0

    # Until the end

    async def _live(self, view: DemoView, reading: list[asyncio.Task[None]]) -> None:
        with Live(view, console=self._console, refresh_per_second=4):
            await self._wait(self._duration, reading)

    async def _report(self, view: DemoView, reading: list[asyncio.Task[None]]) -> None:
        until = None if self._duration is None else time.monotonic() + self._duration
        while True:
            left = _STATUS_SECONDS if until is None else until - time.monotonic()
            if left <= 0 or await self._wait(min(left, _STATUS_SECONDS), reading):
                return
            print(view.status_line(), flush=True)

    async def _wait(self, seconds: float | None, reading: list[asyncio.Task[None]]) -> bool:
        """Whether it is over: asked to stop, or a consumer failed."""
        stopping = asyncio.create_task(self._stop.wait())
        done, _ = await asyncio.wait(
            {stopping, *reading}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        stopping.cancel()
        return bool(done)

    async def _settle(self, simulator: SimulatorProcess, view: DemoView) -> dict[str, Any] | None:
        """Stop the market and let everything arrive, so that the figures agree."""
        try:
            await simulator.hold()
            ledger = await simulator.ledger()
        except (OSError, ValueError):
            return None
        sent = sum(connection["messages"] for connection in ledger["connections"])
        before = (0, 0, 0)
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline:
            read = sum(sample.messages for sample in self._samples)
            now = (view.messages_in(), view.deliveries_out(), read)
            if now[0] >= sent and now == before:
                break
            before = now
            await asyncio.sleep(0.05)
        return ledger

    async def _settle_orders(self, simulator: SimulatorProcess, app: App) -> dict[str, Any] | None:
        """Place no more orders, and let what is under way arrive."""
        try:
            await simulator.end_chatter(KEY)
            ledger = await simulator.trading_ledger()
        except (OSError, ValueError):
            return None
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline:
            sent = sum(len(page["events"]) for page in ledger["accounts"]["paper"].values())
            if journalled(app) >= sent and self._orders.last_sequence >= sent:
                break
            await asyncio.sleep(0.05)
        return ledger


async def _consume(sample: Sample, address: str) -> None:
    """Be one consumer, over a real socket."""
    subscriber = await open_stream(
        address + sample.feed.path,
        sample.feed,
        Credentials("any", "any"),
        codec=CODECS[sample.codec],
    )
    sample.local_port = subscriber.local_port
    try:
        await subscriber.subscribe(parse_topics(sample.topics.split(), sample.feed))
        async for batch in subscriber.batches():
            for message in batch:
                sample.note(message.fields)
    finally:
        await subscriber.close()
