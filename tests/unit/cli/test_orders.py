"""`orders`: every update with its sequence, over restarts of the proxy, and clear ends."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from harness.proxies import running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.cli.order_subscriber import orders_address
from stream_proxy.cli.orders_view import OrdersTable, line, row_of

if TYPE_CHECKING:
    from conftest import Command

KEY = "PKTESTKEY"


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator() as running:
        yield running


@contextlib.asynccontextmanager
async def proxied(alpaca: SimulatorProcess, state_dir: Path, **settings: Any) -> AsyncIterator[App]:
    where = {
        "paper_stream_url": f"{alpaca.streams}/paper/stream",
        "live_stream_url": f"{alpaca.streams}/live/stream",
        "paper_api_url": f"{alpaca.control}/paper",
        "live_api_url": f"{alpaca.control}/live",
        "orders": "on",
        "state_dir": state_dir,
        "http_port": 0,
        "grpc_port": 0,
    }
    async with running_app(alpaca.streams, **(where | settings)) as app:
        await eventually(lambda: all(f.ready for f in app.desk.feeds.values()), 15, "ready")
        yield app


async def buy(alpaca: SimulatorProcess, **order: Any) -> None:
    wanted = {"symbol": "AAPL", "qty": 2, "side": "buy", "type": "market", "time_in_force": "day"}
    await alpaca.order("/trading/orders", account=KEY, order=wanted | order)


def recorded(app: App) -> int:
    return app.desk.feeds["paper"].last_sequence


@pytest.fixture
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


async def test_json_from_the_oldest_on(
    alpaca: SimulatorProcess, state_dir: Path, command: Command
) -> None:
    """One line an update, with account, epoch and a sequence that grows by one."""
    async with proxied(alpaca, state_dir) as app:
        await buy(alpaca)
        await eventually(lambda: recorded(app) >= 3)
        url = app.addresses()[0]
        ran = await command("orders", "--since", "oldest", "--json", "--count", "3", "--url", url)
        assert (ran.status, ran.err) == (0, "")
        lines = [json.loads(text) for text in ran.out.splitlines()]
        assert [update["sequence"] for update in lines] == [1, 2, 3]
        assert [update["data"]["event"] for update in lines][:2] == ["pending_new", "new"]
        assert {(u["account"], u["reconstructed"]) for u in lines} == {("paper", False)}
        assert len({update["epoch"] for update in lines}) == 1
        ran = await command(
            "orders", "--account", "paper", "--since", "1", "--count", "2", "--url", url
        )
        assert ran.status == 0, ran.err
        first, second = ran.out.splitlines()
        assert "  paper  2  new  buy 2 AAPL  filled 0  new" in first
        assert "  paper  3  " in second


def environment(home: Path) -> dict[str, str]:
    """Nothing of the machine's own settings."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "NO_COLOR": "1", "PYTHONUTF8": "1"}


class Watcher:
    """The command as it runs, and the sequences it has printed."""

    def __init__(self, *arguments: str, home: Path, environment: dict[str, str]) -> None:
        self._arguments, self._home, self._environment = arguments, home, environment
        self.sequences: list[int] = []
        self.notes = ""

    async def __aenter__(self) -> Watcher:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stream_proxy", "orders", "--json", *self._arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
            cwd=self._home,
        )
        self._readers = asyncio.gather(self._read(), self._read_notes())
        return self

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for text in self.process.stdout:
            self.sequences.append(json.loads(text)["sequence"])

    async def _read_notes(self) -> None:
        assert self.process.stderr is not None
        async for text in self.process.stderr:
            self.notes += text.decode()

    async def __aexit__(self, *error: object) -> None:
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()
        await self._readers


async def test_nothing_is_missed_while_the_proxy_is_away(
    alpaca: SimulatorProcess, state_dir: Path, tmp_path: Path, free_port: int
) -> None:
    """It comes back by itself with its last sequence, and goes on with the next one."""
    url = f"ws://127.0.0.1:{free_port}"
    async with contextlib.AsyncExitStack() as stack:
        async with proxied(alpaca, state_dir, port=free_port) as app:
            watcher = await stack.enter_async_context(
                Watcher("--url", url, home=tmp_path, environment=environment(tmp_path))
            )
            await eventually(lambda: app.outlet.order_consumers(), 20, "the command listens")
            await buy(alpaca)
            await eventually(lambda: recorded(app) >= 3)
            await eventually(lambda: len(watcher.sequences) >= 3)
        await eventually(lambda: "trying again" in watcher.notes)
        await buy(alpaca)
        async with proxied(alpaca, state_dir, port=free_port) as app:
            await eventually(lambda: recorded(app) >= 6)
            await eventually(lambda: len(watcher.sequences) >= recorded(app), 20)
            first = watcher.sequences[0]
            assert watcher.sequences == list(range(first, first + len(watcher.sequences)))
            assert first == 1


