"""Identifiers: UUIDs for orders and executions, ULIDs for events, all from a seeded source."""

from __future__ import annotations

from random import Random
from uuid import NAMESPACE_DNS, UUID, uuid5

NOBODY = "00000000-0000-0000-0000-000000000000"

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS = 80
_ULID_LENGTH = 26
_NAMESPACE = uuid5(NAMESPACE_DNS, "simulator.alpaca-stream-proxy.invalid")


class Identifiers:
    """Hands out identifiers.

    ULIDs are 48 bits of milliseconds and 80 random bits in Crockford's base 32, so they sort by
    time; within a millisecond, and when the clock goes back, the next one is the last plus one
    (ULID specification, "Monotonicity"). So each is greater than all before it.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._last = 0

    def uuid(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def event_id(self, now_ns: int) -> str:
        fresh = (now_ns // 1_000_000) << _RANDOM_BITS | self._random.getrandbits(_RANDOM_BITS)
        if fresh >> _RANDOM_BITS <= self._last >> _RANDOM_BITS:
            fresh = self._last + 1
        self._last = fresh
        return ulid_text(fresh)


def ulid_text(number: int) -> str:
    return "".join(_CROCKFORD[number >> 5 * place & 31] for place in reversed(range(_ULID_LENGTH)))


def is_ulid(value: str) -> bool:
    return len(value) == _ULID_LENGTH and value[0] <= "7" and all(c in _CROCKFORD for c in value)


def named_uuid(kind: str, name: str) -> str:
    """The UUID that a thing with this name has in every run."""
    return str(uuid5(_NAMESPACE, f"{kind}/{name}"))


def ulid_milliseconds(value: str) -> int:
    """The time in a ULID: milliseconds since 1970."""
    number = 0
    for letter in value[:10]:
        number = number << 5 | _CROCKFORD.index(letter)
    return number
