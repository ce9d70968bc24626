"""The official SDKs as outside oracles: what they make of the simulator's trading side."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually

SDK = Path(__file__).parents[1] / "sdk"
NODE = shutil.which("node")
FINAL = {"filled", "canceled", "expired", "replaced", "rejected"}


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator("--seed", "3") as process:
        yield process


class Client:
    """alpaca-py's TradingClient in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, call: str, *arguments: Any, request: str = "", **fields: Any) -> dict[str, Any]:
        order: dict[str, Any] = {"call": call, "arguments": arguments}
        if request:
            order |= {"request": request, "fields": fields}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the SDK's program ended"
        return dict(json.loads(line))

    async def call(self, call: str, *arguments: Any, request: str = "", **fields: Any) -> Any:
        """Call, and insist on success."""
        answer = await asyncio.to_thread(
            lambda: self.ask(call, *arguments, request=request, **fields)
        )
        assert "error" not in answer, answer
        return answer["result"]

    async def submit(self, request: str, **fields: Any) -> dict[str, Any]:
        usual = {"symbol": "AAPL", "qty": 2, "side": "buy", "time_in_force": "day"}
        return dict(await self.call("submit_order", request=request, **(usual | fields)))

    async def refused(self, call: str, *arguments: Any, **request: Any) -> tuple[int, int]:
        answer = await asyncio.to_thread(lambda: self.ask(call, *arguments, **request))
        return answer["status"], answer["error"]["code"]

    async def until(self, order: dict[str, Any], *statuses: str) -> dict[str, Any]:
        """The order as soon as it has one of these statuses."""
        found: dict[str, Any] = {}
        while found.get("status") not in statuses:
            found = await self.call("get_order_by_id", order["id"])
            assert found["status"] in statuses or found["status"] not in FINAL, found
        return found


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def trading_client(alpaca: SimulatorProcess, key: str) -> Iterator[Client]:
    url = f"{alpaca.control}/{'live' if key.startswith('AK') else 'paper'}"
    command = [sys.executable, str(SDK / "alpaca_py_orders.py"), "--url", url]
    with _process([*command, "--key", key, "--secret", "S"]) as process:
        yield Client(process)


class Stream:
    """An SDK's trading stream, and what its handler received."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]

    @property
    def updates(self) -> list[dict[str, Any]]:
        return [line["update"] for line in self.named("update")]

    async def listening(self) -> Stream:
        await eventually(lambda: self.named("listening"), 30, "listening")
        return self

    async def end(self) -> None:
        """Let it close its connection; the program must end well."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert await asyncio.to_thread(self.process.wait, 20) == 0, self.lines


@contextlib.contextmanager
def sdk_stream(program: list[str], url: str, key: str) -> Iterator[Stream]:
    with _process([*program, "--url", url, "--key", key, "--secret", "S"]) as process:
        yield Stream(process)


PYTHON_STREAM = [sys.executable, str(SDK / "alpaca_py_trading.py")]


async def test_alpaca_py_places_every_type_of_order(alpaca: SimulatorProcess) -> None:
    """Every type, class and asset class; the SDK reads each answer into its own models."""
    with trading_client(alpaca, "PKtypes") as client:
        bought = await client.submit("MarketOrderRequest", qty=20, client_order_id="first")
        assert (await client.until(bought, "filled"))["filled_qty"] == "20"
        by_name = await client.call("get_order_by_client_id", "first")
        assert by_name["id"] == bought["id"]
        fraction = await client.submit("MarketOrderRequest", qty=None, notional=100)
        await client.until(fraction, "filled")
        crypto = await client.submit(
            "MarketOrderRequest", symbol="BTC/USD", qty=0.01, time_in_force="gtc"
        )
        await client.until(crypto, "filled")
        resting = [
            await client.submit("LimitOrderRequest", limit_price=50),
            await client.submit("StopOrderRequest", stop_price=900),
            await client.submit("StopLimitOrderRequest", stop_price=900, limit_price=901),
            await client.submit("TrailingStopOrderRequest", trail_percent=50),
            await client.submit("TrailingStopOrderRequest", trail_price=100, side="sell"),
            await client.submit("LimitOrderRequest", limit_price=50, extended_hours=True),
            await client.submit("LimitOrderRequest", limit_price=50, time_in_force="gtc"),
            await client.submit(
                "LimitOrderRequest",
                side="sell",
                time_in_force="gtc",
                order_class="oco",
                take_profit={"limit_price": 900},
                stop_loss={"stop_price": 50},
            ),
        ]
        for order in resting:
            assert (await client.until(order, "new"))["filled_qty"] == "0"
        bracket = await client.submit(
            "MarketOrderRequest",
            order_class="bracket",
            take_profit={"limit_price": 900},
            stop_loss={"stop_price": 50, "limit_price": 49},
        )
        filled = await client.until(bracket, "filled")
        assert [leg["status"] for leg in filled["legs"]] == ["new", "held"]
        once = await client.submit(
            "MarketOrderRequest", order_class="oto", take_profit={"limit_price": 900}
        )
        assert len((await client.until(once, "filled"))["legs"]) == 1
        for time_in_force in ("ioc", "fok"):
            order = await client.submit("MarketOrderRequest", time_in_force=time_in_force)
            await client.until(order, "filled")
        listed = await client.call(
            "get_orders", request="GetOrdersRequest", status="open", nested=True
        )
        assert {order["id"] for order in resting} <= {order["id"] for order in listed}


