"""A real Prometheus, where it is installed."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROMETHEUS = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")


@dataclass(frozen=True)
class Series:
    """One answer to a query: labels and value."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class PrometheusServer:
    """A handle on a running Prometheus."""

    address: str

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[Series]:
        """Its value now."""
        return [
            Series(found["metric"], float(found["value"][1]))
            for found in self._get("query", query=expression)["result"]
        ]

    def value(self, expression: str) -> float:
        """The value of an expression that has exactly one."""
        (found,) = self.query(expression)
        return found.value

    def rules(self) -> list[dict[str, Any]]:
        """The rules that are loaded, with their health."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]


@contextlib.contextmanager
def prometheus(target: str, rules: Path, folder: Path) -> Iterator[PrometheusServer]:
    """Run Prometheus on a free port, reading a target every half second.

    Args:
        target: host and port.
        folder: where it may keep its data.
    """
    assert PROMETHEUS is not None
    configuration = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": "stream-proxy", "static_configs": [{"targets": [target]}]},
        ],
    }
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(configuration))  # JSON is YAML
    command = [
        PROMETHEUS,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            log, address = [], ""
            for line in process.stderr:
                log.append(line)
                if listening := re.search(r"Listening on.* address=(127\.0\.0\.1:\d+)", line):
                    address = f"http://{listening[1]}"
                if "Server is ready" in line:
                    yield PrometheusServer(address)
                    break
            else:
                raise AssertionError("Prometheus ended before it was ready: " + "".join(log))
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
