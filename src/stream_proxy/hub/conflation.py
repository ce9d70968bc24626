"""What waits for a consumer that is behind, and becomes less while it waits.

Messages keep their order, but of some kinds only the newest of each symbol is kept, at the place
of the oldest that it stands for. Any other message of the symbol settles it: a trade never
overtakes the quote before it, and no quote after a trade slips in front of it. Changes to order
books are added up in the same way. With an interval, one quote of a symbol passes in that time.

Pure: times are arguments, kinds are the caller's. ``docs/slow-consumers.md`` explains it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import chain, islice
from typing import NamedTuple, Protocol, TypeAlias

from stream_proxy.hub.flow import Counts, add
from stream_proxy.model.topics import Symbol

OVERHEAD_BYTES = 200
"""What a waiting message costs beside its own bytes; it counts against the bound."""


class Message(NamedTuple):
    """One message in upstream's encoding, with what conflating needs to know of it."""

    kind: str
    symbol: Symbol
    item: bytes
    sequence: int = 0
    received_ns: int = 0


class Ready(NamedTuple):
    """A frame that is finished already and only keeps its place: an answer, a part of the past.

    Attributes:
        messages: how many end with it; ``counts`` are the same by type.
        since_ns: since when it waits.
        first_sequence: no message in it is older than that.
    """

    frame: bytes
    messages: int
    counts: Counts
    since_ns: int
    first_sequence: int = 0


class Changes(Protocol):
    """Messages that only say what has changed, added up to one.

    ``size_bytes`` is about what they take together.
    """

    @property
    def size_bytes(self) -> int: ...

    def add(self, item: bytes) -> bool:
        """Take one more; False, and nothing is changed, if it can't be read."""

    def whole(self) -> bytes:
        """One message that does what all of them do, one after the other."""


OpenChanges: TypeAlias = Callable[[bytes], Changes | None]
"""Begins with one message; None if it can't be read."""


class Rules(NamedTuple):
    """What becomes less, by wire type.

    Attributes:
        newest: of this the newest of a symbol is enough.
        added_up: these are added up.
        left_out: these are not kept at all.
        interval_ns: so much time is between two of ``newest`` of a symbol; 0 for none.
    """

    newest: str
    added_up: Mapping[str, OpenChanges] = {}
    left_out: frozenset[str] = frozenset()
    interval_ns: int = 0


class _Waiting:
    """A message in the line, and since when its place is taken.

    Its size is that of the first there: quotes of one symbol differ by a few bytes.
    """

    __slots__ = ("changes", "first_sequence", "message", "since_ns", "size")

    def __init__(self, message: Message, now_ns: int) -> None:
        self.message = message
        self.since_ns = now_ns
        self.first_sequence = message.sequence
        self.changes: Changes | None = None
        self.size = len(message.item) + OVERHEAD_BYTES


class Portion(NamedTuple):
    """Messages that leave together; the first of them waited since ``since_ns``."""

    messages: list[Message]
    since_ns: int


