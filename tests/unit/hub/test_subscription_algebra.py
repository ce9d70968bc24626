"""Demand and hub as one machine: whatever happens, upstream holds the union and each gets its own.

Hypothesis plays consumers that come, go, subscribe and unsubscribe, an upstream that confirms,
refuses and disconnects, and time that passes, in any order. After each step the invariants hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from stream_proxy.feed.consumer import Consumer
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.hub.demand import Step
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.wire.alpaca.codec import MSGPACK
from stream_proxy.wire.alpaca.codes import INVALID_SYNTAX, SYMBOL_LIMIT, ErrorCode

CHANNELS = ("trades", "quotes", "bars")
TYPES = {"trades": "t", "quotes": "q", "bars": "b"}
SYMBOLS = ("A", "B", "C", "D", "POISON")
LINGER_SECONDS = 5
WIDEN_ABOVE = 3

topics = st.dictionaries(
    st.sampled_from(CHANNELS),
    st.lists(st.sampled_from((*SYMBOLS, "*")), min_size=1, max_size=4, unique=True),
    min_size=1,
).map(SubscriptionSet)


class PlainShape:
    """The hub's idea of a codec, without any: a frame is the batch's repr."""

    protocol = "plain"
    letters = None
    at_once = 1
    transcode = None
    transcode_whole = None

    def classify(self, frames: Sequence[bytes]) -> dict[str, int]:
        return {}

    def frames(self, items: Any) -> list[bytes]:
        return [b"".join(bytes(item) for item in items)]

    def whole(self, payloads: Sequence[bytes]) -> list[bytes]:
        return self.frames([item for frame in payloads for item in MSGPACK.ticks.items(frame)])


class TurningClock:
    """A clock turned by hand."""

    ns = 0

    def now_ns(self) -> int:
        return self.ns

    def monotonic_ns(self) -> int:
        return self.ns


class Player:
    """A consumer and what it must have received."""

    def __init__(self, name: str, handler: FeedHandler, shape: PlainShape) -> None:
        self.received: list[bytes] = []
        self.revoked: list[SubscriptionSet] = []
        self.answers: list[ErrorCode | None] = []
        self.asked: list[SubscriptionSet] = []
        self.expected: Counter[bytes] = Counter()
        self.outbox = Outbox(self._take, 1 << 30, 1 << 62, lambda: None)
        self.consumer = Consumer(name, self.outbox, shape, lambda t, code: self.revoked.append(t))
        self.handler = handler
        handler.join(self.consumer)

    def _take(self, frame: bytes) -> None:
        self.received += [frame[i : i + 64] for i in range(0, len(frame), 64)]


class SubscriptionAlgebra(RuleBasedStateMachine):
    """The rules of the game; ``widen_above`` and ``chunk`` are small so that they matter."""

    players = Bundle("players")

    def __init__(self) -> None:
        super().__init__()
        self.clock = TurningClock()
        self.handler = FeedHandler(
            FEEDS["iex"],
            MSGPACK,
            self.clock,
            widen_above=WIDEN_ABOVE,
            linger_seconds=LINGER_SECONDS,
            subscribe_chunk=2,
        )
        self.shape = PlainShape()
        self.alive: list[Player] = []
        self.upstream: set[tuple[str, str]] = set()
        self.connected = False
        self.star_allowed = True
        self.most = 0
        """Topics that the plan has room for; 0: any number."""
        self.step: Step[ErrorCode] | None = None
        self.number = 0

    # Consumers

    @rule(target=players, name=st.sampled_from(("x", "y", "z")))
    def join(self, name: str) -> Player:
        player = Player(name, self.handler, self.shape)
        self.alive.append(player)
        return player

    @rule(player=consumes(players))
    def leave(self, player: Player) -> None:
        self.alive.remove(player)
        self.handler.leave(player.consumer)

    @rule(player=players, wanted=topics)
    def subscribe(self, player: Player, wanted: SubscriptionSet) -> None:
        if player.consumer.pending is not None:
            return  # the outlet holds further requests back until the first is answered
        player.asked.append(wanted)
        self.handler.subscribe(player.consumer, wanted, player.answers.append)

    @rule(player=players, unwanted=topics)
    def unsubscribe(self, player: Player, unwanted: SubscriptionSet) -> None:
        if player.consumer.pending is None:
            self.handler.unsubscribe(player.consumer, unwanted)

    @rule(player=players)
    def lose_patience(self, player: Player) -> None:
        self.handler.accept_unconfirmed(player.consumer)

    # Upstream

    @rule()
    def connect(self) -> None:
        if not self.connected:
            self.connected, self.upstream, self.step = True, set(), None
            self.handler.upstream_ready()

    @rule()
    def disconnect(self) -> None:
        if self.connected:
            self.connected, self.upstream, self.step = False, set(), None
            self.handler.upstream_lost("test")

    @rule(allowed=st.booleans())
    def plan_changes(self, allowed: bool) -> None:
        """The plan does, or doesn't, include wildcards."""
        self.star_allowed = allowed

    @rule(most=st.sampled_from((0, 0, 2, 3, 5)))
    def room_changes(self, most: int) -> None:
        self.most = most

    @rule()
    def answer(self) -> None:
        """Upstream takes the next message and answers it, by its own rules."""
        step = self.handler.demand.next_step(self.clock.ns)
        if step is not None:
            self._take(step)

    def _take(self, step: Step[ErrorCode]) -> None:
        assert self.connected
        assert len(step.topics) <= 2, "messages are chunked"
        asked = set(step.topics)
        if step.add:
            assert not asked & self.upstream, "nothing is asked for twice"
            if any(s == "POISON" for _, s in asked):
                self.handler.demand.refused(INVALID_SYNTAX)
                return
            if not self.star_allowed and any(s == "*" for _, s in asked):
                self.handler.demand.refused(SYMBOL_LIMIT)
                return
            if 0 < self.most < len(self.upstream | asked):
                self.handler.demand.refused(SYMBOL_LIMIT)
                return
            self.upstream |= asked
        else:
            assert asked <= self.upstream, "only what is held is given back"
            left = SubscriptionSet.of(sorted(self.upstream - asked))
            for player in self.alive:
                for topic in player.consumer.topics:
                    if SubscriptionSet.of(sorted(self.upstream)).covers(*topic):
                        assert left.covers(*topic), "nobody loses what they hold"
            self.upstream -= asked
        held = SubscriptionSet.of(sorted(self.upstream))
        self.handler.demand.acknowledged(held)

    @rule(seconds=st.sampled_from((1, LINGER_SECONDS + 1)))
    def time_passes(self, seconds: int) -> None:
        self.clock.ns += seconds * 1_000_000_000

    @rule(told=st.lists(st.tuples(st.sampled_from(CHANNELS), st.sampled_from(SYMBOLS)), max_size=6))
    def publish(self, told: list[tuple[str, str]]) -> None:
        """A frame comes: each consumer gets its own topics' messages, once, and no others."""
        if not self.connected:
            return
        items = []
        for channel, symbol in told:
            if (channel, symbol) not in self.upstream and (channel, "*") not in self.upstream:
                continue
            self.number += 1
            items.append(_item(TYPES[channel], symbol, self.number))
            for player in self.alive:
                if player.consumer.topics.covers(channel, symbol):
                    player.expected[items[-1]] += 1
        if items:
            self.handler.receive([MSGPACK.join(items)])

    # What always holds

    @invariant()
    def each_gets_its_own_and_no_more(self) -> None:
        for player in self.alive:
            assert Counter(player.received) == player.expected
            assert player.received == sorted(player.received, key=_number), "order is kept"

    def teardown(self) -> None:
        """In the end upstream answers all there is: it must come to rest, holding the union."""
        self.connect()
        self.star_allowed, self.most = True, 0
        self.clock.ns += (LINGER_SECONDS + 1) * 1_000_000_000
        for _ in range(500):
            step = self.handler.demand.next_step(self.clock.ns)
            if step is None:
                break
            self._take(step)
        else:
            raise AssertionError("upstream never comes to rest")
        self._holds_the_union()
        for player in self.alive:
            assert player.consumer.pending is None, "everybody was answered"
        self.publish([(channel, symbol) for channel in CHANNELS for symbol in SYMBOLS])
        self.each_gets_its_own_and_no_more()

    def _holds_the_union(self) -> None:
        """Upstream's set covers all interest, and nothing is held that nobody wants."""
        wanted = {topic for player in self.alive for topic in player.consumer.topics}
        for channel, symbol in wanted:
            # Behind a star upstream never hears the bad name, so it can't refuse it.
            assert symbol != "POISON" or (channel, "*") in self.upstream, "refused is taken back"
        for channel, symbol in wanted:
            assert (channel, symbol) in self.upstream or (channel, "*") in self.upstream
        for channel, symbol in self.upstream:
            if symbol == "*":
                names = {s for c, s in wanted if c == channel}
                assert "*" in names or len(names) >= WIDEN_ABOVE * 0.8, "a star needs a reason"
            else:
                assert (channel, symbol) in wanted

    @invariant()
    def interest_is_the_sum_of_consumers(self) -> None:
        counted: Counter[tuple[str, str]] = Counter()
        for player in self.alive:
            counted.update(player.consumer.topics)
            if player.consumer.pending is not None:
                counted.update(player.consumer.pending.topics)
        interest = {
            (c, s): n
            for c, symbols in self.handler.demand._interest.items()
            for s, n in symbols.items()
        }
        assert interest == dict(counted)

    @invariant()
    def every_request_has_one_answer(self) -> None:
        for player in self.alive:
            open_requests = player.consumer.pending is not None
            assert len(player.answers) + open_requests == len(player.asked)


def _item(kind: str, symbol: str, number: int) -> bytes:
    """A message of exactly 64 bytes, so that a frame can be cut without decoding."""
    fields = {"T": kind, "S": symbol, "i": number + (1 << 40), "n": ""}
    fields["n"] = "-" * (64 - len(MSGPACK.encode(fields | {"n": "-" * 32})) + 32)
    item = MSGPACK.encode(fields)
    assert len(item) == 64
    return item


def _number(item: bytes) -> int:
    return int(MSGPACK.decode(item)["i"])


TestSubscriptionAlgebra = SubscriptionAlgebra.TestCase
TestSubscriptionAlgebra.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
