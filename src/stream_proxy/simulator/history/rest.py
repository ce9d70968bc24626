"""Alpaca's market-data REST: its paths, the feeds they mean, and the shapes of their answers.

Source: Alpaca, "Historical Stock Data", "Historical Crypto Data", "Historical Option Data",
"News". Stocks answer for many symbols at once or for one in the path.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from stream_proxy.model.feeds import FEEDS
from stream_proxy.simulator.history.answers import rest_item
from stream_proxy.simulator.history.questions import (
    Refusal,
    check_symbol,
    question,
    symbols_of,
    timeframe_minutes,
)
from stream_proxy.simulator.history.reception import (
    Call,
    FeedOf,
    Handler,
    MarketDataReception,
)
from stream_proxy.wire.alpaca.codec import MSGPACK

if TYPE_CHECKING:
    from stream_proxy.simulator.server import Simulator

_STOCK_HISTORY = ("sip", "iex", "otc", "boats")
_STOCK_LATEST = (*_STOCK_HISTORY, "delayed_sip", "overnight")


def market_data_routes(reception: MarketDataReception) -> APIRouter:
    """All of it."""
    router = APIRouter()

    def serve(path: str, feed_of: FeedOf, handler: Handler) -> None:
        router.add_api_route(
            path,
            _endpoint(reception, feed_of, handler),
            methods=["GET"],
            summary=(handler.__doc__ or path).partition("\n")[0],
        )

    stocks, options, crypto = "/v2/stocks", "/v1beta1/options", "/v1beta3/crypto/{location}"
    for channel in ("trades", "quotes", "bars"):
        serve(f"{stocks}/{channel}", _stock_feed, _history(channel))
        serve(f"{stocks}/{channel}/latest", _stock_feed, _latest(channel))
        serve(f"{crypto}/{channel}", _crypto_feed, _history(channel))
        serve(f"{crypto}/latest/{channel}", _crypto_feed, _latest(channel))
        serve(f"{options}/{channel}/latest", _option_feed, _latest(channel))
    for channel in ("trades", "bars"):
        serve(f"{options}/{channel}", _option_feed, _history(channel))
    serve(f"{crypto}/latest/orderbooks", _crypto_feed, latest_order_books)
    serve(f"{stocks}/snapshots", _stock_feed, stock_snapshots)
    serve(f"{options}/snapshots", _option_feed, snapshots)
    serve(f"{crypto}/snapshots", _crypto_feed, snapshots)
    serve("/v1beta1/news", lambda simulator, request: "news", news)
    for channel in ("trades", "quotes", "bars"):
        serve(f"{stocks}/{{symbol}}/{channel}", _stock_feed, _history_of_one(channel))
        serve(f"{stocks}/{{symbol}}/{channel}/latest", _stock_feed, _latest_of_one(channel))
    serve(f"{stocks}/{{symbol}}/snapshot", _stock_feed, snapshot_of_one)
    return router


def _endpoint(
    reception: MarketDataReception, feed_of: FeedOf, handler: Handler
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await reception.serve(request, feed_of, handler)

    return endpoint


# Which record is meant


def _stock_feed(simulator: Simulator, request: Request) -> str:
    """The feed that is named, or the best that may be seen without delay."""
    name = request.query_params.get("feed")
    if not name:
        return "iex" if "sip" in simulator.options.denied_feeds else "sip"
    latest = "latest" in request.url.path or "snapshot" in request.url.path
    if name not in (_STOCK_LATEST if latest else _STOCK_HISTORY):
        raise Refusal(400, f"invalid feed: {name[:20]}")
    # The delayed stream tells the same trades: here, whichever of the two is being streamed.
    opened = simulator.endpoints
    if name == "sip" and "sip" not in opened and "delayed_sip" in opened:
        return "delayed_sip"
    return name


def _option_feed(simulator: Simulator, request: Request) -> str:
    """The feed that is named; history has no such parameter, so there it is what is streamed."""
    name = request.query_params.get("feed")
    if name in ("opra", "indicative"):
        return name
    if name:
        raise Refusal(400, f"invalid feed: {name[:20]}")
    return "opra" if "opra" in simulator.endpoints else "indicative"


def _crypto_feed(_: Simulator, request: Request) -> str:
    name = f"crypto-{request.path_params['location']}"
    if name not in FEEDS:
        raise Refusal(400, "invalid location")
    return name


# What they answer


async def _page(call: Call, channel: str, symbols: tuple[str, ...]) -> tuple[Any, str | None]:
    asked = question(call.query, call.now_ns, symbols)
    minutes = timeframe_minutes(call.query.get("timeframe")) if channel == "bars" else 1
    found, token = await call.answers.page(channel, asked, minutes)
    return found, call.query["page_token"] if call.repeats else token


def _history(channel: str) -> Handler:
    async def history(call: Call) -> dict[str, Any]:
        """What was sent in an interval, of many symbols."""
        found, token = await _page(call, channel, symbols_of(call.query))
        return {channel: found, "next_page_token": token}

    return history


def _history_of_one(channel: str) -> Handler:
    async def history(call: Call) -> dict[str, Any]:
        """What was sent in an interval, of one symbol."""
        symbol = check_symbol(call.path["symbol"])
        found, token = await _page(call, channel, (symbol,))
        return {channel: found.get(symbol), "symbol": symbol, "next_page_token": token}

    return history


def _latest(channel: str) -> Handler:
    async def latest(call: Call) -> dict[str, Any]:
        """What came last, of many symbols."""
        return {channel: await call.answers.latest(channel, symbols_of(call.query))}

    return latest


def _latest_of_one(channel: str) -> Handler:
    async def latest(call: Call) -> dict[str, Any]:
        """What came last, of one symbol."""
        symbol = check_symbol(call.path["symbol"])
        found = await call.answers.latest(channel, (symbol,))
        if symbol not in found:
            raise Refusal(404, f"no {channel[:-1]} found for {symbol}")
        return {"symbol": symbol, channel[:-1]: found[symbol]}

    return latest


async def latest_order_books(call: Call) -> dict[str, Any]:
    """Whole order books as they stand."""
    market = call.endpoint.market
    return {
        "orderbooks": {
            symbol: rest_item(MSGPACK.encode(book))
            for symbol in symbols_of(call.query)
            for book in market.snapshot("orderbooks", symbol)
        }
    }


async def stock_snapshots(call: Call) -> dict[str, Any]:
    """Everything that came last, by symbol."""
    return {**await call.answers.snapshots(symbols_of(call.query))}


async def snapshots(call: Call) -> dict[str, Any]:
    """Everything that came last, by symbol, under a key of its own."""
    return {"snapshots": await call.answers.snapshots(symbols_of(call.query))}


async def snapshot_of_one(call: Call) -> dict[str, Any]:
    """Everything that came last, of one symbol."""
    symbol = check_symbol(call.path["symbol"])
    found = await call.answers.snapshots((symbol,))
    if symbol not in found:
        raise Refusal(404, f"no snapshot found for {symbol}")
    return {"symbol": symbol, **found[symbol]}


async def news(call: Call) -> dict[str, Any]:
    """Articles, the newest first unless asked otherwise."""
    symbols = symbols_of(call.query, needed=False)
    asked = question(call.query, call.now_ns, symbols, news=True)
    with_content = call.query.get("include_content", "").lower() == "true"
    found, token = await call.answers.news(asked, with_content=with_content)
    return {"news": found, "next_page_token": call.query["page_token"] if call.repeats else token}