async def test_alpaca_py_trades_options(alpaca: SimulatorProcess) -> None:
    with trading_client(alpaca, "PKoptions") as client:
        found = await client.call(
            "get_option_contracts", request="GetOptionContractsRequest", underlying_symbols=["AAPL"]
        )
        contracts = found["option_contracts"]
        assert len(contracts) == 100 and found["next_page_token"]
        pair = {kind: next(c for c in contracts if c["type"] == kind) for kind in ("call", "put")}
        legs = [
            {"symbol": pair["call"]["symbol"], "ratio_qty": 1, "side": "buy"},
            {"symbol": pair["put"]["symbol"], "ratio_qty": 1, "side": "sell"},
        ]
        order = await client.call(
            "submit_order",
            request="MarketOrderRequest",
            qty=1,
            order_class="mleg",
            time_in_force="day",
            legs=legs,
        )
        assert order["order_class"] == "mleg"
        single = await client.submit("MarketOrderRequest", symbol=pair["call"]["symbol"], qty=1)
        filled = await client.until(single, "filled")
        assert filled["asset_class"] == "us_option"
        contract = await client.call("get_option_contract", pair["put"]["symbol"])
        assert contract["id"] == pair["put"]["id"]


async def test_alpaca_py_replaces_cancels_and_lists(alpaca: SimulatorProcess) -> None:
    with trading_client(alpaca, "PKchanges") as client:
        order = await client.submit("LimitOrderRequest", limit_price=50)
        await client.until(order, "new")
        new = await client.call(
            "replace_order_by_id", order["id"], request="ReplaceOrderRequest", limit_price=51, qty=3
        )
        assert new["replaces"] == order["id"]
        assert (await client.until(order, "replaced"))["replaced_by"] == new["id"]
        await client.until(new, "new")
        await client.call("cancel_order_by_id", new["id"])
        await client.until(new, "canceled")
        await client.until(await client.submit("LimitOrderRequest", limit_price=50), "new")
        (cancelled,) = await client.call("cancel_orders")
        assert cancelled["status"] == 200
        await client.until(cancelled, "canceled")
        everything = await client.call(
            "get_orders",
            request="GetOrdersRequest",
            status="all",
            direction="asc",
            symbols=["AAPL"],
            side="buy",
            limit=500,
            after="2020-01-01T00:00:00+00:00",
        )
        assert [o["status"] for o in everything] == ["replaced", "canceled", "canceled"]


async def test_alpaca_py_reads_account_and_positions(alpaca: SimulatorProcess) -> None:
    with trading_client(alpaca, "AKaccount") as client:
        account = await client.call("get_account")
        assert (account["cash"], account["buying_power"]) == ("100000", "200000")
        for fields in ({}, {"symbol": "MSFT"}, {"symbol": "ETH/USD", "time_in_force": "gtc"}):
            await client.until(await client.submit("MarketOrderRequest", **fields), "filled")
        assert len(await client.call("get_all_positions")) == 3
        held = await client.call("get_open_position", "AAPL")
        assert (held["qty"], held["side"], held["qty_available"]) == ("2", "long", "2")
        half = await client.call(
            "close_position", "AAPL", request="ClosePositionRequest", percentage="50"
        )
        assert (await client.until(half, "filled"))["filled_qty"] == "1"
        closed = await client.call("close_all_positions", True)
        assert {answer["status"] for answer in closed} == {200}
        for answer in closed:
            await client.until({"id": answer["order_id"]}, "filled")
        assert await client.call("get_all_positions") == []
        fills = await client.call("get", "/account/activities/FILL", {"direction": "asc"})
        assert len(fills) == 7
        configuration = await client.call("get_account_configurations")
        assert configuration["no_shorting"] is False
        history = await client.call("get_portfolio_history")
        assert history["base_value"] == 100_000


async def test_alpaca_py_reads_assets_clock_and_calendar(alpaca: SimulatorProcess) -> None:
    with trading_client(alpaca, "PKreading") as client:
        assets = await client.call(
            "get_all_assets", request="GetAssetsRequest", asset_class="crypto"
        )
        assert {asset["asset_class"] for asset in assets} == {"crypto"}
        one = await client.call("get_asset", "BTC/USD")
        assert (await client.call("get_asset", one["id"]))["symbol"] == "BTC/USD"
        clock = await client.call("get_clock")
        assert clock["next_open"] and clock["next_close"]
        days = await client.call(
            "get_calendar", request="GetCalendarRequest", start="2026-11-20", end="2026-11-24"
        )
        assert [day["date"] for day in days] == ["2026-11-20", "2026-11-23", "2026-11-24"]


