"""What becomes of an order once it is taken: its states, and what hangs on each change."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from stream_proxy.simulator.trading.account import STARTING_CASH, Account
from stream_proxy.simulator.trading.announcements import Announcements
from stream_proxy.simulator.trading.assets import Assets
from stream_proxy.simulator.trading.exits import rivals, woken_by_fill
from stream_proxy.simulator.trading.fills import Fills
from stream_proxy.simulator.trading.identifiers import Identifiers
from stream_proxy.simulator.trading.order import Order
from stream_proxy.simulator.trading.prices import TradingMarket
from stream_proxy.simulator.trading.sessions import is_open

SETTLING = frozenset({"pending_new", "accepted", "accepted_for_bidding", "pending_review"})
"""On the way to the market."""


@dataclass(frozen=True, slots=True)
class EngineRules:
    """How the engine trades.

    ``keep_hours`` lets stocks and options trade in their hours only; else they trade always.
    ``partial_share`` of the fills that could be whole are cut in two, at random.
    ``cash`` is what a new account has, in USD.
    """

    keep_hours: bool = False
    partial_share: float = 0.0
    cash: Decimal = STARTING_CASH


class Lifecycle:
    """Moves orders from state to state, announces each, and lets the others follow."""

    def __init__(
        self,
        market: TradingMarket,
        assets: Assets,
        rules: EngineRules,
        identifiers: Identifiers,
        announcements: Announcements,
    ) -> None:
        self._market = market
        self._assets = assets
        self._rules = rules
        self._announcements = announcements
        self._fills = Fills(identifiers, announcements)

    def say(self, account: Account, order: Order, event: str, now_ns: int) -> None:
        self._announcements.announce(account, order, event, now_ns)

    def become(self, account: Account, order: Order, status: str, now_ns: int) -> None:
        """Change a status; what has ended works no more."""
        order.become(status, now_ns)
        if not order.open:
            account.working.pop(order.id, None)

    def in_session(self, order: Order, now_ns: int) -> bool:
        """Whether the order may trade at this hour."""
        if not self._rules.keep_hours or order.asset_class == "crypto" or order.due_ns:
            return True
        return is_open(now_ns, order.extended_hours)

    def activate(self, account: Account, order: Order, now_ns: int) -> None:
        """Let an order rest at the market."""
        self.become(account, order, "new", now_ns)
        for leg in order.legs:
            if leg.role == "mleg_leg" and leg.status in SETTLING:
                self.become(account, leg, "new", now_ns)
        self.say(account, order, "new", now_ns)

    def end(
        self, account: Account, order: Order, status: str, now_ns: int, alone: bool = False
    ) -> None:
        """End an order unfilled or partly filled and, unless ``alone``, all that hangs on it."""
        self.become(account, order, status, now_ns)
        match status:
            case "canceled":
                order.canceled_ns = now_ns
            case "expired":
                order.expired_ns = now_ns
            case "rejected":
                order.failed_ns = now_ns
        for leg in order.legs:
            if leg.role == "mleg_leg" and leg.open:
                # What has traded can't be rejected any more.
                traded = status == "rejected" and leg.filled_qty
                self.become(account, leg, "canceled" if traded else status, now_ns)
        self.say(account, order, status, now_ns)
        if order.replacement is not None and order.replacement.open:
            self.end(account, order.replacement, "rejected", now_ns, alone=True)
        if alone:
            return
        for other in [*rivals(order), *order.legs]:
            if other.open:
                self.end(account, other, "canceled", now_ns)

    def finish_replacing(self, account: Account, order: Order, now_ns: int) -> None:
        """Let the successor take over."""
        new = order.replacement
        if new is None or not new.open:
            # Nobody is there to take over, so the order goes on.
            order.replacement = None
            self.become(account, order, before_pending(order), now_ns)
            self.say(account, order, "order_replace_rejected", now_ns)
            return
        order.replaced_by = new.id
        order.replaced_ns = now_ns
        held = order.before_pending == "held"
        parent = order.parent
        self.become(account, order, "replaced", now_ns)
        self.say(account, order, "replaced", now_ns)
        new.legs, order.legs = order.legs, []
        for leg in new.legs:
            leg.parent = new
        if parent is not None:
            parent.legs = [new if leg is order else leg for leg in parent.legs]
        if new.status == "pending_cancel":
            return
        if held:
            self.become(account, new, "held", now_ns)
            new.history.append((now_ns, new.as_dict()))
        elif now_ns < new.due_ns or not self.in_session(new, now_ns):
            self.become(account, new, "accepted", now_ns)
            self.say(account, new, "accepted", now_ns)
        else:
            self.activate(account, new, now_ns)

    def fill(
        self, account: Account, order: Order, qty: Decimal, price: Decimal, now_ns: int
    ) -> None:
        """Trade some of an order, and let its exits follow."""
        if order.status in SETTLING or order.status == "held":
            self.activate(account, order, now_ns)
        pending = order.status
        if order.multi_leg:
            for leg in order.legs:
                if leg.status in SETTLING:
                    self.become(account, leg, "new", now_ns)
            quotes = [self._market.quote(leg.symbol, now_ns) for leg in order.legs]
            self._fills.book_multi_leg(account, order, qty, price, quotes, now_ns)
        else:
            asset = self._assets.find(order.symbol)
            assert asset is not None
            self._fills.book(account, order, asset, qty, price, now_ns)
        if order.status != "filled":
            return
        account.working.pop(order.id, None)
        for leg in order.legs:
            if leg.role == "mleg_leg":
                account.working.pop(leg.id, None)
        self._reject_pending(account, order, pending, now_ns)
        for rival in rivals(order):
            if rival.open:
                self.end(account, rival, "canceled", now_ns)
        woken = woken_by_fill(order)
        if woken is not None:
            self.activate(account, woken, now_ns)

    def _reject_pending(self, account: Account, order: Order, was: str, now_ns: int) -> None:
        # Too late: the order was filled before the venue came to cancel or replace it.
        if was == "pending_cancel":
            self.say(account, order, "order_cancel_rejected", now_ns)
        if order.replacement is not None and order.replacement.open:
            self.say(account, order, "order_replace_rejected", now_ns)
            self.end(account, order.replacement, "rejected", now_ns, alone=True)


def before_pending(order: Order) -> str:
    """The status that an order goes back to when a wish is refused."""
    return "partially_filled" if order.filled_qty else order.before_pending or "new"
