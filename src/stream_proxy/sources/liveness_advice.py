"""What `Liveness` says is to be done; where it says nothing, nothing is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from stream_proxy.model.topics import Channel, SubscriptionSet, Symbol


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask REST for the latest of these symbols, and tell `Liveness.answered`.

    ``*`` stands for some symbols that were heard lately.
    """

    channel: Channel
    symbols: tuple[Symbol, ...]


@dataclass(frozen=True, slots=True)
class Resubscribe:
    """Unsubscribe and subscribe these topics.

    Attributes:
        silent_ns: how long the one that was heard longest ago is silent.
    """

    topics: SubscriptionSet
    silent_ns: int


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Make the connection again.

    Attributes:
        at_once: otherwise only once the socket has answered a ping since the first time of asking,
            which shows that data isn't just held up on the way; it is said again at every look,
            until data comes.
    """

    why: str
    at_once: bool = False


Advice: TypeAlias = Ask | Resubscribe | Reconnect
