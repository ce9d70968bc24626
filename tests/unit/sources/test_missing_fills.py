"""Fills are told once, none is told twice, and more than there is never, whatever REST shows when."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stream_proxy.model.fills import Fill, uncovered
from stream_proxy.model.orders import FILLS, OrderEvent
from stream_proxy.model.time import rfc3339
from stream_proxy.sources.trading.missing_fills import missing_fills
from stream_proxy.sources.trading.reconstruct import missing_events

START = 1_772_000_000_000_000_000
SECOND = 1_000_000_000
LATER = START + 10_000 * SECOND
ENDS = {"filled": "filled_at", "canceled": "canceled_at", "expired": "expired_at"}


@dataclass(frozen=True)
class Life:
    """What truly happens to one order."""

    fills: tuple[Fill, ...]
    end: str
    """How it ends; empty if it stays open."""

    def order(self, fills: int) -> dict[str, Any]:
        """The order as REST shows it after so many fills."""
        done = self.fills[:fills]
        filled = sum((fill.quantity for fill in done), Decimal(0))
        over = fills == len(self.fills)
        last_ns = done[-1].instant_ns if done else START
        cost = sum((fill.quantity * fill.price for fill in done), Decimal(0))
        status = "partially_filled" if filled else "new"
        quantity = self.fills[-1].end + (0 if self.end == "filled" else 1)
        order = {
            "id": "order",
            "status": self.end if over and self.end else status,
            "qty": f"{quantity:f}",
            "filled_qty": f"{filled:f}",
            "filled_avg_price": f"{round(cost / filled, 9):f}" if filled else None,
            "submitted_at": rfc3339(START),
            "updated_at": rfc3339(last_ns),
        }
        if over and self.end:
            order[ENDS[self.end]] = rfc3339(last_ns)
        return order

    def activity(self, fill: Fill) -> dict[str, Any]:
        """A fill as the account's activities show it."""
        return {
            "id": f"{fill.end:f}",
            "order_id": "order",
            "qty": f"{fill.quantity:f}",
            "cum_qty": f"{fill.end:f}",
            "price": f"{fill.price:f}",
            "transaction_time": rfc3339(fill.instant_ns),
        }


@dataclass
class Record:
    """What our journal keeps: one event of a kind, and of fills their ranges."""

    kinds: set[str] = field(default_factory=set)
    fills: list[Fill] = field(default_factory=list)
    aggregated: int = 0

    def append(self, events: list[OrderEvent]) -> None:
        for event in events:
            if event.kind in self.kinds:
                continue
            self.kinds.add(event.kind)
            if event.event in FILLS:
                data = json.loads(event.data)
                end = Decimal(event.filled_qty)
                fill = Fill(
                    end - Decimal(data["qty"]), end, Decimal(data["price"]), event.timestamp_ns
                )
                self.hear(fill)
                self.aggregated += "aggregated" in data

    def hear(self, fill: Fill) -> None:
        """Take a fill, from the stream or made; it mustn't have been told in any form."""
        for known in self.fills:
            assert fill.end <= known.start or fill.start >= known.end, f"{fill} after {known}"
        self.fills.append(fill)


@st.composite
def lives(draw: st.DrawFn) -> Life:
    parts = draw(
        st.lists(
            st.tuples(
                st.decimals("0.001", "50", places=3),
                st.decimals("1", "999", places=2),
                st.integers(0, 5),
            ),
            min_size=1,
            max_size=6,
        )
    )
    fills, filled, now_ns = [], Decimal(0), START
    for quantity, price, seconds in parts:
        now_ns += seconds * SECOND
        fills.append(Fill(filled, filled + quantity, price, now_ns))
        filled += quantity
    return Life(tuple(fills), draw(st.sampled_from(["", *ENDS])))


@given(life=lives(), data=st.data())
def test_growing_views(life: Life, data: st.DataObject) -> None:
    """REST shows ever more, orders and activities each at a pace of their own; the stream tells
    some, and now and then nobody waits for what isn't shown.
    """
    record, count = Record(), len(life.fills)
    shown: set[int] = set()
    happened = seen = 0
    for _ in range(data.draw(st.integers(0, 6))):
        # The order was asked for first, so activities may know more.
        happened = data.draw(st.integers(happened, count))
        seen = data.draw(st.integers(max(happened, seen), count))
        shown |= data.draw(st.sets(st.integers(0, seen - 1))) if seen else set()
        view = [life.activity(life.fills[number]) for number in shown]
        order = life.order(happened)
        impatient = data.draw(st.booleans())
        made, left_out = missing_events(
            [order],
            data.draw(st.permutations(view)),
            START,
            told={"order": record.fills},
            overdue_ns=LATER if impatient else 0,
        )
        assert not (left_out and (made or impatient))
        record.append(made)
        filled = max([Decimal(0), *(fill.end for fill in record.fills)])
        assert filled <= max([Decimal(0), *(fill.end for fill in life.fills[:seen])])
        if not left_out:
            assert uncovered(Decimal(0), Decimal(order["filled_qty"]), record.fills) == []
        for number in data.draw(st.sets(st.integers(0, happened - 1))) if happened else ():
            # A stream tells as it happens: never what has been made up for already.
            fill = life.fills[number]
            if uncovered(fill.start, fill.end, record.fills) == [(fill.start, fill.end)]:
                record.hear(fill)
    made, left_out = missing_events(
        [life.order(count)],
        [life.activity(f) for f in life.fills],
        START,
        told={"order": record.fills},
    )
    record.append(made)
    assert not left_out
    told = sorted(record.fills)
    assert told[0].start == 0 and told[-1].end == life.fills[-1].end
    assert all(one.end == following.start for one, following in pairwise(told))
    if not record.aggregated:
        assert told == list(life.fills)
    if life.end == "filled":
        for event in made:
            if event.event in FILLS:
                is_last = Decimal(event.filled_qty) == life.fills[-1].end
                assert event.event == ("fill" if is_last else "partial_fill")


