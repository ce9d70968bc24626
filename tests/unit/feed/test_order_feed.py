"""An account's middle on a real journal, with each step of the writer taken by hand."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_proxy.feed.order_position import CannotResume, Joined, Start
from stream_proxy.feed.orders import Account, Environment, OrderConsumer, OrderFeed
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.orders import KnownOrder, OrderEvent, OrderRecord, Origin
from stream_proxy.runtime.clock import SystemClock
from stream_proxy.state.journal import READ_LIMIT, Journal
from stream_proxy.state.journal_writer import Cancel
from stream_proxy.wire.alpaca.trade_updates import read_event

Job = tuple[Callable[[Journal], Any], Callable[[Any], None], Callable[[Exception], None] | None]


class HandWriter:
    """`Writer` whose commits and news come when the test says so."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.jobs: deque[Job] = deque()
        self.news: deque[Callable[[], None]] = deque()

    def submit(
        self,
        work: Callable[[Journal], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None] | None = None,
        *,
        patient: bool = False,
    ) -> Cancel:
        self.jobs.append((work, done, failed))
        return lambda: None

    def commit(self) -> None:
        """Run what was handed over; who asked doesn't hear of it yet."""
        while self.jobs:
            work, done, _ = self.jobs.popleft()
            result = self.journal.commit(work)
            self.news.append(lambda done=done, result=result: done(result))  # type: ignore[misc]

    def tell(self) -> None:
        while self.news:
            self.news.popleft()()

    def settle(self) -> None:
        """Go on until nobody asks for anything any more."""
        while self.jobs or self.news:
            self.commit()
            self.tell()

    def fail(self) -> None:
        """The journal can do nothing any more."""
        while self.jobs:
            _, _, failed = self.jobs.popleft()
            if failed is not None:
                failed(OSError("gone"))


def update(number: int) -> bytes:
    at = f"2026-01-02T03:{number // 60 % 60:02}:{number % 60:02}Z"
    order = {"id": f"o{number}", "status": "new", "filled_qty": "0", "submitted_at": at}
    return json.dumps({"event": "new", "timestamp": at, "order": order}).encode()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[HandWriter]:
    journal = Journal(tmp_path / "orders.sqlite3", new_epoch=lambda: "epoch-1")
    yield HandWriter(journal)
    journal.close()


@pytest.fixture
def feed(writer: HandWriter) -> OrderFeed:
    made = OrderFeed(Account("paper", Environment.PAPER), writer, SystemClock())
    made.open()
    writer.settle()
    return made


class Client:
    """One consumer, and all it heard."""

    def __init__(self, feed: OrderFeed) -> None:
        self.feed = feed
        self.got: list[int] = []
        self.answers: list[Joined | CannotResume] = []
        self.lost: list[CannotResume] = []
        self.outbox = Outbox(
            lambda frame: self.got.append(int(frame)), 1 << 20, 1 << 60, lambda: None
        )
        self.consumer = OrderConsumer(
            "test", self.outbox, lambda record: str(record.sequence).encode(), self.lost.append
        )

    def join(self, **start: str) -> Client:
        self.feed.join(self.consumer, Start(**start), self.answers.append)
        return self


def receive(feed: OrderFeed, writer: HandWriter, *numbers: int) -> None:
    for number in numbers:
        assert feed.receive(update(number))
    writer.settle()


def test_what_was_found_waits_with_what_is_held(feed: OrderFeed, writer: HandWriter) -> None:
    """A round that doesn't settle things is repeated; all goes out once, the missed events first."""
    missed = [read_event(update(number), Origin.RECONSTRUCTED) for number in (1, 2)]
    assert feed.hold()
    receive(feed, writer, 3)
    for _ in range(2):
        feed.found(missed, settles=False)
        writer.settle()
    assert feed.last_sequence == 0 and len(feed.held()) == 3
    feed.release()
    writer.settle()
    assert [r.event.order_id for r in writer.journal.read("paper", 0)] == ["o1", "o2", "o3"]
    assert feed.counts.duplicates == 0


def test_ready_is_not_said_after_the_stream_has_gone(feed: OrderFeed, writer: HandWriter) -> None:
    """The stream dies while the journal is writing that all was compared."""
    feed.note_reconciled(7, complete=True)
    writer.commit()
    feed.stream_lost()
    writer.tell()
    assert not feed.ready
    assert feed.reconciled_until_ns == 7
    feed.note_reconciled(8, complete=True)
    writer.settle()
    assert feed.ready


def test_a_new_cursor_is_told_that_it_is_new(feed: OrderFeed, writer: HandWriter) -> None:
    receive(feed, writer, 1, 2, 3)
    first = Client(feed).join(cursor="bot")
    writer.settle()
    again = Client(feed).join(cursor="bot")
    writer.settle()
    assert [a.new for a in (*first.answers, *again.answers) if isinstance(a, Joined)] == [
        True,
        False,
    ]
    assert first.got == again.got == []


@pytest.mark.parametrize(("since", "kept"), [("1", 1), ("now", 3), ("oldest", 0)])
def test_a_new_cursor_begins_where_it_was_put(
    feed: OrderFeed, writer: HandWriter, since: str, kept: int
) -> None:
    receive(feed, writer, 1, 2, 3)
    Client(feed).join(cursor="bot", since=since)
    writer.settle()
    assert writer.journal.cursor("paper", "bot") == kept


