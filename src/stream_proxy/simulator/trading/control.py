"""The control API of the trading side: look at the ledger, place orders, make things happen."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from stream_proxy.simulator.trading import rest_account, rest_orders
from stream_proxy.simulator.trading.account import Account
from stream_proxy.simulator.trading.desk import TradingDesk
from stream_proxy.simulator.trading.event_stream import serve_event_stream
from stream_proxy.simulator.trading.forcing import EVENTS, force
from stream_proxy.simulator.trading.order import Order
from stream_proxy.simulator.trading.refusals import Refusal
from stream_proxy.simulator.trading.rest import Reception, add_routes


class AccountOrder(BaseModel):
    """Which account; it is opened if there is none."""

    model_config = ConfigDict(extra="forbid")

    account: str = Field(description="The key.")
    kind: str | None = Field(
        None, pattern="^(paper|live)$", description="Default: live for keys that begin with AK."
    )


class PlaceOrder(AccountOrder):
    order: dict[str, Any] = Field(description="As for POST /v2/orders.")


class ForceOrder(BaseModel):
    """What shall happen to which order."""

    model_config = ConfigDict(extra="forbid")

    order_id: str
    event: str = Field(description="One of " + ", ".join(EVENTS))
    price: Decimal | None = None
    qty: Decimal | None = Field(None, gt=0)
    times: int = Field(1, ge=1, le=10_000, description="How often, for partial fills.")


class ChatterOrder(AccountOrder):
    rate: float = Field(ge=0, le=1000, description="Orders, changes and cancels a second; 0 ends.")
    seed: int = 1
    symbols: list[str] = Field(default_factory=list)


def trading_routes(desk: TradingDesk) -> APIRouter:
    """All of the trading side's HTTP: Alpaca's REST three times, and the control API."""
    router = APIRouter()
    reception = Reception(desk)
    for kind in (None, "paper", "live"):
        add_routes(router, reception, kind, rest_orders.ROUTES + rest_account.ROUTES)
        _add_event_stream(router, reception, kind)
    _add_control(router, desk)
    return router


def _add_event_stream(router: APIRouter, reception: Reception, kind: str | None) -> None:
    async def trades(request: Request) -> Response:
        return await serve_event_stream(reception, request, kind)

    prefix = f"/{kind}" if kind else ""
    for path in ("/v2/events/trades", "/v2beta1/events/trades"):
        router.add_api_route(prefix + path, trades, methods=["GET"], include_in_schema=kind is None)


def _add_control(router: APIRouter, desk: TradingDesk) -> None:
    def find(key: str, kind: str | None) -> Account:
        for account in desk.engine.accounts.values():
            if account.key == key and kind in (None, account.kind):
                return account
        raise HTTPException(404, f"no account has the key {key!r}; it opens at its first use")

    @router.get("/trading/ledger")
    async def ledger(
        account: Annotated[str | None, Query(description="Only this key's page.")] = None,
        kind: str | None = None,
    ) -> dict[str, Any]:
        """Per account every event, where it was sent, connections, and REST calls."""
        if account is not None:
            return desk.ledger.page(find(account, kind))
        return desk.as_dict()

    @router.post("/trading/orders")
    async def place(wish: PlaceOrder) -> dict[str, Any]:
        """Place an order without REST: it counts as nobody's call."""
        account = _account(desk, wish)
        try:
            order = desk.engine.submit(account, wish.order, desk.clock.now_ns())
        except Refusal as refusal:
            raise HTTPException(refusal.status, refusal.message) from None
        desk.pump()
        desk.wake()
        return order.as_dict()

    @router.post("/trading/force")
    async def make_happen(wish: ForceOrder) -> dict[str, Any]:
        """Let an event happen to an order now: a fill, an end, or something rare."""
        account, order = _order(desk, wish.order_id)
        try:
            for _ in range(wish.times):
                now_ns = desk.clock.now_ns()
                force(desk.engine, account, order, wish.event, now_ns, wish.price, wish.qty)
        except Refusal as refusal:
            raise HTTPException(refusal.status, refusal.message) from None
        finally:
            desk.pump()
            desk.wake()
        return order.as_dict()

    @router.post("/trading/chatter")
    async def chatter(wish: ChatterOrder) -> None:
        """Trade at random in an account from now on."""
        unknown = [s for s in wish.symbols if desk.engine.assets.find(s) is None]
        if unknown:
            raise HTTPException(422, f"not an asset: {', '.join(unknown)}; see GET /v2/assets")
        desk.chat(_account(desk, wish), wish.rate, wish.seed, tuple(wish.symbols))

    @router.post("/trading/step")
    async def step() -> None:
        """Let the engine catch up now instead of within its step."""
        desk.step()


def _account(desk: TradingDesk, wish: AccountOrder) -> Account:
    kind = wish.kind or ("live" if wish.account.startswith("AK") else "paper")
    return desk.account(kind, wish.account)


def _order(desk: TradingDesk, order_id: str) -> tuple[Account, Order]:
    for account in desk.engine.accounts.values():
        if order_id in account.orders:
            return account, account.orders[order_id]
    raise HTTPException(404, f"no order has the id {order_id}")
