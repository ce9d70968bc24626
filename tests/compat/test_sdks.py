"""The real SDKs, unmodified, side by side on one proxy.

Each must get exactly its subscription, and Alpaca must see one connection per endpoint. Go and C#
can't run here: what they send and insist on is replayed on a raw connection.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.proxies import ProxyProcess, proxy_process
from harness.simulated import SimulatorProcess, simulator
from stream_proxy.model.time import timestamp_ns
from stream_proxy.wire.alpaca.codec import MSGPACK

ROOT = Path(__file__).parents[2]
SDK = ROOT / "tests" / "sdk"
LEGACY = ROOT / ".venv-legacy" / "bin" / "python"
NODE = shutil.which("node")
WANTED_MESSAGES = 3000
FEED_OF = {"stock": "iex", "option": "indicative", "crypto": "crypto-us", "news": "news"}
TYPE_OF = {
    "trades": "t",
    "quotes": "q",
    "bars": "b",
    "updatedBars": "u",
    "dailyBars": "d",
    "statuses": "s",
    "lulds": "l",
    "imbalances": "i",
    "orderbooks": "o",
    "news": "n",
}
_COMPARED = ("p", "s", "bp", "ap", "bs", "as", "o", "h", "l", "c", "v", "n", "i")
"""Number fields that are compared where the SDK shows them; text and lists it may reshape."""


@dataclass
class Client:
    """One running SDK and what it said."""

    name: str
    stream: str
    topics: dict[str, list[str]]
    process: subprocess.Popen[str]
    events: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    subscribed: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if "T" in message:
                self.messages.append(message)
            else:
                self.events.append(message)
                if message["event"] == "subscribed":
                    self.subscribed.set()
        self.ended.set()

    def wants(self, kind: str, symbol: str) -> bool:
        for channel, symbols in self.topics.items():
            if TYPE_OF[channel] == kind or (channel == "trades" and kind in "cx"):
                return "*" in symbols or symbol in symbols
        return False

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        return Counter((m["T"], m.get("S", "*")) for m in self.messages)


def _python(script: str) -> list[str]:
    return [sys.executable, str(SDK / script)]


def _commands(
    proxy: ProxyProcess, contracts: list[str]
) -> Iterator[tuple[str, str, list[str], Any]]:
    """Name, stream, command and topics of every client."""
    plain, tls = proxy.addresses[0], proxy.addresses[1].replace("wss://", "https://")
    option_topics = {"trades": ["*"], "quotes": contracts[:20]}
    crypto_topics = {"trades": ["*"], "quotes": ["ETH/USD"], "orderbooks": ["BTC/USD"]}
    alpaca_py = [*_python("alpaca_py_client.py"), "--raw"]
    yield (
        "alpaca-py stocks",
        "stock",
        [*alpaca_py, "--url", f"{plain}/v2/iex"],
        {"trades": ["AAPL", "MSFT"], "quotes": ["AAPL"], "bars": ["*"], "statuses": ["*"]},
    )
    yield (
        "alpaca-py options",
        "option",
        [*alpaca_py, "--url", f"{plain}/v1beta1/indicative"],
        option_topics,
    )
    yield (
        "alpaca-py crypto",
        "crypto",
        [*alpaca_py, "--url", f"{plain}/v1beta3/crypto/us"],
        crypto_topics,
    )
    yield "alpaca-py news", "news", [*alpaca_py, "--url", f"{plain}/v1beta1/news"], {"news": ["*"]}
    yield (
        "alpaca-py, its models",
        "stock",
        [*_python("alpaca_py_client.py"), "--url", f"{plain}/v2/iex"],
        {"trades": ["NVDA"], "quotes": ["NVDA", "TSLA"]},
    )
    yield (
        "alpaca-trade-api",
        "stock",
        [str(LEGACY), str(SDK / "legacy_client.py"), "--raw", "--feed", "iex", "--url", plain],
        {"trades": ["*"], "quotes": ["MSFT"]},
    )
    yield (
        "plain JSON",
        "stock",
        [*_python("json_client.py"), "--url", f"{plain}/v2/iex"],
        {"trades": ["*"], "quotes": ["*"]},
    )
    yield (
        "Go stocks",
        "stock",
        [*_python("go_replay.py"), "--url", f"{plain}/iex"],
        {"trades": ["*"], "quotes": ["AMD"]},
    )
    yield (
        "Go options",
        "option",
        [*_python("go_replay.py"), "--url", f"{plain}/indicative"],
        option_topics,
    )
    yield "Go crypto", "crypto", [*_python("go_replay.py"), "--url", f"{plain}/us"], crypto_topics
    yield (
        "C# stocks",
        "stock",
        [*_python("csharp_replay.py"), "--url", f"{plain}/v2/iex"],
        {"trades": ["AAPL"], "quotes": ["*"]},
    )
    yield (
        "C# options",
        "option",
        [*_python("csharp_replay.py"), "--url", f"{plain}/v1beta1/indicative"],
        option_topics,
    )
    if NODE is not None:
        v4 = [NODE, str(SDK / "js" / "v4_client.mjs")]
        v3 = [NODE, str(SDK / "js" / "v3_client.mjs"), "--feed", "iex", "--url", tls]
        yield (
            "JavaScript 4 stocks",
            "stock",
            [*v4, "--url", f"{plain}/v2/iex"],
            {"trades": ["MSFT"], "quotes": ["*"]},
        )
        yield (
            "JavaScript 4 as in its manual",
            "stock",
            [*v4, "--on-connect", "--url", f"{plain}/v2/iex"],
            {"quotes": ["SPY", "QQQ"]},
        )
        yield (
            "JavaScript 4 crypto",
            "crypto",
            [*v4, "--url", f"{plain}/v1beta3/crypto/us"],
            {"trades": ["*"], "quotes": ["*"]},
        )
        yield (
            "JavaScript 4 options",
            "option",
            [*v4, "--url", f"{plain}/v1beta1/indicative"],
            option_topics,
        )
        yield ("JavaScript 3 over TLS", "stock", v3, {"trades": ["*"], "quotes": ["NVDA"]})


@contextlib.contextmanager
def _running(
    proxy: ProxyProcess, certificate: Path, contracts: list[str]
) -> Iterator[list[Client]]:
    environment = os.environ | {"NODE_EXTRA_CA_CERTS": str(certificate)}
    clients = []
    for name, stream, command, topics in _commands(proxy, contracts):
        command += [
            "--stream",
            stream,
            "--key",
            "any",
            "--secret",
            "any",
            "--subscribe",
            json.dumps(topics),
        ]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        client = Client(name, stream, topics, process)
        threading.Thread(target=client.read, daemon=True).start()
        clients.append(client)
    try:
        yield clients
    finally:
        for client in clients:
            client.process.kill()
            client.ended.wait(10)
            with client.process:
                pass  # closes its pipes and waits


def _until(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        threading.Event().wait(0.05)


def _connection(ledger: dict[str, Any], feed: str) -> dict[str, Any]:
    (connection,) = [c for c in ledger["connections"] if c["feed"] == feed]
    return dict(connection)


def _expected(client: Client, connection: dict[str, Any]) -> Counter[tuple[str, str]]:
    """What the ledger says that this client's subscription amounts to."""
    return Counter(
        {
            (kind, symbol): count
            for kind, by_symbol in connection["counts"].items()
            for symbol, count in by_symbol.items()
            if client.wants(kind, symbol)
        }
    )


