"""Closed, quiet, halted, one mute symbol, a mute feed: told apart, and never too soon."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.sources.liveness import Condition, Liveness
from stream_proxy.sources.liveness_advice import Advice, Ask, Reconnect, Resubscribe
from stream_proxy.sources.market_phase import Period, Phase

DAY_SECONDS = 86_400
BOOT_SECONDS = 1_000
"""The monotonic clock has its own beginning."""
SIP = SubscriptionSet({"trades": ["AAPL", "MSFT"], "quotes": ["AAPL", "MSFT", "NVDA"]})


class Feed:
    """A feed under watch, second by second.

    ``latest`` is REST: when each topic's latest message happened, in seconds of the wall clock; with
    None nobody can be asked.
    """

    def __init__(self, name: str = "sip", phase: Phase = Phase.REGULAR) -> None:
        self.liveness = Liveness(FEEDS[name], 5, 300)
        self.now = 100.0
        self.period = self.phase(phase)
        self.messages = 0
        self.counts: dict[str, int] = {}
        self.values: dict[tuple[str, str], object] = {}
        self.happened: dict[tuple[str, str], float] = {}
        self.latest: dict[tuple[str, str], float] | None = None
        self.advice: list[tuple[float, Advice]] = []
        self.answers: list[Mapping[str, int] | None] = []
        self.held = SubscriptionSet()

    def phase(self, phase: Phase, seconds: float = DAY_SECONDS) -> Period:
        self.period = Period(phase, self.ns(self.now), self.ns(self.now + seconds))
        return self.period

    def ns(self, seconds: float) -> int:
        return int(seconds * NS_PER_SECOND)

    @property
    def monotonic_ns(self) -> int:
        return self.ns(self.now + BOOT_SECONDS)

    def hold(self, topics: SubscriptionSet = SIP) -> None:
        self.held = topics
        self.liveness.hold(topics, self.monotonic_ns, self.last_value)

    def last_value(self, channel: str, symbol: str) -> object:
        return self.values.get((channel, symbol))

    def send(self, channel: str, symbol: str) -> None:
        kind = {"trades": "t", "quotes": "q", "bars": "b"}[channel]
        self.messages += 1
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.values[channel, symbol] = object()
        self.happened[channel, symbol] = self.now
        if self.latest is not None:
            self.latest[channel, symbol] = self.now

    def look(self, seconds: float = 1.0) -> Advice | None:
        """Let time pass, look, and let REST answer."""
        self.now += seconds
        advice = self.liveness.look(
            self.monotonic_ns,
            self.ns(self.now),
            self.period,
            self.messages,
            self.counts,
            self.last_value,
        )
        if isinstance(advice, Ask):
            self.answers.append(self.answer(advice))
            now_ns, answer = self.monotonic_ns, self.answers[-1]
            self.liveness.answered(advice, answer, self.when, now_ns, self.ns(self.now))
        if advice is not None:
            self.advice.append((self.now, advice))
        return advice

    def answer(self, ask: Ask) -> Mapping[str, int] | None:
        if self.latest is None:
            return None
        known = {s: at for (c, s), at in self.latest.items() if c == ask.channel}
        wanted = known if ask.symbols == ("*",) else ask.symbols
        return {s: self.ns(known[s]) for s in wanted if s in known}

    def when(self, channel: str, symbol: str) -> int:
        return self.ns(self.happened.get((channel, symbol), 0.0))

    def run(self, seconds: float, speak: Callable[[], object] = lambda: None) -> Advice | None:
        """Until something is to be done with the connection, or so long."""
        until = self.now + seconds
        while self.now < until:
            speak()
            advice = self.look()
            if isinstance(advice, Resubscribe | Reconnect):
                return advice
        return None

    def everybody(self, *but: str) -> Callable[[], None]:
        """What lets all topics speak but those of these symbols."""

        def speak() -> None:
            for channel, symbol in self.held:
                if symbol not in but:
                    self.send(channel, symbol)

        return speak

    def asked(self) -> int:
        return sum(isinstance(advice, Ask) for _, advice in self.advice)

    def condition(self) -> Condition:
        return self.liveness.condition(self.monotonic_ns)


def learned(name: str = "sip", phase: Phase = Phase.REGULAR, rest: bool = True) -> Feed:
    """A feed that has spoken for ten minutes."""
    feed = Feed(name, phase)
    feed.latest = {} if rest else None
    feed.hold()
    assert feed.run(600, feed.everybody()) is None
    return feed


def test_a_mute_feed_is_found_in_seconds() -> None:
    """Everybody spoke every second, and then nobody: REST confirms it, or can't be asked."""
    for rest in (True, False):
        feed = learned(rest=rest)
        assert feed.condition() is Condition.FLOWING
        began = feed.now
        if feed.latest is not None:
            feed.latest["quotes", "AAPL"] = began + 4
        advice = feed.run(60)
        assert isinstance(advice, Reconnect) and not advice.at_once
        assert "mute" in advice.why
        assert feed.now - began <= 7
        assert feed.condition() is Condition.MUTE


