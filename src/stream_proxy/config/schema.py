"""Every setting, declared once: name, meaning, unit, bounds, default.

The environment variable of a setting is ``STREAM_PROXY_`` and its name in capitals. The tables in
``docs/settings.md`` are made from this file.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from stream_proxy.model.feeds import FEEDS, STOCK_FEEDS
from stream_proxy.model.slow_policy import read_slow_policy

StockFeed = Literal["sip", "iex", "delayed_sip", "otc", "boats", "overnight", "test"]


class AccessTokenSettings(BaseModel):
    """A key pair of our own that consumers show in place of Alpaca's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="Who it is for; appears in logs.")
    key: str = Field(min_length=1, description="What the consumer sends as its API key.")
    secret: SecretStr = Field(description="What the consumer sends as its API secret.")
    slow: str | None = Field(
        None, description="What its consumers get when they read too slowly; see `slow_policy`."
    )

    @field_validator("slow")
    @classmethod
    def _known_policy(cls, value: str | None) -> str | None:
        return None if value is None else str(read_slow_policy(value))

    @field_validator("secret")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < 16:
            raise ValueError("a secret needs at least 16 characters")
        return value


class AccountSettings(BaseModel):
    """One more trading account whose order updates are served."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    key: SecretStr = Field(description="Alpaca API key.")
    secret: SecretStr = Field(description="Alpaca API secret.")
    environment: Literal["paper", "live"] = Field("paper", description="Which kind it is.")


Seconds = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]
CommaList = list[str]


class Settings(BaseModel):
    """All settings of the proxy."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    # Account
    key: SecretStr | None = Field(None, description="Alpaca API key.")
    secret: SecretStr | None = Field(None, description="Alpaca API secret.")
    environment: Literal["paper", "live"] = Field(
        "paper",
        description="Which option feed is behind the path `/options`: indicative (paper) or opra "
        "(live).",
    )

    # Order updates
    orders: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Serve order updates: `on` connects every account at start, `auto` those that "
        "have a record already, and others when the first consumer comes; `off` never.",
    )
    live_key: SecretStr | None = Field(None, description="API key of the live account.")
    live_secret: SecretStr | None = Field(None, description="API secret of the live account.")
    accounts: dict[str, AccountSettings] = Field(
        default_factory=dict,
        description="Further accounts, as JSON or as `[accounts.<name>]` tables: key, secret, "
        "environment. Served at `/<name>/stream`.",
    )
    paper_stream_url: str = Field(
        "wss://paper-api.alpaca.markets/stream", description="Order updates of paper accounts."
    )
    live_stream_url: str = Field(
        "wss://api.alpaca.markets/stream", description="Order updates of live accounts."
    )
    paper_api_url: str = Field(
        "https://paper-api.alpaca.markets",
        description="Trading REST of paper accounts, asked for what the stream missed.",
    )
    live_api_url: str = Field(
        "https://api.alpaca.markets", description="The same for live accounts."
    )
    order_frames: Literal["binary", "text"] = Field(
        "binary", description="Frames of order updates on `/stream`; Alpaca's are binary."
    )
    order_hold_seconds: Seconds = Field(
        5, description="How long fresh updates wait for what was missed before them."
    )
    order_probe_seconds: Seconds = Field(
        30, description="How often the trading stream is asked whether it still listens."
    )
    reconcile_seconds: Seconds = Field(
        300, description="How often the record is compared with Alpaca's while all seems well."
    )
    order_retention_days: float = Field(
        400, gt=0, description="How long order events are kept; longer where a cursor needs them."
    )
    order_retention_events: int = Field(
        1_000_000, ge=1000, description="How many order events of an account are kept."
    )
    cursor_retention_days: float = Field(
        30, gt=0, description="How long an unseen cursor keeps events from being forgotten."
    )

    # Upstream
    feed: StockFeed = Field("iex", description="The stock feed behind the path `/`.")
    feeds: CommaList = Field(
        default_factory=list,
        description="Feeds to connect at start, comma-separated; others are refused. Empty: every "
        "feed is served and connected when the first consumer asks for it.",
    )
    upstream_url: str = Field(
        "wss://stream.data.alpaca.markets",
        description="Where Alpaca's market data is; the simulator's address for tests.",
    )
    data_api_url: str | None = Field(
        None,
        description="Market-data REST, asked for what the streams missed. Default: "
        "`https://data.alpaca.markets` where `upstream_url` is Alpaca's, else none.",
    )
    upstream_ca: Path | None = Field(
        None,
        description="A PEM file of certificate authorities for upstream, instead of the system's.",
    )
    upstream_codec: Literal["msgpack", "json"] = Field(
        "msgpack",
        description="Codec towards Alpaca; options always use msgpack. Consumers of "
        "the same codec get upstream's bytes unchanged.",
    )
    connect_timeout_seconds: Seconds = Field(10, description="Longest wait for a connection.")
    handshake_timeout_seconds: Seconds = Field(
        10, description="Longest wait for greeting and authentication."
    )
    acknowledgement_timeout_seconds: Seconds = Field(
        10, description="Longest wait for upstream's answer to a subscribe."
    )
    ping_interval_seconds: Seconds = Field(10, description="How often upstream is pinged.")
    pong_timeout_seconds: Seconds = Field(10, description="Longest wait for upstream's pong.")
    backoff_initial_seconds: Seconds = Field(0.5, description="First delay before reconnecting.")
    backoff_max_seconds: Seconds = Field(30, description="Longest delay before reconnecting.")
    slot_seconds: Seconds = Field(
        90,
        description="How long Alpaca keeps a slot after an unclean end; after error 406 or "
        "HTTP 429 attempts are spread over this time.",
    )
    silence_shortest_seconds: Seconds = Field(
        5, description="Least silence before a whole feed counts as mute, however busy it was."
    )
    silence_longest_seconds: Seconds = Field(
        300,
        description="The same, in regular hours, where little is known of the subscription yet.",
    )
    subscribe_chunk: int = Field(500, ge=1, le=10_000, description="Topics per subscribe message.")
    linger_seconds: float = Field(
        5, ge=0, description="How long a topic stays subscribed after its last consumer left."
    )
    widen_above: int = Field(
        0,
        ge=0,
        description="With more symbols than this on a channel, subscribe `*` upstream and "
        "filter here; 0 never does. Needs a plan that allows it.",
    )

    # Listening
    host: str = Field("127.0.0.1", description="Address to bind; wider than loopback needs tokens.")
    port: Port = Field(8099, description="Port of the streams.")
    http_port: Port = Field(
        8082, description="Port of HTTP: health, status, `/v2/events/trades`, `/docs`."
    )
    metrics_port: Port = Field(9090, description="Port of `/metrics`, for Prometheus.")
    grpc: bool = Field(True, description="Serve gRPC.")
    grpc_port: Port = Field(50052, description="Port of gRPC.")
    grpc_tls: bool = Field(
        False,
        description="Serve gRPC with TLS, by `tls_certificate` and `tls_key` or `tls_self_signed`.",
    )
    grpc_client_ca: Path | None = Field(
        None,
        description="PEM file with the authority whose clients alone may call (mutual TLS).",
    )
    grpc_max_calls: int = Field(1000, ge=1, description="gRPC calls at once on one connection.")
    tls_port: Port = Field(8443, description="Port of the streams with TLS, if it is on.")
    tls_certificate: Path | None = Field(None, description="PEM file with the certificate chain.")
    tls_key: Path | None = Field(None, description="PEM file with the private key.")
    tls_self_signed: bool = Field(
        False, description="Serve TLS with a certificate made by ourselves, kept in `state_dir`."
    )
    state_dir: Path = Field(
        Path("~/.local/state/alpaca-stream-proxy"),
        validate_default=True,
        description="Where files of our own are kept.",
    )
    allowed_hosts: CommaList = Field(
        default_factory=list,
        description="Further names under which consumers reach this server, comma-separated.",
    )
    allowed_origins: CommaList = Field(
        default_factory=list,
        description="Web origins whose pages may read, comma-separated, "
        "exactly as browsers send them.",
    )
    access_tokens: list[AccessTokenSettings] = Field(
        default_factory=list,
        description="Key pairs that consumers must show, as JSON or as "
        "`[[access_tokens]]` tables: name, key, secret, slow. Empty: any are accepted.",
    )

    # Consumers
    max_connections: int = Field(10_000, ge=1, description="Consumers at the same time.")
    max_connections_per_second: float = Field(
        2000,
        ge=1,
        description="So many are let in at the most, over all protocols; when all come back at "
        "once, the others wait.",
    )
    max_subscriptions: int = Field(50_000, ge=1, description="Topics of one consumer.")
    max_message_bytes: int = Field(1 << 20, ge=1024, description="Largest message of a consumer.")
    max_messages_per_second: float = Field(
        50,
        ge=1,
        description="Messages a consumer may send, with bursts of four seconds' worth; each 16 KiB "
        "counts as one more.",
    )
    back_fill: bool = Field(
        True, description="Whether market data's REST is asked for what the streams missed."
    )
    back_fill_quotes: bool = Field(
        False, description="Also for quotes, which may be many; trades, bars and news always are."
    )
    back_fill_messages: int = Field(
        2_000_000, ge=1000, description="So many messages of one gap and channel at the most."
    )
    back_fill_seconds: Seconds = Field(
        300, description="How long one gap may take before the next one's turn."
    )
    rest_requests_per_minute: int = Field(
        200, ge=1, description="Requests to Alpaca's REST in any minute, of all kinds, per account."
    )
    ring_bytes: int = Field(
        128 << 20,
        ge=0,
        description="How much of each feed's recent past is kept for consumers that were away; "
        "0 keeps nothing.",
    )
    ring_seconds: Seconds = Field(600, description="How old it may be at the most.")
    outbox_bytes: int = Field(8 << 20, ge=65536, description="Bytes that may wait for a consumer.")
    outbox_age_seconds: Seconds = Field(30, description="How long the oldest of them may wait.")
    slow_policy: str = Field(
        "disconnect",
        description="What a consumer of market data gets when it reads too slowly, and doesn't say "
        "itself: `disconnect`, `conflate`, `bars` or `sample=<ms>`; see `docs/slow-consumers.md`.",
    )
    consumer_handshake_seconds: Seconds = Field(10, description="Longest wait for a handshake.")
    consumer_authentication_seconds: Seconds = Field(10, description="Longest wait for auth.")
    consumer_acknowledgement_seconds: Seconds = Field(
        2.5,
        description="Longest wait for upstream before a consumer is answered all the same; "
        "the Go SDK gives up after 3.",
    )
    consumer_ping_seconds: float = Field(
        20, ge=0, description="How often consumers are pinged; 0 never."
    )
    consumer_pong_seconds: Seconds = Field(
        40, description="How long a consumer may be unheard after a ping."
    )

    # Operations
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least important log line shown."
    )
    log_format: Literal["console", "json"] = Field("console", description="Form of log lines.")
    drain_seconds: float = Field(5, ge=0, description="Longest wait for consumers at shutdown.")

    # Traces
    otel_enabled: bool = Field(
        True,
        description="Send traces, with the extra `otel` installed: where this or the endpoint is "
        "set, else as soon as something listens at the default endpoint.",
    )
    otel_endpoint: str = Field(
        "http://localhost:4318", description="Base address of the collector: OTLP over HTTP."
    )
    otel_service_name: str = Field(
        "cream-alpaca-stream-proxy", min_length=1, description="The name traces are sent under."
    )
    otel_timeout_seconds: Seconds = Field(
        2, description="Longest wait for the collector, and for the last traces at shutdown."
    )

    @field_validator("feeds", "allowed_hosts", "allowed_origins", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("accounts", mode="before")
    @classmethod
    def _accounts_from_json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            raise ValueError(
                'write JSON: {"swing":{"key":"…","secret":"…","environment":"paper"}}'
            ) from None

    @field_validator("accounts")
    @classmethod
    def _account_names(cls, value: dict[str, AccountSettings]) -> dict[str, AccountSettings]:
        for name, account in value.items():
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", name) or name == "stream":
                raise ValueError(
                    f"{name!r} can't name an account: use small letters, digits, - and _"
                )
            if name in ("paper", "live") and account.environment != name:
                raise ValueError(f"an account named {name} must have environment = {name}")
        return value

    @field_validator("access_tokens", mode="before")
    @classmethod
    def _tokens_from_json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            raise ValueError(
                'write JSON: [{"name":"bots","key":"bots","secret":"<16 characters or more>"}]'
            ) from None

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin):
                raise ValueError(
                    f"{origin!r} can never match: write scheme, host and port alone, as in "
                    "https://dashboard.example:8443"
                )
        return value

    @field_validator("slow_policy")
    @classmethod
    def _known_policy(cls, value: str) -> str:
        return str(read_slow_policy(value))

    @field_validator("otel_endpoint")
    @classmethod
    def _collector(cls, value: str) -> str:
        try:
            url = urlsplit(value)
            known = url.scheme in ("http", "https") and url.hostname and url.port != 0
        except ValueError:
            known = False
        if not known:
            raise ValueError("write scheme, host and port, as in http://localhost:4318")
        if url.username is not None or url.query:
            raise ValueError(
                "credentials don't belong into an address, which is logged: use "
                "OTEL_EXPORTER_OTLP_HEADERS"
            )
        return value

    @field_validator("state_dir", "tls_certificate", "tls_key", "upstream_ca", "grpc_client_ca")
    @classmethod
    def _home(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()

    @field_validator("feeds")
    @classmethod
    def _known_feeds(cls, value: list[str]) -> list[str]:
        unknown = [name for name in value if name not in FEEDS]
        if unknown:
            raise ValueError(
                f"no feed is called {', '.join(unknown)}; there are {', '.join(FEEDS)}"
            )
        return value

    @field_validator("log_level", "environment", "feed", "orders", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if (self.key is None) != (self.secret is None):
            raise ValueError("key and secret belong together: set both or neither")
        if (self.live_key is None) != (self.live_secret is None):
            raise ValueError("live_key and live_secret belong together: set both or neither")
        if self.environment == "live" and self.key is not None and self.live_key is not None:
            raise ValueError(
                "key is the live account's already, because environment is live: leave live_key out"
            )
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together: set both or neither")
        if self.tls_certificate is not None and self.tls_self_signed:
            raise ValueError("tls_certificate and tls_self_signed contradict each other: keep one")
        if self.backoff_initial_seconds > self.backoff_max_seconds:
            raise ValueError("backoff_initial_seconds is larger than backoff_max_seconds")
        if self.silence_shortest_seconds > self.silence_longest_seconds:
            raise ValueError("silence_shortest_seconds is larger than silence_longest_seconds")
        if not self.upstream_url.startswith(("ws://", "wss://")):
            raise ValueError("upstream_url must start with wss:// (or ws:// for a simulator)")
        if self.data_api_url and not self.data_api_url.startswith(("http://", "https://")):
            raise ValueError("data_api_url must start with https:// (or http:// for a simulator)")
        return self

    @property
    def data_rest(self) -> str | None:
        """Where market data's REST is: as set, or that of Alpaca's where upstream is Alpaca.

        None for another upstream, a simulator above all: its keys are none of Alpaca's business,
        and Alpaca's data isn't what it sent.
        """
        if self.data_api_url:
            return self.data_api_url
        host = urlsplit(self.upstream_url).hostname or ""
        if host.startswith("stream.data.") and host.endswith(".alpaca.markets"):
            return f"https://{host.removeprefix('stream.')}"
        return None

    @property
    def tls(self) -> bool:
        """Whether the TLS port is served."""
        return self.tls_self_signed or self.tls_certificate is not None


def secrets_of(settings: Settings) -> list[str]:
    """Every secret value, for the masks of what leaves the program."""
    found = [
        *(settings.key, settings.secret, settings.live_key, settings.live_secret),
        *(token.secret for token in settings.access_tokens),
        *(account.key for account in settings.accounts.values()),
        *(account.secret for account in settings.accounts.values()),
    ]
    return [secret.get_secret_value() for secret in found if secret is not None]


assert set(STOCK_FEEDS) == set(StockFeed.__args__)  # type: ignore[attr-defined]
