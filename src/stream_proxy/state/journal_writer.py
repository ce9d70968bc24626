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
from itertools import islice
from typing import Any, Protocol, TypeVar

import structlog

from stream_proxy.model.orders import OrderRecord
from stream_proxy.state.journal import Journal, JournalDamaged, JournalError

T = TypeVar("T")

Cancel = Callable[[], None]
"""Takes a job back: nobody is told of it, and it holds nobody in memory."""

_MOST_JOBS = 1000
"""In one commit. A burst of 1,000 events is on disk within a tenth of a second."""


class Writer(Protocol):
    """Where the order side puts its journal work; a simulation has one without a thread."""

    def submit(
        self,
        work: Callable[[Journal], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None] | None = None,
        *,
        patient: bool = False,
    ) -> Cancel:
        """Run ``work`` in a transaction, and ``done`` with its result once that is durable.

        ``failed`` is called in place of ``done`` if ``work`` itself raises, which is a mistake in
        the program: it isn't tried again; or if the journal is damaged. What the disk does wrong
        is waited out. A ``patient`` job, such as reading a page of the past, lets others pass:
        there is at most one of them in a transaction, and it is the last.
        """


@dataclass(eq=False, slots=True)
class _Job:
    work: Callable[[Journal], Any]
    done: Callable[[Any], None]
    failed: Callable[[Exception], None] | None
    patient: bool

    def cancel(self) -> None:
        self.work, self.done, self.failed = _nothing, _nothing, None


def _nothing(anything: Any) -> None:
    """What is left of a job that was taken back."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A commit whose end nobody saw: it may be in the log all the same, and found there later.

    Were its jobs simply run again, they would find their events known and hand out nothing.
    """

    number: int
    jobs: list[_Job]
    results: list[Any]


