"""Which part of the trading day it is, by the exchange's calendar."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_proxy.model.feeds import FEEDS, Feed
from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.sources.market_hours import ExchangeMarketHours, period_of
from stream_proxy.sources.market_phase import Phase, Timeline

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


@pytest.mark.parametrize(
    ("feed", "when", "expected"),
    [
        ("sip", "2026-11-24T03:59", Phase.CLOSED),
        ("sip", "2026-11-24T04:00", Phase.PRE_MARKET),
        ("sip", "2026-11-24T09:30", Phase.REGULAR),
        ("sip", "2026-11-24T16:00", Phase.POST_MARKET),
        ("sip", "2026-11-24T20:00", Phase.CLOSED),
        ("sip", "2026-11-26T11:00", Phase.CLOSED),  # Thanksgiving
        ("sip", "2026-11-27T13:00", Phase.POST_MARKET),  # a half day, and its short evening
        ("sip", "2026-11-27T17:00", Phase.CLOSED),
        ("sip", "2027-03-15T04:00", Phase.PRE_MARKET),  # the first day of daylight time
        ("delayed_sip", "2026-11-24T09:44", Phase.PRE_MARKET),
        ("delayed_sip", "2026-11-24T09:45", Phase.REGULAR),
        ("delayed_sip", "2026-11-24T16:14", Phase.REGULAR),
        ("opra", "2026-11-24T09:29", Phase.CLOSED),
        ("opra", "2026-11-24T09:30", Phase.REGULAR),
        ("opra", "2026-11-27T13:00", Phase.CLOSED),
        ("boats", "2026-11-22T19:59", Phase.CLOSED),
        ("boats", "2026-11-22T20:00", Phase.OVERNIGHT),  # Sunday evening
        ("boats", "2026-11-23T03:59", Phase.OVERNIGHT),
        ("boats", "2026-11-23T04:00", Phase.CLOSED),
        ("boats", "2026-11-25T21:00", Phase.CLOSED),  # before Thanksgiving
        ("boats", "2026-11-26T21:00", Phase.OVERNIGHT),
        ("boats", "2026-11-27T21:00", Phase.CLOSED),  # Friday
        ("crypto-us", "2026-11-26T03:00", Phase.ALWAYS),
        ("news", "2026-11-26T03:00", Phase.ALWAYS),
    ],
)
def test_each_feed_has_its_own_day(
    hours: ExchangeMarketHours, feed: str, when: str, expected: Phase
) -> None:
    """Night feeds, delayed feeds and options don't follow the stocks' hours."""
    assert hours.period(FEEDS[feed], ns(when)).phase is expected


@given(feed=st.sampled_from(list(FEEDS.values())), minutes=st.integers(0, 300 * 24 * 60))
def test_periods_follow_each_other_without_a_hole(
    hours: ExchangeMarketHours, feed: Feed, minutes: int
) -> None:
    """Every instant lies in its period, and the next begins where it ends."""
    now_ns = ns("2026-11-16T00:00") + minutes * 60 * NS_PER_SECOND
    period = hours.period(feed, now_ns)
    assert period.from_ns <= now_ns < period.to_ns
    assert hours.period(feed, period.to_ns - 1) == period
    following = hours.period(feed, period.to_ns)
    assert following.from_ns == period.to_ns
    if period.from_ns > ns("2026-11-01T00:00"):
        assert hours.period(feed, period.from_ns - 1).to_ns == period.from_ns


def test_crypto_never_sleeps_and_some_feeds_are_quiet_by_nature(hours: ExchangeMarketHours) -> None:
    """Other feeds have other hours."""
    sunday = ns("2026-11-22T03:00")
    assert hours.expects_data(FEEDS["crypto-us"], sunday)
    assert hours.expects_data(FEEDS["test"], sunday)
    for name in ("news", "otc", "overnight", "boats"):
        assert not hours.expects_data(FEEDS[name], ns("2026-11-24T10:00"))


def test_before_the_calendar_is_loaded_nothing_is_expected() -> None:
    """Better late than reconnecting for nothing."""
    assert not ExchangeMarketHours().expects_data(FEEDS["sip"], ns("2026-11-24T10:00"))
    assert Timeline().period(FEEDS["sip"], 5).phase is Phase.CLOSED


def test_hours_that_only_know_open_and_closed_will_do() -> None:
    """A simulated market may trade around the clock."""

    class Hours:
        def expects_data(self, feed: Feed, now_ns: int) -> bool:
            return feed.kind != "news"

    now_ns = ns("2026-11-22T03:00")
    assert period_of(Hours(), FEEDS["sip"], now_ns).phase is Phase.ALWAYS
    assert period_of(Hours(), FEEDS["news"], now_ns).phase is Phase.CLOSED
