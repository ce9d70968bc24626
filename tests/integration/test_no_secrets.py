"""No key, secret or order payload in what the processes say, whatever goes wrong with them.

The order side runs at its default log level through gaps, refusals, wrong keys, damaged messages,
a journal in use and an end in the middle of it all. Everything that it printed and answered is
searched afterwards, together with what the simulator was told.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from harness.order_client import OrderClient
from harness.order_ledger import addresses, page
from harness.proxies import ProxyProcess, proxy_process
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually

PAPER = ("PKSECRETPAPERKEY", "zq-secret-of-the-paper-account")
LIVE = ("AKSECRETLIVEKEY", "zq-secret-of-the-live-account")
SWING = ("PKSECRETSWINGKEY", "zq-secret-of-the-swing-account")
TOKEN = ("zq-token-key", "zq-secret-of-the-access-token")
SHOWN_BY_CLIENTS = ("zq-key-shown-by-a-client", "zq-secret-shown-by-a-client")
SECRETS = [*PAPER, *LIVE, *SWING, *TOKEN, *SHOWN_BY_CLIENTS]
CLIENT_ORDER_ID = "zq-client-order-id"
QUANTITY = "7919"
LIMIT_PRICE = "4243.17"
ORDER = {
    "symbol": "NVDA",
    "qty": QUANTITY,
    "side": "buy",
    "type": "limit",
    "limit_price": LIMIT_PRICE,
    "time_in_force": "day",
}
"""Unlikely numbers: they appear nowhere but in this order."""
DAMAGED = json.dumps({"stream": "trade_updates", "data": {"event": 3, "order": ORDER}})


@pytest.fixture
def alpaca() -> Iterator[SimulatorProcess]:
    # Wrong keys must be told from right ones, so the accounts are named.
    accounts = [x for pair in (PAPER, LIVE, SWING) for x in ("--account", ":".join(pair))]
    with simulator("--slot-seconds", "1", *accounts) as running:
        yield running


def variables(alpaca: SimulatorProcess, **more: str) -> dict[str, str]:
    swing = {"key": SWING[0], "secret": SWING[1], "environment": "paper"}
    token = {"name": "bots", "key": TOKEN[0], "secret": TOKEN[1]}
    settings = addresses(alpaca) | {
        "orders": "on",
        "accounts": json.dumps({"swing": swing}),
        "access_tokens": json.dumps([token]),
        "backoff_initial_seconds": "0.05",
        "backoff_max_seconds": "0.3",
        "ping_interval_seconds": "0.5",
        "pong_timeout_seconds": "0.5",
        "order_probe_seconds": "1",
        "reconcile_seconds": "1",
        "consumer_authentication_seconds": "0.5",
    }
    return {
        "ALPACA_KEY": PAPER[0],
        "ALPACA_SECRET": PAPER[1],
        "ALPACA_LIVE_API_KEY": LIVE[0],
        "ALPACA_LIVE_SECRET_KEY": LIVE[1],
        **{f"STREAM_PROXY_{name.upper()}": value for name, value in settings.items()},
        **more,
    }


class TokenClient(OrderClient):
    """An `OrderClient` that shows the access token."""

    async def say(self, **message: Any) -> None:
        if message["action"] == "authenticate":
            message["data"] = dict(zip(("key_id", "secret_key"), TOKEN, strict=True))
        await super().say(**message)


class Collected:
    """Everything that was said to anybody but an authenticated reader of order updates."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, str]] = []

    def add(self, where: str, text: str) -> None:
        self.texts.append((where, text))

    def found(self, pattern: str) -> list[str]:
        return [
            f"{where}: {line[:300]}"
            for where, text in self.texts
            for line in text.splitlines()
            if re.search(pattern, line)
        ]

    @property
    def lines(self) -> int:
        return sum(len(text.splitlines()) for _, text in self.texts)


