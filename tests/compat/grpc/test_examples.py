"""The gRPC examples do what they say, with nothing changed but the address."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor

from harness.order_ledger import addresses, buy, happened, settled
from harness.proxies import running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "grpc"
MODULES = ROOT / "tests" / "sdk" / "js" / "node_modules"
BIN = Path(sys.executable).parent
NODE = shutil.which("node")
PATIENCE_SECONDS = 30.0

ALL_STREAMS = """
import * as proxy from "./proxy-client.ts";

const symbols = process.argv.slice(2);

async function first<Item>(name: string, items: AsyncIterable<Item>): Promise<void> {
  for await (const item of items) {
    console.log(JSON.stringify([name, item]));
    break;
  }
}

await first("quote", proxy.streamQuotes([]));
await first("trade", proxy.streamTrades(["AAPL"]));
await first("option quote", proxy.streamOptionQuotes({ symbols }));
await first("option trade", proxy.streamOptionTrades({}));
await first("order update", proxy.streamOrderUpdates({ since: "oldest" }));
await first("nothing", proxy.streamBars([], { signal: AbortSignal.abort() }));
await first("refused", proxy.streamQuotes(["aapl"])).catch((error: unknown) => {
  console.log(JSON.stringify(["refused", (error as Error).message]));
});
proxy.close();
"""
"""Leaves each stream after its first item, and has nothing to wait for in the end."""


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator("--rate", "300", "--symbols", "5", "--slot-seconds", "0") as running:
        yield running


@contextlib.asynccontextmanager
async def proxied(alpaca: SimulatorProcess, **settings: Any) -> AsyncIterator[App]:
    more = addresses(alpaca) | {"orders": "on", "feed": "iex"} | settings
    async with running_app(alpaca.streams, **more) as app:
        await eventually(lambda: app.desk.feeds["paper"].ready, 15, "ready")
        yield app


@dataclass
class Program:
    """A running example and what it printed."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))


@contextlib.contextmanager
def started(command: list[str], app: App, folder: Path) -> Iterator[Program]:
    environment = os.environ | {"STREAM_PROXY": app.grpc_address, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
    ) as process:
        program = Program(process)
        reader = threading.Thread(target=program.read, daemon=True)
        reader.start()
        try:
            yield program
        finally:
            process.kill()
            reader.join(5)


