"""The order engine: takes orders, lets time pass, and says what happened.

Synchronous, without I/O: every call gets the time, all randomness comes from one seeded source,
prices from a `TradingMarket`. The same calls give the same events. Orders are accepted by
`submit`, `replace` and `cancel` at once; what follows from them happens in `step`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from random import Random

from stream_proxy.simulator.trading.account import Account, Event
from stream_proxy.simulator.trading.amounts import ZERO, ninth
from stream_proxy.simulator.trading.announcements import Announcements
from stream_proxy.simulator.trading.assets import REJECTED, Assets
from stream_proxy.simulator.trading.exits import (
    exit_orders,
    is_watched,
    left_to_protect,
    rivals,
)
from stream_proxy.simulator.trading.funds import check_net_debit, check_order_family, expected_price
from stream_proxy.simulator.trading.identifiers import Identifiers
from stream_proxy.simulator.trading.lifecycle import SETTLING, EngineRules, Lifecycle
from stream_proxy.simulator.trading.matching import (
    MATCHABLE,
    executable,
    net_of,
    trail,
    triggered,
)
from stream_proxy.simulator.trading.new_orders import multi_leg_order, single_order
from stream_proxy.simulator.trading.order import Order
from stream_proxy.simulator.trading.order_request import read_order
from stream_proxy.simulator.trading.prices import Quote, TradingMarket
from stream_proxy.simulator.trading.refusals import (
    BAD_REQUEST,
    Refusal,
    forbidden,
    invalid,
    not_found,
)
from stream_proxy.simulator.trading.replacement import check_replaceable, read_changes, successor
from stream_proxy.simulator.trading.sessions import too_late_for_auction

_AT_ONCE = frozenset({"ioc", "fok"})


class Engine:
    """All accounts and their orders.

    Args:
        market: where prices come from.
        random: identifiers and cut fills come from it.
        assets: what can be traded.
        rules: how.
    """

    def __init__(
        self,
        market: TradingMarket,
        random: Random,
        assets: Assets | None = None,
        rules: EngineRules | None = None,
    ) -> None:
        self.market = market
        self.assets = assets or Assets()
        self.rules = rules or EngineRules()
        self.accounts: dict[tuple[str, str], Account] = {}
        self.identifiers = Identifiers(random)
        self.announcements = Announcements(self.identifiers)
        self.now_ns = 0
        self._random = random
        self.life = Lifecycle(market, self.assets, self.rules, self.identifiers, self.announcements)
        # What was taken from each side of each quote in this step: nobody else gets it again.
        self._taken: dict[tuple[str, bool], Decimal] = {}

    # Accounts

    def account(self, kind: str, key: str, now_ns: int) -> Account:
        """The account of a key, opened at first use; ``kind`` is paper or live."""
        account = self.accounts.get((kind, key))
        if account is None:
            account = self.accounts[kind, key] = Account(kind, key, now_ns, self.rules.cash)
        return account

    def take_events(self) -> list[tuple[Account, Event]]:
        """What happened since the last call, oldest first, of all accounts."""
        return self.announcements.take()

    @property
    def busy(self) -> bool:
        """Whether any order is open, so that time matters."""
        return any(account.working for account in self.accounts.values())

    # Requests

    def submit(self, account: Account, fields: Mapping[str, object], now_ns: int) -> Order:
        """Take an order, in the shape of ``POST /v2/orders``; it is ``pending_new`` then.

        Raises:
            Refusal: the order is not accepted, and leaves no trace.
        """
        now_ns = self._advance_clock(now_ns)
        request = read_order(fields, self.assets)
        if account.configuration["suspend_trade"]:
            raise forbidden("new orders are rejected by user request")
        if request.client_order_id in account.by_client_id:
            raise Refusal(422, BAD_REQUEST, "client_order_id must be unique")
        if request.asset is None:
            order = multi_leg_order(request, self.identifiers, now_ns)
            order.unit_cost = self._net_debit(account, order, now_ns)
        else:
            price = expected_price(request, self.market, now_ns)
            cost = check_order_family(account, request, price, self.market, now_ns)
            order = single_order(request, self.identifiers, self.market, now_ns)
            order.unit_cost = cost
            order.legs = exit_orders(order, request, self.identifiers, now_ns)
        for member in order.family():
            account.add(member)
            account.working[member.id] = member
        self.life.say(account, order, "pending_new", now_ns)
        return order

    def replace(
        self, account: Account, order_id: str, fields: Mapping[str, object], now_ns: int
    ) -> Order:
        """Ask for a change, as ``PATCH /v2/orders/{id}``; give the order that shall take over.

        Raises:
            Refusal: there is no such order, or it can't be changed so.
        """
        now_ns = self._advance_clock(now_ns)
        order = self.find(account, order_id)
        check_replaceable(order)
        changes = read_changes(order, fields)
        if changes.client_order_id in account.by_client_id:
            raise Refusal(422, BAD_REQUEST, "client_order_id must be unique")
        new = successor(order, changes, self.identifiers, now_ns)
        order.replacement = new
        account.add(new)
        account.working[new.id] = new
        order.before_pending = order.status
        self.life.become(account, order, "pending_replace", now_ns)
        self.life.say(account, order, "pending_replace", now_ns)
        new.history.append((now_ns, new.as_dict()))
        return new

    def cancel(self, account: Account, order_id: str, now_ns: int) -> Order:
        """Ask to cancel an order, as ``DELETE /v2/orders/{id}``; it is ``pending_cancel`` then.

        Raises:
            Refusal: there is no such order, or it has ended.
        """
        now_ns = self._advance_clock(now_ns)
        order = self.find(account, order_id)
        if not order.open:
            raise invalid(f'order is already in "{order.status}" state')
        if order.role == "mleg_leg":
            raise invalid("legs are canceled with their order")
        if order.status != "pending_cancel":
            if order.status != "pending_replace":
                order.before_pending = order.status
            order.cancel_came_ns = now_ns
            self.life.become(account, order, "pending_cancel", now_ns)
            self.life.say(account, order, "pending_cancel", now_ns)
        return order

    def find(self, account: Account, order_id: str) -> Order:
        """An order by id.

        Raises:
            Refusal: the account has no such order.
        """
        order = account.orders.get(order_id)
        if order is None:
            raise not_found(f"order not found for {order_id[:60]}")
        return order

    # Time

    def step(self, now_ns: int) -> None:
        """Let time pass until ``now_ns``: confirm, trigger, match, expire."""
        now_ns = self._advance_clock(now_ns)
        self._taken.clear()
        for account in self.accounts.values():
            for order in list(account.working.values()):
                if order.open and order.role != "mleg_leg":
                    self._proceed(account, order, now_ns)

    def _advance_clock(self, now_ns: int) -> int:
        self.now_ns = max(self.now_ns, now_ns)
        return self.now_ns

    def _proceed(self, account: Account, order: Order, now_ns: int) -> None:
        if order.status == "pending_cancel":
            self.life.end(account, order, "canceled", now_ns)
            return
        if order.status == "pending_replace":
            self.life.finish_replacing(account, order, now_ns)
            return
        if order.status in SETTLING and not self._settle(account, order, now_ns):
            return
        if is_watched(order):
            self._watch(account, order, now_ns)
        if order.status in MATCHABLE and self.life.in_session(order, now_ns):
            if order.multi_leg:
                self._match_multi_leg(account, order, now_ns)
            else:
                self._match(account, order, now_ns)
            if order.open and (order.time_in_force in _AT_ONCE or order.due_ns):
                # All or some now, or never.
                self.life.end(account, order, "canceled", now_ns)
        if (
            order.open
            and order.expires_ns
            and now_ns >= order.expires_ns
            and order.status != "held"
        ):
            self.life.end(account, order, "expired", now_ns)

    def _settle(self, account: Account, order: Order, now_ns: int) -> bool:
        """Let a new order reach the market, wait, or be rejected; tell whether it is there."""
        if order.replaces is not None and account.orders[order.replaces].open:
            return False  # its predecessor comes first
        if order.symbol == REJECTED or too_late_for_auction(
            order.time_in_force, order.submitted_ns
        ):
            self.life.end(account, order, "rejected", now_ns)
            return False
        if now_ns < order.due_ns or not self.life.in_session(order, now_ns):
            if order.status == "pending_new":
                self.life.become(account, order, "accepted", now_ns)
                self.life.say(account, order, "accepted", now_ns)
            if order.expires_ns and now_ns >= order.expires_ns:
                self.life.end(account, order, "expired", now_ns)
            return False
        self.life.activate(account, order, now_ns)
        return True

    # Matching

    def _match(self, account: Account, order: Order, now_ns: int) -> None:
        quote = self.market.quote(order.symbol, now_ns)
        if quote is None:
            return
        if order.type == "trailing_stop":
            trail(order, quote)
        if not triggered(order, quote):
            return
        order.trigger_met = True
        price, size = executable(order, quote)
        if not size:
            return
        remaining = order.remaining
        if remaining is None:
            # By amount: whatever the quote holds, it is one fill.
            assert order.notional is not None
            remaining = size = ninth(order.notional / price)
        else:
            size -= self._taken.get((order.symbol, order.buys), ZERO)
        qty = min(size, remaining)
        if qty <= 0 or (order.time_in_force == "fok" and qty < remaining):
            return
        if order.qty is not None and order.time_in_force != "fok":
            qty = self._cut(qty)
        taken = self._taken.get((order.symbol, order.buys), ZERO)
        self._taken[order.symbol, order.buys] = taken + qty
        self.life.fill(account, order, qty, price, now_ns)

    def _cut(self, qty: Decimal) -> Decimal:
        share = self.rules.partial_share
        if not share or self._random.random() >= share:
            return qty
        whole = int(qty)
        if qty == whole:
            return Decimal(self._random.randint(1, whole - 1)) if whole > 1 else qty
        return max(ninth(qty / 2), qty if qty < Decimal("0.0001") else ZERO)

    def _match_multi_leg(self, account: Account, order: Order, now_ns: int) -> None:
        quotes: list[Quote] = []
        for leg in order.legs:
            quote = self.market.quote(leg.symbol, now_ns)
            if quote is None:
                return
            quotes.append(quote)
        net, units = net_of(order.legs, quotes)
        if order.limit_price is not None and net > order.limit_price:
            return
        assert order.remaining is not None
        qty = min(units, order.remaining)
        if qty > 0:
            self.life.fill(account, order, qty, net, now_ns)

    def _watch(self, account: Account, order: Order, now_ns: int) -> None:
        """Let a held stop-loss take over from its rival when its stop is reached."""
        quote = self.market.quote(order.symbol, now_ns)
        if quote is None or not triggered(order, quote):
            return
        order.qty = left_to_protect(order)
        order.trigger_met = True
        self.life.activate(account, order, now_ns)
        for rival in rivals(order):
            if rival.open:
                self.life.end(account, rival, "canceled", now_ns, alone=True)

    def _net_debit(self, account: Account, order: Order, now_ns: int) -> Decimal:
        assert order.qty is not None
        debit = order.limit_price
        if debit is None:
            quotes = [self.market.quote(leg.symbol, now_ns) for leg in order.legs]
            known = [quote for quote in quotes if quote is not None]
            debit = net_of(order.legs, known)[0] if len(known) == len(quotes) else ZERO
        return check_net_debit(account, debit, order.qty, self.market, now_ns)


__all__ = ["Engine", "EngineRules"]
