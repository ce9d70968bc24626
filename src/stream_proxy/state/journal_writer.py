"""Commits in a thread, in groups: what arrives while the disk is busy shares the next commit.

Jobs run in the order in which they were handed over, and their callbacks are called in that order
too, on the event loop, after the commit. That order is what makes a seam: a read handed over
between two appends sees exactly the first.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from stream_proxy.model.orders import OrderRecord
from stream_proxy.state.journal import Journal, JournalDamaged, JournalError

T = TypeVar("T")

_RETRY_SECONDS = 1.0
_MOST_JOBS = 1000
"""In one commit. A burst of 1,000 events is on disk within a tenth of a second."""


class Writer(Protocol):
    """Where the order side puts its journal work; a simulation has one without a thread."""

    def submit(self, work: Callable[[Journal], T], done: Callable[[T], None]) -> None:
        """Run ``work`` in a transaction, and ``done`` with its result once that is durable."""


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Journal], Any]
    done: Callable[[Any], None]


class JournalWriter:
    """One thread that owns one journal.

    Args:
        open_journal: opens it, or raises `JournalError`; called again after a failure of the
            disk, then with True, so that all is written anew.
        post: puts a call onto the event loop from another thread.
        on_trouble: called with the error when work has to wait for the disk, and with None when
            it goes on. After `JournalDamaged` it never does.
    """

    def __init__(
        self,
        open_journal: Callable[[bool], Journal],
        post: Callable[[Callable[[], None]], object],
        on_trouble: Callable[[JournalError | None], None],
    ) -> None:
        self._open = open_journal
        self._post = post
        self._on_trouble = on_trouble
        self._log = structlog.get_logger("stream_proxy.journal")
        self._condition = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._stopping = False
        self._journal: Journal | None = None
        self._trouble: JournalError | None = None
        self.commits = 0
        self.jobs = 0
        self._thread = threading.Thread(target=self._run, name="order-journal", daemon=True)

    def start(self) -> None:
        """Open the journal, in the caller's thread, and begin.

        Raises:
            JournalError: it can't be used as it is.
        """
        self._journal = self._open(False)
        self._thread.start()

    def stop(self) -> None:
        """Finish what was handed over, as far as the disk lets us, and close."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()
        if self._journal is not None:
            self._journal.close()

    def submit(self, work: Callable[[Journal], T], done: Callable[[T], None]) -> None:
        with self._condition:
            self._jobs.append(_Job(work, done))
            self._condition.notify()

    @property
    def waiting(self) -> int:
        """Jobs that aren't durable yet."""
        return len(self._jobs)

    # The thread

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._jobs and not self._stopping:
                    self._condition.wait()
                if not self._jobs:
                    return
                jobs = [self._jobs[i] for i in range(min(len(self._jobs), _MOST_JOBS))]
            if self._commit(jobs):
                with self._condition:
                    for _ in jobs:
                        self._jobs.popleft()
            elif not self._pause():
                return

    def _pause(self) -> bool:
        """Wait before another try; False when there won't be one."""
        with self._condition:
            if self._stopping or isinstance(self._trouble, JournalDamaged):
                return False
            self._condition.wait_for(lambda: self._stopping, _RETRY_SECONDS)
            return True

    def _commit(self, jobs: list[_Job]) -> bool:
        """Run a group in one transaction; False when the disk didn't take it."""
        try:
            if self._journal is None:
                self._journal = self._open(True)
            journal = self._journal
            results = journal.commit(lambda j: [job.work(j) for job in jobs])
        except JournalError as error:
            self._fail(error)
            return False
        except Exception:
            if len(jobs) > 1:
                # One of them is at fault: alone, each of the others succeeds.
                return all(self._commit([job]) for job in jobs)
            self._log.exception("journal.internal_error")
            return True
        self._note(journal, results)
        self.commits += 1
        self.jobs += len(jobs)
        if self._trouble is not None:
            self._trouble = None
            self._post(lambda: self._on_trouble(None))
        for job, result in zip(jobs, results, strict=True):
            self._post(lambda job=job, result=result: job.done(result))  # type: ignore[misc]
        return True

    def _note(self, journal: Journal, results: list[Any]) -> None:
        written = [
            record
            for result in results
            if isinstance(result, list)
            for record in result
            if isinstance(record, OrderRecord)
        ]
        try:
            journal.note_high_water(written)
        except OSError as error:
            # The commit holds without it; only a later loss would go unnoticed.
            self._log.warning("journal.high_water_failed", reason=str(error))

    def _fail(self, error: JournalError) -> None:
        if self._trouble is None or str(self._trouble) != str(error):
            self._trouble = error
            self._post(lambda: self._on_trouble(error))
        if error.disk_untrusted and self._journal is not None:
            # Nobody knows what of the log is on the disk: it is written anew, from what can be
            # read, before another acknowledgement is given.
            self._journal.close()
            self._journal = None
