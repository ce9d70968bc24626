"""A simulator in a process of its own, that never outlives us.

It ends when its standard input closes, which the operating system does for us even if we are
killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from typing import Any
from urllib.request import Request, urlopen

from stream_proxy.errors import StreamProxyError

_START_SECONDS = 20.0
_STOP_SECONDS = 5.0
_ANSWER_SECONDS = 5.0


class SimulatorFailed(StreamProxyError):
    """The simulator didn't start, or ended by itself."""


class SimulatorProcess:
    """A running simulator: where its streams and its control API are."""

    def __init__(self, process: asyncio.subprocess.Process, streams: str, control: str) -> None:
        self._process = process
        self.streams = streams
        self.control = control

    @property
    def pid(self) -> int:
        return self._process.pid

    async def hold(self) -> None:
        """Let time stand still in its markets: nothing more is sent."""
        await asyncio.to_thread(self._ask, "/hold", "POST")

    async def ledger(self) -> dict[str, Any]:
        """What it sent, and who was connected."""
        found: dict[str, Any] = await asyncio.to_thread(self._ask, "/ledger", "GET")
        return found

    async def end_chatter(self, account: str) -> None:
        """Place no more orders in a trading account."""
        wish = {"account": account, "rate": 0}
        await asyncio.to_thread(self._ask, "/trading/chatter", "POST", wish)

    async def trading_ledger(self) -> dict[str, Any]:
        """What happened in the trading accounts, and who was connected to them."""
        found: dict[str, Any] = await asyncio.to_thread(self._ask, "/trading/ledger", "GET")
        return found

    def _ask(self, path: str, method: str, wish: dict[str, Any] | None = None) -> Any:
        request = Request(  # noqa: S310 (our own loopback)
            self.control + path,
            None if wish is None else json.dumps(wish).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        with urlopen(request, timeout=_ANSWER_SECONDS) as response:  # noqa: S310
            return json.load(response)

    async def stop(self) -> None:
        """End it: politely by closing its standard input, by force if that doesn't help."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


async def start_simulator(*, rate: float, chatter: float = 0.0) -> SimulatorProcess:
    """Start one on free ports and wait until it listens.

    Args:
        rate: market data, messages per second and stream.
        chatter: random orders per second in every trading account.

    Raises:
        SimulatorFailed: with the last line of what it said.
    """
    with tempfile.TemporaryFile() as complaints:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "stream_proxy", "simulate", "--port", "0", "--control-port", "0"),
            *("--rate", f"{rate:g}", "--until-stdin-closes"),
            *("--trading-chatter", f"{chatter:g}", "--trading-partial-share", "0.4"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=complaints,
            # Ctrl-C is for us: its last figures are asked for before it goes.
            start_new_session=True,
        )
        assert process.stdout is not None and process.stdin is not None
        try:
            async with asyncio.timeout(_START_SECONDS):
                addresses = json.loads(await process.stdout.readline())
        except (TimeoutError, ValueError):
            if process.returncode is None:
                process.kill()
            await process.wait()
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip().splitlines()
            raise SimulatorFailed(
                "The simulator didn't start"
                + (f": {said[-1][:200]}" if said else f" within {_START_SECONDS:g} s")
                + ". Run `stream-proxy simulate` to see why."
            ) from None
    return SimulatorProcess(process, addresses["streams"], addresses["control"])
