"""What is asked of REST after a gap, and what is made of the answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from random import Random
from typing import Any

from msgspec.json import encode

from stream_proxy.model.fills import Fill
from stream_proxy.model.orders import KnownOrder, OrderEvent, Origin
from stream_proxy.model.time import parse_rfc3339
from stream_proxy.simulator.trading.engine import Engine
from stream_proxy.simulator.trading.forcing import force
from stream_proxy.simulator.trading.history import (
    ActivityFilter,
    OrderFilter,
    list_activities,
    list_orders,
    order_at,
)
from stream_proxy.simulator.trading.order import Order
from stream_proxy.simulator.trading.prices import HandMarket
from stream_proxy.sources.trading.reconcile import Findings, Position, Told, reconcile
from stream_proxy.wire.alpaca.trade_updates import read_event

NOON = parse_rfc3339("2026-11-18T12:00:00-05:00")
SECOND = 1_000_000_000
LONG, SHORT = "AAPL261218C00100000", "AAPL261218C00110000"
ALL = 10_000


class Books:
    """`TradingRest` over an engine's books, and the account that they are of.

    Attributes:
        asked: the questions, in order; for fills since when.
        raw: Alpaca's own record of events, if the account has one.
        shows_fills: whether the activities show anything.
        hides: orders that aren't shown.
    """

    def __init__(self) -> None:
        self.market = HandMarket()
        self.market.set("AAPL", "100", "100.02")
        self.market.set(LONG, "2.00", "2.10", size="50")
        self.market.set(SHORT, "1.00", "1.05", size="50")
        self.engine = Engine(self.market, Random(7))
        self.account = self.engine.account("paper", "PK1", NOON)
        self.now_ns = NOON
        self.asked: list[str | int] = []
        self.raw: list[bytes] | None = None
        self.shows_fills = True
        self.hides: set[str] = set()

    # The account

    def tick(self, seconds: float = 1) -> int:
        self.now_ns += int(seconds * SECOND)
        self.engine.step(self.now_ns)
        return self.now_ns

    def submit(self, **fields: Any) -> Order:
        """An order that rests, unless told otherwise."""
        usual = {"symbol": "AAPL", "qty": 10, "side": "buy", "type": "limit", "limit_price": 50}
        order = self.engine.submit(
            self.account, {**usual, "time_in_force": "gtc", **fields}, self.tick()
        )
        self.tick()
        return order

    def fill(self, order: Order, quantity: int, price: int) -> None:
        event = "fill" if quantity == order.remaining else "partial_fill"
        force(
            self.engine, self.account, order, event, self.tick(), Decimal(price), Decimal(quantity)
        )

    def happened(self) -> list[OrderEvent]:
        return [read_event(encode(event.data), Origin.STREAM) for event in self.account.events]

    # REST

    async def time(self) -> None:
        """It doesn't tell."""

    async def events(self, since_ns: int, until_ns: int) -> list[bytes] | None:
        return self.raw

    async def orders(self, after_ns: int) -> list[dict[str, Any]]:
        self.asked.append("orders")
        wanted = OrderFilter("all", ALL, after_ns, ascending=True, nested=True)
        found = list_orders(self.account, wanted, None)
        return [order for order in found if order["id"] not in self.hides]

    async def open_orders(self) -> list[dict[str, Any]]:
        self.asked.append("open orders")
        return list_orders(
            self.account, OrderFilter("open", ALL, ascending=True, nested=True), None
        )

    async def order(self, order_id: str) -> dict[str, Any] | None:
        self.asked.append(order_id)
        if order_id in self.hides:
            return None
        return order_at(self.account.orders[order_id], None)

    async def fills(self, after_ns: int) -> list[dict[str, Any]]:
        self.asked.append(after_ns)
        if not self.shows_fills:
            return []
        return list_activities(self.account, ActivityFilter(ALL, after_ns, ascending=True), None)

    async def close(self) -> None:
        """Nothing is open."""

    # A record of ours

    def told(self, events: Sequence[OrderEvent]) -> Told:
        """The fills that a record of these events has."""

        async def ask(order_ids: Sequence[str]) -> Mapping[str, Sequence[Fill]]:
            found: dict[str, list[Fill]] = {name: [] for name in order_ids}
            for event in events:
                data = json.loads(event.data)
                if "qty" in data and event.order_id in found:
                    end = Decimal(event.filled_qty)
                    price, quantity = Decimal(data["price"]), Decimal(data["qty"])
                    fill = Fill(end - quantity, end, price, event.timestamp_ns)
                    found[event.order_id].append(fill)
            return found

        return ask

    async def reconciled(
        self,
        *,
        until_ns: int = NOON,
        knows: Sequence[OrderEvent] = (),
        open_orders: Sequence[Order] = (),
        aggregate: bool = False,
    ) -> Findings:
        """Catch up from an instant; our record begins at noon and has some events."""
        known = {o.id: KnownOrder(o.id, "new", "0", o.submitted_ns) for o in open_orders}
        position = Position(NOON, until_ns, known)
        told = self.told(knows)
        return await reconcile(self, position, self.now_ns, told=told, aggregate=aggregate)


