"""Whatever is ordered, forced and quoted in whatever order: the books agree."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stream_proxy.simulator.trading.account import STARTING_CASH
from stream_proxy.simulator.trading.forcing import EVENTS, force
from stream_proxy.simulator.trading.history import ActivityFilter, list_activities
from stream_proxy.simulator.trading.order import FINAL, LEGAL
from stream_proxy.simulator.trading.positions import folded
from stream_proxy.simulator.trading.refusals import Refusal

from .conftest import Venue  # type: ignore[import-not-found,unused-ignore]

QTY = st.sampled_from(["1", "3", "10", "0.5", "250"])
PRICE = st.integers(9000, 11000).map(lambda cents: str(Decimal(cents) / 100))
OPTION = "AAPL261218C00100000"
HIGHER = "AAPL261218C00105000"


class Books(RuleBasedStateMachine):
    """One account under random hands."""

    def __init__(self) -> None:
        super().__init__()
        self.venue = Venue(partial_share=0.3)
        self.venue.market.set(OPTION, "2.0", "2.1", size="30")
        self.venue.market.set(HIGHER, "1.0", "1.1", size="20")

    def _try(self, do: Any) -> None:
        try:
            do()
        except Refusal:
            pass

    def _pick(self, place: int) -> Any:
        orders = list(self.venue.account.orders.values())
        return orders[place % len(orders)] if orders else None

    @rule(
        symbol=st.sampled_from(["AAPL", "AAPL", "BTC/USD", OPTION, "REJECTME"]),
        side=st.sampled_from(["buy", "sell"]),
        kind=st.sampled_from(["market", "limit", "stop", "stop_limit", "trailing_stop"]),
        time_in_force=st.sampled_from(["day", "day", "gtc", "ioc", "fok", "cls"]),
        qty=QTY,
        price=PRICE,
    )
    def order(
        self, symbol: str, side: str, kind: str, time_in_force: str, qty: str, price: str
    ) -> None:
        fields: dict[str, Any] = {
            "side": side,
            "type": kind,
            "time_in_force": time_in_force,
            "qty": qty,
        }
        if "limit" in kind:
            fields["limit_price"] = price
        if kind in ("stop", "stop_limit"):
            fields["stop_price"] = price
        if kind == "trailing_stop":
            fields["trail_price"] = "1"
        self._try(lambda: self.venue.submit(symbol, **fields))

    @rule(kind=st.sampled_from(["bracket", "oco", "oto"]), low=PRICE, high=PRICE)
    def complex_order(self, kind: str, low: str, high: str) -> None:
        fields: dict[str, Any] = {"order_class": kind, "time_in_force": "gtc"}
        fields["take_profit"] = {"limit_price": high}
        if kind != "oto":
            fields["stop_loss"] = {"stop_price": low}
        if kind == "oco":
            fields |= {"side": "sell", "type": "limit"}
        self._try(lambda: self.venue.submit(**fields))

    @rule(qty=st.integers(1, 30), limit=st.sampled_from(["0.5", "1.1", "2", "-1"]))
    def spread(self, qty: int, limit: str) -> None:
        legs = [
            {"symbol": OPTION, "ratio_qty": 1, "side": "buy"},
            {"symbol": HIGHER, "ratio_qty": 2, "side": "sell"},
        ]
        fields = {"order_class": "mleg", "type": "limit", "limit_price": limit, "qty": qty}
        self._try(lambda: self.venue.submit(None, legs=legs, **fields))

    @rule(place=st.integers(0, 1000))
    def cancel(self, place: int) -> None:
        if order := self._pick(place):
            self._try(lambda: self.venue.cancel(order))

    @rule(place=st.integers(0, 1000), price=PRICE, qty=st.sampled_from([None, 5, 20]))
    def replace(self, place: int, price: str, qty: int | None) -> None:
        if order := self._pick(place):
            self._try(lambda: self.venue.replace(order, limit_price=price, qty=qty))

    @rule(place=st.integers(0, 1000), event=st.sampled_from(EVENTS))
    def force(self, place: int, event: str) -> None:
        venue = self.venue
        if order := self._pick(place):
            self._try(lambda: force(venue.engine, venue.account, order, event, venue.tick()))

    @rule(bid=PRICE, size=st.sampled_from(["2", "100", "100000"]))
    def quote(self, bid: str, size: str) -> None:
        self.venue.market.set("AAPL", bid, Decimal(bid) + Decimal("0.02"), size=size)

    @rule(seconds=st.sampled_from([1, 1, 1, 5 * 3600]))
    def step(self, seconds: int) -> None:
        self.venue.step(seconds)

    @invariant()
    def fills_add_up(self) -> None:
        filled: dict[str, Decimal] = {}
        for execution in self.venue.account.executions:
            filled[execution.order_id] = filled.get(execution.order_id, Decimal(0)) + execution.qty
        for order in self.venue.account.orders.values():
            if not order.multi_leg or order.is_leg:
                assert order.filled_qty == filled.get(order.id, 0)
            if order.qty is not None:
                assert order.filled_qty <= order.qty
                assert (order.filled_qty == order.qty) == (order.status == "filled")

    @invariant()
    def holdings_are_the_sum_of_fills(self) -> None:
        account = self.venue.account
        again = folded(STARTING_CASH, account.executions)
        assert account.holdings.cash == again.cash
        assert account.holdings.cash - STARTING_CASH == sum(e.cash for e in account.executions)
        for symbol, position in account.holdings.positions.items():
            signed = sum(e.signed_qty for e in account.executions if e.asset.symbol == symbol)
            assert position.qty == signed == again.held(symbol)

    @invariant()
    def statuses_follow_each_other_legally(self) -> None:
        last: dict[str, str] = {}
        for event in self.venue.account.events:
            order = event.data["order"]
            before, now = last.get(order["id"]), order["status"]
            # A leg's first event may come long after it was held.
            if before is not None and before != now:
                assert now in LEGAL[before] or _through_new(before, now), (before, now)
            assert before is None or before not in FINAL or before == now
            last[order["id"]] = now

    @invariant()
    def event_ids_rise_and_executions_are_one_each(self) -> None:
        account = self.venue.account
        ids = [event.id for event in account.events]
        assert ids == sorted(set(ids))
        told = [
            leg["execution_id"]
            for event in account.events
            if event.execution_id
            for leg in event.data.get("legs") or [event.data]
        ]
        assert told == [execution.id for execution in account.executions]
        items = list_activities(account, ActivityFilter(limit=10**6, ascending=True), None)
        assert [item["id"].split("::")[1] for item in items] == told

    @invariant()
    def working_orders_are_the_open_ones(self) -> None:
        account = self.venue.account
        assert set(account.working) == {o.id for o in account.orders.values() if o.open}


def _through_new(before: str, now: str) -> bool:
    # A held leg becomes new and trades within one call; "new" is announced, but of the leg.
    return before == "held" and now in ("partially_filled", "filled")


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
