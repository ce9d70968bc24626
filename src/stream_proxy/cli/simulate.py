"""``stream-proxy simulate``: run a pretend Alpaca."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib.util
import json
import os
import threading
from pathlib import Path
from typing import Annotated

import typer

from stream_proxy.errors import AddressInUse, MissingExtra, SettingsError
from stream_proxy.outlets.doorkeeper import is_loopback
from stream_proxy.runtime.http_server import HttpServer
from stream_proxy.runtime.logs import set_up_logs
from stream_proxy.runtime.loop import run, stop_on_signals
from stream_proxy.simulator.control import control_api
from stream_proxy.simulator.options import SimulatorOptions
from stream_proxy.simulator.server import Simulator


def simulate(
    host: Annotated[str, typer.Option(help="Address to bind; loopback only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the streams; 0 takes a free one.")] = 8765,
    control_port: Annotated[int, typer.Option(help="Port of the control API.")] = 8766,
    seed: Annotated[int, typer.Option(help="The same seed gives the same market.")] = 1,
    rate: Annotated[
        float, typer.Option(help="Messages per second and endpoint; 0 as fast as readers take.")
    ] = 100.0,
    symbols: Annotated[int, typer.Option(help="How many stocks there are.")] = 50,
    account: Annotated[
        list[str] | None, typer.Option(help="KEY:SECRET that is accepted; default: any.")
    ] = None,
    deny: Annotated[
        list[str] | None, typer.Option(help="A feed that answers 409, insufficient subscription.")
    ] = None,
    symbol_limit: Annotated[
        int, typer.Option(help="Trades and quotes per connection; 0 no limit.")
    ] = 0,
    slot_seconds: Annotated[
        float, typer.Option(help="How long an unclean end keeps the connection slot.")
    ] = 90.0,
    array_messages: Annotated[int, typer.Option(help="Most messages in one array.")] = 20,
    replay: Annotated[
        Path | None, typer.Option(help="Recorded ticks, Parquet or CSV, instead of a generator.")
    ] = None,
    replay_kind: Annotated[str, typer.Option(help="stocks, options or crypto.")] = "stocks",
    replay_speed: Annotated[
        float, typer.Option(help="1 is real time, 10 ten times as fast, 0 as fast as it goes.")
    ] = 1.0,
    replay_now: Annotated[
        bool,
        typer.Option(
            "--replay-now",
            help="Recorded ticks with today's times, at --rate, again and again, and their bars.",
        ),
    ] = False,
    hold: Annotated[
        bool, typer.Option("--hold", help="Keep the markets still until POST /start.")
    ] = False,
    record: Annotated[int, typer.Option(help="Items to keep per connection, for /ledger.")] = 0,
    history_minutes: Annotated[
        float,
        typer.Option(
            min=0,
            help="How much the market-data REST remembers; 0 nothing. With it "
            "markets run on when nobody is connected.",
        ),
    ] = 5.0,
    history_megabytes: Annotated[
        int, typer.Option(min=1, help="Most it remembers of one endpoint; half of it quotes.")
    ] = 128,
    past_minutes: Annotated[
        float, typer.Option(min=0, help="How long each market has existed at its first visitor.")
    ] = 0.0,
    data_rate_limit: Annotated[
        int, typer.Option(help="Market-data REST calls a minute and key (Alpaca: 200); 0 no limit.")
    ] = 0,
    trading_chatter: Annotated[
        float, typer.Option(help="Random orders a second in every trading account; 0 none.")
    ] = 0.0,
    trading_rate_limit: Annotated[
        int, typer.Option(help="Trading REST calls a minute and key (Alpaca: 200); 0 no limit.")
    ] = 0,
    trading_partial_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of fills that are cut in two.")
    ] = 0.0,
    trading_refusal: Annotated[
        str, typer.Option(help="How a second trading stream is refused: upgrade or in_stream.")
    ] = "upgrade",
    trading_text_frames: Annotated[
        bool, typer.Option("--trading-text-frames", help="Trading stream in text frames.")
    ] = False,
    trading_hours: Annotated[
        bool, typer.Option("--trading-hours", help="Trade stocks and options in their hours only.")
    ] = False,
    trading_events: Annotated[
        bool, typer.Option(help="Serve GET /v2/events/trades; not every account has it.")
    ] = True,
    until_stdin_closes: Annotated[
        bool, typer.Option("--until-stdin-closes", hidden=True, help="End with our parent.")
    ] = False,
) -> None:
    """Pretend to be Alpaca: same paths, codecs and rules, invented or replayed data, any fault."""
    if not is_loopback(host):
        raise SettingsError(
            [f"host: the simulator serves this machine only, and {host} is not loopback."]
        )
    if trading_refusal not in ("upgrade", "in_stream"):
        raise SettingsError(["trading-refusal: write upgrade or in_stream"])
    if replay is not None:
        _check_recording(replay)
    set_up_logs("info", "console", [])
    run(
        _simulate(
            SimulatorOptions(
                host=host,
                port=port,
                control_port=control_port,
                seed=seed,
                rate=rate,
                symbols=symbols,
                accounts=_accounts(account or []),
                denied_feeds=frozenset(deny or []),
                symbol_limit=symbol_limit,
                slot_seconds=slot_seconds,
                array_messages=array_messages,
                replay=replay,
                replay_kind=replay_kind,
                replay_speed=replay_speed,
                replay_now=replay_now,
                hold=hold,
                recorded_items=record,
                history_minutes=history_minutes,
                history_bytes=history_megabytes << 20,
                past_minutes=past_minutes,
                data_rate_limit=data_rate_limit,
                trading_refusal="upgrade" if trading_refusal == "upgrade" else "in_stream",
                trading_text_frames=trading_text_frames,
                trading_rate_limit=trading_rate_limit,
                trading_events=trading_events,
                trading_hours=trading_hours,
                trading_chatter=trading_chatter,
                trading_partial_share=trading_partial_share,
            ),
            until_stdin_closes,
        )
    )


def _check_recording(path: Path) -> None:
    """Refuse at the start what would fail at the first client.

    Raises:
        SettingsError: there is no such file.
        MissingExtra: Parquet, and nothing to read it with.
    """
    if not path.is_file():
        raise SettingsError([f"replay: there is no file {path}; check the path"])
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise MissingExtra("parquet", f"Reading {path.name}")


def _accounts(pairs: list[str]) -> dict[str, str]:
    accounts = {}
    for pair in pairs:
        key, separator, secret = pair.partition(":")
        if not separator or not key or not secret:
            raise SettingsError(["account: write KEY:SECRET"])
        accounts[key] = secret
    return accounts


def _stop_when_stdin_closes(stop: asyncio.Event) -> None:
    """The pipe closes with whoever started us, however that ended: nobody is left behind."""
    loop = asyncio.get_running_loop()

    def wait() -> None:
        while os.read(0, 4096):
            pass
        with contextlib.suppress(RuntimeError):  # the loop has ended before the pipe
            loop.call_soon_threadsafe(stop.set)

    # A daemon, since nothing can interrupt its read when a signal ends us first.
    threading.Thread(target=wait, name="stdin", daemon=True).start()


async def _simulate(options: SimulatorOptions, until_stdin_closes: bool) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    if until_stdin_closes:
        _stop_when_stdin_closes(stop)
    simulator = Simulator(options)
    try:
        port = await simulator.start()
        control = HttpServer(control_api(simulator), options.host, options.control_port)
        control_port = await control.start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            taken = f"{options.host}:{options.port} or {options.host}:{options.control_port}"
            raise AddressInUse(taken, "--port or --control-port") from None
        raise
    # One line for programs: with port 0 this is how they learn where to connect.
    typer.echo(
        json.dumps(
            {
                "event": "listening",
                "streams": f"ws://{options.host}:{port}",
                "control": f"http://{options.host}:{control_port}",
            }
        )
    )
    await stop.wait()
    # Event streams never end by themselves, and the HTTP server waits for them.
    simulator.trading.stop()
    await control.stop()
    await simulator.stop()
