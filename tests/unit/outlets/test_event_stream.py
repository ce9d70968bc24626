"""What one client of order events over HTTP is handed, chunk by chunk."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_proxy.feed.order_position import Start
from stream_proxy.feed.orders import Account, Environment, OrderFeed
from stream_proxy.outlets.limits import ConsumerLimits
from stream_proxy.outlets.order_events import EventRange, EventStream
from stream_proxy.runtime.clock import SystemClock
from stream_proxy.state.journal import Journal
from stream_proxy.state.journal_writer import Cancel

FAREWELL = ": the proxy is going down\n\n"


class AtOnce:
    """A writer that does everything before it returns."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.jobs = 0

    def submit(
        self,
        work: Callable[[Journal], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None] | None = None,
        *,
        patient: bool = False,
    ) -> Cancel:
        self.jobs += 1
        done(self._journal.commit(work))
        return lambda: None


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[AtOnce]:
    journal = Journal(tmp_path / "orders.sqlite3", new_epoch=lambda: "epoch-1")
    yield AtOnce(journal)
    journal.close()


@pytest.fixture
def feed(writer: AtOnce) -> OrderFeed:
    made = OrderFeed(Account("paper", Environment.PAPER), writer, SystemClock())
    made.open()
    return made


def receive(feed: OrderFeed, *numbers: int, filler: int = 0) -> None:
    for number in numbers:
        at = f"2026-01-02T03:{number // 60:02}:{number % 60:02}Z"
        order = {"id": f"o{number}", "status": "new", "filled_qty": "0", "submitted_at": at}
        order["filler"] = "z" * filler
        assert feed.receive(json.dumps({"event": "new", "timestamp": at, "order": order}).encode())


async def joined(feed: OrderFeed) -> EventStream:
    limits = ConsumerLimits()
    stream = EventStream(feed, EventRange(), "peer", limits, SystemClock(), lambda: None, "anybody")
    assert await stream.join(Start()) is None
    return stream


async def the_rest(chunks: AsyncIterator[bytes]) -> tuple[list[str], str]:
    """The orders that are told until the end, and the last word."""
    text = b"".join([chunk async for chunk in chunks]).decode()
    lines = text.splitlines()
    told = [json.loads(line[6:])["order"]["id"] for line in lines if line.startswith("data: ")]
    return told, text[-len(FAREWELL) :]


async def test_behind_the_goodbye_only_what_waited_before_it(feed: OrderFeed) -> None:
    stream = await joined(feed)
    chunks = stream.chunks()
    assert (await anext(chunks)).startswith(b": ")
    receive(feed, 1, 2)
    stream.goodbye("the proxy is going down")
    receive(feed, 3)
    assert await the_rest(chunks) == (["o1", "o2"], FAREWELL)


async def test_what_waits_in_the_outbox_goes_out_behind_a_goodbye(
    feed: OrderFeed, writer: AtOnce
) -> None:
    """Also where the client was slow; nothing more is read for it from the journal."""
    stream = await joined(feed)
    chunks = stream.chunks()
    await anext(chunks)
    receive(feed, *range(10), filler=20_000)
    assert stream.outbox.paused and stream.outbox.queued_bytes
    stream.consumer.waiting = True  # as if it were still in the past
    stream.goodbye("the proxy is going down")
    asked = writer.jobs
    receive(feed, 10)
    assert await the_rest(chunks) == ([f"o{number}" for number in range(10)], FAREWELL)
    assert writer.jobs == asked + 1, "the journal is asked for the new event alone"
