"""What all consumers together want of one feed, and the steps that bring upstream there.

Theory. Interest is counted per topic. Upstream's set should be the topics with interest, plus
those that lost their last one a moment ago (a linger, so that a restarting bot costs nothing).
A consumer's subscribe is a `Request`: it is settled when upstream has confirmed every topic of it,
or refused one. Several requests travel in one message while all goes well; when upstream refuses a
message that carried several, each is sent again alone, so that an error hits only whose it is.

The steps are level-triggered: each compares what is wanted with what was confirmed last, so a
reconnect, a lost acknowledgement or a surprise in one heals by itself.
One step is in flight at a time. Time is an argument; nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from stream_proxy.model.topics import WILDCARD, Channel, SubscriptionSet, Symbol

Topic: TypeAlias = tuple[Channel, Symbol]
Refusal = TypeVar("Refusal")

_PATIENCE = 3
"""How often a topic is asked for, or given back, before upstream's answer is taken as final."""


@dataclass(eq=False, slots=True)
class Request(Generic[Refusal]):
    """A consumer's subscribe, until upstream has said yes or no."""

    topics: tuple[Topic, ...]
    settle: Callable[[Refusal | None], None]
    alone: bool = False


@dataclass(eq=False, slots=True)
class Step(Generic[Refusal]):
    """One message to upstream."""

    add: bool
    topics: SubscriptionSet
    requests: list[Request[Refusal]] = field(default_factory=list)


