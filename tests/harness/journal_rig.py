"""A journal's thread on a disk in memory, and all that it tells, in order."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from harness.forgetful_disk import Disk, journal_on
from stream_proxy.model.orders import OrderEvent, OrderRecord
from stream_proxy.state.journal import Journal, JournalError
from stream_proxy.state.journal_writer import JournalWriter

LONGEST_SECONDS = 20.0


def event(number: int) -> OrderEvent:
    data = {"event": "new", "order": {"id": f"order-{number}"}, "filler": "z" * 500}
    return OrderEvent(
        event="new",
        order_id=f"order-{number}",
        timestamp_ns=number,
        data=json.dumps(data).encode(),
        event_id=f"E{number:020}",
    )


@dataclass
class Rig:
    """A writer on a disk, and all that it told, in order. Callbacks come in its own thread."""

    disk: Disk = field(default_factory=Disk)
    checkpoint_pages: int = 1000
    retry_seconds: float = 0.0
    delivered: list[OrderRecord] = field(default_factory=list)
    troubles: list[JournalError | None] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.writer = JournalWriter(self.open, self.post, self.troubles.append, self.retry_seconds)

    def open(self, rewrite: bool) -> Journal:
        return journal_on(self.disk, rewrite=rewrite, checkpoint_pages=self.checkpoint_pages)

    def post(self, call: Callable[[], None]) -> None:
        with self.changed:
            call()
            self.changed.notify_all()

    def wait(self, condition: Callable[[], object]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, LONGEST_SECONDS), (
                self.troubles,
                len(self.delivered),
            )

    def start(self) -> Rig:
        self.writer.start()
        self.do(lambda j: j.open_account("paper", 1))
        return self

    def do(self, work: Callable[[Journal], Any]) -> Any:
        """Hand a job over and wait for its result."""
        results: list[Any] = []
        self.writer.submit(work, results.append)
        self.wait(lambda: results)
        return results[0]

    def append(self, *numbers: int) -> None:
        events = [event(number) for number in numbers]
        self.writer.submit(lambda j: j.append("paper", events, 7), self.delivered.extend)

    @property
    def sequences(self) -> list[int]:
        return [record.sequence for record in self.delivered]

    def sentences(self) -> list[str]:
        return [str(error) for error in self.troubles if error is not None]


def check_durable(rig: Rig) -> None:
    """What was delivered is there if the power goes now, and with nothing survived by luck."""
    for luck in (0, 1, 2):
        image = rig.disk.after_power_loss(Random(luck))
        journal = journal_on(Disk(image))
        assert journal.read("paper", 0, limit=1 << 30)[: len(rig.delivered)] == bare(rig.delivered)
        assert journal.verify() >= len(rig.delivered)
        journal.abandon()


def bare(records: list[OrderRecord]) -> list[OrderRecord]:
    """As the journal gives records back: what it doesn't keep apart is in ``data``."""
    return [
        OrderRecord(
            r.account,
            r.epoch,
            r.sequence,
            r.received_ns,
            OrderEvent("", r.event.order_id, r.event.timestamp_ns, r.event.data, r.event.event_id),
        )
        for r in records
    ]
