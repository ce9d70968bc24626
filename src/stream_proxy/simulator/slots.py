"""Connection slots: so many per endpoint and key, and an unclean end keeps one for a while."""

from __future__ import annotations

from collections.abc import Callable


class Slots:
    """Who holds which slot.

    Args:
        per_key: slots of one key on one endpoint (Alpaca: 1).
        held_seconds: how long a half-dead connection counts (Alpaca: about 90).
        time: monotonic seconds.
    """

    def __init__(self, per_key: int, held_seconds: float, time: Callable[[], float]) -> None:
        self._per_key = per_key
        self._held_seconds = held_seconds
        self._time = time
        self._holders: dict[tuple[str, str], set[object]] = {}
        self._half_dead: dict[tuple[str, str], list[float]] = {}

    def take(self, feed: str, key: str, holder: object) -> bool:
        """Give a slot, if one is free."""
        name = (feed, key)
        holders = self._holders.setdefault(name, set())
        alive = [until for until in self._half_dead.get(name, ()) if until > self._time()]
        self._half_dead[name] = alive
        if len(holders) + len(alive) >= self._per_key:
            return False
        holders.add(holder)
        return True

    def free(self, feed: str, key: str, holder: object, hold: bool) -> None:
        """Give the slot back; with ``hold`` only after the time of half-dead connections."""
        holders = self._holders.get((feed, key), set())
        if holder in holders:
            holders.discard(holder)
            if hold:
                until = self._time() + self._held_seconds
                self._half_dead.setdefault((feed, key), []).append(until)

    def in_use(self, feed: str) -> dict[str, int]:
        """Which keys hold slots of an endpoint, half-dead connections included, and how many."""
        used: dict[str, int] = {}
        for (name, key), holders in self._holders.items():
            if name != feed:
                continue
            half_dead = self._half_dead.get((name, key), ())
            count = len(holders) + sum(until > self._time() for until in half_dead)
            if count:
                used[key] = count
        return used
