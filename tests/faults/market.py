"""What happened on the exchange: one ledger, in which every message has a hidden identity.

The identity travels in ``i``, a key that trades have and that other messages carry as one that the
proxy doesn't know: whatever comes out at the far end can be held against the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from simulation.virtual_time import START_NS
from stream_proxy.wire.alpaca.codec import Codec

CHANNELS = {"t": "trades", "q": "quotes", "b": "bars", "s": "statuses"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WAY_SECONDS = 0.05
"""How long a message travels that was never sent, at most."""


@dataclass(slots=True)
class Tick:
    """One message of the exchange.

    ``born`` and ``due`` are loop times: when it happened, and when it arrives at the proxy, or
    would have.
    """

    serial: int
    kind: str
    symbol: str
    born: float
    due: float

    @property
    def channel(self) -> str:
        return CHANNELS[self.kind]


def at_ns(tick: Tick) -> int:
    """The time that a message bears: a bar's is the beginning of the minute that ended last."""
    if tick.kind == "b":
        return START_NS + (round(tick.born) // 60 - 1) * 60_000_000_000
    return START_NS + round(tick.born * 1e6) * 1000


class Market:
    """Trades, quotes, statuses at random times, bars every minute; nobody's doing changes them.

    Args:
        rate: messages per second, on average.
        tell: gets what happens at one instant.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        random: Random,
        codec: Codec,
        symbols: list[str],
        rate: float,
        tell: Callable[[list[Tick]], None],
    ) -> None:
        self._loop = loop
        self._random = random
        self._codec = codec
        self._tell = tell
        self.symbols = symbols
        self.rate = rate
        self.ticks: list[Tick] = []

    async def run(self) -> None:
        """Go on for ever."""
        random = self._random
        minute = 1
        while True:
            pause = random.expovariate(self.rate / 2.0)
            if self._loop.time() + pause > minute * 60.0:
                await asyncio.sleep(minute * 60.0 - self._loop.time())
                stood_still = self._loop.time() - minute * 60.0 > _WAY_SECONDS
                minute = int((self._loop.time() + _WAY_SECONDS) // 60.0) + 1
                if not stood_still:
                    self._tell([self.make("b", symbol) for symbol in self.symbols])
                continue
            await asyncio.sleep(pause)
            count = random.randint(1, 3) if random.random() < 0.9 else random.randint(5, 20)
            self.happen(count)

    def happen(self, count: int) -> None:
        """Let so many messages come at this instant."""
        choices, random = self.symbols, self._random
        kinds = random.choices("tqs", (10, 10, 1), k=count)
        self._tell([self.make(kind, random.choice(choices)) for kind in kinds])

    def make(self, kind: str, symbol: str) -> Tick:
        """Note a message in the ledger."""
        now = self._loop.time()
        tick = Tick(len(self.ticks), kind, symbol, now, now + _WAY_SECONDS)
        self.ticks.append(tick)
        return tick

    def item(self, tick: Tick, at_seconds: float = 0.0) -> bytes:
        """The message as Alpaca sends it; its time may be off by so many seconds."""
        return self._codec.encode(self.fields(tick, at_seconds))

    def fields(self, tick: Tick, at_seconds: float = 0.0) -> dict[str, Any]:
        at = _EPOCH + timedelta(microseconds=at_ns(tick) // 1000, seconds=at_seconds)
        fields: dict[str, Any] = {"T": tick.kind, "S": tick.symbol, "i": tick.serial, "t": at}
        match tick.kind:
            case "t":
                fields |= {"x": "V", "p": 100.25, "s": 100, "c": ["@"], "z": "C"}
            case "q":
                fields |= {"ax": "V", "ap": 100.5, "as": 2, "bx": "V", "bp": 100.25, "bs": 1}
            case "b":
                fields |= {"o": 100.0, "h": 101.0, "l": 99.5, "c": 100.5, "v": 1200}
            case _:
                fields |= {"sc": "T", "sm": "Trading Resumption", "rc": "", "rm": "", "z": "C"}
        return fields
