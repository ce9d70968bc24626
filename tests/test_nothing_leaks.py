"""Keys and order payloads are in no log at the default level: all that the run wrote is searched.

This file runs last. Debug logs are exempt: see `harness.session_logs`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.order_client import OrderClient
from harness.order_ledger import KEY, addresses, buy, happened, settled
from harness.proxies import QUICK, proxy_process
from harness.session_logs import SESSION, SessionLogs
from harness.simulated import simulator
from harness.waiting import eventually

SECRET = "zq-a-secret-that-was-configured"


@pytest.mark.slow
async def test_nothing_secret_was_written(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """By any proxy of this run, one that certainly passed orders on included."""
    with simulator() as alpaca:
        variables = {f"STREAM_PROXY_{k.upper()}": v for k, v in addresses(alpaca).items()}
        variables |= {"STREAM_PROXY_ORDERS": "on", "STREAM_PROXY_LOG_FORMAT": "json"}
        with proxy_process(alpaca.streams, tmp_path, **variables) as proxy:
            async with OrderClient(f"{proxy.addresses[0]}/stream?since=oldest") as client:
                await eventually(lambda: client.stream("position"))
                await buy(alpaca)
                ids = await settled(alpaca, 1)
                await eventually(lambda: client.ids == ids, 10, "all updates")
        order_id = happened(alpaca)[0]["order_id"]
    assert any("trading.connected" in line for line in proxy.log)
    assert {KEY, str(QUICK["secret"])} <= SESSION.secrets
    # Each says so as soon as it can be reached, so nobody's lines were missed.
    processes = [log for name, log in SESSION.written.items() if name.startswith("proxy process")]
    assert len(processes) == SESSION.processes
    assert all("proxy.listening" in "".join(log) for log in processes)
    assert sum("event=proxy.listening" in line for line in SESSION.own) >= SESSION.apps
    assert SESSION.leaks() == []
    # It would have been seen.
    proxy.log.append(f"order {order_id} was filled")
    assert len(SESSION.leaks()) == 1
    proxy.log.pop()


@pytest.mark.parametrize(
    "line",
    [
        f"2026-01-02 12:00:00 [info     ] trading.connected secret={SECRET}",
        "[warning  ] orders.odd order=61e69015-8549-4bfd-b9c3-01e75843f47d",
        '{"event":"x","level":"info","what":"{\\"order\\":{\\"qty\\":\\"3\\"}}"}',
        "orders.unreadable reason=\"... 'filled_avg_price': '200.1' ...\"",
        "ValueError: limit_price=4243.17",
        f"Traceback: Credentials('oauth', '{SECRET}')",
    ],
)
def test_a_leak_would_be_found(line: str) -> None:
    logs = SessionLogs()
    log = ["proxy.listening"]
    logs.keep_process([SECRET, "any"], log)
    logs.keep_captured("a test", ["proxy.started key=any\ntrading.connected account=paper\n"])
    assert logs.leaks() == []
    log.append(line)
    (found,) = logs.leaks()
    assert found.startswith("proxy process 1: ")
    logs.keep_captured("a test", [f"fine\n{line}\n"])
    assert len(logs.leaks()) == 2
    log[-1] = f"[debug    ] {line}"
    assert len(logs.leaks()) == 1
