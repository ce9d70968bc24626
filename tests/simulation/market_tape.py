"""When messages come: processes that look like a market's, for days of virtual time.

Rates follow the day: an opening burst, a lull at lunch, a busy close, thin mornings and evenings; a
symbol has livelier and duller minutes, and its pauses are more spread than a Poisson process's.
Only that something came between two looks is modelled, not how much.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, pi, sin
from random import Random

from stream_proxy.sources.market_phase import Period, Phase

_BURSTY_SHARE, _BURSTY, _CALM = 0.7, 0.2, 2.87
"""Most pauses are a fifth of the mean, the others three times as long: the mean stays."""
_MOOD_SECONDS = 300


@dataclass(frozen=True)
class Listed:
    """A symbol: the mean pauses of its channels, seconds, in the middle of a day."""

    name: str
    pauses: dict[str, float]


def listed(name: str, quotes: float, trades: float) -> Listed:
    return Listed(name, {"quotes": quotes, "trades": trades})


Topic = tuple[str, str]


class Tape:
    """What really happens, whether or not anybody hears of it.

    Attributes:
        happened: when the last message of each topic happened.
        halted: symbols that don't trade now.
    """

    def __init__(self, symbols: list[Listed], seed: int) -> None:
        self._random = Random(seed)
        self._topics = [(ch, s.name, mean) for s in symbols for ch, mean in s.pauses.items()]
        self._next = [inf] * len(self._topics)
        self._moods = {s.name: 1.0 for s in symbols}
        self._mood_until = 0.0
        self._phase = Phase.CLOSED
        self.happened: dict[Topic, float] = {}
        self.halted: set[str] = set()

    def advance(self, now: float, period: Period) -> list[Topic]:
        """The topics with something new since the last call."""
        if period.phase is not self._phase:
            self._phase = period.phase
            self._next = [0.0] * len(self._topics)
        if period.phase is Phase.CLOSED:
            return []
        liveliness = _liveliness(period, now)
        random = self._random
        if now >= self._mood_until:
            self._mood_until = now + random.expovariate(1 / _MOOD_SECONDS)
            for name in self._moods:
                self._moods[name] = random.choice((0.6, 1.0, 1.6))
        new = []
        for index, due in enumerate(self._next):
            if due > now:
                continue
            channel, name, mean = self._topics[index]
            if due > 0.0 and name not in self.halted:
                new.append((channel, name))
                self.happened[channel, name] = due
            shape = _BURSTY if random.random() < _BURSTY_SHARE else _CALM
            pause = random.expovariate(1 / mean) * shape / (liveliness * self._moods[name])
            self._next[index] = now + pause
        return new


def _liveliness(period: Period, now: float) -> float:
    """The rate, with that in the middle of a day for 1."""
    since, left = now - period.from_ns / 1e9, period.to_ns / 1e9 - now
    match period.phase:
        case Phase.PRE_MARKET:
            return 0.01 + 0.1 * max(0.0, 1 - left / 5400)
        case Phase.POST_MARKET:
            return 0.005 + 0.1 * max(0.0, 1 - since / 5400)
        case Phase.OVERNIGHT:
            return 0.01
        case Phase.ALWAYS:
            return 1 + 0.4 * sin(2 * pi * now / 86400)
        case _:
            return 0.6 + 3.0 * max(0.0, 1 - since / 2700) + 1.5 * max(0.0, 1 - left / 1800)
