"""`demo`: the newcomer's first minute, as a process of its own, from start to every kind of end."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.grpc_calls import SERVICE, grpc_client
from harness.ports import free_port
from harness.stubs import stubs
from harness.waiting import eventually

_LONGEST_SECONDS = 40.0
_TESTS = Path(__file__).parents[1]
_CONTRACT = _TESTS / "compat" / "grpc" / "contract"
_NODE = shutil.which("node")
_CALLS: dict[str, dict[str, object]] = {
    "StreamQuotes": {"symbols": ["AAPL", "MSFT"]},
    "StreamTrades": {},
    "StreamBars": {},
    "StreamOptionQuotes": {"symbols": []},
    "StreamOptionTrades": {},
    "StreamOrderUpdates": {},
}


@asynccontextmanager
async def demo(home: Path, *arguments: str) -> AsyncIterator[Process]:
    """A running demo that is gone at the end, whatever happened."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stream_proxy", "demo", *arguments),
        stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=environment, cwd=home,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def read_until(process: Process, text: str) -> str:
    """Everything the demo said up to a line with this text."""
    assert process.stdout is not None
    seen = ""
    async with asyncio.timeout(_LONGEST_SECONDS):
        while text not in seen:
            line = (await process.stdout.readline()).decode()
            assert line, f"the demo ended before it said {text!r}:\n{seen}"
            seen += line
    return seen


async def finish(process: Process) -> tuple[str, str]:
    async with asyncio.timeout(_LONGEST_SECONDS):
        out, err = await process.communicate()
    return out.decode(), err.decode()


def figure(name: str, summary: str) -> int:
    """A number of the summary by its name."""
    found = re.search(rf"^ +{re.escape(name)} +([\d,]+)", summary, re.MULTILINE)
    assert found, f"no {name!r} in:\n{summary}"
    return int(found[1].replace(",", ""))


def children(pid: int) -> list[int]:
    """The process's children: its simulator."""
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its reaper doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


async def test_it_ends_by_itself_with_a_summary_of_what_flowed(tmp_path: Path):
    port = free_port()
    async with demo(tmp_path, "--duration", "4", "--port", str(port)) as process:
        out, err = await finish(process)
    assert process.returncode == 0, err
    assert err == ""
    assert f'url_override="ws://127.0.0.1:{port}/v2/iex"' in out
    assert "upstream: iex connected, crypto-us connected" in out
    summary = out[out.index("Summary of") :]
    consumers = [figure(name, summary) for name in ("trading bot", "dashboard", "crypto book")]
    assert min(consumers) > 0
    assert figure("deliveries out", summary) == sum(consumers)
    assert figure("messages in", summary) >= figure("sent by the simulator", summary) > 0
    assert re.search(r"connections to Alpaca +iex 1, crypto-us 1 ", summary)
    assert figure("gaps", summary) == 0


async def test_orders_are_placed_now_and_then(tmp_path: Path):
    """Each update at the simulator is journalled and read once, over one connection."""
    async with demo(tmp_path, "--duration", "5", "--port", "0") as process:
        out, err = await finish(process)
    assert (process.returncode, err) == (0, "")
    assert re.search(
        r'TradingStream\("any", "any", url_override="ws://127.0.0.1:\d+/stream"\)', out
    )
    assert "orders: paper connected" in out
    summary = out[out.index("Summary of") :]
    updates = figure("orders at the simulator", summary)
    # Orders that rest may be filled while the figures are taken.
    assert figure("order monitor", summary) == figure("order updates in", summary) >= updates > 0
    assert f"{updates:,} updates, 1 connection of the account" in summary
    # The journal of an invented account doesn't stay behind.
    assert not list(tmp_path.rglob("orders.sqlite3*"))


async def test_a_trading_stream_of_ones_own_joins_in(tmp_path: Path):
    """alpaca-py, unmodified, by the address that the demo names."""
    async with demo(tmp_path, "--port", "0") as process:
        said = await read_until(process, "orders: paper connected")
        found = re.search(r'url_override="(ws://[\d.:]+/stream)"', said)
        assert found
        program = Path(__file__).parents[1] / "sdk" / "alpaca_py_trading.py"
        stream = await asyncio.create_subprocess_exec(
            *(sys.executable, str(program), "--url", found[1], "--key", "any", "--secret", "any"),
            stdin=PIPE, stdout=PIPE,
        )  # fmt: skip
        try:
            await read_until(stream, '"event":"update"')
        finally:
            stream.kill()
            await stream.communicate()
        process.send_signal(signal.SIGINT)
        out, err = await finish(process)
    assert (process.returncode, err) == (0, "")
    assert "1 connection of the account" in out


@linux_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_cleanly_and_leaves_nobody_behind(tmp_path: Path, number: int):
    async with demo(tmp_path, "--port", str(free_port())) as process:
        await read_until(process, "upstream: iex connected")
        (simulator,) = children(process.pid)
        process.send_signal(number)
        out, err = await finish(process)
        assert (process.returncode, err) == (0, "")
        assert figure("messages in", out) > 0
        assert not alive(simulator)


@linux_only
async def test_the_simulator_goes_even_if_the_demo_is_killed(tmp_path: Path):
    async with demo(tmp_path, "--port", str(free_port())) as process:
        await read_until(process, "stream.run()")
        (simulator,) = children(process.pid)
        process.kill()
        await eventually(lambda: not alive(simulator), 10, "the simulator has ended")


