"""The example with a durable cursor does what it says, over its own end and the proxy's."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from harness.order_ledger import addresses, buy, settled
from harness.proxies import running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.app import App

EXAMPLE = Path(__file__).parents[2] / "examples" / "order_updates.py"


@pytest.fixture
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator() as running:
        yield running


@contextlib.asynccontextmanager
async def proxied(alpaca: SimulatorProcess, state_dir: Path) -> AsyncIterator[App]:
    settings = addresses(alpaca) | {"orders": "on", "state_dir": state_dir}
    async with running_app(alpaca.streams, **settings) as app:
        await eventually(lambda: app.desk.feeds["paper"].ready, 15, "ready")
        yield app


class Example:
    """The example as a process, at another address, and what it printed."""

    def __init__(self, app: App, folder: Path) -> None:
        source = EXAMPLE.read_text()
        assert "ws://127.0.0.1:8099" in source
        script = folder / "order_updates.py"
        script.write_text(source.replace("ws://127.0.0.1:8099", app.addresses()[0]))
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(script)], stdout=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as said:
            self.lines.extend(iter(said.readline, ""))

    @property
    def sequences(self) -> list[int]:
        found = (re.match(r"(\d+): ", line) for line in self.lines)
        return [int(match[1]) for match in found if match]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(10)


async def test_it_goes_on_where_it_was(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    async with proxied(alpaca, tmp_path) as app:
        first = Example(app, tmp_path)
        try:
            await eventually(lambda: first.lines, 20, "its position")
            await buy(alpaca)
            await settled(alpaca, 1)
            await eventually(lambda: first.sequences == [1, 2, 3])
        finally:
            first.end()
        await eventually(lambda: not app.desk.feeds["paper"].consumers, 10, "it is gone")
        await buy(alpaca)
        await settled(alpaca, 2)
    await buy(alpaca)
    ids = await settled(alpaca, 3)
    async with proxied(alpaca, tmp_path) as app:
        second = Example(app, tmp_path)
        try:
            await eventually(lambda: second.sequences[-1:] == [len(ids)], 20, "the rest")
        finally:
            second.end()
    # Killed before its last acknowledgement was on the disk, it may see that update again.
    assert second.sequences[0] in (3, 4)
    assert second.sequences == list(range(second.sequences[0], len(ids) + 1))
    assert second.lines[0] == f"going on after {second.sequences[0] - 1}\n"
    assert f"{len(ids)}: fill AAPL 1\n" in second.lines