class Demand(Generic[Refusal]):
    """Reference-counted interest in one feed's topics.

    Args:
        wildcard_channels: channels that may be subscribed with ``*``.
        widen_above: with more symbols than this on a channel, ask for ``*`` and filter here;
            0 never does.
        linger_ns: how long a topic stays subscribed after its last consumer left.
        chunk: topics per message.
        on_revoked: called with a topic that upstream had confirmed and now refuses.
        missing: the refusal to give for a topic that upstream silently leaves out.
        room_helps: whether a refusal says that there are too many topics.
    """

    def __init__(
        self,
        wildcard_channels: frozenset[Channel],
        *,
        missing: Refusal,
        on_revoked: Callable[[Topic, Refusal], None] = lambda topic, refusal: None,
        room_helps: Callable[[Refusal], bool] = lambda refusal: False,
        widen_above: int = 0,
        linger_ns: int = 0,
        chunk: int = 500,
    ) -> None:
        self._wildcard_channels = wildcard_channels
        self._widen_above = widen_above
        self._linger_ns = linger_ns
        self._chunk = chunk
        self._missing = missing
        self._on_revoked = on_revoked
        self._room_helps = room_helps
        self._interest: dict[Channel, dict[Symbol, int]] = {}
        self._lingering: dict[Topic, int] = {}
        self._widened: set[Channel] = set()
        self._kept_wide: set[Channel] = set()
        """Where ``*`` is held although only names are wanted: there is no room for these."""
        self._confirmed: dict[Channel, set[Symbol]] = {}
        self._refused: set[Topic] = set()
        self._left_out: dict[Topic, int] = {}
        self._kept_on: dict[Topic, int] = {}
        self._waiting: dict[Request[Refusal], None] = {}
        self._connected = False
        self._restore_chunk = chunk
        self._settled = False
        self._make_room = False
        self.in_flight: Step[Refusal] | None = None

    # Interest

    def acquire(
        self, wanted: SubscriptionSet, settle: Callable[[Refusal | None], None]
    ) -> Request[Refusal] | None:
        """Add interest; ``settle`` is told None when upstream confirmed it, else the refusal.

        A refused request's interest is withdrawn before ``settle`` is called. When everything is
        confirmed already, ``settle`` is called at once and None is returned.
        """
        for channel, symbol in wanted:
            counts = self._interest.setdefault(channel, {})
            counts[symbol] = counts.get(symbol, 0) + 1
            self._lingering.pop((channel, symbol), None)
            self._refused.discard((channel, symbol))
            self._kept_on.pop((channel, symbol), None)
        self._changed(wanted.channels())
        request: Request[Refusal] = Request(tuple(wanted), settle)
        if self._is_confirmed(request.topics):
            settle(None)
            return None
        self._waiting[request] = None
        return request

    def release(self, unwanted: SubscriptionSet, now_ns: int) -> None:
        """Take interest back; the topic leaves upstream after the linger."""
        self._release(unwanted, now_ns + self._linger_ns)

    def abandon(self, request: Request[Refusal]) -> None:
        """Stop telling this request; its interest stays until released."""
        self._waiting.pop(request, None)

    def _release(self, unwanted: Iterable[Topic], leave_ns: int) -> None:
        self._kept_wide.clear()  # there may be room now
        channels = set()
        for channel, symbol in unwanted:
            counts = self._interest[channel]
            counts[symbol] -= 1
            if counts[symbol] == 0:
                del counts[symbol]
                self._lingering[channel, symbol] = leave_ns
                self._refused.discard((channel, symbol))
            channels.add(channel)
        self._changed(channels)

    def _changed(self, channels: Iterable[Channel]) -> None:
        self._settled = False
        if not self._widen_above:
            return
        for channel in channels:
            if channel in self._wildcard_channels:
                symbols = len(self._interest.get(channel, ()))
                if symbols > self._widen_above:
                    self._widened.add(channel)
                elif symbols < self._widen_above * 0.8:  # hysteresis: no flapping at the edge
                    self._widened.discard(channel)

    # What is wanted and what is held

    def wanted(self) -> SubscriptionSet:
        """The topics somebody is interested in, ``*`` among them if asked for."""
        return SubscriptionSet({c: list(s) for c, s in self._interest.items() if s})

    def confirmed(self) -> SubscriptionSet:
        """What upstream said last that we hold."""
        return SubscriptionSet({c: sorted(s) for c, s in self._confirmed.items()})

    def confirmed_channels(self) -> list[Channel]:
        """The channels on which we hold anything."""
        return [channel for channel, symbols in self._confirmed.items() if symbols]

    def _target(self, channel: Channel) -> set[Symbol]:
        """The smallest upstream set that gives everybody theirs."""
        interested = self._interest.get(channel, {})
        target = set(interested)
        target.update(symbol for c, symbol in self._lingering if c == channel)
        wide = channel in self._widened or channel in self._kept_wide
        if WILDCARD in target or (wide and target):
            return {WILDCARD}
        target.difference_update(symbol for c, symbol in self._refused if c == channel)
        return target

    def _is_confirmed(self, topics: Iterable[Topic]) -> bool:
        held = self._confirmed
        step = self.in_flight
        if step is not None and not step.add and any(step.topics.covers(*t) for t in topics):
            return False  # on its way out: it has to be asked for again
        return all(s in held.get(c, ()) or WILDCARD in held.get(c, ()) for c, s in topics)

    # Steps

    def connected(self) -> None:
        """Upstream is ready and holds nothing yet."""
        self._connected = True
        self._confirmed = {}
        self._refused.clear()
        self._left_out.clear()
        self._kept_on.clear()
        self._kept_wide.clear()
        self._make_room = False
        self._restore_chunk = self._chunk
        self.in_flight = None
        self._settled = False

    def disconnected(self) -> None:
        """The connection is gone, and all it held."""
        self._connected = False
        self._kept_wide.clear()
        self._confirmed = {}
        self.in_flight = None
        self._settled = False

    def next_step(self, now_ns: int) -> Step[Refusal] | None:
        """The next message to upstream; None while one is in flight or when all is as wanted."""
        if not self._connected or self.in_flight is not None:
            return None
        self._expire(now_ns)
        if self._settled:
            return None
        if self._make_room:
            self.in_flight = self._removal_step()
            self._make_room = self.in_flight is not None
        self.in_flight = (
            self.in_flight or self._request_step() or self._restore_step() or self._removal_step()
        )
        self._settled = self.in_flight is None
        return self.in_flight

    def _expire(self, now_ns: int) -> None:
        expired = [topic for topic, leave_ns in self._lingering.items() if leave_ns <= now_ns]
        for topic in expired:
            del self._lingering[topic]
            self._settled = False

    def _missing_topics(
        self, topics: Iterable[Topic], targets: dict[Channel, set[Symbol]]
    ) -> Iterator[Topic]:
        for channel, symbol in topics:
            if channel not in targets:
                targets[channel] = self._target(channel)
            upstream = WILDCARD if WILDCARD in targets[channel] else symbol
            if upstream not in self._confirmed.get(channel, ()):
                yield channel, upstream

    def _request_step(self) -> Step[Refusal] | None:
        topics: dict[Topic, None] = {}
        requests: list[Request[Refusal]] = []
        targets: dict[Channel, set[Symbol]] = {}
        for request in self._waiting:
            if requests and (request.alone or requests[0].alone):
                break
            missing = list(self._missing_topics(request.topics, targets))
            if not missing:
                continue
            if requests and len(topics) + len(missing) > self._chunk:
                break
            topics.update(dict.fromkeys(missing[: self._chunk]))
            requests.append(request)
        if not topics:
            return None
        return Step(True, SubscriptionSet.of(topics), requests)

    def _restore_step(self) -> Step[Refusal] | None:
        topics = sorted(
            (channel, symbol)
            for channel in self._interest
            for symbol in self._target(channel) - self._confirmed.get(channel, set())
        )
        if not topics:
            return None
        return Step(True, SubscriptionSet.of(topics[: self._restore_chunk]))

    def _removal_step(self) -> Step[Refusal] | None:
        topics = [
            (channel, symbol)
            for channel, held in self._confirmed.items()
            for symbol in sorted(self._superfluous(channel, held))
            if self._kept_on.get((channel, symbol), 0) < _PATIENCE
        ]
        if not topics:
            return None
        return Step(False, SubscriptionSet.of(topics[: self._chunk]))

    def _superfluous(self, channel: Channel, held: set[Symbol]) -> set[Symbol]:
        """What may go without anybody's missing anything: ``*`` and names stand for each other."""
        target = self._target(channel)
        if WILDCARD in target and WILDCARD not in held:
            return held - set(self._interest.get(channel, ()))
        if WILDCARD in held and not target <= held:
            return held - target - {WILDCARD}
        return held - target

    # Answers

    def acknowledged(self, held: SubscriptionSet) -> None:
        """Upstream said what it now sends us."""
        step, self.in_flight = self.in_flight, None
        self._settled = False
        self._confirmed = {channel: set(held.symbols(channel)) for channel in held.channels()}
        self._restore_chunk = self._chunk
        if step is not None and step.add:
            self._count_left_out(step)
        elif step is not None:
            self._count_kept_on(step)
            self._kept_wide.clear()  # there is room now
        self._kept_wide = {c for c in self._kept_wide if WILDCARD in self._confirmed.get(c, ())}
        self._settle_confirmed()

    def _settle_confirmed(self) -> None:
        """Answer who has all that was asked for."""
        for request in list(self._waiting):
            if self._is_confirmed(request.topics):
                del self._waiting[request]
                request.settle(None)

    def _count_kept_on(self, step: Step[Refusal]) -> None:
        """Topics that upstream goes on sending: too many is a nuisance, asking for ever a flood."""
        for channel, symbol in step.topics:
            if symbol in self._confirmed.get(channel, ()):
                self._kept_on[channel, symbol] = self._kept_on.get((channel, symbol), 0) + 1

    def _count_left_out(self, step: Step[Refusal]) -> None:
        for topic in step.topics:
            if self._is_confirmed((topic,)):
                self._left_out.pop(topic, None)
                continue
            self._left_out[topic] = self._left_out.get(topic, 0) + 1
            if self._left_out[topic] >= _PATIENCE:
                del self._left_out[topic]
                for request in step.requests:
                    if topic in request.topics and request in self._waiting:
                        self._refuse_request(request, self._missing)
                self._revoke(topic, self._missing)

    def refused(self, refusal: Refusal) -> None:
        """Upstream answered the step in flight with an error; its set is unchanged."""
        step, self.in_flight = self.in_flight, None
        self._settled = False
        if step is None:
            return
        if step.add:
            self._addition_refused(step, refusal)
        else:
            self._count_kept_on(step)
            self._make_room = False
        # Also what was on its way out, and stays.
        self._settle_confirmed()

    def _addition_refused(self, step: Step[Refusal], refusal: Refusal) -> None:
        if self._narrow(step):
            return
        if self._room_helps(refusal):
            # What nobody wants any more may fill the plan's limit: let it go, and ask again.
            self._lingering.clear()
            self._make_room = self._removal_step() is not None
            if self._make_room or self._stay_wide(step):
                return
        live = [request for request in step.requests if request in self._waiting]
        if len(live) > 1:
            for request in live:
                request.alone = True
        elif live:
            # A crowd that came back with the same wish gets the same answer in one go.
            for request in list(self._waiting):
                if request.topics == live[0].topics:
                    self._refuse_request(request, refusal)
        elif len(step.topics) > 1:
            self._restore_chunk = max(1, len(step.topics) // 2)
        else:
            for topic in step.topics:
                self._revoke(topic, refusal)

    def refuse_waiting(self, refusal: Refusal) -> None:
        """Upstream won't have us at all: nobody needs to wait any longer."""
        for request in list(self._waiting):
            self._refuse_request(request, refusal)

    def _refuse_request(self, request: Request[Refusal], refusal: Refusal) -> None:
        del self._waiting[request]
        self._release(request.topics, leave_ns=0)
        request.settle(refusal)

    def _narrow(self, step: Step[Refusal]) -> bool:
        """After a refused ``*`` that only we wanted: ask for the symbols by name from now on."""
        ours = {
            channel
            for channel in step.topics.channels()
            if channel in self._widened and WILDCARD not in self._interest.get(channel, ())
        }
        self._widened -= ours
        self._wildcard_channels -= ours
        return bool(ours)

    def _stay_wide(self, step: Step[Refusal]) -> bool:
        """Names that found no room behind a ``*`` that nobody wants any more: it has them all."""
        held = {c for c in step.topics.channels() if WILDCARD in self._confirmed.get(c, ())}
        self._kept_wide |= held
        return bool(held)

    def _revoke(self, topic: Topic, refusal: Refusal) -> None:
        channel, symbol = topic
        self._refused.add(topic)
        if symbol in self._interest.get(channel, ()):
            self._on_revoked(topic, refusal)
