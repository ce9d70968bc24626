"""Small parts: amounts, identifiers, made-up prices, positions, assets, the rate limit, chatter."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_proxy.simulator.trading.account import Account
from stream_proxy.simulator.trading.amounts import amount, text
from stream_proxy.simulator.trading.assets import Assets, contract_of
from stream_proxy.simulator.trading.chatter import Chatter
from stream_proxy.simulator.trading.identifiers import Identifiers, is_ulid, ulid_milliseconds
from stream_proxy.simulator.trading.prices import WalkingMarket
from stream_proxy.simulator.trading.rest import RateLimit, Refused

Venue = Any


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=9, min_value=-(10**9), max_value=10**9
    )
)
def test_amounts_survive_their_text(number: Decimal) -> None:
    assert amount(text(number)) == number
    assert "E" not in text(number)


@given(st.lists(st.integers(0, 2**46), min_size=2, max_size=50))
def test_event_ids_rise_whatever_the_clock_does(milliseconds: list[int]) -> None:
    made = Identifiers(Random(1))
    ids = [made.event_id(ms * 1_000_000) for ms in milliseconds]
    assert ids == sorted(set(ids))
    assert all(map(is_ulid, ids))
    assert ulid_milliseconds(ids[0]) == milliseconds[0]


@pytest.mark.parametrize(
    "symbol", ["AAPL", "BTC/USD", "SHIB/USD", "ETH/BTC", "AAPL261218C00230000"]
)
def test_made_up_prices_are_a_function_of_time(symbol: str) -> None:
    now = 1_795_000_000_000_000_000
    first, second = WalkingMarket(1), WalkingMarket(1)
    quotes = [first.quote(symbol, now + second_ * 10**9) for second_ in range(60)]
    assert quotes[::-1] == [second.quote(symbol, now + s * 10**9) for s in reversed(range(60))]
    assert all(quote is not None and 0 < quote.bid < quote.ask for quote in quotes)
    assert len({quote.bid for quote in quotes if quote is not None}) > 5


def test_assets_have_names_and_ids() -> None:
    assets = Assets()
    found = assets.find("AAPL261218C00230000")
    assert found is not None and found.kind == "us_option"
    for name in ("AAPL", "BTC/USD", "BTCUSD", found.id):
        asset = assets.find(name)
        assert asset is not None
        assert assets.find(asset.id) is asset
    assert assets.find("AAPL261318C00230000") is None
    assert assets.find("NOSUCH261218C00230000") is None
    assert contract_of("AAPL") is None


def test_the_rate_limit_counts_by_minute() -> None:
    now = [30.0]
    limit = RateLimit(2, lambda: now[0])
    account = Account("paper", "PK1", 0)
    assert limit.count(account)["X-RateLimit-Remaining"] == "1"
    assert limit.count(account)["X-RateLimit-Remaining"] == "0"
    with pytest.raises(Refused) as refused:
        limit.count(account)
    assert refused.value.headers["Retry-After"] == "30"
    assert refused.value.headers["X-RateLimit-Reset"] == "60"
    assert limit.count(Account("paper", "PK2", 0))
    now[0] = 60.0
    assert limit.count(account)["X-RateLimit-Remaining"] == "1"


def test_chatter_trades_at_random_but_repeatably(make_venue: type[Venue]) -> None:
    def run() -> list[str]:
        venue = make_venue()
        venue.engine.market = WalkingMarket(3)
        chatter = Chatter(venue.engine, venue.account, 2.0, 5, venue.now_ns)
        for _ in range(600):
            chatter.step(venue.tick(0.5))
            venue.engine.step(venue.now_ns)
        return [event.event for event in venue.account.events]

    events = run()
    assert events == run()
    assert {"fill", "canceled", "replaced", "new"} <= set(events)
    assert 300 < events.count("pending_new") < 700