async def test_a_taken_port_is_said_and_another_one_used(tmp_path: Path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        async with demo(tmp_path, "--port", str(taken), "--duration", "2") as process:
            out, err = await finish(process)
    assert process.returncode == 0, err
    assert out.startswith(f"NOTE: port {taken} is taken")
    found = re.search(r"serves on ws://127.0.0.1:(\d+) instead", out)
    assert found and f"ws://127.0.0.1:{found[1]}/v2/iex" in out


async def test_its_four_lines_run_when_pasted(tmp_path: Path):
    async with demo(tmp_path, "--port", str(free_port())) as process:
        said = await read_until(process, "stream.run()")
        lines = said[said.index("from alpaca") :]
        assert len([line for line in lines.splitlines() if line]) == 4
        # Python's prompt, not a file: what is pasted has to work there, too.
        pasted = await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", "-i", "-q"), stdin=PIPE, stdout=PIPE, stderr=DEVNULL
        )
        assert pasted.stdin is not None
        try:
            pasted.stdin.write(lines.encode())
            await pasted.stdin.drain()
            assert "AAPL" in await read_until(pasted, "symbol='AAPL'")
        finally:
            pasted.kill()
            await pasted.communicate()


async def test_a_consumer_of_ones_own_may_come_and_go(tmp_path: Path):
    port = free_port()
    async with demo(tmp_path, "--port", str(port)) as process:
        await read_until(process, "upstream: iex connected")
        tail = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stream_proxy", "tail", "AAPL", "--json", "--count", "5"),
            *("--url", f"ws://127.0.0.1:{port}"),
            stdout=PIPE, stderr=PIPE, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, cwd=tmp_path,
        )  # fmt: skip
        out, _ = await finish(tail)
        assert (tail.returncode, len(out.splitlines())) == (0, 5)
        process.send_signal(signal.SIGINT)
        out, err = await finish(process)
    assert (process.returncode, err) == (0, "")
    assert re.search(r"connections to Alpaca +iex 1, crypto-us 1 ", out)
    consumers = [figure(name, out) for name in ("trading bot", "dashboard", "crypto book")]
    assert figure("deliveries out", out) >= sum(consumers)


@asynccontextmanager
async def program(*command: str | Path) -> AsyncIterator[Process]:
    """A client in a process of its own, for the length of a block."""
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def grpcurl(*arguments: str) -> str:
    """What grpcurl prints; the contract it knows from server reflection alone."""
    tool = Path(sys.executable).with_name("grpcurl")
    async with program(tool, "-plaintext", *arguments) as process:
        out, err = await finish(process)
    assert process.returncode == 0, err
    return out


def streaming_tools(address: str) -> list[list[str]]:
    """Commands that print quotes until they are ended."""
    asked, method = ["-d", '{"symbols": ["AAPL"]}'], f"{SERVICE}/StreamQuotes"
    grpcurl, buf = (str(Path(sys.executable).with_name(name)) for name in ("grpcurl", "buf"))
    protocol = ["--protocol", "grpc", "--http2-prior-knowledge"]
    return [
        [grpcurl, "-plaintext", *asked, address, method],
        [buf, "curl", *protocol, *asked, f"http://{address}/{method}"],
    ]


@pytest.mark.slow
async def test_it_serves_grpc_to_clients_of_ones_own(tmp_path: Path):
    """grpcurl, ``buf curl``, and clients that know the older contract alone: grpcio, grpc-js."""
    async with demo(tmp_path, "--port", "0") as process:
        said = await read_until(process, "orders: paper connected")
        found = re.search(r"gRPC: ([\d.:]+)", said)
        assert found
        address = found[1]
        assert SERVICE in (await grpcurl(address, "list")).split()
        assert f"{SERVICE}.StreamQuotes" in await grpcurl(address, "list", SERVICE)
        assert "string symbol = 1;" in await grpcurl(address, "describe", "cream.v1.StockQuote")
        for tool in streaming_tools(address):
            async with program(*tool) as streaming:
                await read_until(streaming, '"symbol": "AAPL"')

        older = stubs(_CONTRACT, tmp_path / "stubs")
        async with grpc_client(address) as client:
            underlying = client.stream("StreamOptionQuotes", underlyings=["AAPL"])
            async with underlying:
                await underlying.until(lambda: underlying.items, "option quotes by underlying")
                contract = underlying.items[0].quote.symbol
            for name in ("", SERVICE, "iex", "crypto-us", "paper"):
                assert await client.healthy(name) == "SERVING", name
            status = (await client.ask("GetConnectionStatus")).status
            assert {"iex", "crypto-us", "paper"} <= {feed.name for feed in status.feeds}

        calls = _CALLS | {"StreamOptionQuotes": {"symbols": [contract]}}
        to_all = ("--address", address, "--calls", json.dumps(calls))
        script = _TESTS / "sdk" / "grpc_client.py"
        async with program(sys.executable, script, "--stubs", older, *to_all) as generated:
            await everything_flows(generated, set(calls))
        if _NODE is not None:
            script = _TESTS / "sdk" / "js" / "grpc_client.mjs"
            async with program(_NODE, script, "--contract", _CONTRACT, *to_all) as grpc_js:
                await everything_flows(grpc_js, set(calls))
        else:
            assert not os.environ.get("CI"), "Node is missing: CI must run the JavaScript client"
        process.send_signal(signal.SIGINT)
        out, err = await finish(process)
    assert (process.returncode, err) == (0, "")
    assert re.search(r"connections to Alpaca +iex 1, crypto-us 1", out)


async def everything_flows(client: Process, calls: set[str]) -> None:
    """Wait until each call has begun, and has responses; bars only come once a minute."""
    assert client.stdout is not None
    begun, answered = set[str](), set[str]()
    async with asyncio.timeout(_LONGEST_SECONDS):
        while begun < calls or answered < calls - {"StreamBars"} | {"GetConnectionStatus"}:
            line = json.loads(await client.stdout.readline())
            assert "status" not in line, line
            if "begun" in line:
                begun.add(line["begun"])
            else:
                answered.add(line["method"])