async def test_unreadable_events_are_counted_with_a_reason_that_says_nothing_of_them() -> None:
    books = Books()
    books.submit()
    good = [encode(event.data) for event in books.account.events]
    books.raw = [good[0], b'{"event":"fill","order":{"id":77,"symbol":"SECRET"}}', b"{", *good[1:]]
    findings = await books.reconciled()
    assert findings.exact and [event.data for event in findings.events] == good
    assert findings.unreadable == 2
    assert findings.reason and "SECRET" not in findings.reason and "77" not in findings.reason


async def test_what_our_record_has_forgotten_is_not_told_again() -> None:
    """Ids know milliseconds: asked from one on, Alpaca tells what retention forgot in it, too."""
    books = Books()
    order = books.submit()
    books.fill(order, 4, 50)
    happened = books.happened()
    books.raw = [encode(event.data) for event in books.account.events]
    since_ns = happened[0].timestamp_ns + 1
    position = Position(since_ns, since_ns, {})
    findings = await reconcile(books, position, books.now_ns, told=books.told([]))
    assert 0 < len(findings.events) < len(happened)
    assert all(event.timestamp_ns >= since_ns for event in findings.events)
    undated = b'{"event":"restated","order":{"id":"o1"}}'
    books.raw = [undated]
    findings = await reconcile(books, position, books.now_ns, told=books.told([]))
    assert [event.data for event in findings.events] == [undated]


async def test_old_fills_are_asked_for_only_when_something_does_not_add_up() -> None:
    books = Books()
    order = books.submit()
    books.fill(order, 4, 50)
    seen = books.happened()
    gap_ns = books.tick(3600)
    books.fill(order, 3, 50)
    findings = await books.reconciled(until_ns=gap_ns, knows=seen, open_orders=[order])
    kinds = [event.kind for event in findings.events]
    assert kinds == [f"{order.id}:new", f"{order.id}:fill:7"] and not findings.left_out
    asked_since = [question for question in books.asked if isinstance(question, int)]
    assert asked_since == [gap_ns - 60 * SECOND - 1]
    findings = await books.reconciled(until_ns=gap_ns, knows=seen[:2], open_orders=[order])
    assert [event.kind for event in findings.events][1:] == [
        f"{order.id}:fill:4",
        f"{order.id}:fill:7",
    ]


async def test_what_is_not_shown_is_told_when_it_is_overdue_and_never_again() -> None:
    books = Books()
    order = books.submit()
    books.fill(order, 2, 50)
    books.fill(order, 3, 60)
    books.shows_fills = False
    assert (await books.reconciled()).left_out == 1
    books.tick(30)
    assert (await books.reconciled(aggregate=True)).left_out == 1, "it isn't overdue yet"
    books.tick(31)
    told = await books.reconciled(aggregate=True)
    assert [event.kind for event in told.events] == [f"{order.id}:new", f"{order.id}:fill:5"]
    books.shows_fills = True
    books.fill(order, 5, 70)
    again = await books.reconciled(knows=told.events)
    assert [event.kind for event in again.events] == [f"{order.id}:new", f"{order.id}:fill:10"]
    assert not again.left_out


async def test_fills_of_an_order_that_is_not_shown_yet() -> None:
    books = Books()
    order = books.submit()
    books.fill(order, 10, 50)
    books.hides.add(order.id)
    findings = await books.reconciled()
    assert findings.events == [] and findings.left_out == 1
    books.hides.clear()
    findings = await books.reconciled()
    assert len(findings.events) == 2 and not findings.left_out


async def test_a_multi_leg_order_is_filled_in_units() -> None:
    """Its legs' fills are in the activities, and no leg has events of its own."""
    books = Books()
    legs = [
        {"symbol": LONG, "ratio_qty": 1, "side": "buy", "position_intent": "buy_to_open"},
        {"symbol": SHORT, "ratio_qty": 2, "side": "sell", "position_intent": "sell_to_open"},
    ]
    wish = {"order_class": "mleg", "symbol": None, "side": None, "limit_price": "0.05", "qty": 4}
    order = books.submit(**wish, time_in_force="day", legs=legs)
    force(books.engine, books.account, order, "partial_fill", books.tick(), None, Decimal(1))
    books.market.set(LONG, "2.00", "2.04", size="50")
    books.tick()
    assert order.status == "filled"
    books.tick()
    findings = await books.reconciled()
    assert not findings.left_out
    truth = [event for event in books.happened() if event.event != "pending_new"]
    assert [event.event for event in truth] == ["new", "partial_fill", "fill"]
    assert [event.kind for event in findings.events] == [event.kind for event in truth]
    for made, true in zip(findings.events[1:], truth[1:], strict=True):
        said, meant = json.loads(made.data), json.loads(true.data)
        assert (said["price"], said["qty"]) == (meant["price"], meant["qty"])
        assert made.timestamp_ns == true.timestamp_ns and "aggregated" not in said
    assert not set(books.asked) & {leg.id for leg in order.legs}
    books.shows_fills = False
    assert (await books.reconciled()).left_out == 1
