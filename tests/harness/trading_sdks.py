"""Programs of `tests/sdk` that trade or read order updates, as processes of their own."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.waiting import eventually

SDK = Path(__file__).parents[1] / "sdk"
_PATIENCE_SECONDS = 30


def sdk_program(script: str, *arguments: str) -> list[str]:
    """The command of a Python program of `tests/sdk`."""
    return [sys.executable, str(SDK / script), *arguments]


class OrderReader:
    """A program that reads order updates, and what it printed.

    Most print JSON lines; a plain script prints ``Auth: …`` and ``Update: {…}`` as Python does.
    """

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.process = process
        self.lines: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("Auth: "):
                self.lines.append({"event": "listening", "said": json.loads(line[6:])})
            elif line.startswith("Update: "):
                message = ast.literal_eval(line[8:])
                assert message["stream"] == "trade_updates", message
                self.lines.append({"event": "update", "update": message["data"]})
            else:
                self.lines.append(json.loads(line))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]

    @property
    def updates(self) -> list[dict[str, Any]]:
        return [line["update"] for line in self.named("update")]

    async def listening(self) -> None:
        await eventually(
            lambda: self.named("listening") or self.process.poll() is not None,
            _PATIENCE_SECONDS,
            f"{self.name} listens",
        )
        assert self.process.poll() is None, f"{self.name} ended: {self.lines}"

    async def end(self) -> None:
        """Let it close its connection; the program must end well."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        status = await asyncio.to_thread(self.process.wait, _PATIENCE_SECONDS)
        assert status == 0, f"{self.name}: {status}, {self.lines}"


@contextlib.contextmanager
def order_reader(
    name: str, command: list[str], environment: dict[str, str] | None = None
) -> Iterator[OrderReader]:
    """Run a program that reads order updates for the length of a block."""
    with _process(command, environment) as process:
        yield OrderReader(name, process)


class TradingProgram:
    """alpaca-py's TradingClient in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the SDK's program ended"
        return dict(json.loads(line))

    async def call(self, call: str, *arguments: Any, request: str = "", **fields: Any) -> Any:
        """Call a method with a request object of this class, and insist on success."""
        order: dict[str, Any] = {"call": call, "arguments": arguments}
        if request:
            order |= {"request": request, "fields": fields}
        answer = await asyncio.to_thread(self._ask, order)
        assert "error" not in answer, answer
        return answer["result"]

    async def submit(self, request: str = "MarketOrderRequest", **fields: Any) -> dict[str, Any]:
        usual = {"symbol": "AAPL", "qty": 2, "side": "buy", "time_in_force": "day"}
        return dict(await self.call("submit_order", request=request, **(usual | fields)))

    async def until(self, order: dict[str, Any], *statuses: str) -> dict[str, Any]:
        """The order as soon as it has one of these statuses."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                found = dict(await self.call("get_order_by_id", order["id"]))
                if found["status"] in statuses:
                    return found


@contextlib.contextmanager
def trading_program(url: str, key: str, secret: str) -> Iterator[TradingProgram]:
    """Run alpaca-py's TradingClient towards an address for the length of a block."""
    command = sdk_program("alpaca_py_orders.py", "--url", url, "--key", key, "--secret", secret)
    with _process(command, None) as process:
        yield TradingProgram(process)


@contextlib.contextmanager
def _process(
    command: list[str], environment: dict[str, str] | None
) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
