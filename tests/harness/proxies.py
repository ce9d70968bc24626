"""The proxy under test: in this process, or in one of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.session_logs import SESSION
from stream_proxy.app import App
from stream_proxy.config.load import load
from stream_proxy.config.schema import Settings, secrets_of

QUICK: dict[str, Any] = {
    "key": "PKTESTKEY",
    "secret": "a-secret-of-the-account",
    "port": 0,
    "http_port": 0,
    "grpc_port": 0,
    "metrics_port": 0,
    "linger_seconds": 0.2,
    "backoff_initial_seconds": 0.05,
    "backoff_max_seconds": 0.5,
    "ping_interval_seconds": 0.5,
    "pong_timeout_seconds": 1.0,
    "handshake_timeout_seconds": 2.0,
    "slot_seconds": 3.0,
    "acknowledgement_timeout_seconds": 1.5,
    "drain_seconds": 2.0,
}
"""Settings for tests: everything that waits, waits a little."""


class OpenAllHours:
    """A market that never closes."""

    def expects_data(self, feed: object, now_ns: int) -> bool:
        return True


@contextlib.asynccontextmanager
async def running_app(upstream_url: str, **settings: Any) -> AsyncIterator[App]:
    """An `App` on this event loop; what it keeps is gone with it, unless it has a folder."""
    with tempfile.TemporaryDirectory() as folder:
        defaults = QUICK | {"upstream_url": upstream_url, "state_dir": folder}
        async with _running(Settings.model_validate(defaults | settings)) as app:
            yield app


@contextlib.asynccontextmanager
async def _running(made: Settings) -> AsyncIterator[App]:
    SESSION.keep_apps(secrets_of(made))
    app = App(made, hours=OpenAllHours())
    await app.start()
    SESSION.apps += 1
    try:
        yield app
    finally:
        await app.stop()


@dataclass
class ProxyProcess:
    """A handle on a running ``stream-proxy serve``."""

    process: subprocess.Popen[str]
    addresses: list[str]
    log: list[str] = field(default_factory=list)
    http: str = ""
    metrics: str = ""
    grpc: str = ""


@contextlib.contextmanager
def proxy_process(
    upstream_url: str, state_dir: Path, *arguments: str, **environment: str
) -> Iterator[ProxyProcess]:
    """Run ``stream-proxy serve`` on a free port for the length of a block."""
    command = [
        sys.executable,
        "-m",
        "stream_proxy",
        "serve",
        "--upstream-url",
        upstream_url,
        "--port",
        "0",
        *arguments,
    ]
    variables = {
        k: v for k, v in os.environ.items() if not k.startswith(("STREAM_PROXY_", "ALPACA"))
    }
    variables |= {
        "ALPACA_KEY": "PKTESTKEY",
        "ALPACA_SECRET": "a-secret-of-the-account",
        "STREAM_PROXY_STATE_DIR": str(state_dir),
        "STREAM_PROXY_TLS_PORT": "0",
        "STREAM_PROXY_HTTP_PORT": "0",
        "STREAM_PROXY_METRICS_PORT": "0",
        "STREAM_PROXY_GRPC_PORT": "0",
        "NO_COLOR": "1",
    } | environment
    settings = load(variables, env_file=None).settings
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=variables,
        cwd=state_dir,
    ) as process:
        handle = ProxyProcess(process, [])
        if "debug" not in (settings.log_level, *arguments):
            SESSION.keep_process(secrets_of(settings), handle.log)
        assert process.stdout is not None
        for line in process.stdout:
            handle.log.append(line)
            if "proxy.listening" in line:
                handle.addresses = re.findall(r"wss?://[^'\"]+", line)
                handle.http, handle.metrics = re.findall(r"http://[\w.:\[\]]+", line)
                (handle.grpc,) = re.findall(r'\bgrpc(?:=|": ?")([^\s"]+)', line)
                break
        assert handle.addresses, "the proxy ended before it listened: " + "".join(handle.log)
        reader = threading.Thread(
            target=lambda: handle.log.extend(process.stdout or ()), daemon=True
        )
        reader.start()
        try:
            yield handle
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
            reader.join(5)