@given(life=lives(), data=st.data())
def test_the_price_of_what_is_not_shown(life: Life, data: st.DataObject) -> None:
    """Whatever is missing, at the end the order's average is true."""
    count = len(life.fills)
    hidden = data.draw(st.sets(st.integers(0, count - 1)))
    heard = data.draw(st.sets(st.integers(0, count - 1))) - hidden
    order = life.order(count)
    found = missing_fills(
        order,
        [f for n, f in enumerate(life.fills) if n not in hidden | heard],
        [life.fills[number] for number in heard],
        LATER,
    )
    assert found is not None
    total = life.fills[-1].end
    cost = sum((f.quantity * f.price for f in life.fills), Decimal(0))
    told = [one.fill for one in found] + [life.fills[number] for number in heard]
    error = abs(sum((f.quantity * f.price for f in told), Decimal(0)) - cost)
    assert error <= total * Decimal("1e-6")
    shown = [fill for number, fill in enumerate(life.fills) if number not in hidden]
    holes = [(one.fill.start, one.fill.end) for one in found if one.aggregated]
    assert holes == uncovered(Decimal(0), total, shown)
    assert all(one.average is not None and one.average > 0 for one in found)


def life_of(*parts: tuple[str, str]) -> Life:
    """A life of fills, quantity and price each, a second apart; it ends filled."""
    fills, filled = [], Decimal(0)
    for number, (quantity, price) in enumerate(parts, 1):
        end = filled + Decimal(quantity)
        fills.append(Fill(filled, end, Decimal(price), START + number * SECOND))
        filled = end
    return Life(tuple(fills), "filled")


def test_parts_of_what_was_told_as_one() -> None:
    """They come to light later, and aren't told again; what follows them is."""
    life = life_of(("1", "10"), ("2", "16"), ("4", "20"))
    record = Record()
    order = life.order(2)
    made, _ = missing_events([order], [], START, told={}, overdue_ns=LATER)
    record.append(made)
    assert [event.event for event in made] == ["new", "partial_fill"]
    said = json.loads(made[1].data)
    assert (said["qty"], said["price"], said["aggregated"]) == ("3", "14", True)
    made, left_out = missing_events(
        [life.order(3)],
        [life.activity(fill) for fill in life.fills],
        START,
        told={"order": record.fills},
    )
    assert [(event.event, event.filled_qty) for event in made] == [("new", "0"), ("fill", "7")]
    assert not left_out and "aggregated" not in json.loads(made[1].data)


def test_a_hole_in_the_middle() -> None:
    """It keeps its order waiting; when it is overdue it lies where it must have happened."""
    life = life_of(("1", "10"), ("2", "16"), ("4", "20"))
    order = life.order(3)
    shown = [life.activity(life.fills[0]), life.activity(life.fills[2])]
    made, left_out = missing_events([order], shown, START, told={})
    assert (made, left_out) == ([], [order])
    made, left_out = missing_events(
        [order], shown, START, told={}, overdue_ns=life.fills[2].instant_ns - 1
    )
    assert (made, left_out) == ([], [order]), "it isn't overdue yet"
    made, left_out = missing_events([order], shown, START, told={}, overdue_ns=LATER)
    assert [event.filled_qty for event in made] == ["0", "1", "3", "7"] and not left_out
    said = json.loads(made[2].data)
    assert (said["qty"], said["price"], said["aggregated"]) == ("2", "16", True)
    assert said["order"]["filled_avg_price"] == "14"


def test_a_hole_that_the_average_does_not_speak_of() -> None:
    """Activities ahead of the order: its average is of less than is filled."""
    life = life_of(("1", "10"), ("2", "16"), ("4", "20"))
    found = missing_fills(life.order(1), [life.fills[2]], [], LATER)
    assert found is not None
    assert [(one.fill.end, one.fill.price, one.aggregated) for one in found] == [
        (3, 20, True),
        (7, 20, False),
    ]


def test_what_the_stream_has_told_is_no_hole() -> None:
    """Only what it lost is made up for."""
    life = life_of(("1", "10"), ("2", "16"), ("4", "20"))
    heard = [life.fills[0], life.fills[2]]
    assert missing_fills(life.order(3), [], life.fills, 0) == []
    assert missing_fills(life.order(3), [], heard, 0) is None
    found = missing_fills(life.order(3), [], heard, LATER)
    assert found is not None and [one.fill for one in found] == [
        life.fills[1]._replace(instant_ns=life.fills[2].instant_ns)
    ]
