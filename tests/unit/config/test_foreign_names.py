"""The variables of the programs that this one replaces are accepted, each and every one."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from stream_proxy.config.aliases import ALIASES
from stream_proxy.config.load import load

_SEEDS = Path(__file__).resolve().parents[4] / "shared" / "seeds"

# By the documents that name them.
GRPC_PROXY = [
    "ALPACA_KEY",
    "ALPACA_SECRET",
    "CREAM_ENV",
    "ALPACA_FEED",
    "STREAM_PROXY_GRPC_PORT",
    "STREAM_PROXY_HEALTH_PORT",
    "STREAM_PROXY_METRICS_PORT",
    "OTEL_ENABLED",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "RUST_LOG",
]
TRADE_UPDATES_PROXY = [
    "ALPACA_API_KEY",
    "ALPACA_SECRET_KEY",
    "ALPACA_LIVE_API_KEY",
    "ALPACA_LIVE_SECRET_KEY",
    "PROXY_PORT",
]
KINESIS_PRODUCER = [
    "ALPACA_API_KEY",
    "ALPACA_SECRET_KEY",
    "ALPACA_WEBSOCKET_URL",
    "STOCK_SYMBOLS",
    "LOCAL_MODE",
    "LOCAL_OUTPUT_PATH",
    "AWS_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "KINESIS_STREAM_NAME",
    "BATCH_SIZE",
    "BATCH_TIMEOUT_SECONDS",
    "MAX_RECONNECT_ATTEMPTS",
]
PYTHON_CLIENT = ["ALPACA_API_KEY", "ALPACA_API_SECRET"]
DOTNET_SECTIONS = {
    "Alpaca__Streaming": [
        "Enabled",
        "WebSocketUrl",
        "ApiKey",
        "ApiSecret",
        "MaxSymbols",
        "SubscribeToTrades",
        "SubscribeToQuotes",
        "SubscribeToBars",
        "ReconnectBaseDelayMs",
        "ReconnectMaxDelayMs",
        "MessageTimeoutSeconds",
        "HealthCheckIntervalSeconds",
        "AuthTimeoutSeconds",
        "EnableDetailedLogging",
    ],
    "Alpaca__Fallback": [
        "EnableYahooFallback",
        "FallbackActivationDelaySeconds",
        "PrimaryRecoveryGracePeriodSeconds",
        "MaxConsecutiveFailures",
        "NotifyUsersOnFallback",
        "NotifyUsersOnRecovery",
    ],
    "FeatureFlags": ["EnableAlpacaStreaming"],
}
DOTNET = [f"{section}__{key}" for section, keys in DOTNET_SECTIONS.items() for key in keys]
ENVIRONMENT = sorted({*GRPC_PROXY, *TRADE_UPDATES_PROXY, *KINESIS_PRODUCER, *PYTHON_CLIENT})

# A value that such a variable has in those documents, where a word would be wrong.
VALUES = {
    "CREAM_ENV": "PAPER", "ALPACA_FEED": "sip", "RUST_LOG": "info", "PROXY_PORT": "8099", "STREAM_PROXY_HEALTH_PORT": "8082", "STREAM_PROXY_METRICS_PORT": "9090",
    "STREAM_PROXY_GRPC_PORT": "50052",
    "ALPACA_WEBSOCKET_URL": "wss://stream.data.alpaca.markets/v2/iex",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318",
    "Alpaca__Streaming__WebSocketUrl": "wss://stream.data.alpaca.markets/v2/iex",
    "Alpaca__Streaming__ReconnectBaseDelayMs": "1000",
    "Alpaca__Streaming__ReconnectMaxDelayMs": "60000",
    "Alpaca__Streaming__MessageTimeoutSeconds": "30",
    "Alpaca__Streaming__AuthTimeoutSeconds": "10",
}  # fmt: skip


@pytest.mark.parametrize("variable", [*ENVIRONMENT, *DOTNET])
def test_a_variable_of_another_program_does_its_work_or_says_that_it_cant(variable: str):
    (alias,) = (alias for alias in ALIASES if alias.variable == variable)
    variables = {variable: VALUES.get(variable, "true")}
    prefix, separator, last = (alias.setting or "").rpartition("_")
    if last in ("key", "secret"):
        other = prefix + separator + ("secret" if last == "key" else "key")
        variables[f"STREAM_PROXY_{other.upper()}"] = "x"
    loaded = load(variables, env_file=None)
    if alias.setting is None:
        assert any(variable in remark for remark in loaded.remarks)
    else:
        assert variable in loaded.origins.values()


def test_whole_environments_load_together():
    for names in (GRPC_PROXY, TRADE_UPDATES_PROXY, KINESIS_PRODUCER, PYTHON_CLIENT, DOTNET):
        load({name: VALUES.get(name, "true") for name in names}, env_file=None)


@pytest.mark.skipif(
    not _SEEDS.is_dir() and not os.environ.get("CI"),
    reason="the documents are not part of the repository; CI has them",
)
def test_no_variable_of_the_documents_is_forgotten():
    named: set[str] = set()
    assert _SEEDS.is_dir(), "CI must have the documents"
    for path in sorted(_SEEDS.glob("*.txt")):
        named |= environment_names(path.read_text(encoding="utf-8"))
    assert named, "the documents name variables"
    assert sorted(named - set(ENVIRONMENT)) == []
    keys = {key for keys in DOTNET_SECTIONS.values() for key in keys}
    documents = "".join(path.read_text(encoding="utf-8") for path in _SEEDS.glob("*.txt"))
    assert sorted(dotnet_keys(documents) - keys) == []


def environment_names(text: str) -> set[str]:
    """Names that are set, exported, listed or asked for in a document."""
    forms = (
        r"^(?:export )?([A-Z][A-Z0-9_]{3,})=",
        r"-e ([A-Z][A-Z0-9_]{3,})=",
        r"^\| *`([A-Z][A-Z0-9_]{3,})` *\|",
        r"^- *`([A-Z][A-Z0-9_]{3,})`",
        r"getenv\(\"([A-Z][A-Z0-9_]{3,})\"\)",
    )
    return {name for form in forms for name in re.findall(form, text, re.MULTILINE)}


def dotnet_keys(text: str) -> set[str]:
    """The keys inside the sections of settings files in a document."""
    sections = re.findall(r'"(?:Streaming|Fallback|FeatureFlags)": \{([^}]*)\}', text)
    return {key for section in sections for key in re.findall(r'"([A-Za-z]+)":', section)}