def test_a_feed_that_just_started_is_asked_about_by_its_own_pauses() -> None:
    """Of no topic enough is known; REST is asked after three times the feed's longest pause."""
    for rest, within in ((True, 3 * 4 + 5), (False, 300 + 5)):
        feed = Feed()
        feed.latest = {} if rest else None
        feed.hold()
        for _ in range(25):
            assert feed.run(4, lambda: None) is None
            feed.everybody()()
        silent_since = feed.now
        if feed.latest is not None:
            feed.latest = dict.fromkeys(feed.held, silent_since + 1)
        advice = feed.run(400)
        assert isinstance(advice, Reconnect)
        assert feed.now - silent_since <= within
        assert rest or feed.now - silent_since >= 300


def test_rest_can_tell_that_a_silent_feed_is_quiet() -> None:
    """It has nothing newer: nothing is done, and it is asked ever more rarely."""
    feed = learned()
    assert feed.run(3600) is None
    assert 5 < feed.asked() < 80
    assert feed.condition() is Condition.QUIET


def test_one_symbol_alone_may_be_halted_without_our_being_told() -> None:
    """Where REST can't be asked, it gets the time of a halt; where it can, it needs none."""
    for rest, least, most in ((False, 300, 420), (True, 5, 10)):
        feed = Feed()
        feed.latest = {} if rest else None
        feed.hold(SubscriptionSet({"trades": ["AAPL"], "quotes": ["AAPL"]}))
        assert feed.run(600, feed.everybody()) is None
        began = feed.now
        if feed.latest is not None:
            feed.latest["quotes", "AAPL"] = began + 4
        assert isinstance(feed.run(1000), Reconnect)
        assert least <= feed.now - began <= most


def test_reconnecting_is_said_until_data_comes() -> None:
    """The socket is asked first; a tape that goes on meanwhile was only held up."""
    feed = learned(rest=False)
    assert isinstance(feed.run(60), Reconnect)
    assert isinstance(feed.look(0.25), Reconnect)
    feed.send("quotes", "AAPL")
    assert feed.look(0.25) is None
    assert feed.condition() is Condition.FLOWING


def test_fruitless_reconnects_make_more_patient() -> None:
    """If the next connection is as silent, it may be the market: don't flap."""
    feed = learned(rest=False)
    waits = []
    for _ in range(4):
        began = feed.now
        assert isinstance(feed.run(1000), Reconnect)
        waits.append(feed.now - began)
        feed.liveness.lost()
        feed.hold()
    assert waits[1] >= 10 and waits[2] >= 20 and waits[3] >= 40


def test_closed_is_no_reason_for_anything() -> None:
    """Nor is the last minute before, when clocks differ, nor the first one after."""
    feed = learned()
    feed.period = Period(Phase.REGULAR, feed.period.from_ns, feed.ns(feed.now + 50))
    assert feed.run(49) is None
    feed.phase(Phase.CLOSED)
    assert feed.run(3600) is None
    assert feed.condition() is Condition.CLOSED
    feed.phase(Phase.REGULAR)
    assert feed.run(59) is None
    assert feed.asked() == 0


