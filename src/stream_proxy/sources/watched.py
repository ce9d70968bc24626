"""One topic under watch: from heard to overdue, doubted, resubscribed, and mute.

A silent topic is first of all quiet. When its silence has outlasted its patience, REST is asked:
if that has nothing newer, it is asked again later, and more and more rarely; if it has, the topic
is mute and is subscribed anew; if that doesn't help, the connection is made again, and not for the
same topic's sake again within the hour. Being heard ends all of it.
"""

from __future__ import annotations

from enum import Enum

from stream_proxy.model.time import NS_PER_MINUTE, NS_PER_SECOND
from stream_proxy.model.topics import WILDCARD, Channel, Symbol
from stream_proxy.sources.arrival import Arrivals, Slot

NEVER_NS = 1 << 62
_CONFIRM_NS = 2 * NS_PER_SECOND
"""What REST has already may still be on its way to us."""
_ASK_AGAIN_NS = NS_PER_MINUTE
_ASK_AT_LEAST_NS = 10 * NS_PER_MINUTE
_HOUR_NS = 60 * NS_PER_MINUTE
_MOST_DOUBTS = 6


class Evidence(Enum):
    """What REST says of a silent topic."""

    NEWER = "newer"
    """It has messages that we should have got."""
    NOTHING_NEW = "nothing new"
    UNKNOWN = "unknown"


class Cure(Enum):
    """What is to be done for an overdue topic."""

    ASK = "ask"
    RESUBSCRIBE = "resubscribe"
    RECONNECT = "reconnect"


class Watched:
    """A topic, what is usual for it, and how far it has come.

    Attributes:
        seen: its last message, to notice the next one by.
        subscribed_ns: since when upstream is to send it, monotonic.
        missed: it had messages that we didn't get.
        due_ns: when to look at its silence again, monotonic.
        evidence: what REST said of the silence that lasts.
    """

    __slots__ = (
        "_barred_until_ns",
        "_doubts",
        "_patience_ns",
        "_quiet_until_ns",
        "_reconnects",
        "_resubscribed",
        "arrivals",
        "channel",
        "due_ns",
        "evidence",
        "missed",
        "seen",
        "subscribed_ns",
        "symbol",
    )

    def __init__(self, channel: Channel, symbol: Symbol, slot: Slot, now_ns: int) -> None:
        self.channel = channel
        self.symbol = symbol
        self.arrivals = Arrivals(slot, now_ns)
        self.seen: object = None
        self.subscribed_ns = 0
        self._patience_ns = NS_PER_MINUTE
        self._reconnects = 0
        self._barred_until_ns = 0
        self._calm(now_ns)

    def _calm(self, due_ns: int) -> None:
        self.due_ns = due_ns
        self.evidence: Evidence | None = None
        self._doubts = 0
        self._quiet_until_ns = 0
        self.missed = False
        self._resubscribed = False

    def heard(self, now_ns: int, due_ns: int) -> None:
        """It spoke; its silence need not be looked at before `due_ns`."""
        self.arrivals.heard(now_ns)
        self._reconnects = 0
        self._calm(due_ns)

    def subscribe(self, now_ns: int) -> None:
        """Upstream begins to send it."""
        self.subscribed_ns = now_ns
        self.restart(now_ns)

    def restart(self, now_ns: int) -> None:
        """Listen from now on; what REST said before means nothing any more."""
        self.arrivals.restart(now_ns)
        self.missed = False
        wait_ns = min(self._patience_ns, _ASK_AGAIN_NS) if self._resubscribed else 0
        self.due_ns = now_ns + wait_ns

    def overdue(self, patience_ns: int | None, now_ns: int) -> bool:
        """Whether it is time to do something for it; else `due_ns` says when to look again.

        Args:
            patience_ns: how long it may be silent at this time; None when nobody knows.
        """
        if patience_ns is None:
            self.due_ns = now_ns + _ASK_AGAIN_NS
            return False
        self._patience_ns = patience_ns
        if self.missed or self._resubscribed:
            return True
        due_ns = max(self.arrivals.last_ns + patience_ns, self._quiet_until_ns)
        # The patience changes with the time of the day.
        self.due_ns = min(due_ns, now_ns + _ASK_AGAIN_NS)
        return now_ns >= due_ns

    def cure(self, now_ns: int) -> Cure | None:
        """What is to be done for it, being overdue; it is taken for done."""
        self.due_ns = NEVER_NS
        if not self.missed:
            return Cure.ASK
        self.missed = False
        if not self._resubscribed:
            self._resubscribed = True
            self.due_ns = now_ns + min(self._patience_ns, _ASK_AGAIN_NS)
            return Cure.RESUBSCRIBE
        if now_ns < self._barred_until_ns:
            self.due_ns = now_ns + _ASK_AGAIN_NS
            return None
        self._barred_until_ns = now_ns + (_HOUR_NS << min(self._reconnects, _MOST_DOUBTS))
        self._reconnects += 1
        self._resubscribed = False
        return Cure.RECONNECT

    def answered(self, evidence: Evidence, now_ns: int) -> None:
        """REST was asked; what to make of it depends on whether it spoke meanwhile."""
        if self.due_ns != NEVER_NS:
            return
        if evidence is Evidence.UNKNOWN and self.symbol == WILDCARD:
            # Everybody at once is silent, and nobody can be asked: act on the silence alone.
            evidence = Evidence.NEWER
        self.evidence = evidence
        if evidence is Evidence.NEWER:
            self.missed = True
            self.due_ns = now_ns + _CONFIRM_NS
            return
        self._resubscribed = False
        self._doubts = min(self._doubts + 1, _MOST_DOUBTS)
        # It may fall mute while it is quiet, so the questions don't become too rare.
        most_ns = max(self._patience_ns, _ASK_AT_LEAST_NS)
        self.due_ns = self._quiet_until_ns = now_ns + min(
            self._patience_ns << self._doubts, most_ns
        )
