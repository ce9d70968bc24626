"""``/v1/continuity``: whether the record of a feed between two moments is complete.

Complete means: upstream had been asked for the topic all the time, and every message that it sent
came in here, or was asked for afterwards. The answer is about what the proxy received; what one
consumer got of it, its own positions and gap messages say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Query
from pydantic import BaseModel, Field

from stream_proxy.control.refusals import Refused
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.model.time import parse_rfc3339, rfc3339
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.continuity import affected, lacking, read_position
from stream_proxy.state.gaps import Filling, Gap

_MOST_ROWS = 1000
_MOST_SYMBOLS = 5000
_NEVER = 1 << 62
_USUAL_CHANNELS = ("trades", "quotes", "bars")

From = Annotated[
    str,
    Query(
        alias="from",
        description="A position (`<epoch>:<sequence>`) or an RFC 3339 time; without it, the "
        "moment when the feed was started here.",
    ),
]
To = Annotated[str, Query(description="The same; without it, now.")]
Symbols = Annotated[
    str, Query(description="Comma-separated; without it, everything that consumers want now.")
]
Channels = Annotated[
    str, Query(description="Comma-separated; without it, those on which the symbols are wanted.")
]
FeedName = Annotated[
    str, Query(description="The feed's name; without it, the only one that was started.")
]


class Interval(BaseModel):
    """A part of the record that isn't simply complete."""

    since: str = Field(alias="from", description="RFC 3339.")
    until: str | None = Field(alias="to", description="RFC 3339; null while it lasts.")
    channels: list[str]
    symbols: list[str]
    why: str
    gap: int | None = Field(None, description="The number of the gap in `/status` and in messages.")


class BackFilled(Interval):
    """A gap that was filled."""

    messages: int = Field(description="How many messages were found that had been missed.")
    unknown: list[str] = Field(
        description="Channels that come with these and can't be asked for: of those, messages may "
        "be missing."
    )


class Certificate(BaseModel):
    """The answer of ``/v1/continuity``."""

    feed: str
    epoch: str
    since: str = Field(alias="from", description="RFC 3339, at the latest where `from` is.")
    until: str = Field(alias="to", description="RFC 3339, at the earliest where `to` is.")
    topics: int = Field(description="How many are judged.")
    complete: bool = Field(
        description="Whether nothing is missing, back-filled or not; but see `unknown`."
    )
    missing: list[Interval]
    back_filled: list[BackFilled]
    truncated: bool = Field(description="Whether there is more that is missing than is listed.")


