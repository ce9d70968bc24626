"""Real gRPC clients, side by side on one proxy: each must get exactly what Alpaca sent.

grpcio with threads and on asyncio, grpc-js, grpcurl and ``buf curl`` (the last two know the
contract from server reflection alone), and clients of the older contract, which is all that they
have. What they print in the JSON form of protobuf is compared with the simulator's ledger and with
what a WebSocket consumer of order updates got.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import msgspec
import pytest

from harness.order_client import OrderClient
from harness.order_ledger import KEY, addresses, happened
from harness.proxies import ProxyProcess, proxy_process
from harness.simulated import SimulatorProcess, simulator
from harness.stubs import stubs
from harness.waiting import eventually
from stream_proxy.model.time import parse_rfc3339, timestamp_ns, to_timestamp
from stream_proxy.wire.alpaca.codec import MSGPACK

ROOT = Path(__file__).parents[2]
SDK = ROOT / "tests" / "sdk"
CONTRACT = ROOT / "protos"
OLDER_CONTRACT = ROOT / "tests" / "compat" / "grpc" / "contract"
SERVICE = "cream.v1.StreamProxyService"
NODE = shutil.which("node")
BIN = Path(sys.executable).parent

STREAMS = {
    "StreamQuotes": ("iex", "q", "quote"),
    "StreamTrades": ("iex", "t", "trade"),
    "StreamBars": ("iex", "b", "bar"),
    "StreamOptionQuotes": ("indicative", "q", "quote"),
    "StreamOptionTrades": ("indicative", "t", "trade"),
}
"""The feed of each, the type of its items on Alpaca's wire, and what a response calls them."""
NAMES = {
    "StreamQuotes": {
        "S": "symbol", "bx": "bidExchange", "bp": "bidPrice", "bs": "bidSize",
        "ax": "askExchange", "ap": "askPrice", "as": "askSize", "c": "conditions", "z": "tape",
    },
    "StreamTrades": {
        "S": "symbol", "i": "tradeId", "x": "exchange", "p": "price", "s": "size",
        "c": "conditions", "z": "tape",
    },
    "StreamBars": {
        "S": "symbol", "o": "open", "h": "high", "l": "low", "c": "close", "v": "volume",
        "vw": "vwap", "n": "tradeCount",
    },
    "StreamOptionQuotes": {
        "S": "symbol", "bx": "bidExchange", "bp": "bidPrice", "bs": "bidSize",
        "ax": "askExchange", "ap": "askPrice", "as": "askSize", "c": "condition",
    },
    "StreamOptionTrades": {
        "S": "symbol", "p": "price", "s": "size", "x": "exchange", "c": "condition",
    },
}  # fmt: skip
SYMBOLS = ("AAPL", "MSFT")
BARS = [
    {
        "T": "b", "S": symbol, "o": 229.5, "h": 230.25, "l": 229.01, "c": 230.0 + turn,
        "v": 5_000_000_000 + turn, "n": 321, "vw": 229.875,
        "t": to_timestamp(1_795_188_600_000_000_000 + turn * 60_000_000_000),
    }
    for turn, symbol in enumerate(("AAPL", "MSFT", "SPY"))
]  # fmt: skip
"""Sent by order: a minute is too long for a test to wait for its end."""
ENOUGH = {"StreamQuotes": 50, "StreamTrades": 50, "StreamOptionQuotes": 50, "StreamOptionTrades": 5}
ENOUGH_EVENTS = 30


@dataclass
class Client:
    """Processes of one kind of client, and what they printed, by method."""

    name: str
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    begun: set[str] = field(default_factory=set)
    responses: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    ended: list[dict[str, Any]] = field(default_factory=list)

    def take(self, line: dict[str, Any]) -> None:
        if "begun" in line:
            self.begun.add(line["begun"])
        elif "status" in line:
            self.ended.append(line)
        else:
            self.responses[line["method"]].append(line["response"])

    def read_lines(self, output: TextIO) -> None:
        for line in output:
            self.take(json.loads(line))

    def read_objects(self, method: str, output: TextIO) -> None:
        """JSON objects one after the other, laid out for people."""
        depth, text = 0, ""
        for line in output:
            text += line
            depth += line.count("{") - line.count("}")
            if depth == 0 and text.strip():
                self.responses[method].append(json.loads(text, object_hook=camel_case))
                text = ""

    def items(self, method: str, name: str) -> list[dict[str, Any]]:
        return [response[name] for response in list(self.responses[method])]


def camel_case(names: dict[str, Any]) -> dict[str, Any]:
    """Old grpcurl shows names as the contract has them, everybody else as JSON has them."""
    return {re.sub("_(.)", lambda m: m[1].upper(), name): names[name] for name in names}


