"""Days of simulated markets, with a holiday, a half day and a change of the clocks.

No false alarm in any of them, and every planted mute found within the bounds of docs/liveness.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from simulation.market_tape import Listed, Tape, Topic, listed
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.sources.liveness import Liveness
from stream_proxy.sources.liveness_advice import Advice, Ask, Reconnect, Resubscribe
from stream_proxy.sources.market_hours import ExchangeMarketHours
from stream_proxy.sources.market_phase import DELAY_NS, Phase

pytestmark = pytest.mark.slow

NEW_YORK = ZoneInfo("America/New_York")
CLOCKS_CHANGE = ("2026-10-30T03:00", "2026-11-02T17:00")
"""In the night to Sunday."""
THANKSGIVING = ("2026-11-24T19:00", "2026-11-30T17:00")
"""On Thursday, and a half day on Friday."""
BOTH = (CLOCKS_CHANGE, THANKSGIVING)
_STEPS = {Phase.REGULAR: 1.0, Phase.CLOSED: 600.0}
_STEP = 5.0
_SLACK_SECONDS = 20.0
"""For asking, confirming and looking."""

BUSY = [
    *(listed(f"BUSY{number}", 0.3, 1.0) for number in range(5)),
    *(listed(f"MEDIUM{number}", 4.0, 15.0) for number in range(4)),
    *(listed(f"THIN{number}", 60.0, 300.0) for number in range(3)),
    listed("DUST", 900.0, 3600.0),
]
SPARSE = [Listed("THIN0", {"trades": 240.0}), Listed("DUST", {"trades": 3000.0})]
CRYPTO = [
    listed("BTC/USD", 1.0, 90.0),
    listed("ETH/USD", 2.0, 150.0),
    listed("XTZ/USD", 30.0, 7200.0),
]
NIGHT = [listed("SPY", 2.0, 30.0), listed("TSLA", 4.0, 60.0), listed("F", 60.0, 900.0)]


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()


@dataclass
class Mute:
    """Something that upstream stops to send.

    ``symbol`` is ``*`` for the whole feed; ``cured_by`` says what it takes. ``within`` is the bound
    for what was found, in seconds from the first message missed; without it the topic's own holds.
    """

    at: str
    symbol: str
    cured_by: str
    within: float | None = None
    began: float = 0.0
    missed: dict[Topic, float] = field(default_factory=dict)
    patience: float = 0.0
    found: float = 0.0
    cured: float = 0.0

    def covers(self, symbol: str) -> bool:
        return self.began > 0 and not self.cured and self.symbol in ("*", symbol)

    @property
    def bound(self) -> float:
        """From the first missed message to the first step taken."""
        if self.within is not None:
            return self.within
        # What has nothing new when it is asked for is asked for again within ten minutes.
        return max(self.patience, 600) + _SLACK_SECONDS


@dataclass(frozen=True)
class Halted:
    """A halt, with a status at its beginning and its end."""

    begins: str
    ends: str
    symbol: str


class Week:
    """One feed under watch for many days, step by step.

    Attributes:
        false_alarms: what was done to a connection or a topic that lacked nothing.
    """

    def __init__(
        self,
        hours: ExchangeMarketHours,
        feed: str,
        symbols: list[Listed],
        *,
        mutes: Sequence[Mute] = (),
        halts: Sequence[Halted] = (),
        rest: bool = True,
        everything: bool = False,
        stretches: Sequence[tuple[str, str]] = BOTH,
        seed: int = 1,
    ) -> None:
        self.stretches = stretches
        self.hours = hours
        self.feed = FEEDS[feed]
        self.liveness = Liveness(self.feed, 5, 300)
        self.tape = Tape(symbols, seed)
        self.mutes = list(mutes)
        self.halts = list(halts)
        self.rest = rest
        self.now = 0.0
        self.values: dict[Topic, object] = {}
        self.heard: dict[Topic, float] = {}
        self.counts = {"t": 0, "q": 0}
        self.asks = 0
        self.false_alarms: list[tuple[str, Advice]] = []
        self._question: Ask | None = None
        self._suspected = False
        topics = {(c, "*" if everything else s.name) for s in symbols for c in s.pauses}
        self.topics = SubscriptionSet.of(sorted(topics))

    def run(self) -> None:
        for begins, ends in self.stretches:
            self.now = seconds(begins)
            self.liveness.lost()
            self.hold(self.topics)
            end = seconds(ends)
            while self.now < end:
                self.step()

    def ns(self, moment: float) -> int:
        return int(moment * NS_PER_SECOND)

    def hold(self, topics: SubscriptionSet) -> None:
        now_ns = self.ns(self.now)
        self.liveness.hold(topics, now_ns, lambda c, s: self.values.get((c, s)))

    def step(self) -> None:
        """Let time pass, the market trade, and the proxy look."""
        period = self.hours.period(self.feed, self.ns(self.now))
        self.now += min(_STEPS.get(period.phase, _STEP), period.to_ns / 1e9 - self.now + 0.001)
        now_ns = self.ns(self.now)
        period = self.hours.period(self.feed, now_ns)
        self.happen()
        for channel, symbol in self.tape.advance(self.now, period):
            self.send(channel, symbol)
        if self._question is not None:
            question, self._question = self._question, None
            answer, delay_ns = self.answer(question), DELAY_NS.get(self.feed.name, 0)
            self.liveness.answered(question, answer, self.when, now_ns, now_ns - delay_ns)
        advice = self.liveness.look(
            now_ns,
            now_ns,
            period,
            sum(self.counts.values()),
            self.counts,
            lambda c, s: self.values.get((c, s)),
        )
        self.follow(advice)

    def happen(self) -> None:
        """Begin and end what is planned for now."""
        for halt in list(self.halts):
            if self.now >= seconds(halt.ends):
                self.halts.remove(halt)
                self.tape.halted.discard(halt.symbol)
                self.tell(halt.symbol, "T")
            elif self.now >= seconds(halt.begins) and halt.symbol not in self.tape.halted:
                self.tape.halted.add(halt.symbol)
                self.tell(halt.symbol, "H")
        for mute in self.mutes:
            if not mute.began and self.now >= seconds(mute.at):
                mute.began = self.now
                mute.patience = max(self.patiences(mute.symbol), default=0.0)

    def tell(self, symbol: str, code: str) -> None:
        message = {"T": "s", "S": symbol, "sc": code, "rm": "News"}
        self.liveness.status(message, self.ns(self.now))

    def patiences(self, symbol: str) -> Iterator[float]:
        if symbol == "*":
            yield (self.liveness.patience_ns() or 0) / 1e9
        for channel, name in self.topics:
            if name == symbol:
                yield (self.liveness.topic_patience_ns(channel, name) or 0) / 1e9

    def send(self, channel: str, symbol: str) -> None:
        for mute in self.mutes:
            if mute.covers(symbol):
                mute.missed.setdefault((channel, symbol), self.now)
                return
        self.values[channel, symbol] = object()
        self.heard[channel, symbol] = self.tape.happened[channel, symbol]
        self.counts["t" if channel == "trades" else "q"] += 1

    def answer(self, ask: Ask) -> dict[str, int] | None:
        if not self.rest:
            return None
        every = [symbol for channel, symbol in self.tape.happened if channel == ask.channel]
        wanted = every[:20] if ask.symbols == ("*",) else ask.symbols
        happened = {s: self.tape.happened.get((ask.channel, s)) for s in wanted}
        return {s: self.ns(at) for s, at in happened.items() if at is not None}

    def when(self, channel: str, symbol: str) -> int:
        return self.ns(self.heard.get((channel, symbol), 0.0))

    def follow(self, advice: Advice | None) -> None:
        """Do what is advised; upstream is cured by it, or not."""
        if isinstance(advice, Ask):
            self.asks += 1
            self._question = advice
            return
        if isinstance(advice, Reconnect) and not advice.at_once and not self._suspected:
            self._suspected = True  # the socket is asked first, and answers
            return
        self._suspected = False
        if advice is None:
            return
        active = [mute for mute in self.mutes if mute.began and not mute.cured]
        if isinstance(advice, Resubscribe):
            symbols = {symbol for _, symbol in advice.topics}
            active = [mute for mute in active if mute.symbol in symbols | {"*"}]
            self.hold(self.topics - advice.topics)
            self.hold(self.topics)
        else:
            self.liveness.lost()
            self.now += 2
            self.hold(self.topics)
        if not active:
            when = datetime.fromtimestamp(self.now, NEW_YORK).isoformat()
            self.false_alarms.append((when, advice))
        for mute in active:
            mute.found = mute.found or self.now
            if isinstance(advice, Reconnect) or mute.cured_by == "resubscribe":
                mute.cured = self.now

    def verdict(self) -> None:
        """No false alarm, and everything found in time."""
        assert self.false_alarms == []
        for mute in self.mutes:
            assert mute.found and mute.cured, f"{mute} was never found"
            late = mute.found - min(mute.missed.values())
            assert late <= mute.bound, f"{mute} was found after {late:.0f} s"


@pytest.fixture(scope="module")
def hours() -> ExchangeMarketHours:
    """What is loaded on each of the two dates, as the proxy does daily."""
    made = ExchangeMarketHours()
    made.load(int(seconds("2026-11-01T12:00")) * NS_PER_SECOND)
    return made


def test_named_stocks(hours: ExchangeMarketHours) -> None:
    """Busy and thin ones, halts, mute symbols, a mute feed at different hours."""
    week = Week(
        hours,
        "sip",
        BUSY,
        mutes=[
            Mute("2026-10-30T10:00:00", "*", "reconnect", within=12),
            Mute("2026-10-30T11:20:00", "BUSY1", "resubscribe", within=60),
            Mute("2026-10-30T13:00:00", "MEDIUM2", "resubscribe"),
            Mute("2026-11-02T10:00:00", "*", "reconnect", within=12),  # after the clocks changed
            Mute("2026-11-02T12:30:00", "BUSY3", "reconnect", within=60),
            Mute("2026-11-02T14:00:00", "THIN1", "resubscribe"),
            Mute("2026-11-25T12:00:00", "*", "reconnect", within=12),
            Mute("2026-11-25T15:40:00", "*", "reconnect", within=12),
            Mute("2026-11-27T12:30:00", "BUSY0", "resubscribe", within=60),  # a half day
            Mute("2026-11-30T11:00:00", "BUSY4", "resubscribe", within=60),
        ],
        halts=[
            Halted("2026-10-30T12:00:00", "2026-10-30T12:50:00", "BUSY0"),
            Halted("2026-11-02T09:35:00", "2026-11-02T09:40:00", "MEDIUM0"),
            Halted("2026-11-25T14:00:00", "2026-11-27T12:00:00", "BUSY2"),  # over the holiday
        ],
    )
    week.run()
    week.verdict()
    assert week.asks < 3000, "some ten days at a few questions an hour and symbol"


def test_stocks_without_rest(hours: ExchangeMarketHours) -> None:
    """Where nobody can be asked, a mute feed is found by its silence alone, and nothing else is."""
    week = Week(
        hours,
        "sip",
        BUSY[:7],
        rest=False,
        stretches=[THANKSGIVING],
        mutes=[
            Mute("2026-11-25T10:00:00", "*", "reconnect", within=12),
            Mute("2026-11-30T10:00:00", "*", "reconnect", within=12),
        ],
    )
    week.run()
    week.verdict()


def test_a_subscription_to_hardly_anything(hours: ExchangeMarketHours) -> None:
    """Two stocks that trade now and then: nothing is concluded from it, with and without REST."""
    for rest, stretch in ((True, CLOCKS_CHANGE), (False, THANKSGIVING)):
        week = Week(hours, "sip", SPARSE, rest=rest, stretches=[stretch])
        week.run()
        week.verdict()


def test_everything_there_is(hours: ExchangeMarketHours) -> None:
    """Under ``*`` the channels are watched."""
    week = Week(
        hours,
        "sip",
        BUSY[:6],
        everything=True,
        stretches=[CLOCKS_CHANGE],
        mutes=[
            Mute("2026-10-30T10:00:00", "*", "reconnect", within=12),
            Mute("2026-11-02T15:00:00", "*", "reconnect", within=12),
        ],
    )
    week.run()
    week.verdict()


def test_crypto(hours: ExchangeMarketHours) -> None:
    """Day and night, through the holiday and the weekend."""
    week = Week(
        hours,
        "crypto-us",
        CRYPTO,
        mutes=[
            Mute("2026-10-31T03:00:00", "*", "reconnect", within=150),
            Mute("2026-11-01T01:30:00", "ETH/USD", "resubscribe"),
            Mute("2026-11-26T12:00:00", "*", "reconnect", within=150),  # a holiday
            Mute("2026-11-29T23:59:00", "*", "reconnect", within=150),
        ],
    )
    week.run()
    week.verdict()


def test_overnight_trading(hours: ExchangeMarketHours) -> None:
    """Quiet nights, and none before the holiday."""
    week = Week(hours, "boats", NIGHT, rest=False)
    week.run()
    week.verdict()
