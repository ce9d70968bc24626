"""From when to when our record of an account is complete, by Alpaca's clock. Pure.

The journal's own account of it was written by our clock, which may have been wrong then. What can't
be true is replaced by the earliest of what may be: events that are asked for twice are told once,
and those that aren't asked for are lost. What replaces the beginning is to be written down before
anything is told from there: found anew after a restart it may be a moment earlier, and an order's
beginning would be told behind its end.
"""

from __future__ import annotations

from typing import NamedTuple

from stream_proxy.state.journal import AccountState


class Extent(NamedTuple):
    """Before ``since_ns`` our record says nothing, up to ``until_ns`` it is complete."""

    since_ns: int
    until_ns: int


class RecordExtent:
    """An account's extent, as this process knows it.

    Args:
        found: what the journal said before the stream added anything.
    """

    def __init__(self, found: AccountState) -> None:
        self._found = found
        self._since_ns: int | None = None
        self._until_ns: int | None = None

    def at(self, state: AccountState, now_ns: int, offset_ns: int, doubt_ns: int = 0) -> Extent:
        """Give the extent.

        Args:
            state: what the journal says now.
            now_ns: Alpaca's time.
            offset_ns: what Alpaca's clock is ahead of ours.
            doubt_ns: how far that may be from the truth, on either side.
        """
        until_ns = self._until_ns
        if until_ns is None:
            until_ns = self._found.reconciled_until_ns
            if until_ns > now_ns:
                # Noted while our clock was ahead. What is known is the last event.
                until_ns = self._found.last_timestamp_ns
        if self._since_ns is None:
            # What is younger than now by less than the doubt isn't wrong.
            known_ns = min(until_ns, now_ns + doubt_ns)
            self._since_ns = self._beginning(known_ns, offset_ns - doubt_ns)
        until_ns = min(until_ns, now_ns)
        # It grows when old events are forgotten.
        pruned = state.since_ns != self._found.since_ns
        since_ns = state.since_ns if pruned else self._since_ns
        return Extent(since_ns, max(since_ns, until_ns))

    def _beginning(self, until_ns: int, offset_ns: int) -> int:
        since_ns = self._found.since_ns
        if not self._found.reconciled_until_ns or not until_ns:
            # A beginning that was read from our clock, and nothing else is known.
            return min(since_ns, since_ns + offset_ns)
        if since_ns > until_ns:
            # Compared before it began: our clock was ahead when it did.
            return min(since_ns + offset_ns, until_ns)
        return since_ns

    @property
    def correction(self) -> tuple[int, int] | None:
        """The beginning as the journal had it, and as it was; None if these are the same, or
        nothing was asked yet."""
        found_ns, since_ns = self._found.since_ns, self._since_ns
        return None if since_ns in (None, found_ns) else (found_ns, since_ns)

    def complete_until(self, until_ns: int) -> None:
        """It was compared up to this instant by Alpaca's clock."""
        self._until_ns = until_ns