class JournalWriter:
    """One thread that owns one journal.

    Args:
        open_journal: opens it, in the thread, or raises `JournalError`; called again until it
            succeeds, and after a failure of the disk with True, so that all is written anew.
        post: puts a call onto the event loop from another thread.
        on_trouble: called with the error when work has to wait for the disk, and with None when
            it goes on. After `JournalDamaged` it never does.
        retry_seconds: how long to wait between two tries on a disk that fails.
    """

    def __init__(
        self,
        open_journal: Callable[[bool], Journal],
        post: Callable[[Callable[[], None]], object],
        on_trouble: Callable[[JournalError | None], None],
        retry_seconds: float = 1.0,
    ) -> None:
        self._open = open_journal
        self._post = post
        self._on_trouble = on_trouble
        self._retry_seconds = retry_seconds
        self._log = structlog.get_logger("stream_proxy.journal")
        self._condition = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._patient: deque[_Job] = deque()
        self._stopping = False
        self._journal: Journal | None = None
        self._trouble: JournalError | None = None
        self._doubt: _Doubt | None = None
        self._rewrite = False
        self._ended = False
        self._remarks: dict[str, str] = {}
        self.commits = 0
        self.jobs = 0
        self._thread = threading.Thread(target=self._run, name="order-journal", daemon=True)

    def start(self) -> None:
        """Begin; the journal is opened for the first job."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what was handed over, as far as the disk lets us, and close."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()
        if self._journal is not None:
            try:
                self._journal.close()
            except JournalError as error:
                self._remark("journal.not_closed", str(error))

    def submit(
        self,
        work: Callable[[Journal], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None] | None = None,
        *,
        patient: bool = False,
    ) -> Cancel:
        job = _Job(work, done, failed, patient)
        with self._condition:
            if self._ended:
                self._refuse(job)
            else:
                self._queue_of(job).append(job)
                self._condition.notify()
        return job.cancel

    def _queue_of(self, job: _Job) -> deque[_Job]:
        return self._patient if job.patient else self._jobs

    @property
    def waiting(self) -> int:
        """Jobs that aren't durable yet."""
        return len(self._jobs) + len(self._patient)

    # The thread

    def _run(self) -> None:
        while jobs := self._next():
            if not self._commit(jobs) and not self._pause():
                break
        if isinstance(self._trouble, JournalDamaged):
            self._end()

    def _end(self) -> None:
        """Nothing will be written any more: say so to all who wait, and to all who come."""
        with self._condition:
            self._ended = True
            for queue in (self._jobs, self._patient):
                while queue:
                    self._refuse(queue.popleft())

    def _refuse(self, job: _Job) -> None:
        failed, trouble = job.failed, self._trouble
        if failed is not None and trouble is not None:
            self._post(lambda: failed(trouble))

    def _next(self) -> list[_Job]:
        """Wait for jobs, and give them without taking them; none when all is done."""
        with self._condition:
            self._condition.wait_for(lambda: self._jobs or self._patient or self._stopping)
            return [*islice(self._jobs, _MOST_JOBS), *islice(self._patient, 1)]

    def _pause(self) -> bool:
        """Wait before another try; False when there won't be one."""
        with self._condition:
            if self._stopping or isinstance(self._trouble, JournalDamaged):
                return False
            self._condition.wait_for(lambda: self._stopping, self._retry_seconds)
            return True

    def _commit(self, jobs: list[_Job]) -> bool:
        """Run the first jobs in one transaction; False when the disk didn't take it."""
        results: list[Any] | None = None

        def work(journal: Journal) -> None:
            nonlocal results
            results = [job.work(journal) for job in jobs]

        try:
            journal, settled = self._opened()
            if settled:
                return True
            number = journal.commits + 1
            journal.commit(work)
        except JournalError as error:
            if results is not None:
                self._doubt = _Doubt(number, jobs, results)
            self._fail(error)
            return False
        except Exception as mistake:
            if len(jobs) > 1:
                # One of them is at fault: alone, each of the others succeeds.
                return all(self._commit([job]) for job in jobs)
            self._drop(jobs[0], mistake)
            return True
        assert results is not None
        self._finish(journal, jobs, results)
        return True

    def _opened(self) -> tuple[Journal, bool]:
        """The journal, and whether jobs were found in it that were in doubt."""
        if self._journal is not None:
            # While it stays open, what failed isn't in it.
            self._doubt = None
            return self._journal, False
        journal = self._journal = self._open(self._rewrite)
        doubt, self._doubt = self._doubt, None
        if doubt is None or journal.commits != doubt.number:
            return journal, False
        self._finish(journal, doubt.jobs, doubt.results)
        return journal, True

    def _finish(self, journal: Journal, jobs: list[_Job], results: list[Any]) -> None:
        """The first jobs are durable: note it, take them off and tell their results."""
        self._note(journal, results)
        self.commits += 1
        self.jobs += len(results)
        if self._trouble is not None:
            self._trouble = None
            self._post(lambda: self._on_trouble(None))
        for job, result in zip(jobs, results, strict=True):
            self._queue_of(job).popleft()
            self._post(lambda job=job, result=result: job.done(result))  # type: ignore[misc]

    def _drop(self, job: _Job, mistake: Exception) -> None:
        self._log.error("journal.internal_error", exc_info=mistake)
        self._queue_of(job).popleft()
        failed = job.failed
        if failed is not None:
            self._post(lambda: failed(mistake))

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
            self._remark("journal.high_water_failed", str(error))
        else:
            self._remarks.pop("journal.high_water_failed", None)
        if journal.checkpoint_failed is not None:
            self._remark("journal.checkpoint_failed", str(journal.checkpoint_failed))
        else:
            self._remarks.pop("journal.checkpoint_failed", None)

    def _remark(self, event: str, reason: str) -> None:
        """Log what doesn't stop the work, once as long as it lasts."""
        if self._remarks.get(event) != reason:
            self._remarks[event] = reason
            self._log.warning(event, reason=reason)

    def _fail(self, error: JournalError) -> None:
        self._rewrite = self._rewrite or error.disk_untrusted
        if self._trouble is None or str(self._trouble) != str(error):
            self._trouble = error
            self._post(lambda: self._on_trouble(error))
        if self._journal is None:
            return
        if error.disk_untrusted or isinstance(error, JournalDamaged):
            # Nobody knows what of the log is on the disk: it is written anew, from what can be
            # read, before another acknowledgement is given. A damaged one stays as it is.
            self._journal.abandon()
            self._journal = None
