"""Every client of order updates, unmodified, side by side on one proxy with two accounts.

Meanwhile alpaca-py's TradingClient places, replaces and cancels orders straight at Alpaca. Each
client must get exactly the events of its account, in order, and Alpaca must see one connection per
account. Go and C# can't run here: what they send and insist on is replayed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.order_ledger import addresses, page
from harness.session_logs import SESSION
from harness.simulated import SimulatorProcess, simulator
from harness.trading_sdks import (
    SDK,
    OrderReader,
    TradingProgram,
    order_reader,
    sdk_program,
    trading_program,
)
from harness.waiting import eventually

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT.parent / "shared" / "seeds" / "001-trade-updates-proxy.txt"
"""Asks for the plain paths; its example must run as it is written there."""
NODE = shutil.which("node")
PAPER = ("PKCOMPAT", "a-secret-of-the-paper-account")
LIVE = ("AKCOMPAT", "a-secret-of-the-live-account")
ROUNDS = 3


@dataclass(frozen=True)
class Proxy:
    """A running proxy, configured with the variables of small order proxies alone."""

    port: int
    http: str
    log: list[str]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(alpaca: SimulatorProcess, state_dir: Path) -> Iterator[Proxy]:
    port = free_port()
    variables = {"PATH": os.environ["PATH"], "HOME": str(state_dir), "NO_COLOR": "1"} | {
        "ALPACA_API_KEY": PAPER[0],
        "ALPACA_SECRET_KEY": PAPER[1],
        "ALPACA_LIVE_API_KEY": LIVE[0],
        "ALPACA_LIVE_SECRET_KEY": LIVE[1],
        "PROXY_PORT": str(port),
        "STREAM_PROXY_HTTP_PORT": "0",
        "STREAM_PROXY_METRICS_PORT": "0",
        "STREAM_PROXY_GRPC_PORT": "0",
        "STREAM_PROXY_STATE_DIR": str(state_dir),
        "STREAM_PROXY_UPSTREAM_URL": alpaca.streams,
    }
    for name, value in addresses(alpaca).items():
        variables[f"STREAM_PROXY_{name.upper()}"] = value
    command = [sys.executable, "-m", "stream_proxy", "serve"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=variables, cwd=state_dir
    ) as process:
        assert process.stderr is not None
        log: list[str] = []
        SESSION.keep_process([*PAPER, *LIVE], log)
        listening = ""
        for line in process.stderr:
            log.append(line)
            if "proxy.listening" in line:
                listening = line
                break
        assert listening, "the proxy ended before it listened: " + "".join(log)
        reader = threading.Thread(target=lambda: log.extend(process.stderr or ()), daemon=True)
        reader.start()
        found = re.search(r"http://[\w.]+:\d+", listening)
        assert found is not None and f":{port}" in listening
        try:
            yield Proxy(port, found[0], log)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, "".join(log)
            reader.join(5)


@dataclass(frozen=True)
class Case:
    """A client, what it runs, and whose updates it must get."""

    name: str
    kind: str
    command: list[str]
    environment: dict[str, str] | None = None
    ends: bool = True
    """Whether it closes its connection when asked to; a plain script doesn't."""


def cases(proxy: Proxy, scripts: Path) -> Iterator[Case]:
    for kind, (key, secret) in (("paper", PAPER), ("live", LIVE)):
        # The key that a client shows tells the account behind the bare path.
        shown = ["--key", key, "--secret", secret]
        streams = f"ws://127.0.0.1:{proxy.port}"
        by_path = ["--url", f"{streams}/{kind}/stream", "--key", "any", "--secret", "any"]
        by_key = ["--url", f"{streams}/stream", *shown]
        by_key_slash = ["--url", f"{streams}/stream/", *shown]
        sse = ["--url", f"{proxy.http}/{kind}", "--key", "any", "--secret", "any"]
        yield Case("alpaca-py", kind, sdk_program("alpaca_py_trading.py", *by_key))
        yield Case("alpaca-py, raw", kind, sdk_program("alpaca_py_trading.py", "--raw", *by_path))
        yield Case("websocket-client", kind, sdk_program("websocket_client_orders.py", *by_path))
        yield Case("C#", kind, sdk_program("csharp_orders_replay.py", *by_key_slash))
        yield Case("Go", kind, sdk_program("go_events_replay.py", *sse))
        yield Case(
            "plain script",
            kind,
            [sys.executable, "-u", str(SDK / "plain_orders.py")],
            os.environ | {"PROXY_PORT": str(proxy.port), "ORDER_PATH": f"/trade-updates-{kind}"},
            ends=False,
        )
        if NODE is not None:
            yield Case("JavaScript 4", kind, [NODE, str(SDK / "js" / "v4_trading.mjs"), *by_path])
        if DOCUMENT.exists():
            script = scripts / f"as_written_{kind}.py"
            script.write_text(_as_written(proxy.port, kind))
            command = [sys.executable, "-u", str(script)]
            yield Case("the document's example", kind, command, ends=False)