class Running:
    """Starts clients, and ends them."""

    def __init__(self, stack: contextlib.ExitStack, address: str, calls: dict[str, Any]) -> None:
        self._stack = stack
        self._address = address
        self._calls = calls
        self.clients: list[Client] = []

    def _start(self, client: Client, command: list[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        client.processes.append(process)
        return process

    def program(self, name: str, command: list[str]) -> None:
        """One that makes all calls, on one channel."""
        client = Client(name)
        command += ["--address", self._address, "--calls", json.dumps(self._calls)]
        process = self._start(client, command)
        threading.Thread(target=client.read_lines, args=(process.stdout,), daemon=True).start()
        self.clients.append(client)

    def tool(self, name: str, command: list[str], prefix: str) -> None:
        """One that makes a call a process."""
        client = Client(name)
        for method, request in {**self._calls, "GetConnectionStatus": {}}.items():
            where = [self._address, f"{SERVICE}/{method}"] if not prefix else []
            where = where or [f"{prefix}{self._address}/{SERVICE}/{method}"]
            process = self._start(client, [*command, "-d", json.dumps(request), *where])
            threading.Thread(
                target=client.read_objects, args=(method, process.stdout), daemon=True
            ).start()
        self.clients.append(client)


@contextlib.contextmanager
def running(proxy: ProxyProcess, calls: dict[str, Any], folder: Path) -> Iterator[list[Client]]:
    grpcio = [sys.executable, str(SDK / "grpc_client.py"), "--stubs"]
    ours = stubs(CONTRACT, folder / "stubs")
    with contextlib.ExitStack() as stack:
        all_of_them = Running(stack, proxy.grpc, calls)
        all_of_them.program("grpcio", [*grpcio, ours])
        all_of_them.program("grpcio on asyncio", [*grpcio, ours, "--aio"])
        older = stubs(OLDER_CONTRACT, folder / "older_stubs")
        all_of_them.program("grpcio, older contract", [*grpcio, older])
        if NODE is None:
            assert not os.environ.get("CI"), "Node is missing: CI must run the JavaScript clients"
        else:
            for name, contract in (("", CONTRACT), (", older contract", OLDER_CONTRACT)):
                script = [NODE, str(SDK / "js" / "grpc_client.mjs"), "--contract", str(contract)]
                all_of_them.program(f"grpc-js{name}", script)
        all_of_them.tool("grpcurl", [str(BIN / "grpcurl"), "-plaintext"], "")
        buf = [str(BIN / "buf"), "curl", "--protocol", "grpc", "--http2-prior-knowledge"]
        all_of_them.tool("buf curl", buf, "http://")
        yield all_of_them.clients


def subscribed_calls(proxy: ProxyProcess) -> int:
    with urllib.request.urlopen(proxy.http + "/status", timeout=10) as answer:
        listed = json.load(answer)["consumers"]["listed"]
    return sum(one["protocol"] == "grpc" and one["topics"] > 0 for one in listed)


@pytest.mark.timeout(180)
async def test_every_client_gets_exactly_what_alpaca_sent(tmp_path: Path) -> None:
    market = ("--hold", "--rate", "400", "--symbols", "20", "--record", "100000")
    with simulator(*market) as alpaca:
        orders = {f"STREAM_PROXY_{name.upper()}": url for name, url in addresses(alpaca).items()}
        orders["STREAM_PROXY_ORDERS"] = "on"
        arguments = ("--feed", "iex")
        with proxy_process(alpaca.streams, tmp_path, *arguments, **orders) as proxy:
            contracts = alpaca.get("/symbols/indicative")[:60]
            calls = {
                "StreamQuotes": {"symbols": SYMBOLS},
                "StreamTrades": {},
                "StreamBars": {},
                "StreamOptionQuotes": {"symbols": contracts},
                "StreamOptionTrades": {},
                "StreamOrderUpdates": {},
            }
            with running(proxy, calls, tmp_path) as clients:
                await eventually(
                    lambda: subscribed_calls(proxy) == len(clients) * len(calls),
                    60,
                    "all calls are subscribed",
                )
                async with OrderClient(f"{proxy.addresses[0]}/stream?since=oldest") as socket:
                    await let_it_flow(alpaca)
                    expected = sent(alpaca, set(contracts))
                    events = [event["event_id"] for event in happened(alpaca)]
                    await eventually(lambda: len(socket.updates) >= len(events), 20, "the socket")
                    # Resting orders may still be filled; that is not waited for.
                    updates = socket.updates[: len(events)]
                for client in clients:
                    await arrived(client, expected, len(events))
            ledger = alpaca.get("/ledger")
    for client in clients:
        compare(client, expected, updates)
    assert [update["data"]["event_id"] for update in updates] == events
    assert set(ledger["peak_open"].values()) == {1}


async def let_it_flow(alpaca: SimulatorProcess) -> None:
    """Run the markets and trade, then stop both."""
    await alpaca.order("/start")
    await alpaca.order("/trading/chatter", account=KEY, rate=20)

    def enough() -> bool:
        counts = {c["feed"]: c["counts"] for c in alpaca.get("/ledger")["connections"]}
        return len(happened(alpaca)) >= ENOUGH_EVENTS and all(
            sum(counts[STREAMS[method][0]].get(STREAMS[method][1], {}).values()) >= least
            for method, least in ENOUGH.items()
        )

    await eventually(enough, 60, "enough of everything")
    await alpaca.order("/trading/chatter", account=KEY, rate=0)
    await alpaca.order("/hold")
    await alpaca.order("/frames", feed="iex", payload_hex=msgspec.msgpack.encode(BARS).hex())


def sent(alpaca: SimulatorProcess, contracts: set[str]) -> dict[str, list[dict[str, Any]]]:
    """What each method must have given, in Alpaca's words."""
    feeds = {}
    for connection in alpaca.get("/ledger")["connections"]:
        if connection["feed"] in ("iex", "indicative"):
            items = alpaca.get(f"/ledger/{connection['number']}/items")
            assert connection["feed"] not in feeds, "one connection each"
            feeds[connection["feed"]] = [
                MSGPACK.decode_fields(bytes.fromhex(item)) for item in items
            ]
    feeds["iex"] += BARS
    wanted = {"StreamQuotes": SYMBOLS, "StreamOptionQuotes": contracts}
    return {
        method: [
            item
            for item in feeds[feed]
            if item["T"] == letter and (method not in wanted or item["S"] in wanted[method])
        ]
        for method, (feed, letter, _) in STREAMS.items()
    }


async def arrived(client: Client, expected: dict[str, list[Any]], events: int) -> None:
    await eventually(
        lambda: (
            all(len(client.responses[method]) >= len(items) for method, items in expected.items())
            and len(client.responses["StreamOrderUpdates"]) >= events
            and client.responses["GetConnectionStatus"]
        ),
        20,
        f"{client.name} has everything, but {client.ended}",
    )


def compare(
    client: Client, expected: dict[str, list[dict[str, Any]]], updates: list[dict[str, Any]]
) -> None:
    for method, items in expected.items():
        got = [
            plain(item, NAMES[method].values()) for item in client.items(method, STREAMS[method][2])
        ]
        assert got == [translated(method, item) for item in items], (client.name, method)
        assert len(got) >= 3, f"{client.name}: too little flowed to mean anything"
    orders = client.items("StreamOrderUpdates", "update")[: len(updates)]
    assert [order_of_client(update) for update in orders] == [
        order_of_alpaca(update["data"]) for update in updates
    ], client.name
    (status,) = client.responses["GetConnectionStatus"]
    kinds = {feed["feedType"]: feed["state"] for feed in status["status"]["feeds"]}
    assert kinds["FEED_TYPE_TRADE_UPDATES"] == "CONNECTION_STATE_CONNECTED", client.name
    assert status["status"]["environment"] == "ENVIRONMENT_PAPER"
    assert not client.ended, client.name


def translated(method: str, item: dict[str, Any]) -> dict[str, Any]:
    """An item of Alpaca's by the contract's names."""
    found = {name: item.get(key) for key, name in NAMES[method].items()}
    return {name: value for name, value in found.items() if value} | {
        "timestamp": timestamp_ns(item["t"])
    }


def plain(item: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """An item as a client shows it; 64-bit integers are text in JSON, and zeros are left out."""
    found = {name: item.get(name) for name in names}
    for name in ("tradeId", "volume"):
        if found.get(name):
            found[name] = int(found[name])
    return {name: value for name, value in found.items() if value} | {
        "timestamp": instant_ns(item["timestamp"])
    }


def instant_ns(value: str | dict[str, Any]) -> int:
    """A protobuf timestamp: RFC 3339 in the JSON form, an object in JavaScript's."""
    if isinstance(value, str):
        return parse_rfc3339(value)
    return int(value["seconds"]) * 1_000_000_000 + int(value.get("nanos", 0))


def order_of_alpaca(event: dict[str, Any]) -> dict[str, Any]:
    order = event["order"]
    return {
        "event": f"ORDER_EVENT_{event['event'].upper()}",
        "eventId": event["event_id"],
        "timestamp": parse_rfc3339(event["timestamp"]),
        "price": event.get("price"),
        "qty": event.get("qty"),
        "positionQty": event.get("position_qty"),
        "id": order["id"],
        "symbol": order["symbol"],
        "side": f"ORDER_SIDE_{order['side'].upper()}",
        "orderType": f"ORDER_TYPE_{order['type'].upper()}",
        "status": order["status"],
        "filledQty": order["filled_qty"],
        "limitPrice": order["limit_price"],
        "submittedAt": parse_rfc3339(order["submitted_at"]),
    }


def order_of_client(update: dict[str, Any]) -> dict[str, Any]:
    order = update["order"]
    names = ("id", "symbol", "side", "orderType", "status", "filledQty", "limitPrice")
    return {
        "event": update["event"],
        "eventId": update["eventId"],
        "timestamp": instant_ns(update["timestamp"]),
        "price": update.get("price"),
        "qty": update.get("qty"),
        "positionQty": update.get("positionQty"),
        "submittedAt": instant_ns(order["submittedAt"]),
    } | {name: order.get(name) for name in names}
