"""When silence is a fault: patience, and the market's hours."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.sources.market_hours import ExchangeMarketHours
from stream_proxy.sources.silence import Silence

NEW_YORK = ZoneInfo("America/New_York")


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()) * NS_PER_SECOND


@pytest.fixture(scope="module")
def hours() -> ExchangeMarketHours:
    made = ExchangeMarketHours()
    made.load(ns("2026-11-21T12:00"))
    return made


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("2026-11-24T10:00", True),  # a Tuesday
        ("2026-11-22T03:00", False),  # Sunday night
        ("2026-11-24T09:29", False),
        ("2026-11-24T09:30", False),  # the first minute is still warming up
        ("2026-11-24T09:32", True),
        ("2026-11-24T16:00", False),
        ("2026-11-26T11:00", False),  # Thanksgiving
        ("2026-11-27T12:59", True),  # the half day after it
        ("2026-11-27T13:01", False),
        ("2027-03-15T09:40", True),  # after the change to daylight time
        ("2027-03-12T15:59", True),  # before it
    ],
)
def test_sip_is_expected_to_speak_in_the_regular_session_only(
    hours: ExchangeMarketHours, when: str, expected: bool
) -> None:
    """Holidays, half days and daylight time come from the exchange's calendar."""
    assert hours.expects_data(FEEDS["sip"], ns(when)) is expected


def test_crypto_never_sleeps_and_news_is_never_judged(hours: ExchangeMarketHours) -> None:
    """Other feeds have other hours."""
    sunday = ns("2026-11-22T03:00")
    assert hours.expects_data(FEEDS["crypto-us"], sunday)
    assert hours.expects_data(FEEDS["test"], sunday)
    for name in ("news", "otc", "overnight", "boats"):
        assert not hours.expects_data(FEEDS[name], ns("2026-11-24T10:00"))


def test_before_the_calendar_is_loaded_nothing_is_expected() -> None:
    """Better late than reconnecting for nothing."""
    assert not ExchangeMarketHours().expects_data(FEEDS["sip"], ns("2026-11-24T10:00"))


def _busy(silence: Silence, pause_seconds: float, times: int = 50) -> int:
    now = 0
    silence.subscribed(now)
    for _ in range(times):
        now += int(pause_seconds * NS_PER_SECOND)
        silence.heard(now)
    return now


def test_a_busy_subscription_is_mute_soon() -> None:
    """A tape that never paused for a second is mute after the shortest patience."""
    silence = Silence(30, 300)
    now = _busy(silence, 0.25)
    assert not silence.is_mute(now + 29 * NS_PER_SECOND, ["quotes"])
    assert silence.is_mute(now + 31 * NS_PER_SECOND, ["quotes"])


def test_a_thin_subscription_gets_the_patience_it_needs() -> None:
    """Pauses of a minute are normal here: three times that is suspicious."""
    silence = Silence(30, 300)
    now = _busy(silence, 60)
    assert not silence.is_mute(now + 170 * NS_PER_SECOND, ["trades"])
    assert silence.is_mute(now + 190 * NS_PER_SECOND, ["trades"])


def test_statuses_may_be_silent_for_ever() -> None:
    """Nobody can say when the next halt comes."""
    silence = Silence(30, 300)
    assert not silence.is_mute(10**17, ["statuses", "lulds"])


def test_fruitless_reconnects_make_more_patient() -> None:
    """If a new connection is as silent, it may be the market: don't flap."""
    silence = Silence(30, 300)
    now = _busy(silence, 0.25)
    patience = silence.patience_ns(["quotes"])
    silence.gave_up()
    silence.gave_up()
    assert silence.patience_ns(["quotes"]) == 4 * patience
    silence.heard(now)
    assert silence.patience_ns(["quotes"]) == patience
