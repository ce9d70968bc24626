"""What the proxies of a whole test run wrote, kept so that it can be searched at its end.

Kept are the output of every process of `harness.proxies`, what proxies in the tests' own process
log, and what pytest captured of each test. A process that is told to log at debug level is left
out, and so are debug lines: who asks for that much gets it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, MutableMapping
from typing import Any

import structlog

_SHORTEST_SECRET = 8
"""Shorter ones are made up for one test, and are words that anything may hold."""
_UUID = r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
_PAYLOAD_FIELDS = (
    "client_order_id",
    "execution_id",
    "filled_avg_price",
    "filled_qty",
    "limit_price",
    "position_qty",
    "stop_price",
    "time_in_force",
)
_PAYLOAD = re.compile("|".join([_UUID, *_PAYLOAD_FIELDS, r'\\?"order\\?"\s*:', "oauth_token"]))
"""What every order update holds: Alpaca's ids of orders and executions, and its fields."""
_DEBUG_LINE = re.compile(r'\[debug\s*\]|"level":\s*"debug"')


class SessionLogs:
    """Everything written, by who wrote it, and every secret that was configured."""

    def __init__(self) -> None:
        self.written: dict[str, list[str]] = {}
        self.secrets: set[str] = set()
        self.own: list[str] = []
        self.written["the tests' own process"] = self.own
        self.processes = 0
        self.apps = 0
        """Proxies that were started in this process."""

    def keep_process(self, secrets: Iterable[str], log: list[str]) -> None:
        """Keep what a process writes; the list goes on growing."""
        self.processes += 1
        self.written[f"proxy process {self.processes}"] = log
        self.configure(secrets)

    def keep_apps(self, secrets: Iterable[str]) -> None:
        """Keep what is logged in this process from now on, whatever else is done with it."""
        self.configure(secrets)
        processors = structlog.get_config()["processors"]
        if self._keep_event not in processors:
            processors.insert(0, self._keep_event)

    def _keep_event(
        self, logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if method != "debug":
            whole = structlog.processors.format_exc_info(logger, method, dict(event))
            line = " ".join(f"{name}={value}" for name, value in whole.items())
            self.own.append(line)
        return event

    def keep_captured(self, test: str, texts: Iterable[str]) -> None:
        """Keep what pytest captured of a test so far, in place of what it had before."""
        self.written[test] = [line for text in texts for line in text.splitlines()]

    def configure(self, secrets: Iterable[str]) -> None:
        """From now on these may be nowhere."""
        self.secrets.update(secret for secret in secrets if len(secret) >= _SHORTEST_SECRET)

    def leaks(self) -> list[str]:
        """The lines that hold a secret or an order's payload, and who wrote them."""
        return [
            f"{where}: {line.strip()[:300]}"
            for where, lines in self.written.items()
            for line in list(lines)
            if self._is_leak(line)
        ]

    def _is_leak(self, line: str) -> bool:
        if _DEBUG_LINE.search(line):
            return False
        return bool(_PAYLOAD.search(line)) or any(secret in line for secret in self.secrets)


SESSION = SessionLogs()
"""Of this run."""
