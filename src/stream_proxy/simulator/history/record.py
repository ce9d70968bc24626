"""The recent past of one endpoint, kept as it was sent and read only when somebody asks.

Sending must not become slower for it. So a batch is put away as one array of items as they went
out (about 0.13 µs a message, where making and sending one takes 5 to 6), and split into columns,
one for each type and symbol, when a question comes. Quotes, which are most of what is sent and
rarely asked for, lie on a shelf of their own.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence

from stream_proxy.model import messages
from stream_proxy.model.messages import Message
from stream_proxy.model.time import NS_PER_SECOND, timestamp_ns
from stream_proxy.model.topics import WILDCARD
from stream_proxy.wire.alpaca.codec import MSGPACK, Codec
from stream_proxy.wire.alpaca.exchange_time import time_of_msgpack
from stream_proxy.wire.alpaca.transcode import to_msgpack

QUOTE = "q"
_QUOTES = frozenset({messages.Quote, messages.OptionQuote, messages.CryptoQuote})
_NOT_IN_REST = frozenset({messages.OrderBook, messages.Status, messages.Luld, messages.Imbalance})
_TURN_SECONDS = 0.005
"""Reading up lets the streams go on after so long."""


class Column:
    """Messages of one type and symbol by their own time; those of one instant as they were sent."""

    __slots__ = ("items", "sent_ns", "times_ns")

    def __init__(self) -> None:
        self.times_ns: list[int] = []
        self.sent_ns: list[int] = []
        self.items: list[bytes] = []

    def add(self, time_ns: int, sent_ns: int, item: bytes) -> None:
        at = len(self.times_ns)
        if at and time_ns < self.times_ns[-1]:  # reported late
            at = bisect_right(self.times_ns, time_ns)
        self.times_ns.insert(at, time_ns)
        self.sent_ns.insert(at, sent_ns)
        self.items.insert(at, item)

    def forget(self, until_ns: int) -> None:
        """Drop what was sent until then, but for what was sent out of turn."""
        gone = 0
        while gone < len(self.sent_ns) and self.sent_ns[gone] <= until_ns:
            gone += 1
        if gone:
            del self.times_ns[:gone], self.sent_ns[:gone], self.items[:gone]

    def between(self, from_ns: int, to_ns: int, shown_ns: int) -> Iterator[tuple[int, bytes]]:
        """Times and items of an interval, ends included, as far as sent by ``shown_ns``."""
        times_ns = self.times_ns
        for at in range(bisect_left(times_ns, from_ns), bisect_right(times_ns, to_ns)):
            if self.sent_ns[at] <= shown_ns:
                yield times_ns[at], self.items[at]

    def last(self, shown_ns: int) -> bytes | None:
        """The latest item that was sent by then."""
        for at in range(len(self.items) - 1, -1, -1):
            if self.sent_ns[at] <= shown_ns:
                return self.items[at]
        return None


_EMPTY = Column()


class _Shelf:
    """Batches that were put away, as many as fit, and the columns they become."""

    def __init__(self, keep_ns: int, keep_bytes: int) -> None:
        self._keep_ns = keep_ns
        self._keep_bytes = keep_bytes
        self._sizes: deque[tuple[int, int]] = deque()
        self._unread: deque[tuple[int, Codec, bytes]] = deque()
        self._forgotten_ns = 0
        self.size_bytes = 0
        self.columns: dict[tuple[str, str], Column] = {}

    def put(self, sent_ns: int, items: Sequence[bytes], codec: Codec) -> None:
        """Put a batch away, and throw out what is too old or too much."""
        batch = codec.join(items)
        self._unread.append((sent_ns, codec, batch))
        self._sizes.append((sent_ns, len(batch)))
        self.size_bytes += len(batch)
        oldest_ns = sent_ns - self._keep_ns
        sizes = self._sizes
        while sizes and (sizes[0][0] < oldest_ns or self.size_bytes > self._keep_bytes):
            if len(self._unread) == len(sizes):
                self._unread.popleft()
            self._forgotten_ns, size = sizes.popleft()
            self.size_bytes -= size

    async def read(self) -> None:
        """Bring the columns up to date."""
        loop = asyncio.get_running_loop()
        turn_ends = loop.time() + _TURN_SECONDS
        while self._unread:
            self._read_batch(*self._unread.popleft())
            if loop.time() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = loop.time() + _TURN_SECONDS
        for column in self.columns.values():
            if column.sent_ns and column.sent_ns[0] <= self._forgotten_ns:
                column.forget(self._forgotten_ns)

    def _read_batch(self, sent_ns: int, codec: Codec, batch: bytes) -> None:
        columns = self.columns
        kinds, symbols, items = codec.ticks.split_all([batch])
        for kind, symbol, raw in zip(kinds, symbols, items, strict=True):
            item = bytes(raw) if codec is MSGPACK else to_msgpack(raw)
            if kind == "u":
                kind = "b"  # the later of two bars of a minute counts
            column = columns.get((kind, symbol or WILDCARD))
            if column is None:
                column = columns[kind, symbol or WILDCARD] = Column()
            column.add(_time_of(item), sent_ns, item)


class History:
    """What one endpoint sent, as long as there is room for it.

    Args:
        keep_seconds: what was sent longer ago is forgotten.
        keep_bytes: so is the oldest of more than this. Half of it is for quotes, which would
            leave no room for anything else.
    """

    def __init__(self, keep_seconds: float, keep_bytes: int) -> None:
        keep_ns = int(keep_seconds * NS_PER_SECOND)
        self._quotes = _Shelf(keep_ns, keep_bytes // 2)
        self._others = _Shelf(keep_ns, keep_bytes // 2)

    @property
    def size_bytes(self) -> int:
        """How much is kept, as it was sent."""
        return self._quotes.size_bytes + self._others.size_bytes

    def record(
        self, sent_ns: int, batch: Sequence[Message], items: Sequence[bytes], codec: Codec
    ) -> None:
        """Put messages away, with their items in some codec, index by index."""
        quotes: list[bytes] = []
        others: list[bytes] = []
        for message, item in zip(batch, items, strict=True):
            form = message.__class__
            if form in _QUOTES:
                quotes.append(item)
            elif form not in _NOT_IN_REST:
                others.append(item)
        if quotes:
            self._quotes.put(sent_ns, quotes, codec)
        if others:
            self._others.put(sent_ns, others, codec)

    async def column(self, kind: str, symbol: str) -> Column:
        """The messages of one type and symbol; an empty column if there are none.

        An updated bar stands behind the bar, ``b``, that it replaces. All news are under ``*``.
        """
        shelf = self._quotes if kind == QUOTE else self._others
        await shelf.read()
        return shelf.columns.get((kind, symbol), _EMPTY)


def _time_of(item: bytes) -> int:
    # Whole seconds, as bars have them, are written in a shorter form.
    time_ns = time_of_msgpack(item)
    if time_ns:
        return time_ns
    fields = MSGPACK.decode_fields(item)
    return timestamp_ns(fields.get("t") or fields["updated_at"])
