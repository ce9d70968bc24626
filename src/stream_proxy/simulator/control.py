"""The simulator's control API: HTTP on loopback, for tests and for curious people.

``curl localhost:8766/ledger`` shows what was sent to whom;
``curl -X POST localhost:8766/faults -d '{"kind": "drop"}' -H 'content-type: application/json'``
ends every connection without a close frame. ``/docs`` lists everything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from stream_proxy.model.feeds import FEEDS
from stream_proxy.simulator.faults import EXPLANATIONS, Fault
from stream_proxy.simulator.history.reception import MarketDataReception
from stream_proxy.simulator.history.rest import market_data_routes
from stream_proxy.simulator.server import Simulator
from stream_proxy.simulator.trading.control import trading_routes
from stream_proxy.wire.alpaca.codes import ERROR_CODES

_CLOSE_CODES = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
_HEX = r"^([0-9a-fA-F]{2})*$"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class FaultOrder(BaseModel):
    """What to break."""

    model_config = ConfigDict(extra="forbid")

    kind: str = Field(description="; ".join(f"{k}: {v}" for k, v in EXPLANATIONS.items()))
    feed: str | None = Field(None, description="Only on this feed; all feeds if absent.")
    code: int = Field(0, description="Error, close or HTTP code, as the kind has it.")
    seconds: float = Field(0, ge=0, le=3600, description="Duration or delay.")
    payload_hex: str = Field("", pattern=_HEX, description="Bytes for `garbage`.")
    times: int = Field(1, ge=1, description="How often an armed fault strikes.")
    hold_slot: bool = Field(False, description="Count the ended connection as half dead.")
    account: str | None = Field(None, description="Trading: only the account of this key.")


class RateOrder(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rate: float = Field(ge=0, description="Messages per second; 0 as fast as readers take them.")
    feed: str | None = None


class FrameOrder(BaseModel):
    model_config = ConfigDict(extra="forbid")

    feed: str
    payload_hex: str = Field(
        pattern=_HEX, description="The payload of one WebSocket message, as it is."
    )


def refuse_strangers(request: Request) -> Response | None:
    """Refuse names that only a rebinding page would use, and web pages altogether."""
    name = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
    if name.lower() not in _LOOPBACK_NAMES:
        return JSONResponse({"detail": "connect to localhost or 127.0.0.1"}, 421)
    if request.headers.get("origin"):
        return JSONResponse({"detail": "web pages may not control the simulator"}, 403)
    return None


def control_api(simulator: Simulator) -> FastAPI:
    """The application to serve."""
    api = FastAPI(title="Alpaca simulator")

    @api.middleware("http")
    async def guard(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        refusal = refuse_strangers(request)
        return await call_next(request) if refusal is None else refusal

    @api.get("/ledger")
    async def ledger() -> dict[str, Any]:
        """What was sent to whom, who was connected when, and what lies in wait."""
        return simulator.state()

    @api.get("/ledger/{number}/items")
    async def items(number: int) -> list[str]:
        """The last items sent on one connection, as hex; `--record` says how many are kept."""
        for record in simulator.ledger.connections:
            if record.number == number:
                return [item.hex() for item in record.items]
        raise HTTPException(404, f"no connection has the number {number}")

    @api.get("/symbols/{feed}")
    async def symbols(feed: str) -> list[str]:
        """Everything that can be subscribed on a feed; option contracts differ by day."""
        if feed not in FEEDS:
            raise HTTPException(404, f"no feed is called {feed!r}; there are {', '.join(FEEDS)}")
        return list(simulator.endpoint(FEEDS[feed]).market.symbols)

    @api.get("/faults")
    async def known_faults() -> dict[str, str]:
        """Everything that can be broken, and what it means."""
        return EXPLANATIONS

    @api.post("/faults")
    async def commit(order: FaultOrder) -> dict[str, int]:
        """Commit a fault now, or arm it; the answer says how many connections it hit."""
        if order.kind not in EXPLANATIONS:
            known = ", ".join(EXPLANATIONS)
            raise HTTPException(422, f"no fault is called {order.kind!r}; there are {known}")
        trading = (order.feed or "").partition("-")[0] == "trading"
        coded = order.kind in ("error", "refuse_auth") and not trading
        if coded and order.code not in ERROR_CODES:
            raise HTTPException(422, f"code is one of {', '.join(map(str, ERROR_CODES))}")
        of_http = order.kind in ("refuse_upgrade", "rest_status", "data_status")
        if of_http and order.code and not 300 <= order.code <= 599:
            raise HTTPException(422, "code is an HTTP status from 300 to 599")
        if order.kind == "close" and order.code and order.code not in _CLOSE_CODES:
            raise HTTPException(422, "code is a close code that may be sent, such as 1001 or 4000")
        return {"hit": simulator.commit(Fault(**order.model_dump()))}

    @api.delete("/faults")
    async def clear() -> None:
        """Disarm everything."""
        simulator.faults.clear()

    @api.post("/rate")
    async def rate(order: RateOrder) -> None:
        """Change the pace of one market or of all that are open."""
        for name, endpoint in simulator.endpoints.items():
            if order.feed in (None, name):
                endpoint.rate = order.rate
                endpoint.wake()

    @api.post("/start")
    async def start() -> None:
        """Let time run in the markets."""
        simulator.run_markets(True)

    @api.post("/hold")
    async def hold() -> None:
        """Let time stand still."""
        simulator.run_markets(False)

    @api.post("/frames")
    async def frames(order: FrameOrder) -> None:
        """Send one message, byte by byte, to everybody on a feed."""
        endpoint = simulator.endpoints.get(order.feed)
        if endpoint is None:
            raise HTTPException(404, f"nobody is connected to {order.feed}")
        endpoint.send_raw(bytes.fromhex(order.payload_hex))

    market_data = MarketDataReception(simulator)

    @api.get("/market-data/calls")
    async def calls() -> dict[str, int]:
        """How often the market-data REST was asked, by path and status of the answer."""
        return dict(market_data.calls)

    api.include_router(market_data_routes(market_data))
    api.include_router(trading_routes(simulator.trading))
    return api
