"""How long to wait before trying again. Pure: the random source is passed in."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(slots=True)
class Backoff:
    """Doubling delays with jitter, from ``initial_seconds`` up to ``max_seconds``.

    Jitter is "equal": half of the delay is certain, half is random, so that a crowd spreads and
    nobody retries at once. Only `reset` starts over, and the caller calls it when *data* flows: a
    peer that accepts and closes at once, for ever, must not be hammered.
    """

    initial_seconds: float
    max_seconds: float
    random: Random
    failures: int = 0

    def next_delay_seconds(self) -> float:
        """Count a failure and give the delay that follows it."""
        # The exponent is capped: 2.0 ** 1024 overflows after a long outage.
        ceiling = min(self.max_seconds, self.initial_seconds * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return ceiling / 2 + self.random.uniform(0, ceiling / 2)

    def reset(self) -> None:
        self.failures = 0
