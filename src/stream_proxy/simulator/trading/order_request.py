"""Read the body of an order or of a replacement, and refuse what Alpaca refuses at once.

Sources: Alpaca, "Placing Orders", "Fractional Trading", "Options Trading" and "Crypto Trading".
Sentences of refusals are our own where the documentation shows none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from stream_proxy.simulator.trading.amounts import ZERO, amount
from stream_proxy.simulator.trading.assets import Asset, Assets
from stream_proxy.simulator.trading.refusals import BAD_REQUEST, Refusal, invalid

SIDES = ("buy", "sell")
TYPES = ("market", "limit", "stop", "stop_limit", "trailing_stop")
CLASSES = ("", "simple", "bracket", "oco", "oto", "mleg")
INTENTS = ("buy_to_open", "buy_to_close", "sell_to_open", "sell_to_close")
_LONGEST_CLIENT_ID = 128
_MOST_LEGS = 4

_TYPES_OF = {
    "us_equity": TYPES,
    "us_option": ("market", "limit", "stop", "stop_limit"),
    "crypto": ("market", "limit", "stop_limit"),
}
_TIMES_OF = {
    "us_equity": ("day", "gtc", "opg", "cls", "ioc", "fok"),
    "us_option": ("day",),
    "crypto": ("gtc", "ioc"),
}
_NEEDS = {
    "limit": ("limit_price",),
    "stop": ("stop_price",),
    "stop_limit": ("stop_price", "limit_price"),
}


@dataclass(frozen=True, slots=True)
class LegRequest:
    """One contract of a multi-leg order."""

    asset: Asset
    side: str
    ratio_qty: Decimal
    position_intent: str | None


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """An order as it was asked for, checked in itself but not against the account."""

    asset: Asset | None
    side: str
    type: str
    time_in_force: str
    qty: Decimal | None
    notional: Decimal | None
    order_class: str = ""
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    extended_hours: bool = False
    client_order_id: str | None = None
    position_intent: str | None = None
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    stop_loss_limit: Decimal | None = None
    legs: tuple[LegRequest, ...] = field(default=())


def read_order(fields: Mapping[str, object], assets: Assets) -> OrderRequest:
    """Check a new order.

    Raises:
        Refusal: something is missing, unknown or doesn't go together.
    """
    order_class = _choice(fields, "order_class", CLASSES, "")
    if order_class == "mleg":
        return _read_multi_leg(fields, assets)
    asset = _asset(fields.get("symbol"), assets)
    kind = _choice(fields, "type", TYPES)
    time_in_force = _choice(fields, "time_in_force", _TIMES_OF["us_equity"])
    profit, loss, loss_limit = _exits(fields)
    limit_price = _positive(fields, "limit_price")
    if order_class == "oco":
        # The order itself is the profit side; its price stands in take_profit.
        limit_price = profit if limit_price is None else limit_price
    request = OrderRequest(
        asset=asset,
        side=_choice(fields, "side", SIDES),
        type=kind,
        time_in_force=time_in_force,
        qty=_positive(fields, "qty"),
        notional=_positive(fields, "notional"),
        order_class="" if order_class == "simple" else order_class,
        limit_price=limit_price,
        stop_price=_positive(fields, "stop_price"),
        trail_price=_positive(fields, "trail_price"),
        trail_percent=_positive(fields, "trail_percent"),
        extended_hours=fields.get("extended_hours") is True,
        client_order_id=client_order_id(fields),
        position_intent=_choice(fields, "position_intent", INTENTS, "") or None,
        take_profit=profit,
        stop_loss=loss,
        stop_loss_limit=loss_limit,
    )
    _check_amounts(request, asset)
    _check_prices(request)
    _check_kind(request, asset)
    _check_exits(request, asset)
    return request


def client_order_id(fields: Mapping[str, object]) -> str | None:
    given = fields.get("client_order_id")
    if given is None or given == "":
        return None
    if not isinstance(given, str) or len(given) > _LONGEST_CLIENT_ID:
        raise invalid(f"client_order_id must be text of at most {_LONGEST_CLIENT_ID} characters")
    return given


def _asset(symbol: object, assets: Assets) -> Asset:
    if not isinstance(symbol, str) or not symbol:
        raise invalid("symbol is required")
    asset = assets.find(symbol)
    if asset is None:
        raise invalid(f'asset "{symbol[:40]}" not found')
    if not asset.tradable:
        raise invalid(f'asset "{asset.symbol}" is not active')
    return asset


def _choice(
    fields: Mapping[str, object], name: str, known: tuple[str, ...], default: str | None = None
) -> str:
    value = fields.get(name)
    if value is None or value == "":
        if default is None:
            raise invalid(f"{name} is required: one of {', '.join(known)}")
        return default
    if value not in known:
        raise invalid(f"invalid {name}: one of {', '.join(filter(None, known))}")
    return str(value)


def _positive(fields: Mapping[str, object], name: str) -> Decimal | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    number = amount(value)
    if number is None or number <= 0:
        raise invalid(f"{name} must be a number greater than 0")
    return number


def _exits(fields: Mapping[str, object]) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    profit, loss = fields.get("take_profit"), fields.get("stop_loss")
    for name, value in (("take_profit", profit), ("stop_loss", loss)):
        if value is not None and not isinstance(value, Mapping):
            raise invalid(f"{name} must be an object")
    gain = _positive(profit, "limit_price") if isinstance(profit, Mapping) else None
    stop = _positive(loss, "stop_price") if isinstance(loss, Mapping) else None
    limit = _positive(loss, "limit_price") if isinstance(loss, Mapping) else None
    if isinstance(profit, Mapping) and gain is None:
        raise invalid("take_profit.limit_price is required")
    if isinstance(loss, Mapping) and stop is None:
        raise invalid("stop_loss.stop_price is required")
    return gain, stop, limit


def _check_amounts(request: OrderRequest, asset: Asset) -> None:
    if request.qty is None and request.notional is None:
        raise Refusal(422, BAD_REQUEST, "qty or notional is required")
    if request.qty is not None and request.notional is not None:
        raise Refusal(422, BAD_REQUEST, "only one of qty or notional is accepted")
    whole = request.qty is not None and request.qty == request.qty.to_integral_value()
    if whole:
        return
    if not asset.fractionable:
        raise invalid("option contracts are traded in whole numbers: give an integer qty")
    if asset.kind == "us_equity":
        if request.time_in_force != "day":
            raise invalid("fractional orders must be DAY orders")
        if request.order_class or request.type == "trailing_stop":
            raise invalid("fractional orders must be simple orders")
    if request.notional is not None and request.type not in ("market", "limit"):
        raise invalid("notional orders must be market or limit orders")


def _check_prices(request: OrderRequest) -> None:
    for name in _NEEDS.get(request.type, ()):
        if getattr(request, name) is None:
            raise invalid(f"{request.type} orders require {name}")
    if request.type in ("market", "trailing_stop") and request.limit_price is not None:
        raise invalid(f"{request.type} orders must not have a limit price")
    if request.type in ("market", "limit") and request.stop_price is not None:
        raise invalid(f"{request.type} orders must not have a stop price")
    trails = [request.trail_price, request.trail_percent]
    if request.type == "trailing_stop":
        if trails.count(None) != 1:
            raise invalid("trailing stop orders require either trail_price or trail_percent")
        if request.trail_percent is not None and request.trail_percent >= 100:
            raise invalid("trail_percent must be less than 100")
    elif trails.count(None) != 2:
        raise invalid("only trailing stop orders have trail_price or trail_percent")


def _check_kind(request: OrderRequest, asset: Asset) -> None:
    kind = asset.kind
    if request.type not in _TYPES_OF[kind]:
        raise invalid(f"invalid order type for {kind}: one of {', '.join(_TYPES_OF[kind])}")
    if request.time_in_force not in _TIMES_OF[kind]:
        raise invalid(f"invalid time_in_force for {kind}: one of {', '.join(_TIMES_OF[kind])}")
    if request.order_class and kind != "us_equity":
        raise invalid(f"{kind} orders must be simple orders")
    if request.time_in_force in ("opg", "cls") and request.type not in ("market", "limit"):
        raise invalid("opg and cls orders must be market or limit orders")
    if request.extended_hours and (request.type != "limit" or request.time_in_force != "day"):
        raise invalid("extended hours order must be DAY limit orders")


def _check_exits(request: OrderRequest, asset: Asset) -> None:
    profit, loss = request.take_profit, request.stop_loss
    match request.order_class:
        case "bracket" if profit is None or loss is None:
            raise invalid("bracket orders require take_profit.limit_price and stop_loss.stop_price")
        case "oco" if profit is None or loss is None:
            raise invalid("oco orders require take_profit.limit_price and stop_loss.stop_price")
        case "oco" if request.type != "limit":
            raise invalid("oco orders must be limit orders")
        case "oto" if (profit is None) == (loss is None):
            raise invalid("oto orders require either take_profit or stop_loss")
        case "" if profit is not None or loss is not None:
            raise invalid("take_profit and stop_loss need an order_class: bracket, oco or oto")
    if request.order_class and request.time_in_force not in ("day", "gtc"):
        raise invalid("complex orders must be DAY or GTC orders")
    if profit is not None and loss is not None:
        # For a bracket that buys, and for an OCO that sells, profit lies above.
        above = (request.side == "buy") == (request.order_class == "bracket")
        if (profit > loss) != above:
            raise invalid("take_profit and stop_loss are on the wrong sides of each other")


def _read_multi_leg(fields: Mapping[str, object], assets: Assets) -> OrderRequest:
    kind = _choice(fields, "type", ("market", "limit"))
    legs = fields.get("legs")
    if not isinstance(legs, list) or not 2 <= len(legs) <= _MOST_LEGS:
        raise invalid(f"mleg orders require 2 to {_MOST_LEGS} legs")
    read = tuple(_leg(leg, assets) for leg in legs)
    if len({leg.asset.symbol for leg in read}) != len(read):
        raise invalid("all legs of an mleg order must have different symbols")
    qty = _positive(fields, "qty")
    if qty is None or qty != qty.to_integral_value():
        raise invalid("mleg orders require a whole qty")
    # The price may be negative: a credit.
    limit_price = amount(fields.get("limit_price"))
    if (kind == "limit") != (limit_price is not None):
        raise invalid("limit orders require limit_price, market orders must not have one")
    _choice(fields, "time_in_force", _TIMES_OF["us_option"])
    return OrderRequest(
        asset=None,
        side=_choice(fields, "side", SIDES, "buy"),
        type=kind,
        time_in_force="day",
        qty=qty,
        notional=None,
        order_class="mleg",
        limit_price=limit_price,
        client_order_id=client_order_id(fields),
        legs=read,
    )


def _leg(leg: object, assets: Assets) -> LegRequest:
    if not isinstance(leg, Mapping):
        raise invalid("each leg must be an object")
    asset = _asset(leg.get("symbol"), assets)
    if asset.kind != "us_option":
        raise invalid("legs of an mleg order must be option contracts")
    ratio = _positive(leg, "ratio_qty")
    if ratio is None or ratio != ratio.to_integral_value() or ratio <= ZERO:
        raise invalid("ratio_qty must be a whole number")
    intent = _choice(leg, "position_intent", INTENTS, "") or None
    side = _choice(leg, "side", SIDES, intent.split("_")[0] if intent else None)
    return LegRequest(asset, side, ratio, intent)