async def ask(collected: Collected, proxy: ProxyProcess, path: str, **headers: str) -> int:
    """One HTTP answer, kept."""
    async with httpx.AsyncClient(base_url=proxy.http, timeout=10, trust_env=False) as http:
        answer = await http.get(path, headers=headers)
    collected.add(f"GET {path}", f"{answer.headers}\n{answer.text}")
    return answer.status_code


async def bad_clients(collected: Collected, proxy: ProxyProcess) -> None:
    """Clients with foreign keys, damaged messages, hostile headers, wrong positions."""
    stream = proxy.addresses[0] + "/stream"
    login = {"action": "authenticate"} | {
        "data": dict(zip(("key_id", "secret_key"), SHOWN_BY_CLIENTS, strict=True))
    }
    right = {"action": "authenticate"} | {
        "data": dict(zip(("key_id", "secret_key"), TOKEN, strict=True))
    }
    listen = {"action": "listen", "data": {"streams": ["trade_updates"]}}
    conversations: list[tuple[str, list[Any]]] = [
        (stream, [login]),
        (stream, [{"action": "auth", "key": SHOWN_BY_CLIENTS[0], "secret": SHOWN_BY_CLIENTS[1]}]),
        (
            stream,
            [
                {"action": "nonsense", "secret": SHOWN_BY_CLIENTS[1]},
                f'{{"secret":"{SHOWN_BY_CLIENTS[1]}',
            ]
            * 2,
        ),
        (stream, [b"\xff" + SHOWN_BY_CLIENTS[1].encode()]),
        (f"{stream}?since=99999&cursor=x", [right, listen]),
        (f"{stream}?since={SHOWN_BY_CLIENTS[0]}", [login]),
        (proxy.addresses[0] + "/trade-updates-live", [login, login]),
    ]

    async def converse(address: str, messages: list[Any]) -> None:
        with contextlib.suppress(WebSocketException):
            async with connect(address, proxy=None) as socket:
                for message in messages:
                    raw = isinstance(message, str | bytes)
                    await socket.send(message if raw else json.dumps(message))
                # Each ends with the proxy closing it, if only for want of authentication.
                async for payload in socket:
                    said = payload if isinstance(payload, str) else payload.decode()
                    collected.add(f"answer at {address}", said)

    await asyncio.gather(*(converse(*conversation) for conversation in conversations))
    with contextlib.suppress(WebSocketException):
        bearer = {"Authorization": f"Bearer {SHOWN_BY_CLIENTS[1]}"}
        async with connect(stream, proxy=None, additional_headers=bearer) as socket:
            await socket.wait_closed()


async def http_of_all_kinds(collected: Collected, proxy: ProxyProcess) -> None:
    shown = {"APCA-API-KEY-ID": SHOWN_BY_CLIENTS[0], "APCA-API-SECRET-KEY": SHOWN_BY_CLIENTS[1]}
    right = {"APCA-API-KEY-ID": TOKEN[0], "APCA-API-SECRET-KEY": TOKEN[1]}
    events = "/v2/events/trades"
    for path in ("/healthz", "/readyz", "/readyz?account=swing", "/nowhere", "/openapi.json"):
        await ask(collected, proxy, path)
    assert await ask(collected, proxy, events, **shown) == 401
    assert await ask(collected, proxy, f"/nobody{events}", **right) == 404
    assert await ask(collected, proxy, f"{events}?since=x", **right) == 422
    assert await ask(collected, proxy, f"{events}?since_id={'0' * 25}Z", **right) == 410
    assert await ask(collected, proxy, events, Origin="https://evil.example", **right) == 403


