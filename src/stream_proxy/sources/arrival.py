"""What is usual for a topic: how long its pauses are, at this time of the day.

Theory. Whether a silence is a fault can only be told from the silences that were none. Of the
pauses between messages we keep number, mean, deviation and the longest, so that a busy topic and a
thin one each have a bound of their own. Pauses of a Poisson process are exponential: one longer
than the mean plus twenty deviations has probability ``exp(-21)``, 8e-10. A regular process (minute
bars) has a small deviation and so a close bound, a bursty one a large deviation and so a wide one.
Rates change over the day, so the half hours are learned apart, and what is judged by is the most
patient of what is known. Pure: time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TypeAlias

from stream_proxy.model.time import NS_PER_MINUTE, NS_PER_SECOND
from stream_proxy.sources.market_phase import Period, Phase

Slot: TypeAlias = tuple[Phase, int]
"""A half hour of a phase, counted from its beginning."""

_SLOT_NS = 30 * NS_PER_MINUTE
_WHOLE_PHASE = -1
_ENOUGH = 20
"""Pauses: a mean of fewer says little."""
_ENOUGH_SECONDS = 300.0
"""Observed: what is shorter may all have been one burst."""
_DEVIATIONS = 20
_TIMES_LONGEST = 3
_SLACK_WELL_KNOWN = 1.5
_SLACK = 2.0
_SLACK_OUT_OF_HOURS = 4.0
"""By how much the rate may be lower than learned before the bound means less than it says: less
where today and other days agree, much where nobody has to trade."""


class Pauses:
    """Some pauses, summed up; seconds."""

    __slots__ = ("count", "longest", "squares", "total")

    def __init__(self) -> None:
        self.count = 0.0
        self.total = 0.0
        self.squares = 0.0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total += seconds
        self.squares += seconds * seconds
        if seconds > self.longest:
            self.longest = seconds

    def absorb(self, other: Pauses) -> None:
        """Add all of the other's."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        self.longest = max(self.longest, other.longest)

    def fade(self, share: float) -> None:
        """Let only this share of the past count."""
        self.count *= share
        self.total *= share
        self.squares *= share
        self.longest *= sqrt(share)

    @property
    def telling(self) -> bool:
        """Whether they are enough to judge by."""
        return self.count >= _ENOUGH and self.total >= _ENOUGH_SECONDS

    @property
    def mean(self) -> float:
        return self.total / self.count

    def patience(self, slack: float) -> float:
        """The silence, in seconds, that these pauses make practically impossible."""
        deviation = sqrt(max(0.0, self.squares / self.count - self.mean**2))
        return max(slack * (self.mean + _DEVIATIONS * deviation), _TIMES_LONGEST * self.longest)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What can be said of the next message.

    Attributes:
        patience_seconds: a longer silence is practically impossible.
        mean_seconds: the mean pause, at the least rate that is thought possible.
    """

    patience_seconds: float
    mean_seconds: float


class Arrivals:
    """The pauses of one topic, over the days.

    Attributes:
        last_ns: when it was heard last, or when listening began; monotonic.
    """

    __slots__ = ("_earlier", "_latest", "_usual", "last_ns", "slot")

    def __init__(self, slot: Slot, now_ns: int) -> None:
        self.slot = slot
        self.last_ns = now_ns
        self._latest = Pauses()
        self._earlier = Pauses()
        self._usual: dict[Slot, Pauses] = {}

    def heard(self, now_ns: int) -> None:
        """A message came since the last look."""
        self._latest.add((now_ns - self.last_ns) / NS_PER_SECOND)
        self.last_ns = now_ns

    def restart(self, now_ns: int) -> None:
        """Listen from now on: the silence before it means nothing."""
        self.last_ns = now_ns

    def enter(self, slot: Slot, now_ns: int) -> None:
        """Another half hour begins; put the last one by."""
        phase, index = self.slot
        begins_anew = slot[0] is not phase or slot[1] < index
        for key, fades in ((self.slot, True), ((phase, _WHOLE_PHASE), begins_anew)):
            usual = self._usual.get(key)
            if usual is None:
                if not self._latest.count:
                    continue
                usual = self._usual[key] = Pauses()
            if fades:
                usual.fade(0.5)
            usual.absorb(self._latest)
        if slot[0] is phase:
            self._earlier.fade(0.25)
            self._earlier.absorb(self._latest)
        else:
            self._earlier = Pauses()
            self.restart(now_ns)
        self._latest = Pauses()
        self.slot = slot

    def expectation(self, lively: bool) -> Expectation | None:
        """What to expect; None where too little is known to judge by.

        Args:
            lively: messages are due at this time. Otherwise only what today and other days agree on
                counts.
        """
        today = _together(self._earlier, self._latest)
        usual = self._usual.get(self.slot)
        telling = [one for one in (today, usual) if one is not None and one.telling]
        slack = _SLACK_WELL_KNOWN if len(telling) == 2 else _SLACK
        if not lively:
            if len(telling) < 2:
                return None
            slack = _SLACK_OUT_OF_HOURS
        elif not telling:
            whole = _together(self._usual.get((self.slot[0], _WHOLE_PHASE)), self._latest)
            if not whole.telling:
                return None
            telling = [whole]
        return Expectation(
            max(pauses.patience(slack) for pauses in telling),
            slack * max(pauses.mean for pauses in telling),
        )


def _together(*some: Pauses | None) -> Pauses:
    whole = Pauses()
    for pauses in some:
        if pauses is not None:
            whole.absorb(pauses)
    return whole


def slot_of(period: Period, now_ns: int) -> Slot:
    """The half hour of the period in which the instant lies."""
    return period.phase, (now_ns - period.from_ns) // _SLOT_NS
