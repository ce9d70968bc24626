"""A real simulator process and its control API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast


@dataclass
class SimulatorProcess:
    """A handle on a running simulator."""

    streams: str
    control: str
    process: subprocess.Popen[str]

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.control + path, timeout=20) as answer:
            return json.load(answer)

    def post(self, path: str, **order: Any) -> Any:
        request = urllib.request.Request(
            self.control + path,
            json.dumps(order).encode() if order else b"",
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    async def ledger(self) -> dict[str, Any]:
        """The ledger, fetched without stopping this process's own event loop."""
        return cast("dict[str, Any]", await asyncio.to_thread(self.get, "/ledger"))

    async def order(self, path: str, **order: Any) -> Any:
        return await asyncio.to_thread(lambda: self.post(path, **order))

    async def fault(self, kind: str, **details: Any) -> int:
        answer = await self.order("/faults", kind=kind, **details)
        return int(answer["hit"])

    def connections(self, feed: str) -> list[dict[str, Any]]:
        return [c for c in self.get("/ledger")["connections"] if c["feed"] == feed]


@contextlib.contextmanager
def simulator(*arguments: str) -> Iterator[SimulatorProcess]:
    """Run ``stream-proxy simulate`` on free ports for the length of a block."""
    command = [
        sys.executable,
        "-m",
        "stream_proxy",
        "simulate",
        "--port",
        "0",
        "--control-port",
        "0",
        *arguments,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "the simulator ended before it listened"
            where = json.loads(line)
            yield SimulatorProcess(where["streams"], where["control"], process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