def test_out_of_hours_nothing_is_concluded_on_the_first_day() -> None:
    """A quiet evening is a quiet evening."""
    feed = learned(phase=Phase.POST_MARKET, rest=False)
    assert feed.run(7200) is None


def test_a_feed_that_never_spoke_is_tried_anew_if_it_should_have() -> None:
    """Quotes are due; statuses and bars of who knows what may be silent for ever."""
    feed = Feed()
    feed.hold()
    advice = feed.run(700)
    assert isinstance(advice, Reconnect)
    assert 300 <= feed.now - 100 < 310
    for topics in ({"statuses": ["*"], "lulds": ["*"]}, {"bars": ["THIN"]}, {"trades": ["THIN"]}):
        feed = Feed()
        feed.hold(SubscriptionSet(topics))
        assert feed.run(20_000) is None


def test_what_was_given_back_is_not_asked_about() -> None:
    """It was overdue when its last consumer left."""
    feed = Feed()
    feed.latest = {}
    feed.hold(SubscriptionSet({"quotes": ["AAPL"]}))
    for _ in range(900):
        feed.send("quotes", "AAPL")
        feed.look(0.5)
    feed.run(30)
    asked = feed.asked()
    feed.hold(SubscriptionSet({"bars": ["AAPL"]}))
    feed.send("bars", "AAPL")
    feed.look()
    feed.look()
    assert feed.asked() == asked


def test_one_mute_symbol_is_subscribed_anew_then_the_connection_made_anew() -> None:
    """Step by step, and not over and over for the same symbol."""
    feed = learned()
    assert feed.latest is not None

    def others() -> None:
        feed.everybody("MSFT")()
        assert feed.latest is not None
        feed.latest["quotes", "MSFT"] = feed.latest["trades", "MSFT"] = feed.now

    began = feed.now
    advice = feed.run(120, others)
    assert isinstance(advice, Resubscribe)
    (topic,) = advice.topics
    assert topic[1] == "MSFT"
    assert feed.now - began <= 40
    told = feed.liveness.mute_topics(feed.monotonic_ns)
    assert [(one.channel, one.symbol, one.confirmed) for one in told] == [(*topic, True)]
    assert 30 <= told[0].silent_ns / NS_PER_SECOND <= 40
    assert feed.condition() is Condition.FLOWING
    for _ in range(3):
        # Each topic in its turn; upstream confirms, and stays mute.
        if isinstance(advice, Resubscribe):
            feed.hold(SIP - advice.topics)
            feed.hold(SIP)
        elif isinstance(advice, Reconnect):
            break
        advice = feed.run(120, others)
    assert isinstance(advice, Reconnect) and advice.at_once
    feed.liveness.lost()
    feed.hold()
    reconnects = 0
    until = feed.now + 3500
    while feed.now < until:
        advice = feed.run(until - feed.now, others)
        reconnects += isinstance(advice, Reconnect)
        if isinstance(advice, Resubscribe):
            feed.hold(SIP - advice.topics)
            feed.hold(SIP)
        elif advice is not None:
            feed.liveness.lost()
            feed.hold()
    assert reconnects <= 1, "the other topic of the symbol, once"


def test_a_quiet_symbol_is_left_alone() -> None:
    """REST has nothing newer, or nobody can be asked: nothing is done."""
    for rest in (True, False):
        feed = learned(rest=rest)
        assert feed.run(3600, feed.everybody("MSFT")) is None
        assert 0 < feed.asked() < 80
        told = [m.confirmed for m in feed.liveness.mute_topics(feed.monotonic_ns)]
        assert told == ([] if rest else [False, False])
        feed.send("quotes", "MSFT")
        feed.send("trades", "MSFT")
        feed.look()
        assert not feed.liveness.mute_topics(feed.monotonic_ns)


