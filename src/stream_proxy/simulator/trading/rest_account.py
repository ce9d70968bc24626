"""REST: the account, its activities, and what can be traded when."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from stream_proxy.simulator.trading.amounts import amount
from stream_proxy.simulator.trading.assets import contract_dict, contract_of
from stream_proxy.simulator.trading.desk import feed_name
from stream_proxy.simulator.trading.history import ActivityFilter, list_activities
from stream_proxy.simulator.trading.refusals import invalid, not_found
from stream_proxy.simulator.trading.rest import Call, Route
from stream_proxy.simulator.trading.sessions import (
    calendar,
    is_open,
    new_york_date,
    new_york_time,
    next_close,
    next_open,
)
from stream_proxy.simulator.trading.statements import account_dict, portfolio_history_dict

_MOST_ACTIVITIES = 100
_MOST_CONTRACTS = 10_000
_CALENDAR_YEARS = 2


def get_account(call: Call) -> object:
    """The account."""
    return account_dict(call.account, call.desk.engine.market, call.now_ns, call.at_ns)


def get_configurations(call: Call) -> object:
    """The account's settings."""
    return call.account.configuration


def patch_configurations(call: Call) -> object:
    """Change the account's settings."""
    known = call.account.configuration
    for name, value in call.body.items():
        if name in known and value is not None:
            if type(value) is not type(known[name]):
                raise invalid(f"{name} must be a {type(known[name]).__name__}")
            known[name] = value
    return known


def get_portfolio_history(call: Call) -> object:
    """Equity over time."""
    return portfolio_history_dict(call.account, call.desk.engine.market, call.now_ns)


def get_activities(call: Call) -> object:
    """Fills; the simulator knows no other activities."""
    faults, feed, key = call.desk.faults, feed_name(call.account.kind), call.account.key
    kinds = call.path.get("type") or call.query.get("activity_types") or "FILL"
    day = call.query.get("date") or None
    token = call.query.get("page_token") or None
    wanted = ActivityFilter(
        limit=call.count("page_size", _MOST_ACTIVITIES, _MOST_ACTIVITIES),
        after_ns=call.instant("after"),
        until_ns=call.instant("until"),
        date=day[:10] if day else None,
        ascending=call.choice("direction", ("asc", "desc"), "desc") == "asc",
        after_id=token,
    )
    if faults.strike("empty_page", feed, key):
        return []
    if token is not None and faults.strike("repeat_page", feed, key):
        wanted = ActivityFilter(
            wanted.limit, wanted.after_ns, wanted.until_ns, wanted.date, wanted.ascending
        )
    if "FILL" not in kinds.upper().split(","):
        return []
    return list_activities(call.account, wanted, call.at_ns)


def get_assets(call: Call) -> object:
    """List stocks and crypto pairs."""
    status = call.query.get("status")
    kind = call.query.get("asset_class")
    exchange = call.query.get("exchange")
    found = []
    for asset in call.desk.engine.assets.listed():
        fields = asset.as_dict()
        if (
            status in (None, "", "all", fields["status"])
            and kind in (None, "", asset.kind)
            and exchange in (None, "", asset.exchange)
        ):
            found.append(fields)
    return found


def get_asset(call: Call) -> object:
    """One asset by symbol or id."""
    asset = call.desk.engine.assets.find(call.path["symbol"])
    if asset is None:
        raise not_found(f"asset not found for {call.path['symbol'][:40]}")
    return asset.as_dict()


def get_contracts(call: Call) -> object:
    """List option contracts."""
    today = new_york_date(call.now_ns)
    underlyings = [s for s in call.query.get("underlying_symbols", "AAPL").split(",") if s]
    query = call.query
    earliest = query.get("expiration_date") or query.get("expiration_date_gte") or ""
    latest = query.get("expiration_date") or query.get("expiration_date_lte") or "9999"
    lowest, highest = amount(query.get("strike_price_gte")), amount(query.get("strike_price_lte"))
    kind = query.get("type")
    found = [
        contract_dict(contract, today)
        for contract in call.desk.engine.assets.contracts(underlyings, today)
        if earliest <= contract.expiry.isoformat() <= latest
        and (lowest or Decimal(0)) <= contract.strike <= (highest or contract.strike)
        and kind in (None, "", "call" if contract.is_call else "put")
    ]
    start = query.get("page_token") or "0"
    if not start.isdecimal():
        raise invalid("page_token must be the next_page_token of the page before")
    end = int(start) + call.count("limit", 100, _MOST_CONTRACTS)
    return {
        "option_contracts": found[int(start) : end],
        "next_page_token": str(end) if end < len(found) else None,
    }


def get_contract(call: Call) -> object:
    """One option contract by its OCC name."""
    asset = call.desk.engine.assets.find(call.path["symbol"])
    contract = contract_of(asset.symbol) if asset is not None else None
    if contract is None:
        raise not_found(f"option contract not found for {call.path['symbol'][:40]}")
    return contract_dict(contract, new_york_date(call.now_ns))


def get_clock(call: Call) -> object:
    """Is the market open, and when that changes."""
    return {
        "timestamp": new_york_time(call.now_ns),
        "is_open": is_open(call.now_ns),
        "next_open": new_york_time(next_open(call.now_ns)),
        "next_close": new_york_time(next_close(call.now_ns)),
    }


def get_calendar(call: Call) -> object:
    """Trading days: weekdays, holidays included, since the simulator knows none."""
    today = new_york_date(call.now_ns)
    first = _day(call.query.get("start"), today)
    last = _day(call.query.get("end"), max(first, today) + timedelta(days=30))
    if last - first > timedelta(days=366 * _CALENDAR_YEARS):
        raise invalid(f"ask for at most {_CALENDAR_YEARS} years at once")
    days: list[dict[str, Any]] = list(calendar(first, last))
    return days


def _day(value: str | None, default: date) -> date:
    if not value:
        return default
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        raise invalid("start and end must be dates such as 2026-01-02") from None


ROUTES: list[Route] = [
    ("GET", "/v2/account", get_account),
    ("GET", "/v2/account/configurations", get_configurations),
    ("PATCH", "/v2/account/configurations", patch_configurations),
    ("GET", "/v2/account/portfolio/history", get_portfolio_history),
    ("GET", "/v2/account/activities", get_activities),
    ("GET", "/v2/account/activities/{type}", get_activities),
    ("GET", "/v2/assets", get_assets),
    ("GET", "/v2/assets/{symbol:path}", get_asset),
    ("GET", "/v2/options/contracts", get_contracts),
    ("GET", "/v2/options/contracts/{symbol}", get_contract),
    ("GET", "/v2/clock", get_clock),
    ("GET", "/v2/calendar", get_calendar),
]
