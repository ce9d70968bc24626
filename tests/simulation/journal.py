"""The journal's writer without a thread: the real journal, in virtual time.

Commits come one behind the other, each some milliseconds after it was asked for, with all or some
of what waits; the news of them comes later still. In between, everything else goes on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from simulation.moments import Moments
from stream_proxy.model.orders import OrderRecord
from stream_proxy.state.journal import Journal
from stream_proxy.state.journal_writer import Cancel

T = TypeVar("T")
_Job = tuple[Callable[[Journal], Any], Callable[[Any], None]]

_LONGEST_COMMIT = 0.006


class SimulatedWriter:
    """`Writer`, until it is dead: then nothing it was given happens, and nobody is told."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, journal: Journal, random: Random, moments: Moments
    ) -> None:
        self._loop = loop
        self.journal = journal
        self._random = random
        self._moments = moments
        self._jobs: deque[_Job] = deque()
        self._news: deque[tuple[list[_Job], list[Any]]] = deque()
        self._news_at = 0.0
        self._busy = False
        self.dead = False

    def submit(
        self,
        work: Callable[[Journal], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None] | None = None,
        *,
        patient: bool = False,
    ) -> Cancel:
        # No work may raise here, so nobody's `failed` is ever called.
        if self.dead:
            return lambda: None
        self._jobs.append((work, done))
        if not self._busy:
            self._busy = True
            self._loop.call_later(self._moment(), self._commit)
        return lambda: None

    @property
    def idle(self) -> bool:
        return not (self._busy or self._news)

    def _moment(self) -> float:
        return self._random.uniform(0.0, _LONGEST_COMMIT)

    def _commit(self) -> None:
        self._moments.passes("before a commit")
        if self.dead:
            return
        count = len(self._jobs)
        if self._random.random() < 0.3:
            count = self._random.randint(1, count)
        jobs = [self._jobs.popleft() for _ in range(count)]
        results = self.journal.commit(lambda journal: [work(journal) for work, _ in jobs])
        self.journal.note_high_water(_records(results))
        self._moments.passes("after a commit")
        if self.dead:
            return
        self._news.append((jobs, results))
        self._news_at = max(self._news_at, self._loop.time() + self._moment() / 4)
        self._loop.call_at(self._news_at, self._tell)
        self._busy = bool(self._jobs)
        if self._busy:
            self._loop.call_later(self._moment(), self._commit)

    def _tell(self) -> None:
        if self.dead:
            return
        jobs, results = self._news.popleft()
        for (_, done), result in zip(jobs, results, strict=True):
            if self.dead:
                return
            done(result)
            self._moments.passes("handed out")


def _records(results: list[Any]) -> list[OrderRecord]:
    lists = [result for result in results if isinstance(result, list)]
    return [record for found in lists for record in found if isinstance(record, OrderRecord)]