class Conflation:
    """The line of one consumer.

    Attributes:
        bytes, messages: what waits now.
        merged, left_out: what newer messages stand for, and what was not kept, so far.
        longest_ns: the longest that a place was taken by messages that became one.
        on_held: called with the time when the first message that waits for its interval is due,
            when that is known or becomes earlier.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._line: deque[_Waiting | Ready] = deque()
        kinds = (rules.newest, *rules.added_up)
        self._open: dict[str, dict[Symbol, _Waiting]] = {kind: {} for kind in kinds}
        """Those in the line that may still be replaced."""
        self._held: dict[tuple[str, Symbol], _Waiting] = {}
        """Those that are not yet in the line, since their symbol's interval isn't over."""
        self._due: list[tuple[int, str, Symbol]] = []
        self._free_at: dict[tuple[str, Symbol], int] = {}
        self._last_sequence = 0
        self.bytes = 0
        self.messages = 0
        self.merged = 0
        self.left_out = 0
        self.longest_ns = 0
        self.on_held: Callable[[int], None] = lambda due_ns: None

    def __bool__(self) -> bool:
        """Whether anything can leave now."""
        return bool(self._line)

    @property
    def held(self) -> int:
        """How many wait for their interval alone."""
        return len(self._held)

    @property
    def since_ns(self) -> int | None:
        """Since when the oldest in the line waits."""
        return self._line[0].since_ns if self._line else None

    @property
    def lowest_sequence(self) -> int | None:
        """The oldest message that something waiting stands for; everything before it has left."""
        # Places in the line are taken in order, but by those that had to wait for their interval.
        line = self._line if self._rules.interval_ns else islice(self._line, 1)
        oldest = chain(line, islice(self._held.values(), 1))
        return min((entry.first_sequence for entry in oldest), default=None)

    # In

    def put(self, messages: Sequence[Message], now_ns: int) -> tuple[Counts, Counts]:
        """Take messages; give, by type, what is merged into others now and what is left out."""
        merged: Counts = {}
        left_out: Counts = {}
        newest = self._rules.newest
        in_line = self._open[newest].get
        replaced = 0
        for message in messages:
            kind = message.kind
            if kind == newest and (slot := in_line(message.symbol)) is not None:
                # Nearly all that comes while nothing is taken, so it has to cost little.
                slot.message = message
                replaced += 1
            elif kind in self._rules.left_out:
                left_out[kind] = left_out.get(kind, 0) + 1
            elif kind not in self._open:
                self._settle(message.symbol, now_ns)
                self._append(message, now_ns)
            elif self._merge(message, now_ns):
                merged[kind] = merged.get(kind, 0) + 1
        if replaced:
            merged[newest] = merged.get(newest, 0) + replaced
        if messages:
            self._last_sequence = max(self._last_sequence, messages[-1].sequence)
        self.merged += sum(merged.values())
        self.left_out += sum(left_out.values())
        return merged, left_out

    def place(self, ready: Ready) -> None:
        """Take a finished frame: what came before leaves before, what comes after leaves after."""
        for key in list(self._held):
            self._release(key, ready.since_ns)
        for slots in self._open.values():
            slots.clear()
        self._line.append(ready._replace(first_sequence=self._last_sequence + 1))
        self.bytes += len(ready.frame)
        self.messages += ready.messages

    def _merge(self, message: Message, now_ns: int) -> bool:
        """Take a message of a kind that becomes less; whether another had stood in its place."""
        key = message.kind, message.symbol
        slot = self._held.get(key) or self._open[message.kind].get(message.symbol)
        if slot is not None and self._replace(slot, message):
            return True
        if now_ns < self._free_at.get(key, 0):
            self._hold(key, message, now_ns)
        else:
            self._open[message.kind][message.symbol] = self._append(message, now_ns)
            self._begin_interval(key, now_ns)
        return False

    def _replace(self, slot: _Waiting, message: Message) -> bool:
        opener = self._rules.added_up.get(message.kind)
        if opener is not None:
            changes = slot.changes or opener(slot.message.item)
            if changes is None or not changes.add(message.item):
                return False
            slot.changes = changes
            size = changes.size_bytes + OVERHEAD_BYTES
            self.bytes += size - slot.size
            slot.size = size
        slot.message = message
        return True

    def _append(self, message: Message, now_ns: int) -> _Waiting:
        entry = _Waiting(message, now_ns)
        self._line.append(entry)
        self.bytes += entry.size
        self.messages += 1
        return entry

    def _settle(self, symbol: Symbol, now_ns: int) -> None:
        """Nothing of this symbol that came before may be replaced by what comes from now on."""
        for kind, slots in self._open.items():
            if self._held:
                self._release((kind, symbol), now_ns)
            slots.pop(symbol, None)

    # One in an interval

    def _begin_interval(self, key: tuple[str, Symbol], now_ns: int) -> None:
        if self._rules.interval_ns and key[0] == self._rules.newest:
            self._free_at[key] = now_ns + self._rules.interval_ns

    def _hold(self, key: tuple[str, Symbol], message: Message, now_ns: int) -> None:
        entry = self._held[key] = _Waiting(message, now_ns)
        self.bytes += entry.size
        self.messages += 1
        heappush(self._due, (self._free_at[key], *key))
        if len(self._held) == 1 or self._due[0][1:] == key:
            self.on_held(self._due[0][0])

    def _release(self, key: tuple[str, Symbol], now_ns: int) -> None:
        entry = self._held.pop(key, None)
        if entry is not None:
            self._line.append(entry)
            self._open[key[0]][key[1]] = entry
            self._begin_interval(key, now_ns)

    def release(self, now_ns: int) -> int | None:
        """Let those go whose interval is over; when the next is due, None if none is held."""
        while self._due and self._due[0][0] <= now_ns:
            _, kind, symbol = heappop(self._due)
            free_at_ns = self._free_at[kind, symbol]
            if free_at_ns <= now_ns:
                self._release((kind, symbol), now_ns)
            elif (kind, symbol) in self._held:
                heappush(self._due, (free_at_ns, kind, symbol))
        return self._due[0][0] if self._due else None

    # Out

    def take(self, most_bytes: int, now_ns: int) -> Portion | Ready:
        """What leaves next: one finished frame, or messages of about so many bytes.

        Raises:
            IndexError: nothing is in the line.
        """
        line = self._line
        first = line[0]
        if isinstance(first, Ready):
            line.popleft()
            self.bytes -= len(first.frame)
            self.messages -= first.messages
            return first
        taken: list[Message] = []
        size = 0
        while line and isinstance(entry := line[0], _Waiting):
            size += entry.size
            if taken and size > most_bytes:
                break
            line.popleft()
            taken.append(self._leave(entry, now_ns))
        return Portion(taken, first.since_ns)

    def _leave(self, entry: _Waiting, now_ns: int) -> Message:
        message = entry.message
        if message.sequence != entry.first_sequence:
            self.longest_ns = max(self.longest_ns, now_ns - entry.since_ns)
        self.bytes -= entry.size
        self.messages -= 1
        slots = self._open.get(message.kind)
        if slots is not None:
            if slots.get(message.symbol) is entry:
                del slots[message.symbol]
            self._begin_interval((message.kind, message.symbol), now_ns)
        if entry.changes is not None:
            return message._replace(item=entry.changes.whole())
        return message

    def clear(self) -> Counts:
        """Drop everything that waits; give what that was, by type."""
        counts: Counts = {}
        for entry in (*self._line, *self._held.values()):
            add(counts, entry.counts if isinstance(entry, Ready) else {entry.message.kind: 1})
        self._line.clear()
        self._held.clear()
        self._due.clear()
        for slots in self._open.values():
            slots.clear()
        self.bytes = self.messages = 0
        return counts