def _numbers(message: dict[str, Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(float(message[key]) for key in keys)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_sdk_gets_exactly_its_subscription(tmp_path: Path) -> None:
    """Seventeen clients on one proxy: exact counts and values each, one upstream connection each."""
    if NODE is None:
        assert not os.environ.get("CI"), "Node is missing: CI must run the JavaScript SDKs"
        print("\n*** Node is missing: the JavaScript SDKs are left out ***", file=sys.__stdout__)
    with (
        simulator("--hold", "--rate", "300", "--symbols", "30", "--record", "500000") as alpaca,
        proxy_process(alpaca.streams, tmp_path, "--feed", "iex", "--tls-self-signed") as proxy,
    ):
        contracts = alpaca.get("/symbols/indicative")
        with _running(proxy, tmp_path / "self-signed.pem", contracts) as clients:
            for client in clients:
                assert client.subscribed.wait(60), f"{client.name}: {client.events}"
            _let_it_flow(alpaca, clients)
            ledger = alpaca.get("/ledger")
            items = {
                feed: _items(alpaca, _connection(ledger, feed)["number"])
                for feed in FEED_OF.values()
            }
            for client in clients:
                assert client.process.stdin is not None
                client.process.stdin.close()
            for client in clients:
                assert client.ended.wait(30), f"{client.name} doesn't end"
                assert client.process.wait(10) == 0, f"{client.name}: {client.events}"

    assert set(ledger["peak_open"].values()) == {1}
    for client in clients:
        connection = _connection(ledger, FEED_OF[client.stream])
        expected = _expected(client, connection)
        assert client.counts == expected, client.name
        assert sum(expected.values()) > 3, f"{client.name}: too little flowed to mean anything"
        _compare_values(client, items[FEED_OF[client.stream]])


def _let_it_flow(alpaca: SimulatorProcess, clients: list[Client]) -> None:
    """Run the markets for a while, stop them, and wait until everything sent has arrived."""
    alpaca.post("/start")
    _until(
        lambda: (
            _connection(alpaca.get("/ledger"), "iex")["messages"] > WANTED_MESSAGES
            and _connection(alpaca.get("/ledger"), "news")["messages"] > 3
        ),
        60,
        "enough messages",
    )
    alpaca.post("/hold")
    ledger = alpaca.get("/ledger")
    for client in clients:
        expected = _expected(client, _connection(ledger, FEED_OF[client.stream])).total()
        _until(
            lambda client=client, expected=expected: len(client.messages) >= expected,  # type: ignore[misc]
            30,
            f"{client.name} has {len(client.messages)} of {expected} messages",
        )


def _items(alpaca: SimulatorProcess, number: int) -> list[dict[str, Any]]:
    sent = alpaca.get(f"/ledger/{number}/items")
    return [MSGPACK.decode_fields(bytes.fromhex(item)) for item in sent]


def _compare_values(client: Client, sent: list[dict[str, Any]]) -> None:
    """Symbols, prices, sizes and, where the SDK keeps them, nanoseconds: the same multiset."""
    resolution = next((e["t_resolution_ns"] for e in client.events if e.get("t_resolution_ns")), 1)
    for kind in {m["T"] for m in client.messages} - {"n", "o"}:
        mine = [m for m in client.messages if m["T"] == kind]
        keys = tuple(
            key
            for key in _COMPARED
            if all(isinstance(m.get(key), int | float) for m in mine)
            # JavaScript numbers end at 2**53; crypto ids don't.
            and not (key == "i" and client.stream == "crypto")
        )
        got = Counter((m["S"], _numbers(m, keys)) for m in mine)
        theirs = [m for m in sent if m["T"] == kind and client.wants(kind, m["S"])]
        assert got == Counter((m["S"], _numbers(m, keys)) for m in theirs), (client.name, kind)
        if resolution == 1:
            times = Counter((m["S"], m["t"]) for m in mine)
            assert times == Counter((m["S"], timestamp_ns(m["t"])) for m in theirs), client.name
