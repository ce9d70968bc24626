"""Things that are due at some instant of market time."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import TypeAlias

from stream_proxy.model.messages import Message

Action: TypeAlias = Callable[[int, list[Message]], None]

NEVER_NS = 1 << 63


class Agenda:
    """A queue of actions by time; what is due at the same instant runs in the order of entry.

    An action gets the instant it was due at and the list to append its messages to.
    ``due_ns`` is the earliest instant, so that a loop over ticks pays one comparison each.
    """

    __slots__ = ("_entered", "_entries", "due_ns")

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, Action]] = []
        self._entered = 0
        self.due_ns = NEVER_NS

    def at(self, ns: int, action: Action) -> None:
        """Enter an action."""
        heappush(self._entries, (ns, self._entered, action))
        self._entered += 1
        self.due_ns = self._entries[0][0]

    def run(self, until_ns: int, out: list[Message]) -> None:
        """Run everything due up to and including ``until_ns``, also what that enters anew."""
        entries = self._entries
        while entries and entries[0][0] <= until_ns:
            ns, _, action = heappop(entries)
            action(ns, out)
        self.due_ns = entries[0][0] if entries else NEVER_NS
