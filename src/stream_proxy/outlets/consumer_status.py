"""What can be told of a consumer, whatever its protocol. Nothing of what it gets is in it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.time import NS_PER_SECOND, rfc3339
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.slow import SlowConsumer

_TOPICS_SHOWN = 10
_NS_PER_MS = 1_000_000


class ConsumerStatus(BaseModel):
    """One consumer at this instant."""

    model_config = ConfigDict(frozen=True)

    protocol: str = Field(description="`websocket`, `sse` or `grpc`.")
    address: str = Field(description="Host and port that it connects from.")
    token: str = Field(
        description="The access token it shows, by name; `anybody` where none are configured."
    )
    feed: str | None = Field(description="The feed it reads; null for order updates.")
    account: str | None = Field(description="The account whose order updates it reads, or null.")
    connected_since: str = Field(description="RFC 3339.")
    topics: int = Field(description="How many it is subscribed to.")
    first_topics: list[str] = Field(
        description=f"The first {_TOPICS_SHOWN} of them, as `channel:symbol`."
    )
    messages: int = Field(description="Written to its socket so far.")
    dropped_messages: int = Field(description="Given up, since it read too slowly.")
    merged_messages: int = Field(description="Newer ones stand for them, since it read too slowly.")
    outbox_bytes: int = Field(description="Waiting for its socket to take more.")
    lag_ms: int = Field(
        description="How long the oldest of these has waited; up to a second too much."
    )
    slow_policy: str | None = Field(
        description="What it gets when it reads too slowly; null for order updates."
    )
    gets: str = Field(
        description="`live`; while it is behind, by its policy, `conflating` or `bars_only`."
    )


class ConsumerSource(Protocol):
    """An outlet, as far as its consumers are counted and listed."""

    def consumer_count(self) -> int:
        """How many consumers are served now."""

    def consumer_statuses(self, now_ns: int) -> Iterator[ConsumerStatus]:
        """Each of them, longest connected first. ``now_ns`` is wall-clock time."""


def consumer_status(
    protocol: str,
    address: str,
    identity: str,
    *,
    connected_ns: int,
    outbox: Outbox,
    outbox_now_ns: int,
    feed: str | None = None,
    account: str | None = None,
    topics: SubscriptionSet | None = None,
    unsent_bytes: int = 0,
    lag_ns: int = 0,
    slow: SlowConsumer | None = None,
) -> ConsumerStatus:
    """Read a consumer's state.

    Args:
        connected_ns: wall-clock time.
        outbox_now_ns: now, on the clock that the outbox is told the time of.
        topics: of a feed's consumer; order updates are one topic.
        unsent_bytes: what waits outside of the outbox.
        lag_ns: for how long.
        slow: what watches over a feed's consumer.
    """
    statistics = outbox.statistics()
    if statistics.waiting_since_ns is not None:
        lag_ns = max(lag_ns, outbox_now_ns - statistics.waiting_since_ns)
    if topics is None:
        count, shown = 1, ["trade_updates"]
    else:
        count, shown = len(topics), [f"{c}:{s}" for c, s in islice(topics, _TOPICS_SHOWN)]
    return ConsumerStatus(
        protocol=protocol,
        address=address,
        token=identity,
        feed=feed,
        account=account,
        connected_since=rfc3339(connected_ns // NS_PER_SECOND * NS_PER_SECOND),
        topics=count,
        first_topics=shown,
        messages=statistics.messages,
        dropped_messages=statistics.dropped_messages,
        outbox_bytes=statistics.queued_bytes + unsent_bytes,
        merged_messages=statistics.merged_messages,
        lag_ms=lag_ns // _NS_PER_MS,
        slow_policy=None if slow is None else str(slow.policy),
        gets="live" if slow is None else slow.state,
    )