def test_since_does_not_move_a_known_cursor(feed: OrderFeed, writer: HandWriter) -> None:
    receive(feed, writer, 1, 2, 3)
    for since in ("1", "now"):
        Client(feed).join(cursor="bot", since=since)
        writer.settle()
    assert writer.journal.cursor("paper", "bot") == 1


def test_a_position_of_another_epoch_is_refused(feed: OrderFeed, writer: HandWriter) -> None:
    receive(feed, writer, 1, 2, 3)
    client = Client(feed).join(since="2", epoch="epoch-0")
    same = Client(feed).join(since="2", epoch="epoch-1")
    writer.settle()
    [refusal] = client.answers
    assert isinstance(refusal, CannotResume)
    assert "epoch epoch-0 is over" in refusal.reason
    assert same.got == [3]


def test_who_reads_the_past_is_told_when_it_is_pruned(feed: OrderFeed, writer: HandWriter) -> None:
    receive(feed, writer, *range(READ_LIMIT * 3))
    client = Client(feed).join(since="oldest")
    writer.commit()  # the first page is read
    writer.journal.commit(
        lambda j: j.prune("paper", before_ns=0, keep=READ_LIMIT, cursors_seen_since_ns=0)
    )
    writer.tell()
    writer.settle()
    assert client.got == list(range(1, READ_LIMIT + 1))
    [lost] = client.lost
    assert f"events {READ_LIMIT + 1} to {READ_LIMIT * 2} are not kept" in lost.reason
    assert client.consumer not in feed.consumers


def test_who_waits_for_a_journal_that_is_gone_is_told(feed: OrderFeed, writer: HandWriter) -> None:
    client = Client(feed).join(since="oldest")
    writer.fail()
    [answer] = client.answers
    assert isinstance(answer, CannotResume)
    assert client.consumer not in feed.consumers


def test_what_cannot_be_read_is_said(feed: OrderFeed) -> None:
    assert not feed.receive(b'{"event": 3}')
    assert feed.counts.unreadable == 1


def stands(writer: HandWriter, order_id: str) -> KnownOrder | None:
    return writer.journal.order("paper", order_id)


def test_an_order_that_has_ended_stays_so(feed: OrderFeed, writer: HandWriter) -> None:
    """Its first event may come last."""

    def event(what: str, status: str, filled: str) -> OrderEvent:
        at = "2026-01-02T03:00:00Z"
        order = {"id": "o1", "status": status, "filled_qty": filled, "submitted_at": at}
        data = {"event": what, "timestamp": at, "order": order}
        return read_event(json.dumps(data).encode(), Origin.STREAM)

    feed.append([event("fill", "filled", "10")])
    feed.append([event("new", "new", "0")])
    writer.settle()
    order = stands(writer, "o1")
    assert order is not None
    assert (order.status, order.filled_qty) == ("filled", "10")
    assert writer.journal.open_orders("paper") == {}
    writer.journal.commit(
        lambda j: j.prune("paper", before_ns=1 << 62, keep=0, cursors_seen_since_ns=0)
    )
    assert stands(writer, "o1") is None


def test_one_consumer_that_fails_harms_no_other(feed: OrderFeed, writer: HandWriter) -> None:
    """Its form can't say an event: it is told so and leaves, and the others miss nothing."""
    healthy, failing = Client(feed).join(since="now"), Client(feed)

    def frame(record: OrderRecord) -> bytes:
        if record.sequence == 2:
            raise OverflowError("an integer above 64 bits")
        return str(record.sequence).encode()

    failing.consumer.frame = frame
    failing.join(since="now")
    behind = Client(feed).join(since="now")
    writer.settle()
    receive(feed, writer, 1, 2, 3)
    assert healthy.got == behind.got == [1, 2, 3]
    assert failing.got == [1]
    assert "event 2" in failing.lost[0].reason
    late = Client(feed)
    late.consumer.frame = frame
    late.join(since="oldest")
    writer.settle()
    assert late.got == [1]
    assert "event 2" in late.lost[0].reason


def test_doubt_withdraws_readiness(feed: OrderFeed, writer: HandWriter) -> None:
    """Also from a comparison that is under way."""
    feed.note_reconciled(7, complete=True)
    writer.settle()
    assert feed.ready
    feed.note_reconciled(8, complete=True)
    feed.doubt()
    assert not feed.ready
    writer.settle()
    assert not feed.ready


def test_now_is_when_it_asked(feed: OrderFeed, writer: HandWriter) -> None:
    """The journal comes to those who join after what it has to write; nothing is missed by that."""
    receive(feed, writer, 1)
    client = Client(feed).join()
    feed.receive(update(2))
    writer.jobs.rotate(1)
    writer.settle()
    receive(feed, writer, 3)
    assert client.got == [2, 3]


def test_who_comes_before_the_record_is_open(writer: HandWriter) -> None:
    """It begins where the record stood when it was opened."""
    feed = OrderFeed(Account("paper", Environment.PAPER), writer, SystemClock())
    early, gone = Client(feed).join(), Client(feed).join()
    feed.leave(gone.consumer)
    feed.open()
    writer.settle()
    receive(feed, writer, 1, 2)
    assert (early.got, gone.got) == ([1, 2], [])