async def gaps(alpaca: SimulatorProcess) -> None:
    """Everything that can happen to the trading stream and its REST."""
    for fault in (
        {"kind": "garbage"},
        {"kind": "garbage", "payload_hex": DAMAGED.encode().hex()},
        {"kind": "half_message"},
        {"kind": "duplicate"},
        {"kind": "error"},
        {"kind": "unauthorized"},
        {"kind": "refuse_auth", "times": 2},
        {"kind": "refuse_upgrade", "code": 503, "times": 2},
        {"kind": "rest_status", "code": 500, "times": 3},
        {"kind": "rest_status", "code": 403, "times": 2},
        {"kind": "rest_status", "code": 429, "times": 2},
        {"kind": "no_acks", "times": 1},
        {"kind": "close", "code": 4000},
        {"kind": "fill_in_gap"},
        {"kind": "drop"},
    ):
        await alpaca.order("/faults", feed="trading", **fault)
        await place(alpaca, PAPER[0])


async def place(alpaca: SimulatorProcess, account: str) -> None:
    with contextlib.suppress(OSError):
        # Refused where the account can't pay: of no interest here.
        await alpaca.order("/trading/orders", account=account, order=ORDER | {"qty": 1})


@pytest.mark.timeout(180)
async def test_nothing_secret_is_ever_said(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    collected = Collected()
    named = ORDER | {"qty": 13, "client_order_id": CLIENT_ORDER_ID}
    with proxy_process(alpaca.streams, tmp_path, **variables(alpaca)) as proxy:

        async def ready() -> bool:
            return await ask(collected, proxy, "/readyz") == 200

        async with TokenClient(proxy.addresses[0] + "/stream") as reader:
            await until(ready, "all accounts are ready")
            for key in (PAPER[0], LIVE[0], SWING[0]):
                await alpaca.order("/trading/orders", account=key, order=named)
            await eventually(lambda: CLIENT_ORDER_ID in json.dumps(reader.updates), 10, "updates")
            assert LIMIT_PRICE in json.dumps(reader.updates)
            await bad_clients(collected, proxy)
            await http_of_all_kinds(collected, proxy)
            await gaps(alpaca)
            await until(ready, "ready again")
            # A second proxy finds the journal in use, and says so.
            with proxy_process(alpaca.streams, tmp_path, **variables(alpaca)) as second:
                assert await ask(collected, second, "/readyz") == 503
            collected.add("second proxy", "".join(second.log))
        proxy.process.kill()
    collected.add("proxy", "".join(proxy.log))
    # Keys that Alpaca refuses, in all accounts.
    wrong = {"ALPACA_SECRET": "zq-a-wrong-secret", "ALPACA_LIVE_SECRET_KEY": "zq-a-wrong-secret"}
    with proxy_process(alpaca.streams, tmp_path, **variables(alpaca, **wrong)) as refused:
        await eventually(lambda: "trading.refused" in "".join(refused.log), 15, "it is refused")
        assert await ask(collected, refused, "/readyz") == 503
    collected.add("refused proxy", "".join(refused.log))
    (tmp_path / "orders.sqlite3").write_bytes(b"x" * 8192)
    with proxy_process(alpaca.streams, tmp_path, **variables(alpaca)) as damaged:
        assert await ask(collected, damaged, "/readyz") == 503
    collected.add("proxy with a damaged journal", "".join(damaged.log))

    assert page(alpaca, PAPER[0])["peak_open"] == 1
    assert collected.found("trading.connected") and collected.found("trading.interrupted")
    assert collected.lines > 60, "too little was said to mean anything"
    for secret in (*SECRETS, "zq-"):
        assert not collected.found(re.escape(secret)), secret
    for payload in (CLIENT_ORDER_ID, LIMIT_PRICE, "client_order_id", "limit_price", "filled_qty"):
        assert not collected.found(re.escape(payload)), payload
    assert not collected.found(r"\bNVDA\b")
    # Nor did the log's mask have to hide anything: it is the last line of defence.
    assert not collected.found(r"\*\*\*")
    assert not collected.found("Traceback"), collected.found("Traceback")


async def until(condition: Any, what: str, seconds: float = 30) -> None:
    """`eventually`, for a condition that has to be asked for."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)