def _as_written(port: int, kind: str) -> str:
    """The document's first Python example; only the port differs, and the line it gives for live.

    It can't be 8099 here: something may run there.
    """
    examples = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    example, live_line = examples[0], examples[1].strip()
    if kind == "live":
        example, count = re.subn(r"url = .*", live_line, example)
        assert count == 1
    assert "localhost:8099" in example
    return str(example.replace("localhost:8099", f"localhost:{port}"))


async def trade(client: TradingProgram) -> None:
    """What a bot does in a day: market orders, a bracket, a replacement, cancels, a refusal."""
    for number in range(ROUNDS):
        bought = await client.submit(client_order_id=f"market-{number}")
        resting = await client.submit("LimitOrderRequest", limit_price=50)
        await client.until(resting, "new")
        replaced = await client.call(
            "replace_order_by_id",
            resting["id"],
            request="ReplaceOrderRequest",
            limit_price=51 + number,
        )
        await client.until(replaced, "new")
        await client.call("cancel_order_by_id", replaced["id"])
        await client.until(replaced, "canceled")
        await client.until(await client.submit(symbol="REJECTME"), "rejected")
        await client.until(bought, "filled")
        await client.until(
            await client.submit(symbol="BTC/USD", qty=0.01, time_in_force="gtc"), "filled"
        )
    bracket = await client.submit(
        order_class="bracket",
        take_profit={"limit_price": 900},
        stop_loss={"stop_price": 50},
    )
    filled = await client.until(bracket, "filled")
    await client.call("cancel_order_by_id", filled["legs"][0]["id"])
    await client.until(filled["legs"][0], "canceled")


def _seen(update: dict[str, Any], *, has_id: bool) -> tuple[Any, ...]:
    execution = update.get("execution_id")
    told = (update["event"], update["order"]["id"], execution, update["order"]["status"])
    return (*told, update["event_id"]) if has_id else told


def _sent(event: dict[str, Any], *, has_id: bool) -> tuple[Any, ...]:
    told = (event["event"], event["order_id"], event["execution_id"], event["status"])
    return (*told, event["event_id"]) if has_id else told


@pytest.mark.timeout(240)
async def test_every_client_gets_every_update_of_its_account(tmp_path: Path) -> None:
    """All clients on paper and live at once; exact events each, one upstream connection each."""
    if NODE is None:
        assert not os.environ.get("CI"), "Node is missing: CI must run the JavaScript SDK"
        print("\n*** Node is missing: the JavaScript SDK is left out ***", file=sys.__stdout__)
    accounts = [part for pair in (PAPER, LIVE) for part in ("--account", ":".join(pair))]
    with (
        simulator("--seed", "5", "--trading-partial-share", "0.5", *accounts) as alpaca,
        serving(alpaca, tmp_path) as proxy,
        contextlib.ExitStack() as stack,
    ):
        readers: list[tuple[Case, OrderReader]] = []
        for case in cases(proxy, tmp_path):
            reader = order_reader(f"{case.name} ({case.kind})", case.command, case.environment)
            readers.append((case, stack.enter_context(reader)))
        for _, reader in readers:
            await reader.listening()
        for kind, (key, _) in (("paper", PAPER), ("live", LIVE)):
            await eventually(
                lambda key=key, kind=kind: any(  # type: ignore[misc]
                    c["listening"] for c in page(alpaca, key, kind)["connections"]
                ),
                20,
                f"the proxy listens to {kind}",
            )
        paper = stack.enter_context(trading_program(f"{alpaca.control}/paper", *PAPER))
        live = stack.enter_context(trading_program(f"{alpaca.control}/live", *LIVE))
        await asyncio.gather(trade(paper), trade(live))
        pages = {"paper": page(alpaca, PAPER[0], "paper"), "live": page(alpaca, LIVE[0], "live")}
        for case, reader in readers:
            wanted = len(pages[case.kind]["events"])
            await eventually(
                lambda reader=reader, wanted=wanted: len(reader.updates) >= wanted,  # type: ignore[misc]
                20,
                f"all updates of {reader.name}: {len(reader.updates)} of {wanted}",
            )
        await asyncio.gather(*(reader.end() for case, reader in readers if case.ends))
        pages = {"paper": page(alpaca, PAPER[0], "paper"), "live": page(alpaca, LIVE[0], "live")}

    kinds_seen = {event["event"] for event in pages["paper"]["events"]}
    assert {"new", "fill", "canceled", "replaced", "rejected", "pending_cancel"} <= kinds_seen
    for case, reader in readers:
        # alpaca-py's model keeps no event id.
        has_id = case.name != "alpaca-py"
        events = pages[case.kind]["events"]
        assert [_seen(update, has_id=has_id) for update in reader.updates] == [
            _sent(event, has_id=has_id) for event in events
        ], reader.name
        assert not reader.named("error"), reader.name
    for found in pages.values():
        assert (found["peak_open"], found["opened"]) == (1, 1)
    assert len(readers) >= 12
