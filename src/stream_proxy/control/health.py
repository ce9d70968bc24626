"""What a person or a dashboard asks first: ``/health``.

The first four fields are those of an earlier proxy, name for name, so that whatever reads it works
unchanged. ``healthy``: everything that is wanted works. ``degraded``: some of it. ``unhealthy``:
none of it, or the order journal doesn't. What is wanted says ``condition.py``; what nobody wants
is idle, which is neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from pydantic import AliasGenerator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from stream_proxy import __version__
from stream_proxy.control.condition import Condition, Grade, MarketSide, OrderSide
from stream_proxy.control.readiness import Readiness
from stream_proxy.feed.upstream_status import UpstreamState, UpstreamStatus
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.time import NS_PER_SECOND, rfc3339
from stream_proxy.outlets.consumer_status import ConsumerSource

_NS_PER_MS = 1_000_000
_ALWAYS_SHOWN = ("stocks", "options")
_KINDS = tuple(dict.fromkeys(feed.kind for feed in FEEDS.values()))


class Verdict(Enum):
    """The whole in one word."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=AliasGenerator(serialization_alias=to_camel))


class UpstreamHealth(_Model):
    """All connections to Alpaca of one kind."""

    connected: bool = Field(description="Whether there are any, and all that are wanted stand.")
    last_message: str | None = Field(
        description="When the latest message came, RFC 3339 with milliseconds; null if none did."
    )
    state: UpstreamState = Field(description="The state of the one that is worst off.")


class HealthReport(_Model):
    """The answer of ``/health``."""

    status: Verdict = Field(description="Status 503 if unhealthy, else 200.")
    upstream: dict[str, UpstreamHealth] = Field(
        description="`stocks`, `options` and `trading`; `crypto` and `news` if configured or used."
    )
    subscriptions: dict[str, int] = Field(
        description="How many topics consumers want, by kind of feed: one symbol on two channels "
        "counts twice."
    )
    consumers: int = Field(description="How many are served, whatever their protocol.")
    reasons: list[str] = Field(
        description="Why it isn't healthy: what, since when, what to do. Empty if it is."
    )
    version: str
    started_at: str = Field(description="RFC 3339.")
    uptime_seconds: float


class Health:
    """Answers ``/health``."""

    def __init__(
        self,
        orders: OrderSide,
        market: MarketSide,
        readiness: Readiness,
        consumers: Sequence[ConsumerSource],
        started_ns: int,
    ) -> None:
        self._orders = orders
        self._market = market
        self._readiness = readiness
        self._consumers = consumers
        self._started_ns = started_ns

    def report(self, now_ns: int, detailed: bool = True) -> HealthReport:
        """How everything is. Without details, the reasons name what is affected and no more."""
        journal, *others = self._readiness.conditions(now_ns)
        handlers = self._market.handlers.values()
        kinds = self._kinds()
        upstream = {kind: self._of_kind(kind) for kind in kinds}
        trading = [feed.upstream for feed in self._orders.feeds.values()]
        return HealthReport(
            status=verdict(journal, others),
            upstream=upstream | {"trading": _upstream(trading, trading)},
            subscriptions={
                kind: sum(len(h.demand.wanted()) for h in handlers if h.feed.kind == kind)
                for kind in kinds
            },
            consumers=sum(source.consumer_count() for source in self._consumers),
            reasons=[c.reason(detailed) for c in (journal, *others) if c.grade is not Grade.WORKS],
            version=__version__,
            started_at=milliseconds(self._started_ns),
            uptime_seconds=round((now_ns - self._started_ns) / NS_PER_SECOND, 3),
        )

    def _kinds(self) -> list[str]:
        used = {FEEDS[name].kind for name in (*self._market.configured, *self._market.handlers)}
        return [kind for kind in _KINDS if kind in used or kind in _ALWAYS_SHOWN]

    def _of_kind(self, kind: str) -> UpstreamHealth:
        handlers, configured = self._market.handlers, self._market.configured
        started = [h for h in handlers.values() if h.feed.kind == kind]
        wanted = [h.upstream for h in started if h.consumers or h.feed.name in configured]
        wanted += [
            UpstreamStatus()
            for name in configured
            if name not in handlers and FEEDS[name].kind == kind
        ]
        every = [handler.upstream for handler in started]
        return _upstream(wanted or every, every)


def verdict(journal: Condition, others: Iterable[Condition]) -> Verdict:
    """The whole in one word."""
    grades = {condition.grade for condition in others}
    if journal.grade is Grade.FAILS or grades == {Grade.FAILS}:
        return Verdict.UNHEALTHY
    return Verdict.HEALTHY if grades <= {Grade.WORKS} else Verdict.DEGRADED


def _upstream(judged: Sequence[UpstreamStatus], every: Sequence[UpstreamStatus]) -> UpstreamHealth:
    away = [s.state for s in judged if s.state is not UpstreamState.CONNECTED]
    last_ns = max((status.last_message_ns for status in every), default=0)
    standing = UpstreamState.CONNECTED if judged else UpstreamState.IDLE
    return UpstreamHealth(
        connected=bool(judged) and not away,
        last_message=milliseconds(last_ns) if last_ns else None,
        state=away[0] if away else standing,
    )


def milliseconds(ns: int) -> str:
    """RFC 3339 with exactly three decimals, cut rather than rounded: no instant of the future."""
    second = rfc3339(ns // NS_PER_SECOND * NS_PER_SECOND).removesuffix("Z")
    return f"{second}.{ns % NS_PER_SECOND // _NS_PER_MS:03d}Z"