class Feeds(Protocol):
    """Where the feeds are."""

    @property
    def handlers(self) -> Mapping[str, FeedHandler]: ...


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked.

    Attributes:
        from_ns, to_ns: wall clock.
        first, last: the same in sequences; None where only a time was given. These know better,
            since our clock may have been set.
    """

    handler: FeedHandler
    from_ns: int
    to_ns: int
    first: int | None
    last: int | None
    topics: SubscriptionSet


class Continuity:
    """Answers ``/v1/continuity``."""

    def __init__(self, feeds: Feeds) -> None:
        self._feeds = feeds

    def certificate(
        self, since: str, until: str, symbols: str, channels: str, feed: str
    ) -> Certificate:
        """Judge the record.

        Raises:
            Refused: the question can't be understood, or is about a feed that isn't there.
        """
        question = self._read(since, until, symbols, channels, feed)
        missing = [*_before(question), *_not_asked(question), *_gaps(question)]
        handler = question.handler
        return Certificate.model_validate(
            {
                "feed": handler.feed.name,
                "epoch": handler.epoch,
                "from": rfc3339(question.from_ns),
                "to": rfc3339(question.to_ns),
                "topics": len(question.topics),
                "complete": not missing,
                "missing": missing[:_MOST_ROWS],
                "back_filled": _filled(question)[:_MOST_ROWS],
                "truncated": len(missing) > _MOST_ROWS,
            }
        )

    def _read(self, since: str, until: str, symbols: str, channels: str, feed: str) -> _Question:
        handler = self._handler(feed)
        from_ns = _moment(handler, since, "from") if since else handler.began_ns
        to_ns = _moment(handler, until, "to") if until else handler.now_ns()
        first, last = _sequence(since, 0), _sequence(until, _NEVER)
        if first is None or last is None:
            is_backward = to_ns < from_ns
        else:
            # Our clock may have been set back in between.
            is_backward = last < first
            from_ns, to_ns = min(from_ns, to_ns), max(from_ns, to_ns)
        if is_backward:
            raise Refused(422, "to is before from: exchange them.")
        return _Question(handler, from_ns, to_ns, first, last, _topics(handler, symbols, channels))

    def _handler(self, name: str) -> FeedHandler:
        handlers = self._feeds.handlers
        if not name and len(handlers) == 1:
            return next(iter(handlers.values()))
        found = handlers.get(name)
        if found is None:
            known = ", ".join(handlers) or "none, since no consumer has asked for any yet"
            raise Refused(404, f"Name a feed that was started, with feed=…; there are: {known}.")
        return found


def _moment(handler: FeedHandler, text: str, name: str) -> int:
    position = read_position(text)
    if position is None:
        try:
            return parse_rfc3339(text)
        except ValueError:
            raise Refused(
                422, f"{name} is neither a position (<epoch>:<sequence>) nor an RFC 3339 time."
            ) from None
    epoch, sequence = position
    if epoch != handler.epoch:
        raise Refused(
            404,
            f"{name} is of epoch {epoch[:40]}, and this is {handler.epoch}: of what was before the "
            "proxy's start nothing is known. Ask by time, and see what is said to be missing.",
        )
    if sequence > handler.sequence:
        raise Refused(422, f"{name} is in the future: the last message is {handler.sequence}.")
    if name == "from":
        at_ns = handler.ring.time_at_or_before(sequence)
        return handler.began_ns if at_ns is None else at_ns
    at_ns = handler.ring.time_at_or_after(sequence)
    return handler.now_ns() if at_ns is None else at_ns


def _sequence(text: str, otherwise: int) -> int | None:
    """The sequence that a question names; None if it names a time."""
    position = read_position(text)
    return position[1] if position is not None else None if text else otherwise


def _topics(handler: FeedHandler, symbols: str, channels: str) -> SubscriptionSet:
    names = [name for name in symbols.split(",") if name]
    wanted = handler.demand.wanted()
    chosen = [channel for channel in channels.split(",") if channel]
    unknown = [channel for channel in chosen if channel not in handler.feed.channels]
    if unknown:
        known = ", ".join(handler.feed.channels)
        raise Refused(422, f"There is no channel {unknown[0][:40]!r} in this feed: {known}.")
    if len(names) > _MOST_SYMBOLS:
        raise Refused(422, f"Ask about {_MOST_SYMBOLS} symbols at the most, or about all.")
    if not names:
        kept = {c: wanted.symbols(c) for c in wanted.channels() if not chosen or c in chosen}
        return SubscriptionSet(kept)
    asked: list[tuple[str, str]] = []
    for name in names:
        mine = chosen or [c for c in wanted.channels() if wanted.covers(c, name)]
        mine = mine or [c for c in _USUAL_CHANNELS if c in handler.feed.channels]
        asked += [(channel, name) for channel in mine]
    return SubscriptionSet.of(asked)


def _row(
    since_ns: int, until_ns: int | None, topics: SubscriptionSet, why: str, gap: int | None = None
) -> Interval:
    return Interval.model_validate(
        {
            "from": rfc3339(since_ns),
            "to": None if until_ns is None else rfc3339(until_ns),
            "channels": list(topics.channels()),
            "symbols": sorted({symbol for _, symbol in topics}),
            "why": why,
            "gap": gap,
        }
    )


def _before(question: _Question) -> list[Interval]:
    """What is asked about was before anything was recorded, or is forgotten."""
    found = []
    handler, from_ns = question.handler, question.from_ns
    for until_ns, why in (
        (handler.began_ns, "the feed wasn't started here yet"),
        (handler.gaps.forgotten_until_ns, "gaps that are so old aren't remembered"),
    ):
        end_ns = min(until_ns, question.to_ns)
        if from_ns < end_ns:
            found.append(_row(from_ns, end_ns, question.topics, why))
    return found


def _not_asked(question: _Question) -> list[Interval]:
    """When upstream wasn't asked for a topic; topics that lack the same are one row."""
    from_ns = max(question.from_ns, question.handler.began_ns)
    holes = question.handler.coverage.holes(question.topics, from_ns, question.to_ns)
    return [
        _row(since_ns, until_ns, topics, "nobody had asked for it here")
        for since_ns, until_ns, topics in holes
    ]


def _within(question: _Question) -> list[Gap]:
    now_ns = question.handler.now_ns()
    return [
        gap
        for gap in question.handler.gaps.recent()
        if (
            _began(gap, now_ns) <= question.to_ns
            and (gap.to_ns is None or gap.to_ns >= question.from_ns)
        )
        or _is_between(gap, question)
    ]


def _is_between(gap: Gap, question: _Question) -> bool:
    """Whether a gap is between two positions, whatever our clock showed."""
    first, last, until = question.first, question.last, gap.until_sequence
    if first is None or last is None:
        return False
    return gap.after_sequence < last and (until is None or until >= first)


def _began(gap: Gap, now_ns: int) -> int:
    """An open gap has begun, though our clock be set back to a time before."""
    return gap.from_ns if gap.to_ns is not None else min(gap.from_ns, now_ns)


def _gaps(question: _Question) -> list[Interval]:
    found = []
    for gap in _within(question):
        topics = lacking(affected(question.topics, gap.topics), gap)
        if topics:
            why = f"{gap.why}; {gap.trouble}" if gap.trouble else gap.why
            if gap.filling is Filling.UNDER_WAY:
                why += "; it is being filled"
            began_ns = _began(gap, question.handler.now_ns())
            found.append(_row(began_ns, gap.to_ns, topics, why, gap.number))
    return found


def _filled(question: _Question) -> list[BackFilled]:
    found = []
    for gap in _within(question):
        topics = affected(question.topics, gap.filled)
        if topics:
            row = _row(gap.from_ns, gap.to_ns, topics, gap.why, gap.number)
            unknown = question.handler.feed.followers_of(topics.channels())
            known = row.model_dump(by_alias=True)
            known |= {"messages": gap.messages, "unknown": unknown}
            found.append(BackFilled.model_validate(known))
    return found
