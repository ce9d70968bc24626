"""Random orders now and then, so that a demonstration or a long test has something to watch."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from random import Random

from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.simulator.trading.account import Account
from stream_proxy.simulator.trading.amounts import cents, text
from stream_proxy.simulator.trading.engine import Engine
from stream_proxy.simulator.trading.refusals import Refusal

USUAL_SYMBOLS = ("AAPL", "MSFT", "NVDA", "SPY", "TSLA", "F", "BTC/USD", "ETH/USD")
_MOST_OPEN = 20
_STOCK_QTYS = (1, 2, 5, 10, 25)
_PAIR_USD = 500


class Chatter:
    """Somebody who trades at random in one account.

    About half of what it does are market orders, the rest limit orders near the market, changes
    and cancels of them. Sells come when something is held, so cash and positions stay in bounds.

    Args:
        rate: orders, changes and cancels per second, on average.
        seed: the same seed, rate and instants give the same orders.
        symbols: what it trades.
    """

    def __init__(
        self,
        engine: Engine,
        account: Account,
        rate: float,
        seed: int,
        now_ns: int,
        symbols: Sequence[str] = (),
    ) -> None:
        self._engine = engine
        self._account = account
        self._rate = rate
        self._random = Random(f"{seed}/{account.kind}/{account.key}")  # noqa: S311
        self._symbols = tuple(symbols) or USUAL_SYMBOLS
        self._due_ns = now_ns
        self._plan(now_ns)

    def step(self, now_ns: int) -> None:
        """Do what is due until now."""
        while self._due_ns <= now_ns:
            try:
                self._act(now_ns)
            except Refusal:
                pass  # it traded what it could not afford, as people do
            self._plan(self._due_ns)

    def _plan(self, from_ns: int) -> None:
        wait = self._random.expovariate(self._rate)
        self._due_ns = from_ns + max(1, int(wait * NS_PER_SECOND))

    def _act(self, now_ns: int) -> None:
        random, account = self._random, self._account
        resting = [o for o in account.working.values() if o.status == "new" and not o.is_leg]
        if len(resting) >= _MOST_OPEN or (resting and random.random() < 0.2):
            order = random.choice(resting)
            if order.limit_price is None or random.random() < 0.5:
                self._engine.cancel(account, order.id, now_ns)
            else:
                price = order.limit_price * Decimal(random.choice(("0.998", "1.002")))
                changes = {"limit_price": text(_grid(price))}
                self._engine.replace(account, order.id, changes, now_ns)
            return
        symbol = random.choice(self._symbols)
        quote = self._engine.market.quote(symbol, now_ns)
        if quote is None or not quote.ask:
            return
        pair = "/" in symbol
        held = account.holdings.held(symbol)
        sells = held > 0 and random.random() < 0.55
        if pair:
            qty = Decimal(f"{_PAIR_USD / float(quote.ask):.6f}")
        else:
            qty = Decimal(random.choice(_STOCK_QTYS))
        order_fields: dict[str, object] = {
            "symbol": symbol,
            "side": "sell" if sells else "buy",
            "qty": text(min(qty, held) if sells else qty),
            "type": "market",
            "time_in_force": "gtc" if pair else "day",
        }
        if random.random() < 0.5:
            near = Decimal(str(round(random.uniform(-0.003, 0.001), 4)))
            price = quote.bid * (1 - near) if sells else quote.ask * (1 + near)
            order_fields |= {"type": "limit", "limit_price": text(_grid(price))}
        self._engine.submit(account, order_fields, now_ns)


def _grid(price: Decimal) -> Decimal:
    return cents(price) if price >= 1 else price.quantize(Decimal("0.00000001"))
