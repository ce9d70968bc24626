"""Market hours, auctions and expiries, across weekends and daylight time."""

from __future__ import annotations

from datetime import date

import pytest

from stream_proxy.model.time import parse_rfc3339, rfc3339
from stream_proxy.simulator.trading.sessions import (
    calendar,
    expiry,
    is_open,
    next_close,
    next_open,
    too_late_for_auction,
)

ns = parse_rfc3339


@pytest.mark.parametrize(
    ("at", "regular", "extended"),
    [
        ("2026-11-18T09:29:59-05:00", False, True),
        ("2026-11-18T09:30:00-05:00", True, True),
        ("2026-11-18T15:59:59-05:00", True, True),
        ("2026-11-18T16:00:00-05:00", False, True),
        ("2026-11-18T20:00:00-05:00", False, False),
        ("2026-11-18T03:59:59-05:00", False, False),
        ("2026-11-21T12:00:00-05:00", False, False),  # a Saturday
        ("2026-07-01T09:30:00-04:00", True, True),
    ],
)
def test_hours(at: str, regular: bool, extended: bool) -> None:
    assert (is_open(ns(at)), is_open(ns(at), extended=True)) == (regular, extended)


def test_the_next_session_is_after_the_weekend() -> None:
    friday_evening = ns("2026-11-20T18:00:00-05:00")
    assert rfc3339(next_open(friday_evening)) == "2026-11-23T14:30:00Z"
    assert rfc3339(next_close(friday_evening)) == "2026-11-23T21:00:00Z"


@pytest.mark.parametrize(
    ("time_in_force", "at", "late"),
    [
        ("opg", "2026-11-18T09:27:00-05:00", False),
        ("opg", "2026-11-18T09:28:00-05:00", True),
        ("opg", "2026-11-18T18:59:00-05:00", True),
        ("opg", "2026-11-18T19:00:00-05:00", False),
        ("cls", "2026-11-18T15:49:00-05:00", False),
        ("cls", "2026-11-18T15:50:00-05:00", True),
        ("cls", "2026-11-18T17:00:00-05:00", True),
        ("cls", "2026-11-21T12:00:00-05:00", False),
        ("day", "2026-11-18T15:50:00-05:00", False),
    ],
)
def test_auction_cut_offs(time_in_force: str, at: str, late: bool) -> None:
    assert too_late_for_auction(time_in_force, ns(at)) is late


def test_expiries() -> None:
    saturday = ns("2026-11-21T12:00:00-05:00")
    assert rfc3339(expiry("day", False, saturday)) == "2026-11-23T21:00:00Z"
    assert rfc3339(expiry("day", True, saturday)) == "2026-11-24T01:00:00Z"
    assert rfc3339(expiry("gtc", False, saturday)) == "2027-02-19T17:00:00Z"
    assert expiry("ioc", False, saturday) == 0


def test_the_calendar_has_weekdays() -> None:
    days = calendar(date(2026, 11, 20), date(2026, 11, 24))
    assert [day["date"] for day in days] == ["2026-11-20", "2026-11-23", "2026-11-24"]
    assert days[0]["settlement_date"] == "2026-11-23"
