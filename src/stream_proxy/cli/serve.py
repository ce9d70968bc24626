"""``stream-proxy serve``: run the proxy."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from stream_proxy import __version__
from stream_proxy.app import App
from stream_proxy.config.load import Loaded, load
from stream_proxy.config.schema import Settings, secrets_of
from stream_proxy.errors import SettingsError
from stream_proxy.runtime.http_server import BRIEF_CONNECTIONS
from stream_proxy.runtime.logs import set_up_logs
from stream_proxy.runtime.loop import raise_file_limit, run, stop_on_signals
from stream_proxy.runtime.memory import freeze_what_stays, keep_freed_memory
from stream_proxy.wire.alpaca.walk import COMPILED

_OTHER_FILES = 100
"""Open files besides the clients' sockets: upstream, listeners, logs, libraries."""

ConfigFile = Annotated[Path | None, typer.Option("--config", help="A TOML file of settings.")]


def serve(
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Address to bind.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the streams.")] = None,
    feed: Annotated[str | None, typer.Option(help="The stock feed behind `/`.")] = None,
    feeds: Annotated[
        str | None, typer.Option(help="Feeds to connect at start, comma-separated.")
    ] = None,
    upstream_url: Annotated[
        str | None, typer.Option(help="Where Alpaca is, or a simulator.")
    ] = None,
    tls_self_signed: Annotated[
        bool, typer.Option("--tls-self-signed", help="Serve TLS too, with our own certificate.")
    ] = False,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Hold one connection per Alpaca stream and serve it to any number of consumers.

    With keys: ALPACA_KEY=… ALPACA_SECRET=… stream-proxy serve
    """
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "feed": feed,
        "feeds": feeds,
        "upstream_url": upstream_url,
        "tls_self_signed": tls_self_signed or None,
        "log_level": log_level,
    }
    overrides = {name: value for name, value in given.items() if value is not None}
    loaded = load(os.environ, overrides=overrides, config_file=config)
    check_keys(loaded.settings)
    settings = loaded.settings
    set_up_logs(settings.log_level, settings.log_format, secrets_of(settings))
    run(_serve(loaded))


def check_keys(settings: Settings) -> None:
    """Refuse to start towards Alpaca without keys.

    Raises:
        SettingsError: with the two ways on.
    """
    if settings.key is None and "alpaca.markets" in settings.upstream_url:
        raise SettingsError(
            [
                "key: no Alpaca keys are set, so Alpaca would refuse every connection. Set "
                "ALPACA_KEY and ALPACA_SECRET, or run `stream-proxy demo` to see it work without "
                "any."
            ]
        )


def files_needed(settings: Settings) -> int:
    """Open files when every listener is full: streams, HTTP with its probes, metrics, gRPC."""
    listeners = 3 if settings.grpc else 2
    return listeners * settings.max_connections + 2 * BRIEF_CONNECTIONS + _OTHER_FILES


async def _serve(loaded: Loaded) -> None:
    log = structlog.get_logger("stream_proxy")
    for remark in loaded.remarks:
        log.warning("settings.remark", what=remark)
    stop = asyncio.Event()
    stop_on_signals(stop)
    needed = files_needed(loaded.settings)
    limit = raise_file_limit(needed)
    if limit is not None and limit < needed:
        log.warning(
            "files.limited",
            limit=limit,
            needed=needed,
            meaning="consumers of all protocols together may take more than that",
            cure="raise `ulimit -n`, or lower STREAM_PROXY_MAX_CONNECTIONS",
        )
    keep_freed_memory()
    app = App(loaded.settings)
    freeze_what_stays()
    await app.start()
    settings = loaded.settings
    log.info(
        "proxy.started",
        version=__version__,
        hot_path="compiled" if COMPILED else "interpreted",
        upstream=settings.upstream_url,
        feeds=",".join(settings.feeds) or "on demand",
        default_feed=settings.feed,
        certificate=str(app.certificate) if app.certificate else None,
    )
    await stop.wait()
    log.info("proxy.stopping")
    await app.stop()