def test_a_halted_symbol_is_not_asked_about() -> None:
    """Neither alone, nor when it is all there is."""
    feed = learned()
    feed.liveness.status({"T": "s", "S": "MSFT", "sc": "H", "rm": "News"}, feed.ns(feed.now))
    assert feed.run(3600, feed.everybody("MSFT")) is None
    feed.liveness.status({"T": "s", "S": "AAPL", "sc": "P", "rm": "LUDP"}, feed.ns(feed.now))
    feed.liveness.status({"T": "s", "S": "NVDA", "sc": "P", "rm": "LUDP"}, feed.ns(feed.now))
    assert feed.run(3600) is None
    assert feed.asked() == 0
    assert feed.condition() is Condition.HALTED
    assert feed.liveness.halted["AAPL"].why == "LUDP"
    feed.liveness.status({"T": "s", "S": "AAPL", "sc": "T"}, feed.ns(feed.now))
    assert feed.condition() is Condition.QUIET
    feed.run(60)
    assert feed.asked() > 0


def test_bars_of_a_halted_symbol_are_not_awaited() -> None:
    """Nor do they keep the feed from counting as halted."""
    feed = Feed()
    feed.hold(SubscriptionSet({"quotes": ["AAPL"], "bars": ["AAPL"]}))

    def minute() -> None:
        feed.send("quotes", "AAPL")
        if int(feed.now) % 60 == 0:
            feed.send("bars", "AAPL")

    assert feed.run(3600, minute) is None
    feed.liveness.status({"T": "s", "S": "AAPL", "sc": "H"}, feed.ns(feed.now))
    assert feed.run(7200) is None
    assert feed.condition() is Condition.HALTED


def test_a_mute_channel_under_the_wildcard_is_noticed() -> None:
    """Quotes of everybody end while trades go on: asked of some, subscribed anew, connected anew."""
    topics = SubscriptionSet({"trades": ["*"], "quotes": ["*"]})
    feed = Feed()
    feed.hold(topics)

    def both() -> None:
        feed.send("quotes", "A")
        feed.send("trades", "B")

    assert feed.run(600, both) is None
    began = feed.now
    advice = feed.run(120, lambda: feed.send("trades", "B"))
    assert isinstance(advice, Resubscribe)
    assert list(advice.topics) == [("quotes", "*")]
    assert feed.now - began <= 40
    feed.hold(SubscriptionSet({"trades": ["*"]}))
    feed.hold(topics)
    advice = feed.run(120, lambda: feed.send("trades", "B"))
    assert isinstance(advice, Reconnect) and advice.at_once


def test_who_did_not_listen_does_not_judge() -> None:
    """After the machine slept, the silence was ours."""
    feed = learned(rest=False)
    assert feed.look(3600) is None
    feed.send("quotes", "AAPL")
    assert feed.look() is None
    assert feed.run(3) is None


def test_comings_and_goings_of_others_hide_nothing() -> None:
    """Upstream confirms other topics before every look: who speaks is heard all the same."""
    feed = learned(rest=False)
    more = SIP | SubscriptionSet({"trades": ["X"]})

    def speak() -> None:
        feed.everybody()()
        feed.hold(SIP if feed.held == more else more)

    assert feed.run(300, speak) is None
    assert not feed.liveness.mute_topics(feed.monotonic_ns)
    assert feed.asked() == 0


def test_thousands_of_symbols_take_turns() -> None:
    """No look costs more than some hundreds of them; each is found all the same."""
    names = [f"S{number}" for number in range(2500)]
    topics = SubscriptionSet({"quotes": names})
    feed = Feed()
    feed.latest = {}
    feed.hold(topics)
    looks: list[int] = []
    plain = feed.last_value

    def counted(channel: str, symbol: str) -> object:
        looks[-1] += 1
        return plain(channel, symbol)

    feed.last_value = counted  # type: ignore[method-assign]

    def others() -> None:
        looks.append(0)
        for name in names[1:]:
            feed.send("quotes", name)
        assert feed.latest is not None
        feed.latest["quotes", "S0"] = feed.now

    def all_of_them() -> None:
        others()
        feed.send("quotes", "S0")

    assert feed.run(600, all_of_them) is None
    began = feed.now
    advice = feed.run(120, others)
    assert isinstance(advice, Resubscribe) and list(advice.topics) == [("quotes", "S0")]
    assert feed.now - began <= 100
    assert max(looks) <= 250


