"""A disk that takes nothing more, under a real proxy with real consumers, and then takes it again.

The limit on a process's file sizes (RLIMIT_FSIZE) stands for the disk: it is set and lifted from
outside, and the write calls of the process fail or fall short as they do on a full one.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.order_client import OrderClient
from harness.order_ledger import addresses, buy, happened, page, settled
from harness.proxies import ProxyProcess, proxy_process
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.model.time import parse_rfc3339

NO_LIMIT = resource.RLIM_INFINITY
STOPPED = "no order event is passed on until"


@pytest.fixture
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator() as running:
        yield running


@pytest.fixture
def variables(alpaca: SimulatorProcess) -> dict[str, str]:
    settings = addresses(alpaca) | {"orders": "on"}
    return {f"STREAM_PROXY_{name.upper()}": value for name, value in settings.items()}


def limit_files(proxy: ProxyProcess, most_bytes: int) -> None:
    """From now on no file of the process grows beyond this, nor is written beyond it."""
    resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE, (most_bytes, NO_LIMIT))


def nothing(folder: Path) -> int:
    return 0


def half_a_page_more(folder: Path) -> int:
    """The next write to the log falls short."""
    return (folder / "orders.sqlite3-wal").stat().st_size + 2000


async def readiness(proxy: ProxyProcess) -> tuple[int, dict[str, Any]]:
    async with httpx.AsyncClient(base_url=proxy.http, timeout=10, trust_env=False) as http:
        answer = await http.get("/readyz")
    return answer.status_code, answer.json()


async def ready(proxy: ProxyProcess) -> None:
    async with asyncio.timeout(20):
        while (await readiness(proxy))[0] != 200:
            await asyncio.sleep(0.05)


def complaints(client: OrderClient) -> list[str]:
    """What the client was told in error messages."""
    return [
        message["data"]["error_message"]
        for message in client.controls
        if isinstance(message, dict) and message.get("action") == "error"
    ]


def was_told(client: OrderClient) -> bool:
    return any(STOPPED in text for text in complaints(client))


async def all_was_sent(alpaca: SimulatorProcess, ids: list[str]) -> None:
    """Wait until the simulator has written these events to the proxy's socket."""

    def sent() -> list[str]:
        connections = page(alpaca)["connections"]
        return [event for connection in connections for event in connection["sent"]]

    await eventually(lambda: set(ids) <= set(sent()), 10, "all is on its way to the proxy")


async def has_answered(client: OrderClient) -> None:
    """Wait until the proxy has answered something that was asked now: all before it is here."""
    before = len(client.stream("listening"))
    await client.say(action="listen", data={"streams": ["trade_updates"]})
    await eventually(lambda: len(client.stream("listening")) > before, 10, "an answer")


@pytest.mark.parametrize("limit", [nothing, half_a_page_more])
async def test_a_full_disk(
    alpaca: SimulatorProcess,
    variables: dict[str, str],
    tmp_path: Path,
    limit: Callable[[Path], int],
) -> None:
    """No event, but the reason; then every event, in order and once, and never a lie about it."""
    with proxy_process(alpaca.streams, tmp_path, **variables) as proxy:
        stream = proxy.addresses[0]
        await ready(proxy)
        async with (
            OrderClient(f"{stream}/stream?numbered=1") as client,
            OrderClient(f"{stream}/trade-updates-paper", plain=True) as plain,
        ):
            await eventually(lambda: client.stream("position"))
            await buy(alpaca)
            before = await settled(alpaca, 1)
            await eventually(lambda: client.ids == plain.ids == before)

            limit_files(proxy, limit(tmp_path))
            for _ in range(3):
                await buy(alpaca)
            ids = await settled(alpaca, 4)
            await all_was_sent(alpaca, ids)
            await eventually(lambda: was_told(client) and was_told(plain), 10, "they were told")
            status, report = await readiness(proxy)
            assert status == 503
            check_reason(report, happened(alpaca)[len(before) - 1])
            await has_answered(client)
            assert client.ids == plain.ids == before

            limit_files(proxy, NO_LIMIT)
            await eventually(lambda: client.ids == plain.ids == ids, 10, "all updates")
            assert client.sequences == list(range(1, len(ids) + 1))
            await eventually(
                lambda: client.stream("notice") == [{"message": "order updates flow again"}]
            )
            assert all("flow again" not in text for text in complaints(plain)), "that is no error"
            await ready(proxy)
            await buy(alpaca)
            ids = await settled(alpaca, 5)
            await eventually(lambda: client.ids == plain.ids == ids, 10, "and what comes later")
        proxy.process.kill()
    await has_all_of_it(alpaca, variables, tmp_path)


