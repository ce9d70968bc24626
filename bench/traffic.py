"""What is sent and who wants it: the same in every process that works on a case.

All processes of a run build the traffic from the same case, so each knows on its own what to send
or what must arrive. It is a cycle of messages that the load repeats as often as a round needs.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import msgspec

from stream_proxy.model.messages import Quote
from stream_proxy.model.time import to_timestamp
from stream_proxy.simulator.market.recording import Recording
from stream_proxy.simulator.market.rows import row_reader
from stream_proxy.wire.alpaca.codec import CODECS
from stream_proxy.wire.websocket import frame

EVERYTHING = "*"
_CYCLE_MESSAGES = 20_000
_RECORDED_FROM = 100_000
_RECORDED_MESSAGES = 200_000
"""Of the recorded day: some minutes after the opening, the busiest part."""
_FIRST_NS = 1_712_345_678_123_456_789


class Crowd(msgspec.Struct, frozen=True):
    """Like consumers: how many, how many symbols each (0: everything), which codec."""

    consumers: int
    symbols_each: int = 0
    codec: str = "msgpack"


class Case(msgspec.Struct, frozen=True):
    """One line of a table: what comes from upstream, and who listens."""

    name: str
    crowds: tuple[Crowd, ...]
    upstream: str = "msgpack"
    per_frame: int = 20
    symbols: int = 500
    recording: str = ""

    def codecs(self) -> list[str]:
        return sorted({crowd.codec for crowd in self.crowds})


def case_from(text: str) -> Case:
    """Read a case from the command line of a process."""
    return msgspec.json.decode(text, type=Case)


def case_text(case: Case) -> str:
    return msgspec.json.encode(case).decode()


class Wish(msgspec.Struct, frozen=True):
    """What one consumer subscribes to."""

    symbols: tuple[str, ...]
    codec: str


class Tally:
    """Sums a number over those of the first messages that somebody wants."""

    def __init__(self, symbols: Sequence[str], measures: Iterable[int]) -> None:
        self._length = len(symbols)
        self._positions: dict[str, list[int]] = {}
        self._sums: dict[str, list[int]] = {}
        for position, (symbol, measure) in enumerate(zip(symbols, measures, strict=True)):
            for key in (symbol, EVERYTHING):
                self._positions.setdefault(key, []).append(position)
                sums = self._sums.setdefault(key, [0])
                sums.append(sums[-1] + measure)

    def of(self, wanted: Iterable[str], messages: int) -> int:
        cycles, rest = divmod(messages, self._length)
        total = 0
        for symbol in wanted:
            if sums := self._sums.get(symbol):
                total += cycles * sums[-1] + sums[bisect_left(self._positions[symbol], rest)]
        return total


class Stream:
    """Bytes for a socket: a cycle of equal numbers of messages, each ending where ``ends`` says."""

    def __init__(self, pieces: Sequence[bytes], messages_each: int) -> None:
        self.cycle = memoryview(b"".join(pieces))
        self._messages_each = messages_each
        self._ends = [0, *itertools.accumulate(map(len, pieces))]

    def length(self, messages: int) -> int:
        """Bytes of so many messages from the start of a cycle."""
        cycles, rest = divmod(messages // self._messages_each, len(self._ends) - 1)
        return cycles * len(self.cycle) + self._ends[rest]

    def messages_between(self, start: int, end: int) -> int:
        """How many messages there are from one end of a piece to another."""
        pieces = bisect_left(self._ends, end) - bisect_left(self._ends, start)
        return pieces * self._messages_each

    def end_of_chunk(self, start: int, most: int) -> int:
        """Where a chunk from ``start`` ends that cuts no piece: a pong may be written behind it."""
        fitting = bisect_right(self._ends, start + most) - 1
        return max(self._ends[fitting], self._ends[bisect_right(self._ends, start)])


class Traffic:
    """The messages of a case, encoded."""

    def __init__(self, case: Case) -> None:
        self.case = case
        messages = _recorded(Path(case.recording)) if case.recording else _quotes(case.symbols)
        messages = messages[: len(messages) // case.per_frame * case.per_frame]
        self.symbols: list[str] = [message.symbol for message in messages]
        self.names: list[str] = sorted(set(self.symbols))
        self.items: dict[str, list[bytes]] = {
            codec: [CODECS[codec].encode(message) for message in messages]
            for codec in {case.upstream, *case.codecs()}
        }

    def __len__(self) -> int:
        return len(self.symbols)

    def wishes(self) -> list[Wish]:
        """One per consumer. No two draw the same symbols, so none profits from another's frames."""
        wishes = []
        for crowd in self.case.crowds:
            draw = Random(f"{crowd.codec}{crowd.symbols_each}")
            for _ in range(crowd.consumers):
                symbols = draw.sample(self.names, crowd.symbols_each) or [EVERYTHING]
                wishes.append(Wish(tuple(symbols), crowd.codec))
        return wishes

    def tally(self, measures: Iterable[int]) -> Tally:
        return Tally(self.symbols, measures)

    def checksums(self, codec: str) -> Tally:
        """The sum of the items' CRCs: the same in any order and any framing."""
        return self.tally(map(crc32, self.items[codec]))

    def frames(self) -> Stream:
        """As Alpaca's server sends them."""
        codec, each = CODECS[self.case.upstream], self.case.per_frame
        items = self.items[self.case.upstream]
        return Stream(
            [
                frame(codec.join(items[start : start + each]), codec.binary)
                for start in range(0, len(items), each)
            ],
            each,
        )

    def publications(self) -> Stream:
        """As a bridge publishes them to NATS: one by one, once in each codec that is wanted."""
        codecs = self.case.codecs()
        pieces = [
            b"".join(
                b"PUB %s %d\r\n%s\r\n" % (self.subject(symbol, codec).encode(), len(item), item)
                for codec, item in zip(codecs, versions, strict=True)
            )
            for symbol, *versions in zip(
                self.symbols, *(self.items[codec] for codec in codecs), strict=True
            )
        ]
        return Stream(pieces, 1)

    def subject(self, symbol: str, codec: str) -> str:
        """The NATS subject of a symbol; the codec is part of it only where there are two."""
        name = ">" if symbol == EVERYTHING else symbol
        return name if len(self.case.codecs()) == 1 else f"{codec}.{name}"


