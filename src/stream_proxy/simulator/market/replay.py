"""Recorded ticks as a market: rows in the common form become Alpaca's messages."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from stream_proxy.model.messages import Message
from stream_proxy.simulator.market.recording import Batch, Recording
from stream_proxy.simulator.market.rows import (
    InexpressibleRowError,
    RowReader,
    row_reader,
)

# As ``now_ns`` it means: as fast as possible.
FAR_FUTURE_NS = 1 << 62


class ReplayMarket:
    """A recorded file from top to bottom, prices, sizes and timestamps as recorded.

    Each row becomes exactly one message, or is counted in ``skipped`` by reason. Stocks get
    their letters from the vendor's flags as far as the tapes have a letter for them; the tape of
    a symbol is known or guessed to be C; an unknown venue is blank. Trade ids count up from 1 in
    each symbol, so that every row is distinct.

    Args:
        path: a ``.parquet``, ``.csv`` or ``.csv.gz`` file in the common form (``Recording``).
        speed: how many times real speed ``position_ns`` goes; None is as fast as possible.
        again: behind its last row the file begins again, and the trade ids count on.

    Raises:
        ValueError: the kind of file is unknown, or the speed is not positive.
        ImportError: the file is Parquet and the extra ``parquet`` is not installed.
    """

    def __init__(
        self, path: Path | str, speed: float | None = None, *, again: bool = False
    ) -> None:
        if speed is not None and speed <= 0:
            raise ValueError(f"the speed of a replay must be positive, not {speed}")
        self.speed = speed
        self.rows_read = 0
        self.skipped: Counter[str] = Counter()
        recording = Recording(Path(path))
        self._readers: dict[str, RowReader] = {}
        self._unreadable: dict[str, InexpressibleRowError] = {}
        for name in recording.symbols():
            try:
                self._readers[name] = row_reader(name)
            except InexpressibleRowError as reason:
                self._unreadable[name] = reason
        self.symbols: Sequence[str] = tuple(
            dict.fromkeys(reader.symbol for reader in self._readers.values())
        )
        self._batches = self._endless(recording) if again else recording.batches()
        # The batch at hand: messages, and the instant from which each may be taken.
        self._messages: list[Message] = []
        self._gates: list[int] = []
        self._position = 0
        self._latest_ns = 0
        self._load()
        self.start_ns = self.next_ns

    @property
    def next_ns(self) -> int | None:
        """When the next message is due; None if all have been taken."""
        return self._gates[self._position] if self._position < len(self._gates) else None

    def position_ns(self, elapsed_ns: int) -> int:
        """The ``now_ns`` to take up to after this much real time since the start."""
        if self.speed is None or self.start_ns is None:
            return FAR_FUTURE_NS
        return self.start_ns + int(elapsed_ns * self.speed)

    def take(self, count: int, now_ns: int) -> list[Message]:
        """Up to ``count`` messages with timestamps up to ``now_ns``, in the file's order."""
        out: list[Message] = []
        while len(out) < count and self._position < len(self._gates):
            due = bisect_right(self._gates, now_ns, self._position)
            end = min(due, self._position + count - len(out))
            if end == self._position:
                break
            out += self._messages[self._position : end]
            self._position = end
            if end == len(self._gates):
                self._load()
        return out

    def snapshot(self, channel: str, symbol: str) -> list[Message]:
        """Nothing: a replay has only what was recorded."""
        return []

    def _endless(self, recording: Recording) -> Iterator[Batch]:
        """The file again and again, as long as there is something in it that can be told."""
        expressible = -1
        while (told := self.rows_read - self.skipped.total()) > expressible:
            expressible = told
            yield from recording.batches()

    def _load(self) -> None:
        # Until a batch has something to say, or the file ends.
        self._messages, self._gates, self._position = [], [], 0
        while not self._messages and (batch := next(self._batches, None)) is not None:
            self._read(batch)

    def _read(self, batch: Batch) -> None:
        stamps: list[int] = []
        for message_ns, message in self._made(batch):
            stamps.append(message_ns)
            self._messages.append(message)
        self.rows_read += len(batch[0])
        # Should a row go back in time, it is due with the one before: the file's order counts.
        self._gates = list(accumulate(stamps, max, initial=self._latest_ns))[1:]
        self._latest_ns = self._gates[-1] if self._gates else self._latest_ns

    def _made(self, batch: Batch) -> Iterator[tuple[int, Message]]:
        readers = self._readers
        for row in zip(*batch, strict=True):
            ts_ns, name, kind = row[:3]
            try:
                reader = readers.get(name) or self._refuse(name)
                if kind == "q":
                    yield ts_ns, reader.quote(row)
                elif kind == "t":
                    yield ts_ns, reader.trade(row)
                else:
                    raise InexpressibleRowError(f"kind {kind!r}")
            except InexpressibleRowError as reason:
                self.skipped[str(reason)] += 1

    def _refuse(self, name: str) -> RowReader:
        raise self._unreadable[name]