async def test_a_new_journal_is_said(
    alpaca: SimulatorProcess, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """A position of a journal that was moved away can't be honoured: it ends with why."""
    async with contextlib.AsyncExitStack() as stack:
        async with proxied(alpaca, tmp_path_factory.mktemp("one")) as app:
            port = int(app.addresses()[0].rpartition(":")[2])
            watcher = await stack.enter_async_context(
                Watcher(
                    *("--url", app.addresses()[0]),
                    home=tmp_path,
                    environment=environment(tmp_path),
                )
            )
            await eventually(lambda: app.outlet.order_consumers(), 20, "the command listens")
            # Before it knows its position, an end would be its first answer.
            await buy(alpaca)
            await eventually(lambda: watcher.sequences, 20, "it has heard something")
        async with proxied(alpaca, tmp_path_factory.mktemp("two"), port=port):
            await eventually(lambda: watcher.process.returncode is not None, 20, "it ends")
            assert watcher.process.returncode == 1
            await eventually(lambda: "is over: the journal was begun anew" in watcher.notes)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--account", "swing"], "no account 'swing'"),
        (["--account", "live"], "ALPACA_LIVE_API_KEY"),
        (["--since", "99999999"], "ahead of the record"),
        (["--since", "1999-01-01T00:00:00Z"], "the record begins at"),
        (["--since", "yesterday"], "is no sequence, event id, RFC 3339 time"),
    ],
)
async def test_what_can_t_be_had_is_said(
    alpaca: SimulatorProcess,
    state_dir: Path,
    command: Command,
    arguments: list[str],
    said: str,
) -> None:
    async with proxied(alpaca, state_dir) as app:
        ran = await command("orders", "--url", app.addresses()[0], *arguments)
    assert ran.status == 1
    assert "error: " in ran.err and said in ran.err
    assert ran.out == ""


async def test_no_proxy(command: Command, free_port: int) -> None:
    ran = await command("orders", "--url", f"ws://127.0.0.1:{free_port}")
    assert ran.status == 1
    assert "Is a proxy running there? Start one with `stream-proxy serve`" in ran.err


async def test_orders_switched_off(alpaca: SimulatorProcess, command: Command) -> None:
    async with running_app(alpaca.streams, orders="off", http_port=0) as app:
        ran = await command("orders", "--url", app.addresses()[0])
    assert ran.status == 1 and "has no order updates" in ran.err


async def test_a_proxy_that_wants_a_token(
    alpaca: SimulatorProcess, state_dir: Path, command: Command
) -> None:
    tokens = [{"name": "desk", "key": "desk", "secret": "0123456789abcdef"}]
    async with proxied(alpaca, state_dir, access_tokens=tokens) as app:
        ran = await command("orders", "--url", app.addresses()[0])
    assert ran.status == 1 and "refused the credentials" in ran.err


def update(**changes: Any) -> dict[str, Any]:
    order = {
        "symbol": "AAPL",
        "side": "buy",
        "qty": "10",
        "filled_qty": "4",
        "status": "partially_filled",
        "limit_price": "101",
    }
    data = {
        "event": "partial_fill",
        "timestamp": "2026-01-02T03:04:05.6Z",
        "qty": "4",
        "price": "100.5",
        "order": order,
    }
    return {"account": "paper", "sequence": 7, "reconstructed": False, "data": data | changes}


def test_an_update_in_words() -> None:
    row = row_of(update())
    assert (row.quantity, row.price, row.filled) == ("4", "100.5", "4")
    assert line(row) == (
        "2026-01-02T03:04:05.6Z  paper  7  partial_fill  buy 4 AAPL @ 100.5  filled 4  "
        "partially_filled"
    )
    made = row_of(update() | {"reconstructed": True})
    assert line(made).endswith("(made from REST)")


def test_orders_that_have_less() -> None:
    """By amount, of several legs, and in forms that nobody foresaw."""
    by_amount = row_of(update(qty=None, price=None, order={"symbol": "BTC/USD", "notional": "50"}))
    assert (by_amount.quantity, by_amount.price) == ("$50", "")
    legs = row_of(update(order={"symbol": "", "legs": [{"symbol": "A"}, {"symbol": "B"}]}))
    assert legs.symbol == "A+B"
    assert row_of({"data": {"event": "new\x1b[31m", "order": 5}}).event == "new?[31m"


def test_the_table_shows_the_newest_that_fit() -> None:
    table = OrdersTable("ws://here")
    for sequence in range(500):
        table.note(row_of(update() | {"sequence": sequence, "reconstructed": sequence == 499}))
    table.remark = "connected"
    shown = table.table(lines=12)
    assert shown.row_count == 6
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(shown)
    text = console.export_text()
    assert "ws://here  500 updates  connected" in text
    assert "499" in text and "made from REST" in text and "493" not in text


def test_addresses() -> None:
    assert orders_address("ws://h:1/", None, None) == "ws://h:1/stream?numbered=1"
    address = orders_address("ws://h:1", "my account", "e1:5")
    assert address == "ws://h:1/my%20account/stream?numbered=1&since=e1%3A5"