async def done(command: list[str], folder: Path) -> None:
    finished = await asyncio.to_thread(
        subprocess.run, command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The examples and the contract as they lie in the repository, to make things in."""
    shutil.copytree(
        EXAMPLES, tmp_path / "examples" / "grpc", ignore=shutil.ignore_patterns("node_modules")
    )
    (tmp_path / "protos").symlink_to(ROOT / "protos")
    return tmp_path


def commands(beginning: str) -> list[list[str]]:
    """The commands of the page that begin so."""
    page = (EXAMPLES / "README.md").read_text()
    found = [line.strip() for line in page.splitlines() if line.startswith(f"    {beginning}")]
    assert found, beginning
    return [shlex.split(line) for line in found]


async def make_stubs(checkout: Path) -> None:
    (command,) = commands("python -m grpc_tools.protoc")
    await done([sys.executable, *command[1:]], checkout)


async def test_python_quotes(alpaca: SimulatorProcess, checkout: Path) -> None:
    await make_stubs(checkout)
    async with proxied(alpaca) as app:
        with started([sys.executable, "examples/grpc/quotes.py"], app, checkout) as program:
            await eventually(lambda: len(program.lines) > 5, PATIENCE_SECONDS, "quotes")
        for line in program.lines[:5]:
            assert re.fullmatch(r"(AAPL|MSFT) [\d.]+ [\d.]+ 20\d\d-\S+Z", line), line


async def test_python_order_updates_go_on_where_they_were(
    alpaca: SimulatorProcess, checkout: Path
) -> None:
    await make_stubs(checkout)
    state_dir = checkout / "state"
    state_dir.mkdir()
    command = [sys.executable, "examples/grpc/order_updates.py"]

    def sequences(program: Program) -> list[int]:
        return [int(line.partition(":")[0]) for line in program.lines]

    async with proxied(alpaca, state_dir=state_dir) as app:
        with started(command, app, checkout) as first:
            await eventually(lambda: app.grpc.outlet.calls, PATIENCE_SECONDS, "it is there")
            await buy(alpaca)
            await settled(alpaca, 1)
            await eventually(lambda: sequences(first) == [1, 2, 3], PATIENCE_SECONDS, "three")
        await eventually(lambda: not app.grpc.outlet.calls, 10, "it is gone")
        await buy(alpaca)
        await settled(alpaca, 2)
        with started(command, app, checkout) as second:
            await eventually(lambda: sequences(second)[-1:] == [6], PATIENCE_SECONDS, "the rest")
    # Killed before its last acknowledgement was on the disk, it may see that update again.
    assert sequences(second) in ([4, 5, 6], [3, 4, 5, 6])
    assert second.lines[-1] == "6: fill AAPL 1", second.lines
    assert len(happened(alpaca)) == 6


async def test_the_lines_for_a_shell(alpaca: SimulatorProcess, checkout: Path) -> None:
    async with proxied(alpaca) as app:
        listing, *streams = commands("grpcurl") + commands("buf curl")

        def here(command: list[str]) -> list[str]:
            place = [part.replace("localhost:50052", app.grpc_address) for part in command]
            return [str(BIN / place[0]), *place[1:]]

        await done(here(listing), checkout)
        for command in streams:
            with started(here(command), app, checkout) as program:

                def shown(program: Program = program) -> bool:
                    text = "".join(program.lines)
                    return (
                        text.count('"AAPL"') > 2 and re.search("bid_?price", text, re.I) is not None
                    )

                await eventually(shown, PATIENCE_SECONDS, command[0])


@pytest.fixture
def typescript(checkout: Path) -> Path:
    if NODE is None:
        assert not os.environ.get("CI"), "Node is missing: CI must run the TypeScript example"
        pytest.skip("Node is missing")
    folder = checkout / "examples" / "grpc" / "typescript"
    (folder / "node_modules").symlink_to(MODULES)
    return folder


async def test_typescript(alpaca: SimulatorProcess, typescript: Path) -> None:
    """The types hold, the quotes come, and the loop ends when its signal says so."""
    await done(["npm", "run", "--silent", "compile"], typescript)
    assert NODE is not None
    async with proxied(alpaca) as app:
        with started([NODE, "quotes.js"], app, typescript) as program:
            await eventually(lambda: len(program.lines) > 5, PATIENCE_SECONDS, "quotes")
            program.process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(program.process.wait, 10) == 0
            await eventually(lambda: not app.grpc.outlet.calls, 10, "its call has ended")
    for line in program.lines:
        assert re.fullmatch(r"(AAPL|MSFT) [\d.]+ [\d.]+", line), line


async def test_every_stream_of_the_typescript_client(
    alpaca: SimulatorProcess, typescript: Path
) -> None:
    (typescript / "all.ts").write_text(ALL_STREAMS)
    await done(["npm", "run", "--silent", "compile"], typescript)
    assert NODE is not None
    await buy(alpaca)
    contracts = alpaca.get("/symbols/indicative")[:200]
    async with proxied(alpaca) as app:
        await buy(alpaca)
        with started([NODE, "all.js", *contracts], app, typescript) as program:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(program.process.wait, PATIENCE_SECONDS)
            assert program.process.poll() == 0, program.lines
            await eventually(lambda: len(program.lines) == 6, 10, f"all of it: {program.lines}")
        await eventually(lambda: not app.grpc.outlet.calls, 10, "its calls have ended")
    items = dict(json.loads(line) for line in program.lines)
    for name in ("quote", "trade", "option quote", "option trade"):
        assert items[name]["symbol"] and int(items[name]["timestamp"]["seconds"]) > 1_700_000_000
    assert items["trade"]["symbol"] == "AAPL" and items["trade"]["price"] > 0
    assert items["option quote"]["symbol"] in contracts
    assert items["order update"]["order"]["symbol"] == "AAPL"
    assert items["order update"]["event"].startswith("ORDER_EVENT_")
    assert "INVALID_ARGUMENT" in items["refused"] and "'aapl'" in items["refused"]


def test_the_types_are_the_contracts(typescript: Path) -> None:
    """Each interface of the TypeScript client has fields of its message, by their JSON names."""
    source = (typescript / "proxy-client.ts").read_text()
    blocks = dict(re.findall(r"export interface (\w+) \{\n(.*?)\n\}", source, re.S))
    messages: dict[str, Descriptor] = {
        "Quote": pb.StockQuote.DESCRIPTOR,
        "Trade": pb.StockTrade.DESCRIPTOR,
        "Bar": pb.StockBar.DESCRIPTOR,
        "OptionQuote": pb.OptionQuoteUpdate.DESCRIPTOR,
        "OptionTrade": pb.OptionTrade.DESCRIPTOR,
        "Order": pb.OrderDetails.DESCRIPTOR,
        "OrderUpdate": pb.OrderUpdate.DESCRIPTOR,
    }
    for name, message in messages.items():
        fields = dict(re.findall(r"^  (\w+)\??: ([^;]+);", blocks[name], re.M))
        known = {field.camelcase_name: field for field in message.fields}
        assert fields.keys() <= known.keys(), name
        for field_name, kind in fields.items():
            assert kind == type_of(known[field_name]), (name, field_name)


def type_of(field: Any) -> str:
    """What grpc-js gives for a field, as the client asks for it."""
    named = {
        "Timestamp": "Timestamp",
        "OrderDetails": "Order",
    }
    if field.message_type is not None:
        return named[field.message_type.name]
    numbers = (field.CPPTYPE_DOUBLE, field.CPPTYPE_INT32)
    kind = "number" if field.cpp_type in numbers else "string"
    return f"{kind}[]" if field.is_repeated else kind