def check_reason(report: dict[str, Any], last_good: dict[str, Any]) -> None:
    """It says what is wrong, since when, and that all waits for it."""
    journal = report["journal"]
    assert not journal["works"]
    assert STOPPED in journal["why"]
    assert parse_rfc3339(last_good["at"]) < parse_rfc3339(journal["since"]) < time.time_ns()
    assert any(STOPPED in sentence and " since " in sentence for sentence in report["waiting_for"])


async def has_all_of_it(
    alpaca: SimulatorProcess, variables: dict[str, str], state_dir: Path
) -> None:
    """Another process, on what the first has left, tells all that happened, once and in order."""
    with proxy_process(alpaca.streams, state_dir, **variables) as proxy:
        async with OrderClient(f"{proxy.addresses[0]}/stream?since=oldest") as client:
            ids = [event["event_id"] for event in happened(alpaca)]
            await eventually(lambda: client.ids == ids, 20, "all of the record")
            assert client.sequences == list(range(1, len(ids) + 1))


async def test_who_comes_while_the_disk_is_full(
    alpaca: SimulatorProcess, variables: dict[str, str], tmp_path: Path
) -> None:
    """They hear why nothing comes, as those who were there before; then they get all of it."""
    with proxy_process(alpaca.streams, tmp_path, **variables) as proxy:
        stream = proxy.addresses[0]
        await ready(proxy)
        async with OrderClient(f"{stream}/stream?numbered=1") as first:
            await eventually(lambda: first.stream("position"))
            limit_files(proxy, 0)
            await buy(alpaca)
            ids = await settled(alpaca, 1)
            await eventually(lambda: was_told(first), 10, "the disk is full")
            async with (
                OrderClient(f"{stream}/stream?since=oldest") as late,
                OrderClient(f"{stream}/paper", plain=True) as plain,
            ):
                await eventually(lambda: was_told(late) and was_told(plain), 10, "told at once")
                assert late.ids == plain.ids == []
                limit_files(proxy, NO_LIMIT)
                await eventually(lambda: first.ids == late.ids == ids, 10, "all updates")
                await buy(alpaca)
                more = await settled(alpaca, 2)
                await eventually(lambda: first.ids == late.ids == more)
                # A client without a position begins with what happens after it came.
                assert plain.ids == more[len(more) - len(plain.ids) :]
                assert set(more[len(ids) :]) <= set(plain.ids)


async def test_an_end_while_the_disk_is_full(
    alpaca: SimulatorProcess, variables: dict[str, str], tmp_path: Path
) -> None:
    """It stops as always; what it couldn't write is asked for again by the next one."""
    with proxy_process(alpaca.streams, tmp_path, **variables) as proxy:
        await ready(proxy)
        async with OrderClient(f"{proxy.addresses[0]}/stream?numbered=1") as client:
            await eventually(lambda: client.stream("position"))
            limit_files(proxy, 0)
            await buy(alpaca)
            await settled(alpaca, 1)
            await eventually(lambda: was_told(client), 10, "the disk is full")
            proxy.process.terminate()
            await asyncio.to_thread(proxy.process.wait, 15)
            assert proxy.process.returncode == 0, proxy.log
            await eventually(lambda: client.socket.close_code == 1001)
            assert client.ids == []
    assert "Traceback" not in "".join(proxy.log)
    assert [connection["ended"] for connection in page(alpaca)["connections"]] == ["clean"]
    await has_all_of_it(alpaca, variables, tmp_path)
