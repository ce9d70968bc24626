"""One downstream subscriber of one feed, whatever its protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from stream_proxy.feed.back_fill import BackFillForm
from stream_proxy.feed.replay import Replay
from stream_proxy.hub.demand import Request
from stream_proxy.hub.outbox import Outbox
from stream_proxy.hub.routes import Shape
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.wire.alpaca.codes import ErrorCode

Settle = Callable[[ErrorCode | None], None]


@dataclass(eq=False, slots=True)
class Pending:
    """A subscribe that waits for upstream."""

    topics: SubscriptionSet
    settle: Settle
    request: Request[ErrorCode] | None = None


@dataclass(eq=False, slots=True)
class Consumer:
    """What the feed handler knows of a subscriber.

    ``on_revoked`` is called when upstream takes a topic back that it had confirmed before.
    ``gaps_before`` is the feed's gap count when the consumer came: the difference is what it may
    have missed. While there is a ``replay``, messages come from the ring instead of the hub.
    ``back_fill`` is the form in which it gets what was missed by upstream's fault; None for not.
    """

    name: str
    outbox: Outbox
    shape: Shape
    on_revoked: Callable[[SubscriptionSet, ErrorCode], None]
    topics: SubscriptionSet = field(default_factory=SubscriptionSet)
    pending: Pending | None = None
    gaps_before: int = 0
    replay: Replay | None = None
    back_fill: BackFillForm | None = None
