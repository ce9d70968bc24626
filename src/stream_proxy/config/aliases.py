"""Names that other programs use for our settings, so that their environment works here unchanged.

A row says which setting a variable sets, how its value is read, and, for a variable that this
version has no use for, why. ``docs/settings.md`` prints this table, and a test compares it with
the documents that ask for these names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from stream_proxy.model.feeds import FEEDS

Values = dict[str, object]


@dataclass(frozen=True, slots=True)
class Alias:
    """One foreign variable; ``read`` turns its text into settings, ``note`` is for the docs."""

    variable: str
    setting: str | None
    read: Callable[[str], Values]
    note: str = ""


def _same(variable: str, setting: str, note: str = "") -> Alias:
    return Alias(variable, setting, lambda text: {setting: text}, note)


def _milliseconds(variable: str, setting: str) -> Alias:
    def read(text: str) -> Values:
        return {setting: float(text) / 1000}

    return Alias(variable, setting, read, "milliseconds")


def _unused(variable: str, note: str) -> Alias:
    return Alias(variable, None, lambda text: {}, note)


def _log_level(text: str) -> Values:
    """``RUST_LOG`` may be a list like ``info,h2=warn``; its bare level counts."""
    bare = [part for part in text.lower().split(",") if "=" not in part] or ["info"]
    level = {"trace": "debug", "warn": "warning", "off": "error"}.get(bare[0], bare[0])
    return {"log_level": level}


def _stream_url(text: str) -> Values:
    """A whole endpoint address: its host is upstream, its path names the feed."""
    url = urlsplit(text)
    feeds = {feed.path: feed.name for feed in FEEDS.values() if feed.kind == "stocks"}
    values: Values = {"upstream_url": f"{url.scheme}://{url.netloc}"}
    if url.path.rstrip("/") in feeds:
        values["feed"] = feeds[url.path.rstrip("/")]
    return values


_LATER_SINK = "sinks are not part of this version"
_LATER_FALLBACK = "fallback sources are not part of this version"
_BY_CONSUMERS = "what is subscribed follows from what consumers ask for"
_FOREVER = "the proxy never stops trying; see backoff_max_seconds"

ALIASES: tuple[Alias, ...] = (
    _same("ALPACA_KEY", "key"),
    _same("ALPACA_SECRET", "secret"),
    _same("ALPACA_API_KEY", "key"),
    _same("ALPACA_API_SECRET", "secret"),
    _same("ALPACA_SECRET_KEY", "secret"),
    _same("APCA_API_KEY_ID", "key"),
    _same("APCA_API_SECRET_KEY", "secret"),
    _same("CREAM_ENV", "environment", "PAPER or LIVE"),
    _same("ALPACA_FEED", "feed"),
    _same("PROXY_PORT", "port"),
    Alias("RUST_LOG", "log_level", _log_level),
    Alias(
        "ALPACA_WEBSOCKET_URL", "upstream_url, feed", _stream_url, "host and feed of the address"
    ),
    _same("APCA_API_DATA_URL", "data_api_url"),
    _same("STREAM_PROXY_HEARTBEAT_INTERVAL_SECS", "ping_interval_seconds"),
    _same("STREAM_PROXY_HEARTBEAT_TIMEOUT_SECS", "pong_timeout_seconds"),
    _milliseconds("STREAM_PROXY_RECONNECT_DELAY_INITIAL_MS", "backoff_initial_seconds"),
    _same("STREAM_PROXY_RECONNECT_DELAY_MAX_SECS", "backoff_max_seconds"),
    Alias("Alpaca__Streaming__WebSocketUrl", "upstream_url, feed", _stream_url),
    _same("Alpaca__Streaming__ApiKey", "key"),
    _same("Alpaca__Streaming__ApiSecret", "secret"),
    _milliseconds("Alpaca__Streaming__ReconnectBaseDelayMs", "backoff_initial_seconds"),
    _milliseconds("Alpaca__Streaming__ReconnectMaxDelayMs", "backoff_max_seconds"),
    _same("Alpaca__Streaming__MessageTimeoutSeconds", "silence_shortest_seconds"),
    _same("Alpaca__Streaming__AuthTimeoutSeconds", "handshake_timeout_seconds"),
    _unused("STREAM_PROXY_RECONNECT_DELAY_MULTIPLIER", "delays double"),
    _unused("STREAM_PROXY_MAX_RECONNECT_ATTEMPTS", _FOREVER),
    _unused("MAX_RECONNECT_ATTEMPTS", _FOREVER),
    _unused("STREAM_PROXY_STOCK_QUOTES_CAPACITY", "see outbox_bytes"),
    _unused("STREAM_PROXY_STOCK_TRADES_CAPACITY", "see outbox_bytes"),
    _unused("STREAM_PROXY_STOCK_BARS_CAPACITY", "see outbox_bytes"),
    _unused("STREAM_PROXY_OPTIONS_QUOTES_CAPACITY", "see outbox_bytes"),
    _unused("STREAM_PROXY_OPTIONS_TRADES_CAPACITY", "see outbox_bytes"),
    _unused("STREAM_PROXY_ORDER_UPDATES_CAPACITY", "see outbox_bytes"),
    _same("STREAM_PROXY_GRPC_PORT", "grpc_port"),
    _same("STREAM_PROXY_HEALTH_PORT", "http_port"),
    _same("STREAM_PROXY_METRICS_PORT", "metrics_port"),
    _same("OTEL_ENABLED", "otel_enabled"),
    _same("OTEL_EXPORTER_OTLP_ENDPOINT", "otel_endpoint"),
    _same("OTEL_SERVICE_NAME", "otel_service_name"),
    _same("ALPACA_LIVE_API_KEY", "live_key"),
    _same("ALPACA_LIVE_SECRET_KEY", "live_secret"),
    _unused("STOCK_SYMBOLS", _BY_CONSUMERS),
    _unused("LOCAL_MODE", _LATER_SINK),
    _unused("LOCAL_OUTPUT_PATH", _LATER_SINK),
    _unused("AWS_REGION", _LATER_SINK),
    _unused("AWS_ACCESS_KEY_ID", _LATER_SINK),
    _unused("AWS_SECRET_ACCESS_KEY", _LATER_SINK),
    _unused("KINESIS_STREAM_NAME", _LATER_SINK),
    _unused("BATCH_SIZE", _LATER_SINK),
    _unused("BATCH_TIMEOUT_SECONDS", _LATER_SINK),
    _unused("Alpaca__Streaming__Enabled", "the proxy is on when it runs"),
    _unused("Alpaca__Streaming__MaxSymbols", "Alpaca's own limit counts, answered with 405"),
    _unused("Alpaca__Streaming__SubscribeToTrades", _BY_CONSUMERS),
    _unused("Alpaca__Streaming__SubscribeToQuotes", _BY_CONSUMERS),
    _unused("Alpaca__Streaming__SubscribeToBars", _BY_CONSUMERS),
    _unused("Alpaca__Streaming__HealthCheckIntervalSeconds", "health is watched all the time"),
    _unused("Alpaca__Streaming__EnableDetailedLogging", "see log_level"),
    _unused("Alpaca__Fallback__EnableYahooFallback", _LATER_FALLBACK),
    _unused("Alpaca__Fallback__FallbackActivationDelaySeconds", _LATER_FALLBACK),
    _unused("Alpaca__Fallback__PrimaryRecoveryGracePeriodSeconds", _LATER_FALLBACK),
    _unused("Alpaca__Fallback__MaxConsecutiveFailures", _LATER_FALLBACK),
    _unused("Alpaca__Fallback__NotifyUsersOnFallback", _LATER_FALLBACK),
    _unused("Alpaca__Fallback__NotifyUsersOnRecovery", _LATER_FALLBACK),
    _unused("FeatureFlags__EnableAlpacaStreaming", "the proxy is on when it runs"),
)