async def test_alpaca_py_reads_refusals(alpaca: SimulatorProcess) -> None:
    order = {"symbol": "AAPL", "qty": 2, "side": "buy", "time_in_force": "day"}
    with trading_client(alpaca, "PKrefused") as client:
        for fields, expected in (
            (order | {"symbol": "NOSUCH"}, (422, 42210000)),
            (order | {"qty": 10_000}, (403, 40310000)),
        ):
            answer = await client.refused("submit_order", request="MarketOrderRequest", **fields)
            assert answer == expected
        nobody = "11111111-1111-4111-8111-111111111111"
        assert await client.refused("get_order_by_id", nobody) == (404, 40410000)
        assert await client.refused("get_open_position", "AAPL") == (404, 40410000)


async def _trade_for_a_stream(alpaca: SimulatorProcess, key: str, stream: Stream) -> dict[str, Any]:
    """Fills, a partial one, a change, a cancel, exits, rare events; give the ledger's page."""
    base = {"symbol": "AAPL", "qty": 4, "side": "buy", "type": "market", "time_in_force": "day"}
    resting = base | {"type": "limit", "limit_price": 50}

    async def place(**fields: Any) -> str:
        order = await alpaca.order("/trading/orders", account=key, order=fields)
        return str(order["id"])

    await place(**base)
    await place(
        **base,
        order_class="bracket",
        take_profit={"limit_price": 900},
        stop_loss={"stop_price": 50},
    )
    await place(**(base | {"symbol": "REJECTME"}))
    pieces = await place(**resting)
    await alpaca.order("/trading/step")
    for event in ("partial_fill", "suspended", "new", "done_for_day", "calculated", "fill"):
        await alpaca.order("/trading/force", order_id=pieces, event=event)
    expired = await place(**resting)
    await alpaca.order("/trading/force", order_id=expired, event="expired")
    page: dict[str, Any] = {}

    def everything_arrived() -> bool:
        page.update(alpaca.get(f"/trading/ledger?account={key}"))
        ended = sum(event["status"] in FINAL for event in page["events"])
        return ended >= 5 and len(stream.updates) == len(page["events"])

    await eventually(everything_arrived, 20, "all events")
    return page


async def test_alpaca_py_s_stream_gets_what_the_ledger_says(alpaca: SimulatorProcess) -> None:
    url = alpaca.streams + "/stream"
    with sdk_stream(PYTHON_STREAM, url, "PKstream") as stream:
        await stream.listening()
        page = await _trade_for_a_stream(alpaca, "PKstream", stream)
        await stream.end()
    assert [(u["event"], u["order"]["id"], u["execution_id"]) for u in stream.updates] == [
        (event["event"], event["order_id"], event["execution_id"]) for event in page["events"]
    ]
    assert page["peak_open"] == 1


async def test_javascript_4_s_stream_gets_what_the_ledger_says(alpaca: SimulatorProcess) -> None:
    if NODE is None:
        assert not os.environ.get("CI"), "Node is missing: CI must run the JavaScript SDKs"
        print("\n*** Node is missing: the JavaScript SDK is left out ***", file=sys.__stdout__)
        return
    program = [NODE, str(SDK / "js" / "v4_trading.mjs")]
    with sdk_stream(program, alpaca.streams + "/live/stream", "AKstream") as stream:
        await stream.listening()
        page = await _trade_for_a_stream(alpaca, "AKstream", stream)
        await stream.end()
    assert [(u["event_id"], u["event"], u["order"]["id"]) for u in stream.updates] == [
        (event["event_id"], event["event"], event["order_id"]) for event in page["events"]
    ]
    # The SDK calls a refusal terminal, so none may have come.
    assert not stream.named("error")


async def test_an_sdk_s_stream_comes_back_after_a_drop(alpaca: SimulatorProcess) -> None:
    url = alpaca.streams + "/stream"
    with sdk_stream(PYTHON_STREAM, url, "PKdropped") as stream:
        await stream.listening()
        assert await alpaca.fault("drop", feed="trading", account="PKdropped") == 1
        await eventually(lambda: len(stream.named("listening")) == 2, 20, "listening again")
        await alpaca.order(
            "/trading/orders",
            account="PKdropped",
            order={
                "symbol": "AAPL",
                "qty": 1,
                "side": "buy",
                "type": "market",
                "time_in_force": "day",
            },
        )
        await eventually(lambda: len(stream.updates) == 3)
        await stream.end()
