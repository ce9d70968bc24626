"""The power goes at every single I/O of a scripted life; what had been promised is there after it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from harness.forgetful_disk import Disk, Operation, journal_on
from stream_proxy.model.orders import OrderEvent, Origin
from stream_proxy.state.journal import Journal

ACCOUNTS = ("paper", "live")
CURSORS = ("bot", "desk")
KEPT = 25
CHECKPOINT_PAGES = 40
CRASHES_AT_EACH = 2
RECOVERIES_CUT = 8
"""Every so many crashes the power goes again while the journal is being opened."""

Snapshot = dict[str, Any]


def opened(disk: Disk) -> Journal:
    return journal_on(disk, checkpoint_pages=CHECKPOINT_PAGES)


def snapshot(journal: Journal) -> Snapshot:
    """All that a journal promises, byte for byte."""
    found: Snapshot = {"commits": journal.commits}
    for account in journal.accounts():
        found[account] = (
            journal.account(account),
            journal.read(account, 0, limit=1 << 30),
            [journal.cursor(account, cursor) for cursor in CURSORS],
            journal.open_orders(account),
        )
    return found


@dataclass
class Life:
    """What was done to a journal: the disk's log, and what held after how many operations."""

    disk: Disk = field(default_factory=Disk)
    held: list[tuple[int, Snapshot]] = field(default_factory=list)

    def commit(self, journal: Journal, work: Any) -> None:
        result = journal.commit(work)
        self.held.append((len(self.disk.log), snapshot(journal)))
        journal.note_high_water(result if isinstance(result, list) else [])


def event(number: int, random: Random) -> OrderEvent:
    """Mostly of the usual size; some longer than a page, which SQLite chains."""
    size = random.choice((60, 300, 900, 1500, 6000))
    data = {"event": "new", "number": number, "filler": "x" * random.randint(0, size)}
    return OrderEvent(
        event=random.choice(("new", "fill", "canceled")),
        order_id=f"order-{number // 3}",
        timestamp_ns=number * 1_000_000_000,
        data=json.dumps(data).encode(),
        event_id=f"E{number:020}",
        execution_id=f"x{number}",
        status="new",
        filled_qty=str(number),
        origin=random.choice(list(Origin)),
    )


def one_commit(life: Life, journal: Journal, number: int, random: Random) -> None:
    account = random.choice(ACCOUNTS)
    match random.choices(("append", "acknowledge", "prune", "reconciled"), (6, 3, 1, 1))[0]:
        case "append":
            events = [event(number * 10 + i, random) for i in range(random.choice((1, 1, 2, 5)))]
            life.commit(journal, lambda j: j.append(account, events, number))
        case "acknowledge":
            cursor, last = random.choice(CURSORS), journal.account(account).last_sequence
            life.commit(journal, lambda j: j.acknowledge(account, cursor, last, number))
        case "prune":
            life.commit(
                journal,
                lambda j: j.prune(account, before_ns=0, keep=KEPT, cursors_seen_since_ns=number),
            )
        case _:
            # Up to the newest event: what is two minutes older may be pruned.
            until_ns = number * 10 * 1_000_000_000
            life.commit(journal, lambda j: j.note_reconciled(account, until_ns))


def lived(seed: int, commits: int) -> Life:
    """A life of some hundred commits, with checkpoints, clean restarts and kills."""
    random, life = Random(seed), Life()
    journal = opened(life.disk)
    life.held.append((0, {"commits": 0}))
    for account in ACCOUNTS:
        life.commit(journal, lambda j, account=account: j.open_account(account, 1))
    for number in range(1, commits):
        one_commit(life, journal, number, random)
        if number % 70 == 15:
            journal.close()
            journal = opened(life.disk)
        elif number % 50 == 10:
            journal.abandon()
            journal = opened(life.disk)
    journal.close()
    return life


def check(disk: Disk, allowed: list[Snapshot], where: str) -> None:
    """Open what the power left: one of the allowed states, sound, and good to go on with."""
    journal = opened(disk)
    found = snapshot(journal)
    assert found in allowed, where
    records = sum(len(found[name][1]) for name in found if name != "commits")
    assert journal.verify() == records, where
    for account in ACCOUNTS:
        journal.commit(lambda j, account=account: j.open_account(account, 1))
        before = journal.account(account).last_sequence
        fresh = OrderEvent("new", "later", 1, b"{}", event_id="later")
        (record,) = journal.commit(lambda j, a=account, e=fresh: j.append(a, [e], 5))
        assert record.sequence == before + 1, where
        journal.note_high_water([record])
    journal.abandon()


def cut_recovery(
    image: dict[str, bytes], log: list[Operation], random: Random
) -> Iterator[dict[str, bytes]]:
    """What is left when the power goes again at some moment of a recovery."""
    disk = Disk(image)
    cut = random.randrange(len(log))
    for operation in log[:cut]:
        disk.apply(operation)
    yield disk.after_power_loss(random, log[cut])


COMMITS = int(os.environ.get("POWER_LOSS_COMMITS", "60"))
"""In the long run; 320 are more than 17,000 points, and a minute."""


@pytest.mark.parametrize(
    ("seed", "commits", "crash_points"),
    [
        pytest.param(1, 20, 500, id="quick"),
        pytest.param(
            2, COMMITS, 30 * COMMITS, id="whole", marks=[pytest.mark.slow, pytest.mark.timeout(600)]
        ),
    ],
)
def test_nothing_promised_is_missing_after_a_power_failure(
    seed: int, commits: int, crash_points: int
) -> None:
    """At every I/O, with several fates of what was not synchronised: all before it or all of it."""
    began = time.process_time()
    life, random = lived(seed, commits), Random(seed)
    disk, promised, crashes = Disk(), 0, 0
    for number, operation in enumerate(life.disk.log):
        while promised + 1 < len(life.held) and life.held[promised + 1][0] <= number:
            promised += 1
        allowed = [state for _, state in life.held[promised : promised + 2]]
        for _ in range(CRASHES_AT_EACH):
            crashes += 1
            where = f"seed {seed}, operation {number} of {len(life.disk.log)}, crash {crashes}"
            image = disk.after_power_loss(random, operation)
            recovered = Disk(image)
            check(recovered, allowed, where)
            if crashes % RECOVERIES_CUT == 0:
                opening = Disk(image)
                opened(opening).abandon()
                for again in cut_recovery(image, opening.log, random) if opening.log else ():
                    crashes += 1
                    check(Disk(again), allowed, where + ", again in recovery")
        disk.apply(operation)
    seconds = time.process_time() - began
    print(
        f"power lost at {crashes:,} points of {len(life.disk.log):,} operations in "
        f"{len(life.held) - 1} commits ({seconds:.0f} s of processor time)"
    )
    assert crashes >= crash_points