def tickers(count: int) -> list[str]:
    """Made-up stock symbols, nearly all of four letters as on the real tape."""
    letters = "AETSNRILCM"
    names = (
        "".join(name) for size in (4, 3, 5) for name in itertools.product(letters, repeat=size)
    )
    return list(itertools.islice(names, count))


def _quotes(symbols: int) -> list[Any]:
    """Quotes of all symbols, in laps that each name every symbol once."""
    random = Random(7)
    names = tickers(symbols)
    prices = {name: random.uniform(5, 500) for name in names}
    made: list[Any] = []
    instant = _FIRST_NS
    for _ in range(max(1, _CYCLE_MESSAGES // symbols)):
        random.shuffle(names)
        for name in names:
            instant += random.randint(1_000, 40_000)
            bid = round(prices[name] * random.uniform(0.995, 1.005), 2)
            made.append(
                Quote(
                    name,
                    random.choice("KQPZVUN"),
                    bid,
                    random.randint(1, 30),
                    random.choice("KQPZVUN"),
                    round(bid + random.randint(1, 12) / 100, 2),
                    random.randint(1, 30),
                    ["R"],
                    "C",
                    to_timestamp(instant),
                )
            )
    return made


def _recorded(path: Path) -> list[Any]:
    """Trades and quotes of a recorded day."""
    readers: dict[str, Any] = {}
    made: list[Any] = []
    rows = itertools.chain.from_iterable(
        zip(*columns, strict=True) for columns in Recording(path).batches()
    )
    for row in itertools.islice(rows, _RECORDED_FROM, _RECORDED_FROM + _RECORDED_MESSAGES):
        symbol, kind = row[1], row[2]
        reader = readers.get(symbol) or readers.setdefault(symbol, row_reader(symbol))
        made.append(reader.trade(row) if kind == "t" else reader.quote(row))
    return made
