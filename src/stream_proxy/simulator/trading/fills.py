"""Booking fills: the execution, the order's totals, the account's holdings, and the event."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from stream_proxy.model.time import rfc3339
from stream_proxy.simulator.trading.account import Account
from stream_proxy.simulator.trading.amounts import ZERO, text
from stream_proxy.simulator.trading.announcements import Announcements
from stream_proxy.simulator.trading.assets import Asset
from stream_proxy.simulator.trading.identifiers import Identifiers
from stream_proxy.simulator.trading.matching import side_of
from stream_proxy.simulator.trading.order import Order
from stream_proxy.simulator.trading.positions import Execution
from stream_proxy.simulator.trading.prices import Quote


class Fills:
    """Books what was traded, and announces it."""

    def __init__(self, identifiers: Identifiers, announcements: Announcements) -> None:
        self._identifiers = identifiers
        self._announcements = announcements

    def book(
        self,
        account: Account,
        order: Order,
        asset: Asset,
        qty: Decimal,
        price: Decimal,
        now_ns: int,
    ) -> None:
        """Book a fill of an order for one asset."""
        execution = self._execute(account, order, asset, qty, price, now_ns)
        whole = order.status == "filled"
        self._announcements.announce(
            account,
            order,
            "fill" if whole else "partial_fill",
            now_ns,
            {
                "execution_id": execution.id,
                "price": text(price),
                "qty": text(qty),
                "position_qty": text(account.holdings.held(asset.symbol)),
            },
        )

    def book_multi_leg(
        self,
        account: Account,
        order: Order,
        units: Decimal,
        net: Decimal,
        quotes: Sequence[Quote | None],
        now_ns: int,
    ) -> None:
        """Book a fill of all legs at once; the event speaks of the whole, its ``legs`` of each.

        Prices are those of the quotes; a difference to ``net``, as a forced fill may have, falls
        on the first leg.
        """
        prices = [
            side_of(quote, leg.buys)[0] if quote is not None else ZERO
            for leg, quote in zip(order.legs, quotes, strict=True)
        ]
        first = order.legs[0]
        assert first.ratio_qty is not None
        found = sum(
            (
                (price if leg.buys else -price) * (leg.ratio_qty or ZERO)
                for leg, price in zip(order.legs, prices, strict=True)
            ),
            ZERO,
        )
        if net != found:
            missing = (net - found) / first.ratio_qty
            prices[0] += missing if first.buys else -missing
        details: list[dict[str, Any]] = []
        for leg, price in zip(order.legs, prices, strict=True):
            assert leg.ratio_qty is not None
            asset = Asset(leg.symbol, leg.asset_class, "")
            execution = self._execute(account, leg, asset, units * leg.ratio_qty, price, now_ns)
            details.append(
                {
                    "execution_id": execution.id,
                    "qty": text(execution.qty),
                    "price": text(price),
                    "order_id": leg.id,
                    "symbol": leg.symbol,
                    "timestamp": rfc3339(now_ns),
                }
            )
        self._total(order, units, net, now_ns)
        held = {leg.symbol: text(account.holdings.held(leg.symbol)) for leg in order.legs}
        whole = order.status == "filled"
        self._announcements.announce(
            account,
            order,
            "fill" if whole else "partial_fill",
            now_ns,
            {
                "execution_id": self._identifiers.uuid(),
                "price": text(net),
                "qty": text(units),
                "position_qtys": held,
                "legs": details,
            },
        )

    def _execute(
        self,
        account: Account,
        order: Order,
        asset: Asset,
        qty: Decimal,
        price: Decimal,
        now_ns: int,
    ) -> Execution:
        self._total(order, qty, price, now_ns)
        execution = Execution(
            id=self._identifiers.uuid(),
            order_id=order.id,
            asset=asset,
            side=order.side,
            price=price,
            qty=qty,
            cum_qty=order.filled_qty,
            leaves_qty=order.remaining or ZERO,
            order_status=order.status,
            at_ns=now_ns,
        )
        account.executions.append(execution)
        account.holdings.apply(execution)
        return execution

    def _total(self, order: Order, qty: Decimal, price: Decimal, now_ns: int) -> None:
        # First what may be refused. An order by amount is done with one fill.
        if order.remaining is None or order.remaining == qty:
            order.become("filled", now_ns)
            order.filled_ns = now_ns
        elif order.status in ("pending_cancel", "pending_replace"):
            order.updated_ns = now_ns  # the wish stands
        else:
            order.become("partially_filled", now_ns)
        order.filled_qty += qty
        order.paid += qty * price