class AnyDay(RuleBasedStateMachine):
    """Whatever happens, in whatever order: what must never be said is never said."""

    def __init__(self) -> None:
        super().__init__()
        self.feed = Feed()
        self.feed.latest = {}
        self.random = Random(1)
        self.said: Advice | None = None
        self.resubscribed = 0

    def note(self, advice: Advice | None) -> None:
        self.said = advice
        feed = self.feed
        if isinstance(advice, Ask | Resubscribe | Reconnect):
            assert feed.held, "nothing is subscribed"
            assert feed.period.phase is not Phase.CLOSED
        if isinstance(advice, Ask):
            assert all(
                (advice.channel, symbol) in feed.held and symbol not in feed.liveness.halted
                for symbol in advice.symbols
            )
        if isinstance(advice, Resubscribe):
            assert not advice.topics - feed.held
            feed.hold(feed.held - advice.topics)
            feed.hold(feed.held | advice.topics)
        if isinstance(advice, Reconnect):
            assert feed.latest is not None
            newer = any(at > feed.happened.get(topic, 0.0) for topic, at in feed.latest.items())
            assert newer or not feed.answers or not feed.answers[-1], "REST had nothing newer"
            topics = feed.held
            feed.liveness.lost()
            feed.held = SubscriptionSet()
            assert feed.condition() is Condition.IDLE
            feed.hold(topics)

    @rule(topics=st.sets(st.sampled_from(sorted([*SIP, ("bars", "AAPL"), ("statuses", "*")]))))
    def subscribe(self, topics: set[Any]) -> None:
        self.feed.answers.clear()
        self.feed.hold(SubscriptionSet.of(sorted(topics)))

    @rule()
    def lose(self) -> None:
        self.feed.liveness.lost()
        self.feed.held = SubscriptionSet()

    @rule(phase=st.sampled_from(Phase))
    def turn(self, phase: Phase) -> None:
        self.feed.phase(phase)

    @rule(seconds=st.integers(1, 700), mean=st.sampled_from([0.5, 3.0, 40.0]))
    def speak(self, seconds: int, mean: float) -> None:
        for _ in range(seconds):
            for channel, symbol in list(self.feed.held):
                if channel != "statuses" and self.random.random() < 1 / mean:
                    self.feed.send(channel, symbol)
            self.note(self.feed.look())

    @rule(seconds=st.integers(1, 700))
    def silence(self, seconds: int) -> None:
        for _ in range(seconds):
            self.note(self.feed.look())

    @rule(seconds=st.integers(1, 200), symbol=st.sampled_from(["AAPL", "MSFT"]))
    def mute(self, seconds: int, symbol: str) -> None:
        """REST goes on without the stream."""
        for _ in range(seconds):
            for topic in self.feed.held:
                if topic[1] == symbol and self.feed.latest is not None:
                    self.feed.latest[topic] = self.feed.now
            self.note(self.feed.look())

    @rule(code=st.sampled_from("HT"), symbol=st.sampled_from(["AAPL", "MSFT"]))
    def halt(self, code: str, symbol: str) -> None:
        now_ns = self.feed.ns(self.feed.now)
        self.feed.answers.clear()  # who is left to be asked may be others
        self.feed.liveness.status({"T": "s", "S": symbol, "sc": code}, now_ns)

    @rule(seconds=st.integers(6, 100_000))
    def sleep(self, seconds: int) -> None:
        self.feed.now += seconds
        assert self.feed.look() is None

    @invariant()
    def the_word_fits(self) -> None:
        condition = self.feed.condition()
        assert (condition is Condition.IDLE) == (not self.feed.held)
        if condition is Condition.MUTE:
            assert isinstance(self.said, Reconnect | Ask)


TestAnyDay = AnyDay.TestCase
TestAnyDay.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
