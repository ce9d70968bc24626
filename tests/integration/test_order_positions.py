"""Places in the record that a WebSocket client may name: times and ids, kept ones and lost ones."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from harness.order_client import OrderClient
from harness.order_ledger import addresses, buy, happened, settled
from harness.proxies import running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.model.time import NS_PER_SECOND, parse_rfc3339, rfc3339
from stream_proxy.state.journal import ASKED_AGAIN_NS, Journal

ORDERS = 3
POSITION_LOST = 4410
KEPT = 4
"""Events that are left after pruning."""


@pytest.fixture
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator() as running:
        yield running


@contextlib.asynccontextmanager
async def proxied(alpaca: SimulatorProcess, state_dir: Path) -> AsyncIterator[App]:
    settings = addresses(alpaca) | {"orders": "on", "state_dir": state_dir}
    async with running_app(alpaca.streams, **settings) as app:
        await eventually(lambda: app.desk.feeds["paper"].ready, 15, "ready")
        yield app


async def bought(app: App, alpaca: SimulatorProcess) -> list[str]:
    """The ids of all events of a few orders, which are journalled."""
    for number in range(ORDERS):
        await buy(alpaca)
        await settled(alpaca, number + 1)
    ids = await settled(alpaca, ORDERS)
    feed = app.desk.feeds["paper"]
    await eventually(lambda: feed.last_sequence == len(ids), 10, "journalled")
    return ids


def client_since(app: App, since: str) -> OrderClient:
    return OrderClient(f"{app.addresses()[0]}/stream?since={quote(since)}")


def in_india(time: str) -> str:
    """The same instant, written with another offset."""
    moment = datetime.fromisoformat(time).astimezone(timezone(timedelta(hours=5, minutes=30)))
    return moment.isoformat()


async def test_times(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """From the first event at or after that instant on, then live, in whatever form it is given."""
    async with proxied(alpaca, tmp_path) as app:
        await bought(app, alpaca)
        events = happened(alpaca)
        for number in range(len(events)):
            time = events[number]["at"]
            just_after = rfc3339(parse_rfc3339(time) + 1)
            ids = [e["event_id"] for e in events]
            here = [e["event_id"] for e in events if e["at"] >= time]
            behind = [e["event_id"] for e in events if e["at"] > time]
            for since, expected in ((time, here), (just_after, behind), (in_india(time), here)):
                async with client_since(app, since) as client:
                    await eventually(lambda c=client: c.stream("position"))
                    await eventually(lambda c=client, e=expected: c.ids == e, 10, since)
                    assert client.stream("position")[0]["sequence"] == len(ids) - len(expected)
        tomorrow = rfc3339(parse_rfc3339(events[-1]["at"]) + 86_400 * NS_PER_SECOND)
        async with client_since(app, tomorrow) as client:
            await eventually(lambda: client.stream("position"))
            await buy(alpaca)
            ids = await settled(alpaca, ORDERS + 1)
            await eventually(lambda: client.ids == ids[len(events) :], 10, "what is live")


async def test_places_that_are_not_kept(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """Closed with 4410 and what is kept instead; those that are kept go on as ever."""
    async with proxied(alpaca, tmp_path) as app:
        ids = await bought(app, alpaca)
        url = app.addresses()[0]
        async with OrderClient(f"{url}/stream?cursor=sleepy&since=0") as sleepy:
            await eventually(lambda: sleepy.ids == ids)
    events = happened(alpaca)
    epoch = forget_all_but(KEPT, tmp_path)
    first = len(ids) - KEPT + 1
    settings = addresses(alpaca) | {"orders": "on", "state_dir": tmp_path}
    # Retention forgets what is old, and this isn't: Alpaca would be asked for it again.
    await alpaca.fault("rest_status", feed="trading", code=503, times=10_000)
    async with running_app(alpaca.streams, **settings) as app:
        await eventually(lambda: app.desk.feeds["paper"].state, 10, "the journal is open")
        gone = [
            ("0", f"events 1 to {first - 1} are not kept any more"),
            (str(first - 2), f"events {first - 1} to {first - 1} are not kept any more"),
            (f"{epoch}:0", "are not kept any more"),
            (ids[0], f"event {ids[0]} isn't in the record"),
            (events[0]["at"], "the record begins at"),
            (str(len(ids) + 1), "ahead of the record"),
            (f"abcdefabcdef:{len(ids)}", "epoch abcdefabcdef is over"),
            ("yesterday", "is no sequence, event id, RFC 3339 time"),
        ]
        for since, reason in gone:
            async with client_since(app, since) as client:
                await refused(client, reason)
                kept = f"Kept are {first} to {len(ids)} of epoch {epoch}"
                assert (kept in told(client)) == (since != "yesterday")
        async with OrderClient(f"{app.addresses()[0]}/stream?cursor=sleepy") as client:
            await refused(client, "cursor sleepy is at 0")
        for since in (str(first - 1), f"{epoch}:{first - 1}", "oldest"):
            async with client_since(app, since) as client:
                await eventually(lambda c=client: c.ids == ids[-KEPT:], 10, since)
                assert client.sequences == list(range(first, len(ids) + 1))


def forget_all_but(events: int, state_dir: Path) -> str:
    """What retention does to a record, with nobody's cursor to spare it; give the epoch."""
    journal = Journal(state_dir / "orders.sqlite3", new_epoch=lambda: "never used")

    def work(journal: Journal) -> Any:
        # As if that were long ago: what is young would be asked for again, and is kept.
        until_ns = journal.account("paper").last_timestamp_ns + ASKED_AGAIN_NS + 1
        journal.note_reconciled("paper", until_ns)
        return journal.prune("paper", before_ns=0, keep=events, cursors_seen_since_ns=1 << 62)

    pruned = journal.commit(work)
    epoch = journal.account("paper").epoch
    journal.close()
    assert pruned.forgotten > 0 and pruned.overtaken == ["sleepy"]
    return epoch


def told(client: OrderClient) -> str:
    (error,) = [m for m in client.controls if isinstance(m, dict) and m.get("action") == "error"]
    return str(error["data"]["error_message"])


async def refused(client: OrderClient, reason: str) -> None:
    """Wait for the end: in full as a message, in short as the close reason, and no event."""
    await eventually(lambda: client.closed is not None, 10, reason)
    assert client.closed is not None and client.closed.rcvd is not None
    assert client.closed.rcvd.code == POSITION_LOST
    assert reason in told(client)
    assert told(client).startswith(client.closed.rcvd.reason)
    assert client.updates == [] and client.stream("position") == []
